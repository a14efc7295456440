//! Answers that are no proper HTTP: refused, and never a word for somebody else.

use std::sync::atomic::Ordering::SeqCst;

use tokio::io::AsyncWriteExt as _;

use crate::{
    bare::Bare,
    harness::{run, soon, until, until_async},
    raw,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[test]
fn an_answer_that_can_be_read_in_two_ways_is_refused_and_its_connection_is_left() {
    run(async {
        let too_large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(300 << 10));
        let too_many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(300));
        let interim = format!("{}{OK}", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000));
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!",
            "HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nok!",
            "HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/3.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "hello, this is HTTP/0.9\r\n\r\n",
            "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
            "HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nx: a\r\n folded\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a\nok\r\n0\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
            &too_large,
            &too_many,
            &interim,
        ] {
            let bare = Bare::new().await;
            let plan = bare.plan();
            let served = bare.repeats(answer);
            let sidecar = plan.start().await;

            let first = sidecar.client.get("/").send().await;
            let shown = &answer[..answer.len().min(90)];
            assert_eq!(first.refusal(), (502, "upstream_invalid".to_owned()), "{shown:?}");
            let left = || (served.left.load(SeqCst) == 1).then_some(());
            until(&format!("the connection is left: {shown:?}"), left).await;
        }
    });
}

#[test]
fn what_follows_an_answer_is_nobodys_answer() {
    run(async {
        let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
        for (answer, method) in [
            (OK.to_owned(), "GET"),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\n".to_owned(), "GET"),
            ("HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(), "GET"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 43\r\n\r\n".to_owned(), "HEAD"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
                    .to_owned(),
                "GET",
            ),
        ] {
            let bare = Bare::new().await;
            let plan = bare.plan();
            let served = bare.repeats(format!("{answer}{evil}"));
            let sidecar = plan.start().await;
            let mut stream = sidecar.client.tls(&["http/1.1"]).await;

            for round in 1..=3 {
                let head = format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                let got = raw::read_until(&mut stream, "\r\n\r\n").await;
                assert!(got.starts_with(&answer[..12]), "{got}");
                assert!(!got.contains("evil"), "{got}");
                if answer.ends_with("ok") || answer.contains("chunked") {
                    let body = raw::read_until(&mut stream, "ok").await;
                    assert!(!body.contains("evil"), "{body}");
                }
                if answer.contains("chunked") {
                    raw::read_until(&mut stream, "0\r\n\r\n").await;
                }
                let left = || (served.left.load(SeqCst) == round).then_some(());
                until("each connection serves one request", left).await;
            }
        }
    });
}

#[test]
fn an_answer_without_a_body_says_nothing_of_one() {
    run(async {
        let bare = Bare::new().await;
        let plan = bare.plan();
        let _served = bare.repeats("HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil");
        let sidecar = plan.start().await;

        let first = sidecar.client.get("/").send().await;
        let second = sidecar.client.get("/").send_h2().await;

        for answer in [first, second] {
            assert_eq!((answer.status.as_u16(), answer.header("content-length")), (204, None));
        }
    });
}

#[test]
fn bytes_on_an_idle_connection_poison_nobody() {
    run(async {
        let bare = Bare::new().await;
        let sidecar = bare.plan().start().await;
        let mut connection = sidecar.client.h1().await;
        for _ in 0..20 {
            let ask = sidecar.client.get("/");
            let asking = ask.on(&mut connection);
            let serving = async {
                let (mut stream, _) = bare.asked().await;
                stream.write_all(OK.as_bytes()).await.unwrap();
                stream
            };
            let (answer, mut stream) = tokio::join!(asking, serving);
            assert_eq!(answer.text(), "ok");
            // Whether the next request is already on its way or not: this is not its answer.
            let evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
            // It may be closed already.
            drop(stream.write_all(evil).await);
        }
    });
}

#[test]
fn a_fault_inside_a_body_cuts_it_and_is_named_in_the_log() {
    run(async {
        let bare = Bare::new().await;
        let sidecar = bare.plan().start().await;
        let mut client = sidecar.client.tls(&["http/1.1"]).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let (mut stream, _) = bare.asked().await;
        let good = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ngood\r\n";
        stream.write_all(good.as_bytes()).await.unwrap();
        raw::read_until(&mut client, "good").await;

        stream.write_all(b"4;\nevil\r\n0\r\n\r\n").await.unwrap();

        let rest = String::from_utf8(raw::read_to_end("the cut", &mut client).await).unwrap();
        assert!(!rest.contains("evil") && !rest.ends_with("0\r\n\r\n"), "{rest}");
        let named = |line: &serde_json::Value| line["detail"] == "the answer has a bare CR or LF";
        sidecar.logged("the fault is named", named).await;
    });
}

#[test]
fn some_interim_answers_and_odd_but_proper_ones_pass() {
    run(async {
        for answer in [
            format!("{}{OK}", "HTTP/1.1 100 Continue\r\n\r\n".repeat(50)),
            "HTTP/1.1 200\r\nContent-LENGTH:\t2 \r\n\r\nok".to_owned(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n02;a=\"b\"\r\nok\r\n000\r\nt: x\r\n\r\n".to_owned(),
        ] {
            let bare = Bare::new().await;
            let plan = bare.plan();
            let served = bare.repeats(answer.as_str());
            let sidecar = plan.start().await;
            let mut connection = sidecar.client.h1().await;
            for _ in 0..3 {
                assert_eq!(sidecar.client.get("/").on(&mut connection).await.text(), "ok");
            }
            assert_eq!(served.requests.load(SeqCst), 3);
            assert_eq!(served.left.load(SeqCst), 0, "the connection is kept");
        }
    });
}

#[test]
fn a_connection_whose_request_was_not_sent_whole_is_not_used_again() {
    run(async {
        let bare = Bare::new().await;
        let sidecar = bare.plan().start().await;
        let mut client = sidecar.client.tls(&["http/1.1"]).await;
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nten bytes.";
        client.write_all(head).await.unwrap();
        let (mut first, _) = bare.asked().await;
        first.write_all(OK.as_bytes()).await.unwrap();
        raw::read_until(&mut client, "ok").await;
        drop(client);

        let ask = sidecar.client.get("/next");
        let asking = tokio::spawn(async move { ask.send().await });
        let (mut second, head) = soon("another connection", bare.asked()).await;
        second.write_all(OK.as_bytes()).await.unwrap();

        assert!(head.starts_with("GET /next "), "{head}");
        assert_eq!(asking.await.unwrap().text(), "ok");
        let idle = "weir_upstream_connections{state=\"busy\"}";
        let none = || async { (sidecar.metric(idle).await < 0.5).then_some(()) };
        until_async("the first connection is closed", none).await;
    });
}
