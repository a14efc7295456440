//! HTTP/1 that two readers could read in two ways: refused before anybody else reads it.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use crate::{
    harness::{run, soon, until},
    origin::Origin,
    raw,
    sidecar::Sidecar,
    smuggling,
};

/// What a smuggler wants to be read as a request.
const POISON: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn no_message_of_the_corpus_is_read_in_two_ways() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        for (name, message) in smuggling::corpus() {
            let bytes = [message.as_bytes(), POISON.as_bytes()].concat();
            let answers = raw::to_end(&sidecar.client, name, &bytes).await;

            let head = answers.to_ascii_lowercase();
            assert_eq!(raw::statuses(&answers), [400], "{name}: {answers:?}");
            assert!(answers.contains("\"error_code\":\"bad_request\""), "{name}: {answers:?}");
            assert!(head.contains("\r\nx-request-id: "), "{name}: {answers:?}");
            assert!(head.contains("\r\nconnection: close\r\n"), "{name}: {answers:?}");
        }
        let reached = origin.seen();
        assert!(reached.is_empty(), "{:?}", reached.last());
        // The same messages when each octet comes alone.
        for (name, message) in smuggling::corpus().into_iter().step_by(5) {
            let mut stream = sidecar.client.tls(&["http/1.1"]).await;
            for octet in message.bytes() {
                if stream.write_all(&[octet]).await.is_err() {
                    break;
                }
            }
            drop(stream.write_all(POISON.as_bytes()).await);
            let answers = raw::read_to_end(name, &mut stream).await;
            let answers = String::from_utf8_lossy(&answers).into_owned();
            assert_eq!(raw::statuses(&answers), [400], "{name}: {answers:?}");
        }
        assert_eq!(origin.count("/smuggled"), 0);
    });
}

#[test]
fn messages_that_only_look_odd_are_served() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        for (name, message, body) in smuggling::sound() {
            let bytes = [message.as_bytes(), POISON.as_bytes()].concat();
            let mut stream = sidecar.client.tls(&["http/1.1"]).await;
            stream.write_all(&bytes).await.unwrap();
            let first = raw::read_answer(&mut stream).await;
            assert_eq!(raw::statuses(&first).first(), Some(&200), "{name}: {first:?}");
            assert!(first.contains(&format!("\"body\":\"{body}\"")), "{name}: {first:?}");
        }
    });
}

#[test]
fn a_refusal_is_counted_and_leaves_a_record() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        let two = "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\
                   transfer-encoding: chunked\r\n\r\n";
        let answer = raw::exchange(&sidecar.client, two.as_bytes()).await;
        let (_, id) = answer.split_once("x-request-id: ").expect("an id");
        let id = id.split("\r\n").next().unwrap().to_owned();

        let is = |line: &serde_json::Value| line["request_id"] == id.as_str();
        let record = sidecar.logged("the refusal is recorded", is).await;
        assert_eq!(record["message"], "exchange");
        assert_eq!(record["status"], 400);
        assert_eq!(record["error_code"], "bad_request");
        assert_eq!(record["detail"], "Content-Length stands beside Transfer-Encoding");
        assert_eq!((&record["method"], &record["path"]), (&"-".into(), &"*".into()));
        let framing = r#"weir_protocol_violations_total{kind="framing"}"#;
        assert!((sidecar.metric(framing).await - 1.0).abs() < 1e-9);
    });
}

#[test]
fn answers_of_earlier_requests_come_whole_before_a_refusal() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let feed = origin.paces("/long");
        let mut stream = sidecar.client.tls(&["http/1.1"]).await;

        stream
            .write_all(b"GET /long HTTP/1.1\r\nhost: a\r\n\r\nGET /x HTTP/1.1\nhost: a\n\n")
            .await
            .unwrap();
        feed.send(Bytes::from_static(b"data: one\n\n")).await.unwrap();
        let mut got = raw::read_until(&mut stream, "data: one\n\n\r\n").await;
        feed.send(Bytes::from_static(b"data: two\n\n")).await.unwrap();
        drop(feed);
        let rest = raw::read_to_end("the rest", &mut stream).await;
        got.push_str(&String::from_utf8_lossy(&rest));

        assert_eq!(raw::statuses(&got), [200, 400], "{got:?}");
        let (first, second) = got.split_once("HTTP/1.1 400").unwrap();
        assert!(first.ends_with("data: two\n\n\r\n0\r\n\r\n"), "{first:?}");
        assert!(second.ends_with('}'), "{second:?}");
        assert_eq!(origin.count("/x"), 0);
    });
}

#[test]
fn pipelined_requests_are_answered_in_order_however_they_come() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let body = "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
        let wave = format!(
            "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nPOST /2 HTTP/1.1\r\nhost: a\r\n\
             transfer-encoding: chunked\r\n\r\n{body}POST /3 HTTP/1.1\r\nhost: a\r\n\
             content-length: 2\r\n\r\nhiGET /4 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        );
        for piece in [wave.len(), 1, 7, 50, 150] {
            let mut stream = sidecar.client.tls(&["http/1.1"]).await;
            for piece in wave.as_bytes().chunks(piece) {
                stream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let answers = raw::read_to_end("all answers", &mut stream).await;
            let answers = String::from_utf8_lossy(&answers);

            assert_eq!(raw::statuses(&answers), [200; 4], "{piece}: {answers:?}");
            let places: Vec<_> = ["/1", "/2", "/3", "/4"]
                .iter()
                .map(|path| answers.find(&format!("\"target\":\"{path}\"")))
                .collect();
            assert!(places.is_sorted() && places.iter().all(Option::is_some), "{answers:?}");
            assert!(answers.contains("\"body\":\"hello\"") && answers.contains("\"body\":\"hi\""));
        }
    });
}

#[test]
fn a_fault_inside_of_a_body_ends_the_request_and_never_looks_whole() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let mut watched = origin.watches("/upload");
        let mut stream = sidecar.client.tls(&["http/1.1"]).await;

        let head = "POST /upload HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}3\r\none\r\n").as_bytes()).await.unwrap();
        assert_eq!(soon("the first piece", watched.recv()).await.unwrap(), "one");
        stream.write_all(format!("3\r\ntwoX\r\n0\r\n\r\n{POISON}").as_bytes()).await.unwrap();
        let answer = raw::read_to_end("the refusal", &mut stream).await;
        let answer = String::from_utf8_lossy(&answer);

        assert_eq!(raw::statuses(&answer), [400], "{answer:?}");
        assert!(answer.contains("\"bad_request\""), "{answer:?}");
        origin.answers("/upload", 200, &[], "");
        while let Some(piece) = soon("the upload ends", watched.recv()).await {
            assert!(!piece.is_empty(), "the body looks whole");
        }
        assert_eq!(origin.count("/smuggled"), 0);
        let chunking = r#"weir_protocol_violations_total{kind="chunking"}"#;
        assert!((sidecar.metric(chunking).await - 1.0).abs() < 1e-9);
    });
}

/// A service that answers before it has read the body, and says when its connection ends.
async fn hasty() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, mut piece) = (listener.accept().await.unwrap().0, [0; 1_024]);
        // A probe says nothing.
        while stream.read(&mut piece).await.is_ok_and(|read| read == 0) {
            stream = listener.accept().await.unwrap().0;
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                       transfer-encoding: chunked\r\n\r\nb\r\ndata: one\n\n\r\n";
        stream.write_all(answer).await.unwrap();
        while stream.read(&mut piece).await.is_ok_and(|read| read > 0) {}
    });
    (address, served)
}

#[test]
fn a_fault_in_a_body_that_is_answered_already_cuts_the_answer() {
    run(async {
        let (origin, served) = hasty().await;
        let sidecar = Sidecar::with("").before_address(origin).start().await;
        let mut stream = sidecar.client.tls(&["http/1.1"]).await;

        let head = "POST /long HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(format!("{head}3\r\none\r\n").as_bytes()).await.unwrap();
        let begin = raw::read_until(&mut stream, "data: one\n\n\r\n").await;
        stream.write_all(b"3\r\ntwo\n0\r\n\r\n").await.unwrap();
        let rest = raw::read_to_end("the cut", &mut stream).await;
        let rest = String::from_utf8_lossy(&rest);

        assert_eq!(raw::statuses(&begin), [200]);
        assert!(!rest.contains("0\r\n\r\n") && !rest.contains("HTTP/1.1"), "{rest:?}");
        soon("the upstream's work ends", served).await.unwrap();
    });
}

#[test]
fn heads_that_are_too_large_are_refused_with_431() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let head = "GET /x HTTP/1.1\r\nhost: a\r\n";
        let cases = [
            ("endless", format!("{head}a: {}", "b".repeat(64 << 10))),
            ("large", format!("{head}a: {}\r\n\r\n", "b".repeat(40 << 10))),
            ("blanks", format!("{head}a: {}b\r\n\r\n", " ".repeat(200 << 10))),
            ("many", format!("{head}{}\r\n", "a: b\r\n".repeat(101))),
            ("far too many", format!("{head}{}\r\n", "a: b\r\n".repeat(5_000))),
        ];
        for (name, bytes) in cases {
            let answer = raw::exchange(&sidecar.client, bytes.as_bytes()).await;
            assert_eq!(raw::statuses(&answer), [431], "{name}: {answer:?}");
            assert!(answer.contains("\"headers_too_large\""), "{name}: {answer:?}");
        }
        // What lies within the policy's bounds is served, in however many pieces.
        let fields = format!("a: {}\r\n", "b".repeat(1_000)).repeat(28);
        let answer = raw::exchange(&sidecar.client, format!("{head}{fields}\r\n").as_bytes()).await;
        assert_eq!(raw::statuses(&answer), [200], "{answer:?}");
    });
}

#[test]
fn only_the_expectation_of_100_is_met_and_nothing_is_left_in_the_pipe() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        for method in ["POST", "OPTIONS", "GET"] {
            for expectation in ["200-ok", "100-continue, x", "\"100-continue\"", ""] {
                let message = format!(
                    "{method} /x HTTP/1.1\r\nhost: a\r\nexpect: {expectation}\r\n\
                     content-length: {}\r\n\r\n",
                    POISON.len()
                );
                let mut stream = sidecar.client.tls(&["http/1.1"]).await;
                let bytes = [message.as_bytes(), POISON.as_bytes()].concat();
                stream.write_all(&bytes).await.unwrap();
                let answer = raw::read_answer(&mut stream).await;
                assert_eq!(raw::statuses(&answer), [417], "{expectation}: {answer:?}");
                assert!(answer.contains("\"expectation_failed\""), "{answer:?}");
                // The body was thrown away: the next bytes are the next request.
                let next = b"GET /nothing/../api/health HTTP/1.1\r\nhost: a\r\nexpect: x\r\n\r\n";
                stream.write_all(next).await.unwrap();
                let answer = raw::read_answer(&mut stream).await;
                assert_eq!(raw::statuses(&answer), [417], "{expectation}: {answer:?}");
            }
        }
        let ask = sidecar.client.post("/x", "body").header("expect", "nothing good");
        assert_eq!(ask.send_h2().await.refusal(), (417, "expectation_failed".to_owned()));
        assert_eq!(origin.seen().len(), 0);

        let mut stream = sidecar.client.tls(&["http/1.1"]).await;
        let head =
            "POST /x HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\ncontent-length: 2\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let told = raw::read_until(&mut stream, "\r\n\r\n").await;
        assert_eq!(told, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hi").await.unwrap();
        let answer = raw::read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"body\":\"hi\""));
        assert_eq!(origin.last().header("expect"), None);
    });
}

#[test]
fn bytes_behind_an_upgrade_wait_for_the_answer_and_are_dropped_if_it_is_not_101() {
    run(async {
        let origin = Origin::start().await;
        let policy = "[operations.talk]\nroutes = [\"* /**\"]\nupgrade = [\"websocket\"]\n";
        let sidecar = Sidecar::with(policy).before(&origin).start().await;
        let mut given_up = origin.keeps_silent("/silent");
        let head = "GET /silent HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n\
                    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let mut stream = sidecar.client.tls(&["http/1.1"]).await;
        stream.write_all(format!("{head}{POISON}").as_bytes()).await.unwrap();
        let there = || (origin.count("/silent") > 0).then_some(());
        until("the request is at the origin", there).await;
        assert_eq!(origin.count("/smuggled"), 0);
        // The client's end is seen behind bytes that wait.
        drop(stream);
        assert!(soon("the request is given up", given_up.recv()).await.is_none());
        assert_eq!(origin.count("/smuggled"), 0);

        let head = head.replace("/silent", "/answered");
        for behind in ["\x01\x02\n", POISON] {
            let bytes = format!("{head}{behind}");
            let answers = raw::to_end(&sidecar.client, "behind", bytes.as_bytes()).await;
            assert_eq!(raw::statuses(&answers), [200], "{answers:?}");
        }
        assert_eq!(origin.count("/smuggled"), 0);
    });
}

#[test]
fn http2_is_not_spoken_where_http1_was_agreed_on() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        for protocols in [&["http/1.1"][..], &[]] {
            let mut stream = sidecar.client.tls(protocols).await;
            stream
                .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                .await
                .unwrap();
            let answer = raw::read_to_end("no HTTP/2", &mut stream).await;
            let answer = String::from_utf8_lossy(&answer);
            assert_eq!(raw::statuses(&answer), [400], "{answer:?}");
        }
        let h2c = "GET /x HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\n\
                   upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
        let answer = raw::exchange(&sidecar.client, h2c.as_bytes()).await;
        assert_ne!(raw::statuses(&answer), [101], "{answer:?}");
        for seen in origin.seen() {
            assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None));
        }
    });
}
