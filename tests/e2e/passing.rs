//! Bodies are passed on as they come, whole and unchanged.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use crate::{
    harness::{run, soon},
    origin::{Origin, blurts},
    raw,
    sidecar::Sidecar,
};

const MIB: usize = 1 << 20;

#[test]
fn a_body_is_passed_on_while_it_is_still_coming() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        for h2 in [false, true] {
            let mut watched = origin.watches("/upload");
            let mut connection =
                if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await };
            let (ask, feed) = sidecar.client.post("/upload", "").fed();
            let answer = tokio::spawn(async move { ask.on(&mut connection).await });

            for piece in ["one", "two", "three"] {
                feed.send(Bytes::from(piece)).await.unwrap();
                let seen = soon("the piece is at the origin", watched.recv()).await;
                assert_eq!(seen.as_deref(), Some(piece.as_bytes()), "h2: {h2}");
            }
            drop(feed);

            let answer = soon("the answer", answer).await.unwrap();
            assert_eq!(answer.json()["body"], "onetwothree");
            origin.answers("/upload", 200, &[], "");
        }
    });
}

#[test]
fn an_upstream_that_does_not_read_slows_the_caller_down() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("[request]\nmax_body = \"1GiB\"\n");
        let sidecar = plan.before(&origin).start().await;

        for h2 in [false, true] {
            let _unread = origin.keeps_silent("/unread");
            let mut connection =
                if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await };
            let (ask, feed) = sidecar.client.post("/unread", "").fed();
            let answer = tokio::spawn(async move { ask.try_open(&mut connection).await.map(drop) });

            // Sockets hold a few megabytes; a proxy that gathers would take everything.
            let (mut taken, chunk) = (0, Bytes::from(vec![b'x'; 256 << 10]));
            let stalled = Duration::from_secs(1);
            while taken < 64 * MIB
                && tokio::time::timeout(stalled, feed.send(chunk.clone())).await.is_ok()
            {
                taken += chunk.len();
            }
            answer.abort();

            assert!(taken < 64 * MIB, "{taken} bytes were taken and nobody read them, h2: {h2}");
        }
    });
}

#[test]
fn large_bodies_arrive_unchanged_in_both_directions() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let body: String = (0..150_000).map(|n| format!("{n} ")).collect();

        for h2 in [false, true] {
            let ask = sidecar.client.post("/echo", body.clone());
            let answer = if h2 { ask.send_h2().await } else { ask.send().await };
            assert_eq!(answer.json()["body"], body.as_str(), "h2: {h2}");
        }
    });
}

#[test]
fn a_client_that_asks_first_is_told_to_go_on_by_us() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let mut stream = sidecar.client.tls(&["http/1.1"]).await;
        let head =
            "POST /x HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";

        stream.write_all(head.as_bytes()).await.unwrap();
        let go_on = raw::read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"hi").await.unwrap();
        let answer = raw::read_answer(&mut stream).await;

        assert_eq!(go_on, "HTTP/1.1 100 Continue\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(origin.last().header("expect"), None);
    });
}

#[test]
fn a_client_that_leaves_while_it_sends_leaves_no_whole_request_behind() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        for h2 in [false, true] {
            let mut watched = origin.watches("/upload");
            let mut connection =
                if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await };
            let (ask, feed) = sidecar.client.post("/upload", "").fed();
            let sending =
                tokio::spawn(async move { ask.try_open(&mut connection).await.map(drop) });
            feed.send(Bytes::from_static(b"half")).await.unwrap();
            assert_eq!(watched.recv().await.as_deref(), Some(&b"half"[..]));

            sending.abort();

            origin.answers("/upload", 200, &[], "");
            let rest = soon("the upload ends", watched.recv()).await;
            assert_eq!(rest, None, "h2: {h2}");
        }
    });
}

#[test]
fn answers_without_a_body_stay_without() {
    run(async {
        let origin = Origin::start().await;
        origin.answers("/none", 204, &[("x-kept", "yes")], "");
        origin.answers("/same", 304, &[("etag", "\"1\"")], "");
        origin.answers("/page", 200, &[("content-type", "text/plain")], "12345");
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let mut connection = sidecar.client.h1().await;

        let none = sidecar.client.get("/none").on(&mut connection).await;
        let same = sidecar.client.get("/same").on(&mut connection).await;
        let head = sidecar.client.ask(http::Method::HEAD, "/page").on(&mut connection).await;
        let page = sidecar.client.get("/page").on(&mut connection).await;

        assert_eq!((none.status.as_u16(), none.header("x-kept")), (204, Some("yes")));
        assert_eq!((same.status.as_u16(), same.header("etag")), (304, Some("\"1\"")));
        assert_eq!((head.body.len(), head.header("content-length")), (0, Some("5")));
        assert_eq!(page.text(), "12345");
    });
}

#[test]
fn an_upstream_that_answers_before_it_has_read_everything_is_heard() {
    run(async {
        let early =
            b"HTTP/1.1 422 Unprocessable\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
        let origin = blurts(early).await;
        let sidecar = Sidecar::with("").before_address(origin).start().await;

        for h2 in [false, true] {
            let mut connection =
                if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await };
            let (ask, feed) = sidecar.client.post("/x", "").fed();
            feed.send(Bytes::from_static(b"first")).await.unwrap();
            let answer = ask.open(&mut connection).await;
            let answer = soon("the answer", answer.whole()).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.text().as_str()), (422, "no"), "h2: {h2}");
            drop(feed);
        }
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    run(async {
        let origin = Origin::start().await;
        for name in ["a", "b", "c"] {
            origin.answers(&format!("/{name}"), 200, &[], name);
        }
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let mut stream = sidecar.client.tls(&["http/1.1"]).await;
        let all = "GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HTTP/1.1\r\nhost: x\r\n\r\n\
                   GET /c HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

        stream.write_all(all.as_bytes()).await.unwrap();
        let got = raw::read_to_end("pipelined", &mut stream).await;

        let got = String::from_utf8(got).unwrap();
        let bodies: Vec<_> = got.split("\r\n\r\n").skip(1).map(|part| &part[..1]).collect();
        assert_eq!(bodies, ["a", "b", "c"], "{got}");
    });
}
