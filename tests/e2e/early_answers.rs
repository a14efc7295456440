//! Upstreams that answer before they have read the upload: the caller gets that answer.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    bare_http2::HTTP2,
    harness::{run, soon, until_async},
    plan::Plan,
    raw,
    sidecar::Sidecar,
};

/// More than any buffer on the way holds.
const UPLOAD: usize = 24 << 20;
const TABLES: &str = "[operations.all]\nroutes = [\"* /**\"]\n\
                      [operations.all.request]\nmax_body = \"64MiB\"\n";

/// What a service does behind an early answer.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Closes at once, with unread bytes: its kernel resets the connection.
    Closes,
    /// Stops to listen, but keeps the connection.
    Stays,
    /// Reads on.
    Reads,
}

/// A service that answers as soon as it has read a head.
async fn hasty(answer: &'static str, then: Then) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, answer, then));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, answer: &'static str, then: Then) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    match then {
        Then::Closes => {}
        Then::Stays => std::future::pending().await,
        Then::Reads => drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await),
    }
}

fn plan(address: SocketAddr) -> Plan {
    Plan::new(TABLES).before_address(address)
}

/// Uploads over HTTP/1.1 while reading; everything that comes until the sidecar closes.
async fn uploaded(sidecar: &Sidecar, framing: &str, body: &Bytes) -> String {
    let stream = sidecar.client.tls(&["http/1.1"]).await;
    let (mut read, mut write) = tokio::io::split(stream);
    let head = format!("POST /x HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n");
    let body = body.clone();
    let writing = tokio::spawn(async move {
        // It may be cut off: what counts is what comes back.
        drop(write.write_all(head.as_bytes()).await);
        drop(write.write_all(&body).await);
        write
    });
    let mut got = Vec::new();
    drop(soon("the connection ends", read.read_to_end(&mut got)).await);
    drop(writing);
    String::from_utf8_lossy(&got).into_owned()
}

const REFUSAL: &str = "HTTP/1.1 413 Content Too Large\r\ncontent-type: text/plain\r\n\
                       content-length: 8\r\nconnection: close\r\n\r\ntoo long";
const OTHER: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-type: text/plain\r\n\
                     content-length: 8\r\nconnection: close\r\n\r\nwho then";
const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\
                    transfer-encoding: chunked\r\nconnection: close\r\n\r\n8\r\nenough!!\r\n0\r\n\r\n";

#[test]
fn an_early_answer_reaches_a_caller_that_is_still_sending() {
    run(async {
        let plain = Bytes::from(vec![b'x'; UPLOAD]);
        let chunk = format!("100000\r\n{}\r\n", "x".repeat(1 << 20));
        let chunked = Bytes::from(format!("{}0\r\n\r\n", chunk.repeat(UPLOAD >> 20)));
        for (answer, status, text) in
            [(REFUSAL, 413, "too long"), (OTHER, 401, "who then"), (FINE, 200, "enough!!")]
        {
            for then in [Then::Closes, Then::Stays, Then::Reads] {
                if matches!(then, Then::Stays) && status != 401 {
                    // The rest is waited for: once is enough.
                    continue;
                }
                let sidecar = plan(hasty(answer, then).await).start().await;
                for (framing, body) in [
                    (format!("content-length: {UPLOAD}"), &plain),
                    ("transfer-encoding: chunked".to_owned(), &chunked),
                ] {
                    let got = uploaded(&sidecar, &framing, body).await;
                    assert_eq!(raw::statuses(&got), [status], "{then:?}, {framing}: {got}");
                    assert!(got.contains(text), "{then:?}, {framing}: {got}");
                    assert!(
                        got.to_ascii_lowercase().contains("connection: close\r\n"),
                        "{then:?}, {framing}: {got}"
                    );
                }
                let mut connection = sidecar.client.h2().await;
                for _ in 0..2 {
                    let ask = sidecar.client.post("/x", plain.clone());
                    let got = ask.on(&mut connection).await;
                    assert_eq!((got.status.as_u16(), &got.text()[..]), (status, text), "{then:?}");
                }
                sidecar.metric_is("weir_upstream_connections{state=\"busy\"}", 0.0).await;
                drop(connection);
                until_async("nothing is left", || async {
                    (sidecar.metric("weir_connections{protocol=\"http2\"}").await == 0.0)
                        .then_some(())
                })
                .await;
            }
        }
    });
}

/// A service of HTTP/2 that answers every request from its head.
async fn hasty_http2() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let answer = service_fn(|_: http::Request<Incoming>| async {
                let mut response = Response::new(Full::<Bytes>::from("too long"));
                *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                Ok::<_, Infallible>(response)
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(tcp), answer));
        }
    });
    address
}

#[test]
fn an_early_answer_over_http2_reaches_the_caller_and_costs_no_connection() {
    run(async {
        let sidecar = plan(hasty_http2().await).upstream(HTTP2).start().await;
        let body = Bytes::from(vec![b'x'; UPLOAD]);
        for _ in 0..3 {
            let got = uploaded(&sidecar, &format!("content-length: {UPLOAD}"), &body).await;
            assert_eq!(raw::statuses(&got), [413], "{got}");
            assert!(got.contains("too long"), "{got}");
        }
        let mut connection = sidecar.client.h2().await;
        for _ in 0..3 {
            let got = sidecar.client.post("/x", body.clone()).on(&mut connection).await;
            assert_eq!((got.status.as_u16(), &got.text()[..]), (413, "too long"));
        }
        sidecar.metric_is("weir_upstream_connections{state=\"busy\"}", 0.0).await;
    });
}
