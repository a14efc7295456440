//! Fields that end at one hop, fields behind bodies, and answers before the answer.

use crate::{
    harness::run,
    raw,
    sidecar::Sidecar,
    talk::{Service, Talk},
};

async fn serve(service: &Service, bytes: &str) -> Talk {
    service.answers(bytes).await
}

#[test]
fn what_connection_names_ends_here_in_both_directions() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with("").before_address(service.address).start().await;
        let ask = sidecar.client.get("/x").header("connection", "x-hop, x-request-id");
        let ask = ask.header("x-hop", "1").header("keep-alive", "timeout=5").header("x-stays", "1");
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close, x-inner\r\n\
                      x-inner: secret\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\n\
                      upgrade: h2c\r\nx-outer: 1\r\n\r\nok";
        let (answer, upstream) = tokio::join!(ask.send(), serve(&service, answer));
        assert_eq!(answer.text(), "ok");
        for name in ["x-inner", "keep-alive", "proxy-authenticate", "upgrade", "connection"] {
            assert_eq!(answer.header(name), None, "{name}");
        }
        assert_eq!(answer.header("x-outer"), Some("1"));
        for name in ["x-hop", "keep-alive", "connection"] {
            assert!(!upstream.head.contains(&format!("{name}:")), "{}", upstream.head);
        }
        assert!(upstream.head.contains("x-stays: 1\r\n"), "{}", upstream.head);
        assert!(upstream.head.contains("x-request-id: "), "{}", upstream.head);
    });
}

#[test]
fn trailers_pass_over_http_1_without_what_frames_or_routes() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with("").before_address(service.address).start().await;
        let mut caller = sidecar.client.tls(&["http/1.1"]).await;
        let request = "POST /x HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\
            te: trailers\r\nconnection: te\r\ntrailer: x-sum, x-forwarded-for\r\n\r\n\
            2\r\nhi\r\n0\r\nx-sum: 1\r\nx-forwarded-for: 127.0.0.9\r\nhost: evil.example\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut caller, request.as_bytes()).await.unwrap();
        let mut upstream = service.next().await;
        let body = String::from_utf8(upstream.read_chunked().await).unwrap().to_ascii_lowercase();
        assert_eq!(body, "2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n");
        assert!(!upstream.head.contains("127.0.0.9"), "{}", upstream.head);
        assert!(upstream.head.contains("te: trailers\r\nconnection: te\r\n"), "{}", upstream.head);

        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\
            trailer: x-sum, x-ratelimit-limit, content-length\r\nconnection: close\r\n\r\n\
            2\r\nhi\r\n0\r\nx-sum: 2\r\nx-ratelimit-limit: 9\r\ncontent-length: 9\r\n\r\n";
        upstream.raw(answer.as_bytes()).await;
        let answer = raw::read_until(&mut caller, "\r\n0\r\n").await.to_ascii_lowercase();
        assert!(!answer.contains("x-ratelimit-limit: 9"), "{answer}");
        let behind = raw::read_until(&mut caller, "\r\n\r\n").await.to_ascii_lowercase();
        assert_eq!(behind, "x-sum: 2\r\n\r\n");
    });
}

#[test]
fn thousands_of_answers_before_the_answer_are_counted_and_gone() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with("").before_address(service.address).start().await;
        let mut flood = "HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n".to_owned();
        flood.push_str(&"HTTP/1.1 102 Processing\r\nx-inner: 1\r\n\r\n".repeat(5_000));
        flood.push_str("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        for h2 in [false, true] {
            let ask = sidecar.client.get("/x");
            let send = async { if h2 { ask.send_h2().await } else { ask.send().await } };
            let (answer, _) = tokio::join!(send, serve(&service, &flood));
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok".to_owned()));
            assert_eq!((answer.header("link"), answer.header("x-inner")), (None, None));
        }
        sidecar.metric_is("weir_upstream_informational_total", 10_002.0).await;
    });
}

#[test]
fn a_body_where_none_may_be_poisons_nobody() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with("").before_address(service.address).start().await;
        let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
        for (method, head) in [
            ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 48\r\n\r\n"),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 48\r\n\r\n"),
        ] {
            let answer = format!("{head}{evil}");
            let ask = sidecar.client.ask(method.parse().unwrap(), "/x");
            let (answer, first) = tokio::join!(ask.send(), serve(&service, &answer));
            assert_eq!(answer.body, "", "{method} {head}");
            // The next request comes on a connection that nobody has poisoned.
            let good = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ngood";
            let (answer, _) = tokio::join!(sidecar.client.get("/y").send(), serve(&service, good));
            assert_eq!(answer.text(), "good", "{method} {head}");
            drop(first);
        }
    });
}
