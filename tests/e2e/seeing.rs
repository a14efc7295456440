//! What operators see: probes, the health document, access records.

use crate::{
    client::Client,
    harness::{run, until_async},
    origin::Origin,
    plan::Plan,
    port::Port,
    sidecar::Sidecar,
};

/// A policy with something of everything that is shown.
pub fn plan() -> Plan {
    Sidecar::with(
        r#"
        [[identity]]
        from = "path"
        pattern = "/u/{id}/**"
        parameter = "id"
        tier = "free"
        [[identity]]
        from = "address"
        tier = "stranger"
        [operations.chat]
        routes = ["POST /u/{id}/chat"]
        cost = "$0.005"
        [operations.general]
        routes = ["* /**"]
        [tiers.free]
        quotas = { chat = "100/hour" }
        budget = { day = "$1" }
        [tiers.stranger]
        quotas = { "*" = "100/hour" }
        [health]
        every = "1s"
        timeout = "500ms"
        [sanitize]
        redact = []
        [[sanitize.rule]]
        name = "employee number"
        pattern = 'EMP-\d{6}'
        "#,
    )
}

async fn health_is(client: &Client, status: &str) -> crate::client::Answer {
    until_async(&format!("health is {status}"), || async {
        let answer = client.get("/api/health").send().await;
        (answer.json()["status"] == status).then_some(answer)
    })
    .await
}

#[test]
fn the_health_document_tells_of_the_upstream_on_both_listeners() {
    run(async {
        let port = Port::free();
        let origin = Origin::at(port.address).await;
        let sidecar = plan().before(&origin).start().await;
        let operators = Client::plain(sidecar.admin);

        for client in [&sidecar.client, &operators] {
            let answer = health_is(client, "healthy").await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let document = answer.json();
            assert!(document["uptime_seconds"].as_f64().unwrap() >= 0.0);
            assert_eq!(document["services"]["api_gateway"], "operational");
            assert_eq!(document["services"]["rate_limiting"], "enabled");
            assert_eq!(document["services"]["monitoring"], "enabled");
            assert!(!answer.text().contains("127.0.0.1"), "no addresses: {}", answer.text());
        }
        assert_eq!(origin.seen().len(), 0, "the upstream is not asked for it");

        drop(origin);
        for client in [&sidecar.client, &operators] {
            assert_eq!(health_is(client, "unhealthy").await.status, 503);
        }
        assert_eq!(sidecar.operator("/readyz").send().await.status, 200, "it can still refuse");
        sidecar.metric_is("weir_upstream_up", 0.0).await;

        let _origin = Origin::at(port.address).await;
        health_is(&sidecar.client, "healthy").await;
        sidecar.metric_is("weir_upstream_up", 1.0).await;
    });
}

#[test]
fn probes_answer_without_a_token_and_the_rest_needs_it() {
    run(async {
        let origin = Origin::start().await;
        let plan = plan().admin("token = \"${WEIR_ADMIN_TOKEN}\"");
        let plan = plan.environment("WEIR_ADMIN_TOKEN", "canary-operator-token");
        let sidecar = plan.before(&origin).start().await;
        let status = async |path: &str, token: Option<&str>| {
            let ask = sidecar.operator(path);
            let ask = match token {
                Some(token) => ask.header("authorization", &format!("Bearer {token}")),
                None => ask,
            };
            ask.send().await.status.as_u16()
        };

        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(status(path, None).await, 200, "{path}");
        }
        assert_eq!(status("/", None).await, 401);
        assert_eq!(status("/", Some("wrong")).await, 401);
        assert_eq!(status("/", Some("canary-operator-token")).await, 200);
        assert_eq!(status("/unknown", None).await, 404);
        let page = sidecar.operator("/").header("authorization", "Bearer canary-operator-token");
        let page = page.send().await.text();
        assert!(page.contains("Weir") && !page.contains("canary-operator-token"));
        // None of it is on the public listener: there these are paths like any other.
        assert_eq!(sidecar.client.get("/livez").send().await.json()["target"], "/livez");
        assert!(!sidecar.running.lines().join("\n").contains("canary-operator-token"));
    });
}

#[test]
fn every_exchange_is_one_record_whatever_becomes_of_it() {
    run(async {
        let origin = Origin::start().await;
        origin.answers(
            "/u/u1/leak",
            200,
            &[("content-type", "text/plain")],
            "EMP-123456 EMP-654321",
        );
        let sidecar = plan().before(&origin).start().await;

        let chat = sidecar.client.post("/u/u1/chat?secret=1", "hello").send_h2().await;
        let record = sidecar.record(&chat).await;
        for (field, wanted) in [
            ("method", "POST"),
            ("path", "/u/u1/chat"),
            ("operation", "chat"),
            ("tier", "free"),
            ("subject", "path:u1"),
            ("peer", "127.0.0.1"),
            ("protocol", "h2"),
            ("level", "INFO"),
        ] {
            assert_eq!(record[field], wanted, "{field}: {record}");
        }
        assert_eq!(record["status"], 200);
        assert_eq!(record["cost_nano_usd"], 5_000_000);
        assert_eq!(record["request_bytes"], 5);
        assert_eq!(record["response_bytes"], chat.body.len());
        assert_eq!(record["policy_generation"], 1);
        assert!(record["duration_ms"].as_f64() >= record["upstream_ms"].as_f64());
        assert!(record["timestamp"].as_str().unwrap().ends_with('Z'));
        assert!(record.get("error_code").is_none());

        let leak = sidecar.client.get("/u/u1/leak").send().await;
        assert_eq!(sidecar.record(&leak).await["redactions"], 2);
        let refused = sidecar.client.get("/u/u1/%00").send().await;
        let record = sidecar.record(&refused).await;
        assert_eq!(
            (&record["status"], &record["error_code"]),
            (&400.into(), &"bad_request".into())
        );
        assert_eq!(record["operation"], "none");

        let ids: Vec<_> = sidecar
            .log()
            .iter()
            .filter(|l| l["message"] == "exchange")
            .map(|l| l["request_id"].to_string())
            .collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!((ids.len(), unique.len()), (3, 3));
    });
}

#[test]
fn logs_for_people_are_short_lines() {
    run(async {
        let origin = Origin::start().await;
        let home = plan().before(&origin).furnish();
        let mut command = crate::harness::weir();
        command.current_dir(home.path()).args(["run", "--log-format", "text"]);
        let mut running = crate::sidecar::Running::of(command);
        let line = crate::harness::until("the serving line", || {
            running.lines().into_iter().find(|line| line.contains("serving"))
        });
        let line = line.await;
        assert!(!line.starts_with('{') && line.contains("address=127.0.0.1:"), "{line}");
        crate::harness::signal(running.id(), "TERM");
        assert_eq!(running.ended().await, Some(0));
    });
}
