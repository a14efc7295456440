//! Ways out of HTTP that nobody gets without leave: CONNECT, other protocols, half a handshake.

use crate::{
    client::Client,
    harness::run,
    origin::Origin,
    raw,
    sidecar::Sidecar,
    talk::{asks, open_h2},
};

const POLICY: &str = "[operations.talk]\nroutes = [\"* /talk\"]\nupgrade = [\"websocket\"]\n\
                      [operations.rest]\nroutes = [\"* /**\"]\n";

/// Status and error code of the answer to these bytes, and whether the connection ends with it.
async fn refusal(client: &Client, bytes: &str) -> (u16, String) {
    let answer = raw::exchange(client, bytes.as_bytes()).await;
    let status = answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_default();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    assert!(head.contains("connection: close"), "nothing can follow: {answer}");
    let json: serde_json::Value = serde_json::from_str(body).expect("our shape");
    (status, json["error_code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn connect_is_refused_over_both_protocols() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(POLICY).before(&origin).start().await;
        let connect = "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n";
        let refused = refusal(&sidecar.client, connect).await;
        assert_eq!(refused, (405, "method_not_allowed".to_owned()));

        let mut connection = sidecar.client.h2().await;
        let connect = sidecar.client.ask(http::Method::CONNECT, "/").on(&mut connection).await;
        assert_eq!(connect.refusal(), (405, "method_not_allowed".to_owned()));
        assert_eq!(connect.header("allow"), Some(""));
        assert_eq!(origin.seen().len(), 0);
    });
}

#[test]
fn an_echo_of_what_the_policy_adds_is_given_only_where_a_route_names_it() {
    run(async {
        let origin = Origin::start().await;
        let named = "[operations.echo]\nroutes = [\"TRACE /echo\"]\n\
                     [operations.rest]\nroutes = [\"* /**\"]\n";
        let plan = Sidecar::with(named).upstream("headers = { X-Key = \"for the upstream\" }");
        let sidecar = plan.before(&origin).start().await;
        let trace = |path: &str| sidecar.client.ask(http::Method::TRACE, path);

        for refused in [trace("/x").send().await, trace("/x").send_h2().await] {
            assert_eq!(refused.refusal(), (405, "method_not_allowed".to_owned()));
            assert!(refused.header("allow").unwrap().contains("GET"), "{refused:?}");
        }
        assert_eq!(origin.seen().len(), 0);
        assert_eq!(trace("/echo").send().await.status, 200);
    });
}

#[test]
fn a_switch_needs_leave() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(POLICY).before(&origin).start().await;
        let client = &sidecar.client;
        let not_allowed = (403, "upgrade_not_allowed".to_owned());

        assert_eq!(refusal(client, &asks("/other", "")).await, not_allowed);
        let to = |protocol: &str| {
            format!(
                "GET /talk HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
                 upgrade: {protocol}\r\n\r\n"
            )
        };
        for protocol in ["tcp", "h2c, foo/2", "TLS/1.0"] {
            assert_eq!(refusal(client, &to(protocol)).await, not_allowed, "{protocol}");
        }
        assert_eq!(open_h2(client, "/other").await.err(), Some(403));
        let mut connection = client.h2().await;
        client.get("/settings").on(&mut connection).await;
        let ask = client.ask(http::Method::CONNECT, "/talk");
        assert_eq!(ask.switch(&mut connection, "connect-udp").await.err(), Some(403));
        let left: Vec<_> = origin.seen().into_iter().map(|seen| seen.target).collect();
        assert_eq!(left, ["/settings", "/settings"]);
    });
}

#[test]
fn a_handshake_must_be_whole() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(POLICY).before(&origin).start().await;
        let client = &sidecar.client;
        let whole = asks("/talk", "");
        let bad = (400, "bad_request".to_owned());
        for broken in [
            whole.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
            whole.replace("sec-websocket-key", "x-key"),
            asks("/talk", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
            whole.replace("GET ", "POST "),
            asks("/talk", "content-length: 5\r\n") + "GET /",
            asks("/talk", "transfer-encoding: chunked\r\n") + "0\r\n\r\n",
        ] {
            assert_eq!(refusal(client, &broken).await, bad, "{broken}");
        }
        let old = whole.replace("version: 13", "version: 8");
        let answer = raw::exchange(client, old.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
        assert!(answer.contains("sec-websocket-version: 13\r\n"), "{answer}");
        assert_eq!(origin.seen().len(), 0);
    });
}

#[test]
fn an_offer_that_nobody_needs_is_ignored() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(POLICY).before(&origin).start().await;
        let plain = [
            // As Java's client and curl offer it with every first request.
            "GET /rest HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade, HTTP2-Settings\r\n\
             upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQBAAAAAAIAAAAA\r\n\r\n",
            // Without the option the field means nothing; nor does it in HTTP/1.0.
            "GET /rest HTTP/1.1\r\nhost: localhost\r\nupgrade: tcp\r\n\r\n",
            "GET /rest HTTP/1.0\r\nhost: localhost\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\n\r\n",
        ];
        for request in plain {
            let mut stream = sidecar.client.tls(&["http/1.1"]).await;
            tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
            let answer = raw::read_answer(&mut stream).await;
            assert!(answer.contains(" 200 OK\r\n"), "{request}: {answer}");
            for name in ["upgrade", "http2-settings", "connection"] {
                assert_eq!(origin.last().header(name), None, "{request}");
            }
        }
        // The connection goes on, and ends in order.
        let mut stream = sidecar.client.tls(&["http/1.1"]).await;
        for last in ["", "connection: close\r\n"] {
            let next = plain[1].replace("\r\n\r\n", &format!("\r\n{last}\r\n"));
            tokio::io::AsyncWriteExt::write_all(&mut stream, next.as_bytes()).await.unwrap();
            assert!(raw::read_answer(&mut stream).await.contains(" 200 OK\r\n"));
        }
        let mut rest = Vec::new();
        let end = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
        assert_eq!(end.expect("a proper end of TLS"), 0);
    });
}

#[test]
fn without_any_leave_http_2_does_not_offer_tunnels() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        assert_eq!(open_h2(&sidecar.client, "/talk").await.err(), Some(0));
        let left: Vec<_> = origin.seen().into_iter().map(|seen| seen.target).collect();
        assert_eq!(left, ["/settings"]);
    });
}
