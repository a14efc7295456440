//! What leaves is clean: error bodies, headers, secrets; and what is logged is clean too.

use serde_json::Value;

use crate::{
    client::Answer,
    harness::{run, soon},
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
};

/// Everything on, as it is by default.
fn cleaning() -> Plan {
    Sidecar::with("[sanitize]\n")
}

/// Cleaning with one redaction rule only.
fn light_cleaning() -> Plan {
    Sidecar::with(
        "[sanitize]\nredact = []\n[[sanitize.rule]]\nname = \"employee number\"\n\
         pattern = 'EMP-\\d{6}'\n",
    )
}

const LEAK: &str = "Traceback (most recent call last):\n  File \"/app/db.py\", line 41, in load\n    \
                    connect()\nConnectionError: postgresql://coach:hunter2@10.0.12.7:5432/health";

#[test]
fn an_error_of_the_upstream_is_replaced_and_its_original_is_only_in_the_log() {
    run(async {
        let origin = Origin::start().await;
        let headers = [
            ("content-type", "text/plain"),
            ("retry-after", "7"),
            ("retry-after-ms", "7000"),
            ("x-should-retry", "true"),
            ("allow", "GET"),
            ("www-authenticate", "Basic"),
            ("server", "uvicorn"),
            ("x-debug", "10.0.12.7"),
            ("etag", "\"1\""),
            ("set-cookie", "session=1"),
        ];
        origin.answers("/crash", 503, &headers, LEAK);
        let sidecar = cleaning().before(&origin).start().await;

        let answer = sidecar.client.get("/crash").send().await;

        assert_eq!(answer.status, 503);
        let id = answer.header("x-request-id").unwrap();
        let wanted = serde_json::json!({
            "error": "InternalServerError", "error_code": "internal_error", "request_id": id,
            "message": "An unexpected error occurred. Please try again later.",
        });
        assert_eq!(answer.json(), wanted);
        for (name, value) in &headers[1..6] {
            assert_eq!(answer.header(name), Some(*value), "{name}");
        }
        for (name, _) in &headers[6..] {
            assert_eq!(answer.header(name), None, "{name}");
        }
        assert_eq!(answer.header("content-type"), Some("application/json"));

        let is =
            |line: &Value| line["request_id"] == id && line["message"] == "the upstream failed";
        let logged = sidecar.logged("the original is logged", is).await;
        let body = logged["body"].as_str().unwrap();
        assert!(!body.contains("hunter2") && !body.contains("10.0.12.7"), "{body}");
        assert_eq!(sidecar.record(&answer).await["error_code"], "internal_error");
    });
}

#[test]
fn a_status_that_no_standard_knows_is_an_error_too() {
    run(async {
        let origin = Origin::start().await;
        origin.answers("/odd", 777, &[("x-debug", "10.0.12.7")], LEAK);
        let sidecar = cleaning().before(&origin).start().await;
        for answer in
            [sidecar.client.get("/odd").send().await, sidecar.client.get("/odd").send_h2().await]
        {
            assert_eq!(answer.refusal(), (777, "internal_error".to_owned()));
            assert_eq!(answer.header("x-debug"), None);
        }
    });
}

#[test]
fn a_huge_or_endless_error_is_replaced_at_once() {
    run(async {
        let origin = Origin::start().await;
        origin.answers("/huge", 500, &[], vec![b'x'; 8 << 20]);
        let sidecar = light_cleaning().before(&origin).start().await;

        let answer = soon("the answer", sidecar.client.get("/huge").send()).await;

        assert_eq!(answer.refusal(), (500, "internal_error".to_owned()));
        let is = |line: &Value| line["message"] == "the upstream failed";
        let logged = sidecar.logged("the original is logged", is).await;
        assert!(logged["body"].as_str().unwrap().len() <= 8 << 10, "the log is bounded");
    });
}

#[test]
fn error_bodies_pass_when_the_policy_says_so_but_are_redacted() {
    run(async {
        let origin = Origin::start().await;
        origin.answers("/crash", 500, &[("content-type", "text/plain")], LEAK);
        let plan = Sidecar::with("[sanitize]\nerrors = \"pass\"\n");
        let sidecar = plan.before(&origin).start().await;

        let answer = sidecar.client.get("/crash").send().await;

        assert_eq!(answer.status, 500);
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    });
}

#[test]
fn errors_of_the_caller_pass_as_the_upstream_wrote_them() {
    run(async {
        let origin = Origin::start().await;
        origin.answers("/no", 422, &[("content-type", "application/json")], r#"{"field":"age"}"#);
        let sidecar = light_cleaning().before(&origin).start().await;

        let answer = sidecar.client.get("/no").send().await;

        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (422, r#"{"field":"age"}"#));
    });
}

#[test]
fn answers_lose_what_tells_of_the_server_and_gain_what_protects_the_browser() {
    run(async {
        let origin = Origin::start().await;
        let own = [
            ("server", "nginx/1.2"),
            ("x-powered-by", "PHP/5"),
            ("x-frame-options", "ALLOWALL"),
            ("x-user-tier", "admin"),
            ("x-cost-used-today", "0"),
            ("x-ratelimit-remaining", "999"),
            ("x-request-id", "theirs"),
            ("x-kept", "yes"),
        ];
        origin.answers("/x", 200, &own, "ok");
        let sidecar = light_cleaning().before(&origin).start().await;

        let answer = sidecar.client.get("/x").send().await;
        let refused = sidecar.client.get("/%00").send().await;

        assert_eq!((answer.header("server"), answer.header("x-powered-by")), (None, None));
        for answer in [&answer, &refused] {
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        }
        assert_eq!(
            (answer.header("x-kept"), answer.header("x-user-tier")),
            (Some("yes"), Some("free"))
        );
        assert_eq!(answer.header("x-cost-used-today"), None);
        assert_ne!(answer.header("x-request-id"), Some("theirs"));
        assert_ne!(answer.header("x-ratelimit-remaining"), Some("999"));
    });
}

/// Secrets of each built-in kind, and what must stay around them.
fn secrets() -> Vec<(String, &'static str)> {
    vec![
        (format!("sk-{}", "Zq8".repeat(16)), "an API key"),
        ("postgresql://coach:hunter2@db.internal:5432/health".to_owned(), "a database URL"),
        ("redis://:s3cr3tpass@cache:6379/0".to_owned(), "a cache URL"),
        ("10.0.12.7".to_owned(), "a private address"),
        ("192.168.3.44".to_owned(), "a private address"),
        ("File \"/app/db.py\", line 41, in load".to_owned(), "a stack trace"),
    ]
}

#[test]
fn secrets_in_good_answers_are_redacted() {
    run(async {
        let origin = Origin::start().await;
        let trace = "Traceback (most recent call last):\n  File \"/app/db.py\", line 41, in load\n    x()\nValueError: no\n";
        let all: String = secrets().iter().map(|(secret, _)| format!("[{secret}] ")).collect();
        let text = format!("before {all}\n{trace}after");
        origin.answers("/text", 200, &[("content-type", "text/plain")], text.clone());
        let json = serde_json::json!({"before": 1, "note": text, "after": "kept"});
        origin.answers("/json", 200, &[("content-type", "application/json")], json.to_string());
        let large = format!("{}{text}", "x ".repeat(100_000));
        origin.answers("/large", 200, &[("content-type", "text/plain")], large);
        let binary = [("content-type", "application/octet-stream")];
        origin.answers("/binary", 200, &binary, text.clone());
        let sidecar = cleaning().before(&origin).start().await;

        for (path, h2) in [("/text", false), ("/json", false), ("/large", false), ("/large", true)]
        {
            let ask = sidecar.client.get(path).header("accept-encoding", "gzip, br");
            let answer = if h2 { ask.send_h2().await } else { ask.send().await };
            assert_eq!(origin.last().header("accept-encoding"), Some("identity"));
            for (secret, kind) in secrets() {
                let end = answer.text().len().saturating_sub(600);
                assert!(
                    !answer.text().contains(&secret),
                    "{path}: {kind} in {}",
                    &answer.text()[end..]
                );
            }
            assert!(answer.text().contains("before") && answer.text().contains("after"), "{path}");
        }
        let json = sidecar.client.get("/json").send().await;
        assert_eq!(json.json()["after"], "kept", "JSON stays JSON: {}", json.text());
        let length = json.header("content-length").map(|length| length.parse::<usize>().unwrap());
        assert_eq!(length, Some(json.body.len()));
        assert_eq!(sidecar.client.get("/binary").send().await.text(), text, "no text is changed");
        assert!(sidecar.record(&json).await["redactions"].as_u64().unwrap() > 0);
        assert!(sidecar.metric(r#"weir_redactions_total{rule="credentials"}"#).await > 0.0);
    });
}

#[test]
fn secrets_in_answers_headers_are_redacted() {
    run(async {
        let origin = Origin::start().await;
        let secrets = secrets();
        let names: Vec<String> = (0..secrets.len()).map(|n| format!("x-debug-{n}")).collect();
        let headers: Vec<(&str, &str)> = names
            .iter()
            .zip(&secrets)
            .map(|(name, (value, _))| (name.as_str(), value.as_str()))
            .collect();
        origin.answers("/x", 200, &headers, "ok");
        let sidecar = cleaning().before(&origin).start().await;

        let answer = sidecar.client.get("/x").send().await;

        // A single frame of a trace is no trace: that one is left out.
        for (name, (secret, kind)) in names.iter().zip(&secrets).take(5) {
            assert!(
                !answer.header(name).unwrap_or_default().contains(secret),
                "{kind}: {answer:?}"
            );
        }
    });
}

#[test]
fn an_encoded_answer_that_must_be_read_is_refused() {
    run(async {
        let origin = Origin::start().await;
        let headers = [("content-type", "text/plain"), ("content-encoding", "gzip")];
        origin.answers("/gzip", 200, &headers, "\u{1f}not really");
        let sidecar = light_cleaning().before(&origin).start().await;

        let answer = sidecar.client.get("/gzip").send().await;

        assert_eq!(answer.refusal(), (502, "upstream_invalid".to_owned()));
    });
}

#[test]
fn a_location_that_names_the_upstream_is_made_relative() {
    run(async {
        let origin = Origin::start().await;
        let inside = format!("http://{}/next?x=1", origin.address);
        origin.answers("/in", 302, &[("location", &inside)], "");
        origin.answers("/out", 302, &[("location", "https://elsewhere.example/")], "");
        let sidecar = light_cleaning().before(&origin).start().await;

        let to = async |path: &str| {
            let answer: Answer = sidecar.client.get(path).send().await;
            answer.header("location").unwrap_or_default().to_owned()
        };

        assert_eq!(to("/in").await, "/next?x=1");
        assert_eq!(to("/out").await, "https://elsewhere.example/");
    });
}
