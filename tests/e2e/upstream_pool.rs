//! Connections to the upstream: how many, how long, and never one that is dead.

use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use crate::{
    bare::Bare,
    door::Door,
    harness::{run, soon, until, until_async},
    origin::Origin,
    plan::Plan,
    port::Port,
};

const IDLE: &str = "weir_upstream_connections{state=\"idle\"}";
const BUSY: &str = "weir_upstream_connections{state=\"busy\"}";

#[test]
fn an_upstream_that_closes_idle_connections_at_once_is_never_noticed() {
    run(async {
        let bare = Bare::new().await;
        let plan = bare.plan();
        // Says that the connection stays, answers, and closes it.
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut stream, head) = bare.asked().await;
                connections.spawn(async move {
                    let length = if head.starts_with("POST") { 4 } else { 0 };
                    let mut body = vec![0; length];
                    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut body).await.unwrap();
                    let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(ok).await.unwrap();
                });
            }
        });
        let sidecar = plan.start().await;

        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let client = sidecar.client.clone();
            clients.spawn(async move {
                let mut connection = client.h1().await;
                let mut worst = None;
                for _ in 0..100 {
                    let answer = client.post("/", "body").on(&mut connection).await;
                    worst = worst.or((answer.status != 200).then(|| answer.text()));
                }
                worst
            });
        }

        let worst: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
        assert!(worst.is_empty(), "{} callers saw a closed connection: {}", worst.len(), worst[0]);
        serving.abort();
    });
}

#[test]
fn past_the_bound_requests_wait_and_are_then_refused() {
    run(async {
        let origin = Origin::start().await;
        let upstream = "max_connections = 2\nconnect_timeout = \"1s\"";
        let sidecar = Plan::new("").upstream(upstream).before(&origin).start().await;
        let (one, two) = (origin.paces("/1"), origin.paces("/2"));
        let connection = sidecar.client.h2().await;
        let mut streams = Vec::new();
        for path in ["/1", "/2"] {
            streams.push(sidecar.client.get(path).open(&mut connection.fork()).await);
        }

        let refused = sidecar.client.get("/3").on(&mut connection.fork()).await;
        assert_eq!(refused.refusal(), (503, "overloaded".to_owned()));
        assert!(refused.header("retry-after").is_some());

        // One that waits gets the place of one that ends, also when another worker holds it.
        drop((one, streams.remove(0)));
        for _ in 0..8 {
            assert_eq!(sidecar.client.get("/4").send().await.status, 200);
        }
        sidecar.metric_is(BUSY, 1.0).await;
        drop((two, streams));
        sidecar.metric_is(BUSY, 0.0).await;
    });
}

#[test]
fn many_requests_share_few_places() {
    run(async {
        let origin = Origin::start().await;
        let upstream = "max_connections = 3\nconnect_timeout = \"30s\"";
        let sidecar = Plan::new("").upstream(upstream).before(&origin).start().await;

        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..24 {
            let client = sidecar.client.clone();
            clients.spawn(async move {
                let mut connection = client.h1().await;
                let mut good = 0;
                for _ in 0..10 {
                    let answer = client.get("/").on(&mut connection).await;
                    good += usize::from(answer.status == 200);
                }
                good
            });
        }

        assert_eq!(clients.join_all().await.iter().sum::<usize>(), 240);
        let open = || (origin.connections().1 <= 4).then_some(());
        // One more may be the probe of the health check.
        until("no more than three are open", open).await;
    });
}

#[test]
fn connections_are_opened_before_they_are_needed_and_kept_ready() {
    run(async {
        let port = Port::free();
        let origin = Origin::at(port.address).await;
        let sidecar = Plan::new("").upstream("min_idle = 3").before(&origin).start().await;
        // Two workers.
        sidecar.metric_is(IDLE, 6.0).await;
        sidecar.metric_is("weir_upstream_connects_total{result=\"ok\"}", 6.0).await;

        let feed = origin.paces("/busy");
        let mut connection = sidecar.client.h1().await;
        let answer = sidecar.client.get("/busy").open(&mut connection).await;
        sidecar.metric_is(BUSY, 1.0).await;
        sidecar.metric_is(IDLE, 6.0).await;
        drop((feed, answer, connection));

        drop(origin);
        sidecar.metric_is(IDLE, 0.0).await;
        let _back = Origin::at(port.address).await;
        sidecar.metric_is(IDLE, 6.0).await;
    });
}

#[test]
fn a_reload_opens_what_it_wants_and_closes_what_it_no_longer_names() {
    run(async {
        let (old, new) = (Origin::start().await, Origin::start().await);
        let sidecar = Plan::new("").upstream("min_idle = 2").before(&old).start().await;
        sidecar.metric_is(IDLE, 4.0).await;
        let feed = old.paces("/stream");
        let mut connection = sidecar.client.h1().await;
        let mut answer = sidecar.client.get("/stream").open(&mut connection).await;

        let policy = Plan::new("").upstream("min_idle = 1").before(&new).text();
        sidecar.write_policy(&policy);

        let moved = || {
            let (_, old) = old.connections();
            let (_, new) = new.connections();
            (old == 1 && new == 2).then_some(())
        };
        until("one stream is left at the old place, two connections are at the new", moved).await;
        feed.send(Bytes::from_static(b"still here")).await.unwrap();
        assert_eq!(answer.text().await, "still here");
        drop((feed, answer));
        until("the last one is closed", || (old.connections().1 == 0).then_some(())).await;
        sidecar.metric_is(BUSY, 0.0).await;
        sidecar.metric_is(IDLE, 2.0).await;
    });
}

#[test]
fn idle_connections_end_after_their_time_and_leave_no_descriptor() {
    run(async {
        for http2 in [false, true] {
            let door = Door::free().await;
            let door = if http2 { door.http2() } else { door };
            let origin = Origin::behind(door).await;
            let protocol = if http2 { "http2" } else { "http1" };
            let upstream = format!("pool_idle_timeout = \"1s\"\nprotocol = \"{protocol}\"");
            let sidecar = Plan::new("").upstream(&upstream).before(&origin).start().await;
            let before = sidecar.running.sockets();

            let connection = sidecar.client.h2().await;
            let mut asks = tokio::task::JoinSet::new();
            for n in 0..40 {
                let (ask, mut fork) = (sidecar.client.get(&format!("/{n}")), connection.fork());
                asks.spawn(async move { ask.on(&mut fork).await.status });
            }
            assert!(asks.join_all().await.iter().all(|status| *status == 200));
            drop(connection);

            sidecar.metric_is(IDLE, 0.0).await;
            sidecar.metric_is(BUSY, 0.0).await;
            let returned = || (sidecar.running.sockets() <= before).then_some(());
            until("descriptors are back where they were", returned).await;
        }
    });
}

#[test]
fn without_idle_connections_every_request_has_its_own() {
    run(async {
        let bare = Bare::new().await;
        let plan = bare.plan().upstream("max_idle = 0");
        let served = bare.repeats("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let sidecar = plan.start().await;
        let mut connection = sidecar.client.h1().await;

        for n in 1..=3 {
            let answer = soon("an answer", sidecar.client.get("/").on(&mut connection)).await;
            assert_eq!(answer.text(), "ok");
            until("it is closed", || (served.left.load(SeqCst) == n).then_some(())).await;
        }
        let none = || async { (sidecar.metric(IDLE).await < 0.5).then_some(()) };
        until_async("nothing is idle", none).await;
    });
}
