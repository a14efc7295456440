//! Requests' heads and bodies are bounded and checked.

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use crate::{
    harness::{run, soon},
    origin::Origin,
    raw,
    sidecar::Sidecar,
};

const MIB: usize = 1 << 20;

#[test]
fn a_body_that_is_declared_too_large_is_refused_before_it_is_sent() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        let over_h1 = sidecar.client.post("/x", vec![b'x'; 2 * MIB + 1]).send().await;
        let over_h2 = sidecar.client.post("/x", vec![b'x'; 2 * MIB + 1]).send_h2().await;
        let just_right = sidecar.client.post("/x", vec![b'x'; 2 * MIB]).send().await;

        assert_eq!(over_h1.refusal(), (413, "payload_too_large".to_owned()));
        assert_eq!(over_h2.refusal(), (413, "payload_too_large".to_owned()));
        assert_eq!((just_right.status.as_u16(), origin.seen().len()), (200, 1));
    });
}

#[test]
fn a_client_that_is_still_sending_can_read_why_it_was_refused() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("[request]\nmax_body = \"1KiB\"\n");
        let sidecar = plan.before(&origin).start().await;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));

        for (framing, body) in [
            (format!("content-length: {}", 3 * MIB), "x".repeat(3 * MIB)),
            ("transfer-encoding: chunked".to_owned(), format!("{}0\r\n\r\n", chunk.repeat(48))),
        ] {
            let mut stream = sidecar.client.tls(&["http/1.1"]).await;
            let head = format!("POST /x HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n");
            // Everything is sent before anything is read: without a lingering close, a reset
            // would destroy the answer on its way.
            let sent = async {
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(body.as_bytes()).await
            };
            soon("the body is taken", sent).await.unwrap();
            let answer = raw::read_answer(&mut stream).await;

            assert!(answer.starts_with("HTTP/1.1 413 "), "{framing}: {answer:?}");
            let head = answer.to_ascii_lowercase();
            assert!(head.contains("connection: close\r\n"), "{framing}: {answer}");
            assert!(answer.contains("\"payload_too_large\""), "{framing}: {answer}");
        }
    });
}

#[test]
fn a_body_that_grows_too_large_is_refused_and_the_upstream_never_sees_it_whole() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("[request]\nmax_body = \"64KiB\"\n");
        let sidecar = plan.before(&origin).start().await;

        for h2 in [false, true] {
            let mut watched = origin.watches("/grow");
            let mut connection =
                if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await };
            let (ask, feed) = sidecar.client.post("/grow", "").fed();
            let sending = tokio::spawn(async move {
                while feed.send(Bytes::from(vec![b'x'; 16 << 10])).await.is_ok() {}
            });
            let answer = ask.open(&mut connection).await;

            assert_eq!(answer.status, 413, "h2: {h2}");
            drop((answer, connection));
            sending.await.unwrap();
            origin.answers("/grow", 200, &[], "");
            let mut taken = 0;
            while let Some(piece) = soon("the upload ends", watched.recv()).await {
                assert!(!piece.is_empty(), "the upstream saw a whole body, h2: {h2}");
                taken += piece.len();
            }
            assert!(taken <= 64 << 10, "{taken} bytes were passed on, h2: {h2}");
        }
    });
}

#[test]
fn a_head_that_is_too_large_is_refused_in_our_shape() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let long = "x".repeat(40 << 10);
        let ask = || sidecar.client.get("/x").header("x-long", &long);
        let mut many = sidecar.client.get("/x");
        for index in 0..101 {
            many = many.header(&format!("x-{index}"), "1");
        }

        for answer in [ask().send().await, ask().send_h2().await, many.send().await] {
            assert_eq!(answer.refusal(), (431, "headers_too_large".to_owned()));
            assert_eq!(answer.json()["error"], "HeadersTooLarge");
        }
        assert_eq!(origin.seen().len(), 0);
    });
}

#[test]
fn what_an_operation_demands_of_a_request_is_checked() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with(
            r#"
            [operations.insights]
            routes = ["POST /user/{user_id}/insights"]
            [operations.insights.request]
            content_types = ["application/json", "application/vnd.api+json"]
            max_body = "4KiB"
            max_depth = 4
            parameters = { user_id = '[A-Za-z0-9_-]{1,8}' }
            [operations.general]
            routes = ["* /**"]
            "#,
        );
        let sidecar = plan.before(&origin).start().await;
        let post = |path: &str, media: &str, body: &'static str| {
            sidecar.client.post(path, body).header("content-type", media)
        };
        let (path, json) = ("/user/u1/insights", "application/json");

        for (ask, status) in [
            (post(path, json, "{}"), 200),
            (post(path, "Application/JSON; charset=utf-8", "{}"), 200),
            (post(path, "application/vnd.api+json", "[[[[1]]]]"), 200),
            (post(path, "text/plain", "{}"), 415),
            (post(path, "", "{}"), 415),
            (post(path, "application/json, text/html", "{}"), 415),
            (post(path, json, "[[[[[1]]]]]"), 400),
            (post(path, json, "{\"a\":1}x"), 400),
            (post(path, json, "not json"), 400),
            (post("/user/much-too-long/insights", json, "{}"), 400),
            (post("/user/u%201/insights", json, "{}"), 400),
            (post("/elsewhere", "text/plain", "anything"), 200),
        ] {
            let answer = ask.send().await;
            assert_eq!(answer.status, status, "{}", answer.text());
        }
        let deep = post(path, json, "[[[[[1]]]]]").send().await;
        assert_eq!(deep.json()["message"], "The body is nested deeper than 4 levels.");
        let broken = post(path, json, "{\n \"a\": nope}").send().await;
        let message = broken.json()["message"].to_string();
        assert!(message.contains("line 2"), "{message}");
    });
}
