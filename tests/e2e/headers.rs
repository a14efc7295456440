//! What the upstream is told, and what it is never told.

use crate::{harness::run, origin::Origin, raw, sidecar::Sidecar};

#[test]
fn headers_that_only_weir_may_set_never_come_from_a_caller() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let spoofed = [
            "x-user-tier",
            "x_user_tier",
            "x-cost-used-today",
            "x-cost-limit-daily",
            "x-agent-cost-usd",
            "x-real-ip",
            "x_real_ip",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded-client-cert",
            "x-forwarded-host",
            "x-forwarded-proto",
            "forwarded",
            "x-ratelimit-remaining",
            "ratelimit",
            "ratelimit-policy",
            "x-original-url",
            "x-rewrite-url",
            "x-request-id",
            "x_request_id",
        ];

        for h2 in [false, true] {
            let mut ask = sidecar.client.get("/x").header("x-mine", "stays");
            for name in spoofed {
                ask = ask.header(name, "spoofed.example");
            }
            let answer = if h2 { ask.send_h2().await } else { ask.send().await };
            assert_eq!(answer.status, 200);

            let seen = origin.last();
            for (name, value) in &seen.headers {
                let value = value.to_str().unwrap();
                assert!(!value.contains("spoofed"), "{name}: {value} reached the origin");
            }
            assert_eq!(seen.header("x-mine"), Some("stays"));
            assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
            assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
            assert_eq!(seen.header("x-forwarded-host"), Some("localhost"));
            assert_eq!(seen.header("host"), Some("localhost"));
            assert_eq!(seen.header("x-request-id"), answer.header("x-request-id"));
        }
    });
}

#[test]
fn hop_by_hop_headers_end_at_each_side() {
    run(async {
        let origin = Origin::start().await;
        let own = [
            ("connection", "x-inner"),
            ("x-inner", "1"),
            ("keep-alive", "timeout=9"),
            ("x-outer", "2"),
        ];
        origin.answers("/hops", 200, &own, "ok");
        let sidecar = Sidecar::with("").before(&origin).start().await;

        let answer = sidecar
            .client
            .get("/hops")
            .header("connection", "keep-alive, X-Secret")
            .header("x-secret", "1")
            .header("te", "trailers")
            .header("keep-alive", "timeout=5")
            .header("proxy-authorization", "Basic eDp5")
            .header("proxy-connection", "keep-alive")
            .header("upgrade", "websocket")
            .send()
            .await;

        let seen = origin.last();
        for name in
            ["x-secret", "te", "keep-alive", "proxy-authorization", "proxy-connection", "upgrade"]
        {
            assert_eq!(seen.header(name), None, "{name} reached the origin");
        }
        assert_eq!((answer.header("x-inner"), answer.header("x-outer")), (None, Some("2")));
        assert_eq!(answer.header("keep-alive"), None);
    });
}

#[test]
fn request_ids_are_minted_and_the_callers_own_is_only_logged() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        let answer = sidecar.client.get("/x").header("x-request-id", "mine-17").send().await;

        let minted = answer.header("x-request-id").unwrap();
        assert!(minted.len() == 32 && minted.bytes().all(|b| b.is_ascii_hexdigit()), "{minted}");
        assert_eq!(origin.last().header("x-request-id"), Some(minted));
        assert_eq!(sidecar.record(&answer).await["client_request_id"], "mine-17");
        let other = sidecar.client.get("/x").send().await;
        assert_ne!(other.header("x-request-id"), Some(minted));
    });
}

#[test]
fn a_trace_is_continued_when_it_is_sound_and_begun_otherwise() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");

        let ask = sidecar.client.get("/x").header("traceparent", &parent);
        let answer = ask.header("tracestate", "a=1").send().await;
        let seen = origin.last();
        let sent = seen.header("traceparent").unwrap();
        assert!(sent.starts_with(&format!("00-{trace}-")) && sent.ends_with("-01"), "{sent}");
        assert!(!sent.contains("00f067aa0ba902b7"), "the span is our own: {sent}");
        assert_eq!(seen.header("tracestate"), Some("a=1"));
        assert_eq!(sidecar.record(&answer).await["trace_id"], trace);

        let bad = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let ask = sidecar.client.get("/x").header("traceparent", bad);
        let answer = ask.header("tracestate", "a=1").send().await;
        let (seen, id) = (origin.last(), answer.header("x-request-id").unwrap());
        let sent = seen.header("traceparent").unwrap();
        assert!(sent.starts_with(&format!("00-{id}-")), "{sent}");
        assert_eq!(seen.header("tracestate"), None);
    });
}

#[test]
fn what_the_upstream_needs_from_us_is_sent_and_never_shown() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("")
            .upstream(
                "headers = { Authorization = \"Bearer ${PROVIDER_KEY}\", X-Mode = \"strict\" }",
            )
            .environment("PROVIDER_KEY", "canary-provider-key")
            .environment("WEIR_LOG", "trace")
            .before(&origin)
            .start()
            .await;

        let ask = sidecar.client.get("/x").header("authorization", "Basic dTpw");
        let answer = ask.header("x-mode", "lax").send().await;

        let seen = origin.last();
        assert_eq!(seen.header("authorization"), Some("Bearer canary-provider-key"));
        assert_eq!(seen.headers.get_all("x-mode").iter().collect::<Vec<_>>(), ["strict"]);
        sidecar.record(&answer).await;
        let log = sidecar.running.lines().join("\n");
        assert!(!log.contains("canary-provider-key"), "the key is in the log");
    });
}

#[test]
fn cookies_of_one_request_come_as_one_field_and_those_of_an_answer_stay_apart() {
    run(async {
        let origin = Origin::start().await;
        origin.answers("/c", 200, &[("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2")], "ok");
        let sidecar = Sidecar::with("").before(&origin).start().await;

        let ask = sidecar.client.get("/c").header("cookie", "x=1").header("cookie", "y=2");
        let answer = ask.send_h2().await;

        assert_eq!(origin.last().header("cookie"), Some("x=1; y=2"));
        let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(set, ["a=1; Path=/", "b=2"]);
    });
}

#[test]
fn two_hosts_or_no_host_are_refused() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        for head in [
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        ] {
            let answer = raw::exchange(&sidecar.client, head.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
        }
        assert_eq!(origin.seen().len(), 0);
    });
}

/// Framings that two servers may read in two ways.
const AMBIGUOUS: [&str; 7] = [
    "content-length: 4\r\ntransfer-encoding: chunked",
    "transfer-encoding: chunked\r\ncontent-length: 4",
    "content-length: 4\r\ncontent-length: 5",
    "content-length: +4",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: xchunked",
    "transfer-encoding : chunked",
];

/// Sends a request with each ambiguous framing; what was answered.
async fn smuggle(sidecar: &Sidecar) -> Vec<(&'static str, String)> {
    let mut answers = Vec::new();
    for framing in AMBIGUOUS {
        let request = format!(
            "POST /outer HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n0\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
        );
        answers.push((framing, raw::exchange(&sidecar.client, request.as_bytes()).await));
    }
    answers
}

#[test]
fn nothing_is_smuggled_behind_ambiguous_framing() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        smuggle(&sidecar).await;

        assert_eq!(origin.count("/smuggled"), 0);
        for seen in origin.seen() {
            let framings = ["content-length", "transfer-encoding"].map(|name| seen.header(name));
            assert_ne!(framings.map(|value| value.is_some()), [true, true], "{seen:?}");
        }
    });
}

/// RFC 9112, 6.3 lets a length beside chunks be refused, or be ignored if the connection ends
/// behind the answer; every other of these framings has no good reading at all.
#[test]
fn ambiguous_framing_is_refused_or_ends_the_connection() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        let answers = smuggle(&sidecar).await;

        let (lengths, rest) = answers.split_at(2);
        for (framing, answer) in lengths {
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{framing}: {answer}");
        }
        let wrong = rest.iter().filter(|(_, answer)| !answer.starts_with("HTTP/1.1 400 "));
        let wrong: Vec<_> = wrong.map(|(sent, got)| (sent, got.lines().next())).collect();
        assert!(wrong.is_empty(), "these were not refused with 400: {wrong:#?}");
        assert!(origin.seen().len() <= lengths.len());
    });
}
