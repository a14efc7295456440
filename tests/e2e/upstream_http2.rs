//! HTTP/2 towards the upstream: many requests on one connection, and what ends streams early.

use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Response};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::{
    bare_http2::{Bare, HTTP2, SETTINGS, drive, frame, read_requests, reply, request, speaker},
    client::{Answer, Ask},
    door::Door,
    harness::{run, soon, until},
    origin::Origin,
    plan::Plan,
    port::Port,
    raw,
    sidecar::Sidecar,
};

/// Asks on a connection of its own, while the test plays the upstream.
async fn asked(sidecar: &Sidecar, ask: Ask) -> JoinHandle<Answer> {
    let mut connection = sidecar.client.h2().await;
    tokio::spawn(async move { ask.on(&mut connection).await })
}

#[test]
fn requests_share_a_connection_and_say_whom_they_are_for() {
    run(async {
        let origin = Origin::behind(Door::free().await.http2()).await;
        let sidecar = Plan::new("").upstream(HTTP2).before(&origin).start().await;
        let feeds: Vec<_> = (0..20).map(|n| origin.paces(&format!("/{n}"))).collect();

        let connection = sidecar.client.h2().await;
        let mut answers = Vec::new();
        for n in 0..20 {
            let ask = sidecar.client.get(&format!("/{n}"));
            answers.push(ask.open(&mut connection.fork()).await);
        }
        sidecar.metric_is("weir_upstream_connections{state=\"busy\"}", 1.0).await;
        for (feed, answer) in feeds.iter().zip(&mut answers) {
            feed.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
            assert_eq!(answer.text().await, "data: 1\n\n");
        }

        sidecar.metric_is("weir_upstream_connects_total{result=\"ok\"}", 1.0).await;
        let seen = origin.last();
        assert_eq!(
            (seen.target.as_str(), seen.version),
            ("http://localhost/19", http::Version::HTTP_2)
        );
        assert_eq!(seen.header("host"), None);
        drop((feeds, answers));
        sidecar.metric_is("weir_upstream_connections{state=\"idle\"}", 1.0).await;
        sidecar.metric_is("weir_upstream_connections{state=\"busy\"}", 0.0).await;
    });
}

#[test]
fn a_burst_on_a_cold_pool_opens_one_connection_per_worker() {
    run(async {
        let origin = Origin::behind(Door::free().await.http2()).await;
        let sidecar = Plan::new("").upstream(HTTP2).before(&origin).start().await;
        let connection = sidecar.client.h2().await;

        let mut asks = tokio::task::JoinSet::new();
        for n in 0..50 {
            let (ask, mut connection) = (sidecar.client.get(&format!("/{n}")), connection.fork());
            asks.spawn(async move { ask.on(&mut connection).await.status });
        }

        assert!(asks.join_all().await.iter().all(|status| *status == 200));
        sidecar.metric_is("weir_upstream_connects_total{result=\"ok\"}", 1.0).await;
    });
}

#[test]
fn past_the_upstreams_limit_another_connection_is_opened() {
    run(async {
        let mut bare = Bare::new().await;
        bare.builder.max_concurrent_streams(1);
        let sidecar = bare.plan().start().await;
        let connection = sidecar.client.h2().await;
        let ask = |path: &str| {
            let (ask, mut connection) = (sidecar.client.get(path), connection.fork());
            tokio::spawn(async move { ask.on(&mut connection).await.text() })
        };

        let first = ask("/1");
        let mut one = bare.next().await;
        let mut held = request(&mut one).await;
        let second = ask("/2");
        let mut two = bare.next().await;
        reply(&mut request(&mut two).await, "two");
        drive(two);
        assert_eq!(second.await.unwrap(), "two");
        reply(&mut held, "one");
        drive(one);

        assert_eq!(first.await.unwrap(), "one");
    });
}

#[test]
fn what_the_upstream_refuses_to_look_at_goes_out_again() {
    run(async {
        let bare = Bare::new().await;
        // A body that a rule wants whole is at hand for a second time.
        let tables = "[operations.general]\nroutes = [\"* /**\"]\n[operations.general.request]\nmax_depth = 9\n";
        let address = bare.listener.local_addr().unwrap();
        let plan = Plan::new(tables).upstream(HTTP2).before_address(address);
        let sidecar = plan.start().await;
        let asking = asked(&sidecar, sidecar.client.post("/", "").json("{\"a\": 1}")).await;

        let mut served = bare.next().await;
        request(&mut served).await.1.send_reset(Reason::REFUSED_STREAM);
        request(&mut served).await.1.send_reset(Reason::REFUSED_STREAM);
        reply(&mut request(&mut served).await, "at last");
        drive(served);

        let answer = soon("the answer", asking).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "at last".to_owned()));
    });
}

#[test]
fn what_the_upstream_always_refuses_is_given_up() {
    run(async {
        let bare = Bare::new().await;
        let sidecar = bare.plan().start().await;
        let asking = asked(&sidecar, sidecar.client.get("/")).await;

        let mut served = bare.next().await;
        for _ in 0..3 {
            request(&mut served).await.1.send_reset(Reason::REFUSED_STREAM);
        }
        drive(served);

        let answer = soon("the answer", asking).await.unwrap();
        assert_eq!(answer.refusal(), (502, "upstream_unreachable".to_owned()));
    });
}

#[test]
fn goaway_loses_nothing_that_it_did_not_take() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plan = Plan::new("").upstream(HTTP2).before_address(listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let mut first = speaker(&listener).await;
            first.write_all(&SETTINGS).await.unwrap();
            read_requests(&mut first, 2).await;
            // The last stream that was taken is 1; 3 was not.
            let goaway = frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
            let answer = frame(1, 5, 1, &[0x88]);
            first.write_all(&[goaway, answer].concat()).await.unwrap();
            let mut second = speaker(&listener).await;
            second.write_all(&SETTINGS).await.unwrap();
            read_requests(&mut second, 1).await;
            second.write_all(&frame(1, 5, 1, &[0x88])).await.unwrap();
            (first, second)
        });
        let sidecar = plan.start().await;
        let connection = sidecar.client.h2().await;
        let mut asks = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let (ask, mut connection) = (sidecar.client.get("/"), connection.fork());
            asks.spawn(async move { ask.on(&mut connection).await.status });
        }

        let answers = soon("both answers", asks.join_all()).await;

        assert_eq!(answers, [200, 200]);
        drop(soon("the connections", served).await.unwrap());
    });
}

#[test]
fn a_stream_that_is_cut_never_looks_whole() {
    run(async {
        let bare = Bare::new().await;
        let sidecar = bare.plan().start().await;
        // The half is read before the rest is cut off: a reset may overtake what came before it.
        let is_read = Arc::new(Notify::new());
        let cut = Arc::clone(&is_read);
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut served, cut) = (bare.next().await, Arc::clone(&cut));
                connections.spawn(async move {
                    while let Some(Ok((_, mut response))) = served.accept().await {
                        let mut body = response.send_response(Response::new(()), false).unwrap();
                        body.send_data(Bytes::from_static(b"half"), false).unwrap();
                        let cut = Arc::clone(&cut);
                        tokio::spawn(async move {
                            cut.notified().await;
                            body.send_reset(Reason::INTERNAL_ERROR);
                        });
                    }
                });
            }
        });

        let mut stream = sidecar.client.tls(&["http/1.1"]).await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        raw::read_until(&mut stream, "half").await;
        is_read.notify_one();
        let got = String::from_utf8(raw::read_to_end("the cut answer", &mut stream).await).unwrap();
        assert!(!got.ends_with("0\r\n\r\n"), "{got}");
        let mut connection = sidecar.client.h2().await;
        let mut answer = sidecar.client.get("/").open(&mut connection).await;
        assert_eq!(answer.text().await, "half");
        is_read.notify_one();
        let whole = soon("the end", answer.whole()).await;
        assert!(whole.is_err(), "{whole:?}");
        serving.abort();
    });
}

#[test]
fn a_client_that_leaves_resets_the_stream_at_the_upstream() {
    run(async {
        let bare = Bare::new().await;
        let sidecar = bare.plan().start().await;
        let (resets, mut reset) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let mut served = bare.next().await;
                let resets = resets.clone();
                connections.spawn(async move {
                    while let Some(Ok((request, mut response))) = served.accept().await {
                        let resets = resets.clone();
                        tokio::spawn(async move {
                            if request.uri().path() == "/stream" {
                                let mut body =
                                    response.send_response(Response::new(()), false).unwrap();
                                body.send_data(Bytes::from_static(b"data: 1\n\n"), false).unwrap();
                                let why = std::future::poll_fn(|cx| body.poll_reset(cx)).await;
                                return resets.send(why.unwrap()).unwrap();
                            }
                            resets.send(Reason::NO_ERROR).unwrap();
                            let why = std::future::poll_fn(|cx| response.poll_reset(cx)).await;
                            resets.send(why.unwrap()).unwrap();
                        });
                    }
                });
            }
        });
        for h2 in [false, true] {
            let connect =
                || async { if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await } };
            // While the upstream still thinks.
            let (ask, mut connection) = (sidecar.client.get("/think"), connect().await);
            let waiting =
                tokio::spawn(async move { ask.try_open(&mut connection).await.map(drop) });
            assert_eq!(soon("the request comes", reset.recv()).await, Some(Reason::NO_ERROR));
            waiting.abort();
            assert_eq!(soon("the stream is reset", reset.recv()).await, Some(Reason::CANCEL));
            // While it streams.
            let mut connection = connect().await;
            let mut answer = sidecar.client.get("/stream").open(&mut connection).await;
            answer.text().await;
            drop((answer, connection));
            assert_eq!(soon("the stream is reset", reset.recv()).await, Some(Reason::CANCEL));
        }
        serving.abort();
    });
}

#[test]
fn trailers_pass_and_answers_without_a_body_stay_without_one() {
    run(async {
        let bare = Bare::new().await;
        let sidecar = bare.plan().start().await;
        let mut connection = sidecar.client.h2().await;
        let (ask, get) = (sidecar.client.get("/"), sidecar.client.get("/204"));
        let asking = tokio::spawn(async move {
            let (_, trailers) = ask.open(&mut connection).await.rest().await.unwrap();
            (trailers, get.on(&mut connection).await)
        });

        let mut one = bare.next().await;
        let (_, mut response) = request(&mut one).await;
        let mut body = response.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from_static(b"body"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        let (_, mut response) = request(&mut one).await;
        let empty = Response::builder().status(204).body(()).unwrap();
        let mut body = response.send_response(empty, false).unwrap();
        body.send_data(Bytes::from_static(b"not to be seen"), true).unwrap();
        drive(one);

        let (trailers, empty) = soon("the answers", asking).await.unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!((empty.status.as_u16(), empty.body.len()), (204, 0));
    });
}

#[test]
fn an_upstream_that_no_longer_answers_pings_is_given_up() {
    run(async {
        let bare = Bare::new().await;
        let sidecar = bare.plan().start().await;
        let asking = asked(&sidecar, sidecar.client.get("/")).await;

        // Nobody drives this connection any more.
        let mut frozen = bare.next().await;
        let _asked = request(&mut frozen).await;

        let answer = asking.await.unwrap();
        assert_eq!(answer.refusal(), (504, "upstream_timeout".to_owned()));
        drop(frozen);
    });
}

#[test]
fn what_is_no_http2_gets_no_request() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Plan::new("").upstream(HTTP2).before(&origin).start().await;

        let answer = sidecar.client.post("/", "precious").send().await;

        let record: Value = sidecar.record(&answer).await;
        assert_eq!(answer.refusal(), (502, "upstream_unreachable".to_owned()), "{record}");
        assert_eq!(record["detail"], "the upstream does not speak HTTP/2");
        assert!(origin.seen().is_empty());
    });
}

#[test]
fn connections_end_with_the_service_and_come_back_with_it() {
    run(async {
        let port = Port::free();
        let origin = Origin::behind(Door::tcp(port.address).await.http2()).await;
        let sidecar = Plan::new("").upstream(HTTP2).before(&origin).start().await;
        let mut connection = sidecar.client.h2().await;
        assert_eq!(sidecar.client.get("/").on(&mut connection).await.status, 200);

        drop(origin);
        sidecar.metric_is("weir_upstream_connections{state=\"idle\"}", 0.0).await;
        let away = sidecar.client.get("/").on(&mut connection).await;
        let origin = Origin::behind(Door::tcp(port.address).await.http2()).await;
        let back = sidecar.client.get("/").on(&mut connection).await;

        assert_eq!(away.refusal(), (502, "upstream_unreachable".to_owned()));
        assert_eq!((back.status.as_u16(), origin.seen().len()), (200, 1));
        until("the connection is there", || (origin.connections().1 == 1).then_some(())).await;
    });
}

#[test]
fn a_body_that_the_caller_sends_slowly_is_passed_on_as_it_comes() {
    run(async {
        let origin = Origin::behind(Door::free().await.http2()).await;
        let mut pieces = origin.watches("/upload");
        let sidecar: Sidecar = Plan::new("").upstream(HTTP2).before(&origin).start().await;
        let mut connection = sidecar.client.h2().await;
        let (ask, feed) = sidecar.client.post("/upload", "").fed();
        let asking = tokio::spawn(async move { ask.on(&mut connection).await.status });

        for piece in ["one", "two"] {
            feed.send(Bytes::from_static(piece.as_bytes())).await.unwrap();
            assert_eq!(soon("the piece", pieces.recv()).await.unwrap(), piece);
        }
        drop(feed);

        assert_eq!(soon("the end", pieces.recv()).await.unwrap(), "");
        assert_eq!(asking.await.unwrap(), 200);
    });
}
