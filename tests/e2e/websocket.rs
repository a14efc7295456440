//! WebSockets: opened only by proof, carried both ways, cleaned, and ended in words.

use tokio::io::AsyncReadExt as _;

use crate::{
    harness::{PATIENCE, run, until_async},
    sidecar::Sidecar,
    talk::{BINARY, CLOSE, PING, PONG, Service, TEXT, Talk, asks, bytes, open, open_h2, try_open},
};

const POLICY: &str = "[operations.talk]\nroutes = [\"GET /talk/{id}\", \"GET /settings\"]\n\
                      upgrade = [\"websocket\"]\n[operations.rest]\nroutes = [\"* /**\"]\n";

/// A WebSocket through the sidecar, and both of its ends.
async fn opened(sidecar: &Sidecar, service: &Service, h2: bool) -> (Talk, Talk) {
    let client = &sidecar.client;
    let caller = async {
        if h2 {
            open_h2(client, "/talk/1").await.expect("it is allowed")
        } else {
            open(client, "/talk/1", "").await
        }
    };
    let upstream = async {
        if h2 {
            service.answers("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
        }
        service.agrees("").await
    };
    tokio::join!(caller, upstream)
}

#[test]
fn a_websocket_says_the_same_on_both_sides() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with(POLICY).before_address(service.address).start().await;

        for h2 in [false, true] {
            let (mut caller, mut upstream) = opened(&sidecar, &service, h2).await;
            assert!(upstream.head.starts_with("GET /talk/1 HTTP/1.1\r\n"), "{}", upstream.head);

            caller.send(TEXT, "hello").await;
            assert_eq!(upstream.next().await.text(), "hello");
            upstream.send(BINARY, vec![7; 70_000]).await;
            assert_eq!(caller.next().await.payload, vec![7; 70_000]);
            // A ping may come between two fragments.
            caller.send_part(TEXT, "one ").await;
            caller.send(PING, "there?").await;
            caller.send(0, "two").await;
            let frames = [upstream.next().await, upstream.next().await, upstream.next().await];
            let opcodes = frames.iter().map(|frame| (frame.fin, frame.opcode)).collect::<Vec<_>>();
            assert_eq!(opcodes, [(false, TEXT), (true, PING), (true, 0)]);
            upstream.send(PONG, "there?").await;
            assert_eq!(caller.next().await.opcode, PONG);

            // The closing handshake is theirs.
            caller.send(CLOSE, [&[15, 160][..], b"enough"].concat()).await;
            assert_eq!(upstream.next().await.close(), (4000, "enough".to_owned()));
            upstream.send(CLOSE, [15, 161]).await;
            assert_eq!(caller.next().await.close(), (4001, String::new()));
            caller.ended().await;
            upstream.ended().await;

            let status = if h2 { 200 } else { 101 };
            let is = |line: &serde_json::Value| {
                line["path"] == "/talk/1" && line["status"] == status && line["method"] == "GET"
            };
            let record = sidecar.logged("one record", is).await;
            assert_eq!(record["operation"], "talk");
            assert!(record["response_bytes"].as_u64() > Some(70_000), "{record}");
            assert!(record.get("error_code").is_none(), "{record}");
        }
        sidecar.metric_is("weir_tunnels", 0.0).await;
        sidecar.metric_is("weir_tunnels_ended_total{reason=\"closed\"}", 2.0).await;
        sidecar.metric_is("weir_connections{protocol=\"http/1.1\"}", 0.0).await;
    });
}

#[test]
fn the_upstream_is_asked_by_us_and_hears_nothing_early() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with(POLICY).before_address(service.address).start().await;
        let early = |lines: &str| {
            [asks("/x/../talk/%31?q=1", lines).into_bytes(), bytes(0x81, b"early", true)].concat()
        };

        // An answer that is no agreement: what was said early went nowhere.
        let mut caller = sidecar.client.tls(&["http/1.1"]).await;
        tokio::io::AsyncWriteExt::write_all(&mut caller, &early("x-user-tier: admin\r\n"))
            .await
            .unwrap();
        let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
        let mut upstream = service.answers(answer).await;
        let answer = crate::raw::read_answer(&mut caller).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("no"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        let mut rest = Vec::new();
        upstream.stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"", "not a byte before the upstream agrees");
        let head = &upstream.head;
        assert!(head.starts_with("GET /talk/1?q=1 HTTP/1.1\r\n"), "one path for all: {head}");
        assert!(head.contains("upgrade: websocket\r\n") && !head.contains("admin"), "{head}");

        // An agreement: then it comes.
        let lines = "sec-websocket-extensions: permessage-deflate\r\n\
                     sec-websocket-protocol: a, b\r\nx-drop: 1\r\nconnection: x-drop\r\n";
        let mut caller = sidecar.client.tls(&["http/1.1"]).await;
        tokio::io::AsyncWriteExt::write_all(&mut caller, &early(lines)).await.unwrap();
        let agreed = service.agrees("sec-websocket-protocol: b\r\nserver: secret/1.0\r\n");
        let mut upstream = agreed.await;
        assert_eq!(upstream.next().await.text(), "early");
        let head = &upstream.head;
        assert!(!head.contains("extensions") && !head.contains("x-drop"), "{head}");
        assert!(!head.contains("dGhlIHNhbXBsZSBub25jZQ=="), "the key is ours: {head}");
        let answer = crate::raw::read_until(&mut caller, "\r\n\r\n").await;
        assert!(answer.contains("sec-websocket-protocol: b\r\n"), "{answer}");
        assert!(answer.contains("x-request-id: ") && !answer.contains("secret"), "{answer}");
    });
}

#[test]
fn an_upstream_that_proves_nothing_opens_nothing() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with(POLICY).before_address(service.address).start().await;
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n";
        let unproved = format!(
            "{switch}upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
        let other = format!("{switch}upgrade: h2c\r\n\r\n");
        for answer in [unproved, other] {
            let (caller, _) =
                tokio::join!(try_open(&sidecar.client, "/talk/1", ""), service.answers(&answer));
            assert!(caller.head.starts_with("HTTP/1.1 502 "), "{answer:?}: {}", caller.head);
        }
        for lines in ["sec-websocket-extensions: x\r\n", "sec-websocket-protocol: unasked\r\n"] {
            let (caller, _) =
                tokio::join!(try_open(&sidecar.client, "/talk/1", ""), service.agrees(lines));
            assert!(caller.head.starts_with("HTTP/1.1 502 "), "{lines:?}: {}", caller.head);
        }
        // Nor does one that was not asked.
        let unasked = format!("{switch}upgrade: websocket\r\n\r\n");
        let (answer, _) =
            tokio::join!(sidecar.client.get("/plain").send(), service.answers(&unasked));
        assert_eq!(answer.refusal(), (502, "upstream_invalid".to_owned()));
        sidecar.metric_is("weir_tunnels", 0.0).await;
    });
}

#[test]
fn what_the_service_says_is_redacted() {
    run(async {
        let service = Service::start().await;
        let rule = "[sanitize]\nredact = []\n[[sanitize.rule]]\nname = \"employee number\"\n\
                    pattern = 'EMP-\\d{6}'\nreplace = \"[employee]\"\n";
        let plan = Sidecar::with(&format!("{POLICY}{rule}")).before_address(service.address);
        let sidecar = plan.start().await;

        for h2 in [false, true] {
            let (mut caller, mut upstream) = opened(&sidecar, &service, h2).await;
            upstream.send(TEXT, "ask EMP-123456").await;
            assert_eq!(caller.next().await.text(), "ask [employee]");
            // A secret may lie across fragments, with something else between them.
            upstream.send_part(TEXT, "ask EMP-1").await;
            upstream.send(PING, "?").await;
            upstream.send(0, "23456 or nobody").await;
            assert_eq!(caller.next().await.opcode, PING);
            assert_eq!(caller.next().await.text(), "ask [employee] or nobody");
            // Binary is not text; what the caller says is its own.
            upstream.send(BINARY, "EMP-123456").await;
            assert_eq!(caller.next().await.payload, b"EMP-123456");
            caller.send(TEXT, "EMP-123456").await;
            assert_eq!(upstream.next().await.text(), "EMP-123456");
            upstream.send(TEXT, "").await;
            assert_eq!(caller.next().await.text(), "");
            upstream.send(CLOSE, [&[15, 160][..], b"EMP-123456 is out"].concat()).await;
            assert_eq!(caller.next().await.close(), (4000, "[employee] is out".to_owned()));
        }
        let redactions = r#"weir_redactions_total{rule="employee number"}"#;
        sidecar.metric_is(redactions, 6.0).await;
    });
}

#[test]
fn a_side_that_vanishes_takes_the_other_along() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with(POLICY).before_address(service.address).start().await;
        for h2 in [false, true] {
            let (mut caller, upstream) = opened(&sidecar, &service, h2).await;
            drop(upstream);
            assert_eq!(caller.next().await.close().0, 1011, "h2: {h2}");
            caller.ended().await;

            let (caller, mut upstream) = opened(&sidecar, &service, h2).await;
            drop(caller);
            upstream.ended().await;
        }
        sidecar.metric_is("weir_tunnels_ended_total{reason=\"upstream_gone\"}", 2.0).await;
        sidecar.metric_is("weir_tunnels_ended_total{reason=\"caller_gone\"}", 2.0).await;
    });
}

#[test]
fn a_side_that_takes_nothing_holds_the_other_up() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with(POLICY).before_address(service.address).start().await;
        let (mut caller, _upstream) = opened(&sidecar, &service, false).await;

        let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&sent);
        let frame = bytes(0x82, &[0; 64 << 10], true);
        let flood = tokio::spawn(async move {
            loop {
                caller.raw(&frame).await;
                count.fetch_add(frame.len(), std::sync::atomic::Ordering::Relaxed);
            }
        });
        // Once it stands still, only buffers are full.
        let still = || async {
            let read = || sent.load(std::sync::atomic::Ordering::Relaxed);
            let before = read();
            tokio::time::sleep(PATIENCE / 120).await;
            (before > 0 && before == read()).then_some(before)
        };
        let held = until_async("the flood stands still", still).await;
        assert!(held < 48 << 20, "{held} bytes were taken for a service that reads nothing");
        flood.abort();
    });
}

#[test]
fn a_stop_is_announced_to_both_sides() {
    run(async {
        let service = Service::start().await;
        let plan = Sidecar::with(POLICY).before_address(service.address);
        let mut sidecar = plan.listen("drain_timeout = \"2s\"").start().await;
        let (mut caller, mut upstream) = opened(&sidecar, &service, false).await;
        let (mut caller2, mut upstream2) = opened(&sidecar, &service, true).await;

        sidecar.signal("TERM");
        for side in [&mut caller, &mut upstream, &mut caller2, &mut upstream2] {
            assert_eq!(side.next().await.close().0, 1001);
        }
        drop((caller, upstream, caller2, upstream2));
        assert_eq!(sidecar.running.ended().await, Some(0));
        let ended = sidecar.log().into_iter().filter(|line| line["path"] == "/talk/1");
        let details: Vec<_> = ended.map(|line| line["detail"].clone()).collect();
        assert_eq!(details, ["this instance is shutting down"; 2]);
    });
}
