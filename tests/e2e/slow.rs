//! Clients that take their time: each is ended, and nobody else notices.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    harness::{PATIENCE, run, soon},
    origin::Origin,
    plan::Plan,
    raw,
    sidecar::Sidecar,
};

fn impatient() -> Plan {
    Sidecar::with("").listen(
        "header_timeout = \"3s\"\nbody_timeout = \"2s\"\nhandshake_timeout = \"5s\"\n\
         idle_timeout = \"3s\"",
    )
}

#[test]
fn a_head_that_drips_is_answered_with_408_while_others_are_served() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = impatient().before(&origin).start().await;
        let began = Instant::now();
        let stream = sidecar.client.tls(&["http/1.1"]).await;
        let (mut reading, mut writing) = tokio::io::split(stream);
        let drip = tokio::spawn(async move {
            for byte in "GET /x HTTP/1.1\r\nhost: a\r\nx-slow: ".bytes().chain([b'x'; 400]) {
                if writing.write_all(&[byte]).await.is_err() || writing.flush().await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let mut others = 0;
        let ended = async {
            let mut got = Vec::new();
            // However it ends, what came is what counts.
            drop(reading.read_to_end(&mut got).await);
            got
        };
        let mut ended = Box::pin(ended);
        let got = loop {
            tokio::select! {
                got = &mut ended => break got,
                answer = sidecar.client.get("/other").send() => {
                    assert_eq!(answer.status, 200);
                    others += 1;
                }
            }
            assert!(began.elapsed() < PATIENCE, "it still drips");
        };
        drip.abort();

        let answer = String::from_utf8_lossy(&got);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
        assert!(answer.contains("\"request_timeout\""), "{answer}");
        assert!(began.elapsed() >= Duration::from_secs(3), "too early: {:?}", began.elapsed());
        assert!(others > 0 && origin.count("/x") == 0);
    });
}

#[test]
fn a_later_head_on_a_connection_has_the_same_deadline() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").listen("header_timeout = \"3s\"");
        let sidecar = sidecar.before(&origin).start().await;
        let mut stream = sidecar.client.tls(&["http/1.1"]).await;
        stream.write_all(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(raw::read_answer(&mut stream).await.starts_with("HTTP/1.1 200 "));

        stream.write_all(b"GET /y HT").await.unwrap();
        let end = String::from_utf8(raw::read_to_end("slow", &mut stream).await).unwrap();

        assert!(end.starts_with("HTTP/1.1 408 "), "{end:?}");
        assert_eq!(origin.count("/y"), 0);
    });
}

#[test]
fn a_body_that_drips_is_refused_with_408() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = impatient().before(&origin).start().await;

        for h2 in [false, true] {
            let mut connection =
                if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await };
            let (ask, feed) = sidecar.client.post("/x", "").fed();
            let drip = tokio::spawn(async move {
                while feed.send(Bytes::from_static(b"x")).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
            let answer = ask.open(&mut connection).await;
            let answer = soon("the answer", answer.whole()).await.unwrap();
            drip.abort();

            assert_eq!(answer.refusal(), (408, "request_timeout".to_owned()), "h2: {h2}");
        }
    });
}

#[test]
fn a_body_that_must_be_read_whole_has_the_same_deadline() {
    run(async {
        let origin = Origin::start().await;
        let tables = "[operations.strict]\nroutes = [\"* /**\"]\nrequest = { max_depth = 5 }\n";
        let plan = Sidecar::with(tables).listen("body_timeout = \"1s\"");
        let sidecar = plan.before(&origin).start().await;
        let mut connection = sidecar.client.h1().await;

        let (ask, feed) =
            sidecar.client.post("/x", "").header("content-type", "application/json").fed();
        feed.send(Bytes::from_static(b"[")).await.unwrap();
        let answer = ask.open(&mut connection).await;

        assert_eq!(answer.status, 408);
        assert_eq!(origin.seen().len(), 0);
    });
}

#[test]
fn a_handshake_that_never_ends_is_closed() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = impatient().before(&origin).start().await;
        let mut tcp = TcpStream::connect(sidecar.address).await.unwrap();
        // The beginning of a ClientHello record that is never finished.
        tcp.write_all(&[0x16, 0x03, 0x01, 0x01, 0x00]).await.unwrap();
        let mut rest = Vec::new();
        // A reset is a close as well.
        drop(soon("the connection is closed", tcp.read_to_end(&mut rest)).await);

        let timed_out = r#"weir_tls_handshakes_total{version="none",result="timed_out"}"#;
        sidecar.metric_is(timed_out, 1.0).await;
    });
}

#[test]
fn connections_that_never_ask_are_closed() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = impatient().before(&origin).start().await;

        for protocol in ["http/1.1", "h2"] {
            let mut silent = sidecar.client.tls(&[protocol]).await;
            raw::read_to_end(protocol, &mut silent).await;
        }
    });
}

#[test]
fn connections_that_ask_no_more_are_closed() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = impatient().before(&origin).start().await;
        // Whether one is forgotten is a matter of luck: eight times the same.
        let mut bare = Vec::new();
        for _ in 0..8 {
            let mut stream = sidecar.client.tls(&["http/1.1"]).await;
            stream.write_all(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            bare.push(stream);
        }
        let (mut h1, mut h2) = (sidecar.client.h1().await, sidecar.client.h2().await);
        for connection in [&mut h1, &mut h2] {
            assert_eq!(sidecar.client.get("/x").on(connection).await.status, 200);
        }

        for stream in &mut bare {
            let answer = raw::read_to_end("bare", stream).await;
            assert!(answer.starts_with(b"HTTP/1.1 200 "));
        }
        sidecar.metric_is("weir_connections{protocol=\"h2\"}", 0.0).await;
        sidecar.metric_is("weir_connections{protocol=\"http/1.1\"}", 0.0).await;
    });
}

#[test]
fn an_exchange_may_take_longer_than_any_of_the_clients_deadlines() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = impatient().before(&origin).start().await;
        let feed = origin.paces("/long");
        let mut connection = sidecar.client.h1().await;

        let mut answer = sidecar.client.get("/long").open(&mut connection).await;
        for tick in 0..10 {
            feed.send(Bytes::from(format!("data: {tick}\n\n"))).await.unwrap();
            assert_eq!(answer.text().await, format!("data: {tick}\n\n"));
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        drop(feed);

        assert!(answer.next().await.is_none());
    });
}
