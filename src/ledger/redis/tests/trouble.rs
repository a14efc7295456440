//! Servers that answer, and yet are of no use for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::super::Redis;
use super::servers::{at, certify, counts, until};
use super::{Place, Server, program};
use crate::clock::Timestamp;
use crate::ledger::contract::{limits, quota};
use crate::ledger::{Authority, Decision, Demand, Hold, Outcome, Store, StoreError};
use crate::policy::compile::RedisSettings;
use crate::policy::limit::{Limits, Unit};
use crate::units::NanoUsd;

pub(super) fn hourly(amount: u64) -> Arc<Limits> {
    limits([quota("chat", Unit::Requests, 3_600, amount)])
}

pub(super) async fn ask(store: &Redis, limits: &Arc<Limits>) -> Result<Decision, StoreError> {
    let (subject, cost, now) = ("bob", NanoUsd(0), Timestamp(0));
    let demand = Demand { subject, limits, cost, tokens: 0, bytes: 0, now, enforce: true };
    store.reserve(demand).await
}

async fn hold(store: &Redis, limits: &Arc<Limits>) -> Box<Hold> {
    match ask(store, limits).await.unwrap() {
        Decision::Admitted(hold, _) => hold,
        Decision::Refused(refused) => panic!("{refused:?}"),
    }
}

async fn used(store: &Redis) -> Option<u64> {
    let usage = store.usage("bob", Timestamp(0)).await.ok()?;
    Some(usage.first().map_or(0, |usage| usage.used))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_becomes_a_replica_is_away_until_it_is_one_again() {
    let (server, other) = (Server::start(), Server::start());
    let store = server.open();
    counts(&store, "ada").await;
    server.cli(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    let few = hourly(9);
    until("nothing is written on a replica", || async { ask(&store, &few).await.is_err() }).await;
    until("a replica is nobody to ask", || async { !store.is_up() }).await;
    assert!(matches!(ask(&store, &few).await, Err(StoreError::Away)));
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    until("a master is", || async { store.is_up() }).await;
    counts(&store, "eve").await;
    // It is not asked for ever more connections meanwhile.
    assert!(store.connections() < 20, "{} connections", store.connections());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_memory_is_away_and_forgets_no_settlement() {
    let server = Server::start();
    let (store, few) = (server.open(), hourly(9));
    let held = [hold(&store, &few).await, hold(&store, &few).await];
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..3 {
        assert!(matches!(ask(&store, &few).await, Err(StoreError::Away)));
    }
    for (hold, outcome) in held.into_iter().zip([Outcome::Refund, Outcome::Keep]) {
        store.settle(hold, outcome, Timestamp(0));
    }
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    until("both are settled", || async { used(&store).await == Some(1) }).await;
    counts(&store, "ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_is_an_absence_until_it_is_right_again() {
    let server = Server::start();
    server.cli(&["ACL", "SETUSER", "weir", "on", ">first", "~weir:*", "+@all"]);
    let url = format!("redis://weir:first@127.0.0.1:{}", server.port);
    let store = Redis::open(&at(server.settings(), &url)).unwrap();
    counts(&store, "ada").await;
    server.cli(&["ACL", "SETUSER", "weir", "resetpass", ">second"]);
    server.cli(&["CLIENT", "KILL", "USER", "weir"]);
    let few = hourly(9);
    until("the connection is gone", || async { !store.is_up() }).await;
    assert!(matches!(ask(&store, &few).await, Err(StoreError::Away)));
    server.cli(&["ACL", "SETUSER", "weir", ">first"]);
    until("it is let in again", || async { store.is_up() }).await;
    counts(&store, "eve").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_server_begins_anew_and_what_was_held_there_harms_nobody() {
    let server = Server::start();
    let (store, few) = (server.open(), hourly(9));
    let held = hold(&store, &few).await;
    let books = store.probe().await.unwrap();
    server.cli(&["FLUSHALL"]);
    server.cli(&["SCRIPT", "FLUSH"]);
    assert_ne!(store.probe().await.unwrap(), books);
    store.settle(held, Outcome::Keep, Timestamp(0));
    counts(&store, "ada").await;
    assert_eq!(used(&store).await, Some(0), "only what comes is counted");
}

/// A port in front of a server that keeps everything for a while.
pub(super) async fn slow_line(port: u16, delay: Arc<AtomicU64>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut lines = JoinSet::new();
        loop {
            let Ok((caller, _)) = listener.accept().await else { continue };
            let Ok(callee) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            let delay = Arc::clone(&delay);
            lines.spawn(async move {
                let ((mut from, mut to), (mut back, mut forth)) =
                    (caller.into_split(), callee.into_split());
                let there = async { tokio::io::copy(&mut from, &mut forth).await };
                let here = async {
                    let mut bytes = [0; 4_096];
                    while let Ok(read) = back.read(&mut bytes).await {
                        let waits = Duration::from_millis(delay.load(SeqCst));
                        tokio::time::sleep(waits).await;
                        if read == 0 || to.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    _ = there => {}
                    () = here => {}
                }
            });
        }
    });
    own
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_asked_by_one_request_and_still_hears_what_it_must() {
    let server = Server::start();
    let delay = Arc::new(AtomicU64::new(0));
    let port = slow_line(server.port, Arc::clone(&delay)).await;
    let settings = at(server.settings(), &format!("redis://127.0.0.1:{port}"));
    // Slower than a request waits, on a busy machine too, and quicker than what goes on behind them may take.
    let deadline = Duration::from_millis(50);
    let store = Redis::open(&RedisSettings { deadline, ..settings }).unwrap();
    let few = hourly(9);
    until("the server answers in time", || async { used(&store).await == Some(0) }).await;
    // On a busy machine it may take more than one request.
    let began = Instant::now();
    let held = loop {
        if let Ok(Decision::Admitted(held, _)) = ask(&store, &few).await {
            break held;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no request was admitted");
    };

    delay.store(300, SeqCst);
    until("a request waits in vain", || async { ask(&store, &few).await.is_err() }).await;
    let calls = store.calls();
    for _ in 0..1_000 {
        assert!(matches!(ask(&store, &few).await, Err(StoreError::Away)));
    }
    // Only what goes on behind the requests was sent.
    assert!(store.calls() - calls < 100, "{} commands", store.calls() - calls);
    store.settle(held, Outcome::Refund, Timestamp(0));
    until("the slow server is told", || async { used(&store).await == Some(0) }).await;
    until("it can be asked for its books", || async { store.probe().await.is_ok() }).await;
    assert!(!store.is_up(), "and yet nobody waits for it");
    assert!(matches!(ask(&store, &few).await, Err(StoreError::Away)));

    delay.store(0, SeqCst);
    until("it is quick again", || async { ask(&store, &few).await.is_ok() }).await;
}

/// Although no answer is overdue by the deadline of a command.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_longer_than_the_policy_says_and_who_went_is_not_booked() {
    let server = Server::start();
    let delay = Arc::new(AtomicU64::new(0));
    let port = slow_line(server.port, Arc::clone(&delay)).await;
    let settings = at(server.settings(), &format!("redis://127.0.0.1:{port}"));
    let (max_wait, deadline) = (Duration::from_millis(100), settings.deadline);
    let store = Redis::open(&RedisSettings { max_wait, ..settings }).unwrap();
    let few = hourly(9);
    until("the server answers", || async { used(&store).await == Some(0) }).await;

    delay.store(1_000, SeqCst);
    let began = Instant::now();
    // More than are on the wire at once: most of them stand in the queue.
    let mut asked = JoinSet::new();
    let store = Arc::new(store);
    for _ in 0..64 {
        let (store, few) = (Arc::clone(&store), Arc::clone(&few));
        asked.spawn(async move { ask(&store, &few).await });
    }
    for answer in asked.join_all().await {
        assert!(matches!(answer, Err(StoreError::Away)), "{answer:?}");
    }
    let waited = began.elapsed();
    assert!(max_wait <= waited && waited < deadline, "{waited:?}");
    delay.store(0, SeqCst);
    until("what was booked in vain is given back", || async { used(&store).await == Some(0) })
        .await;
    counts(&store, "ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_behind_tls_leads_to_a_master_that_wants_a_user() {
    let directory = tempfile::tempdir().unwrap();
    certify(directory.path());
    let path = |name: &str| directory.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let (of_master, of_sentinel) = (Place::free(), Place::free());
    let [master_port, port] = [of_master.port.to_string(), of_sentinel.port.to_string()];
    let tls = |port: &str| {
        let ca = text("ca.crt");
        let options = ["tls-port", port, "tls-cert-file", &text("own.crt"), "tls-key-file"];
        let rest = [&text("own.key"), "tls-ca-cert-file", &ca, "tls-replication", "yes"];
        options.iter().copied().chain(rest).map(str::to_owned).collect::<Vec<_>>()
    };
    let options: Vec<_> = tls(&master_port)
        .chunks(2)
        .flat_map(|pair| [format!("--{}", pair[0]), pair[1].clone()])
        .collect();
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let master = Server::with(&options);
    master.cli(&["ACL", "SETUSER", "weir", "on", ">p@ss", "~weir:*", "+@all"]);
    master.cli(&["ACL", "SETUSER", "watch", "on", ">watch", "&*", "+@all"]);
    master.cli(&["ACL", "SETUSER", "default", "off"]);
    let places = [Place::free(), Place::free()];
    let plain = places[0].port;
    let lines: Vec<_> =
        tls(&port).chunks(2).map(|pair| format!("{} \"{}\"\n", pair[0], pair[1])).collect();
    let config = format!(
        "port {plain}\nbind 127.0.0.1\n{}sentinel monitor main 127.0.0.1 {master_port} 1\n\
         sentinel auth-user main watch\nsentinel auth-pass main watch\n",
        lines.concat()
    );
    std::fs::write(path("sentinel.conf"), config).unwrap();
    let mut command = std::process::Command::new(program());
    let sentinel = Server::of(command.arg(path("sentinel.conf")).arg("--sentinel"), places);
    let url = format!("rediss-sentinel://weir:p%40ss@localhost:{port}/main");
    let (ca, own) = (Some(path("ca.crt")), Some((path("own.crt"), path("own.key"))));
    let store = Redis::open(&RedisSettings { ca, own, ..at(sentinel.settings(), &url) }).unwrap();
    until("the master is found", || async { store.is_up() }).await;
    counts(&store, "ada").await;
}
