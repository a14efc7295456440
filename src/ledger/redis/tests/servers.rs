//! Every way to reach a Redis, each with servers of its own.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::Redis;
use super::{Place, Server, program};
use crate::clock::Timestamp;
use crate::ledger::contract::{limits, quota};
use crate::ledger::{Authority, Decision, Demand, Outcome, Store, StoreError};
use crate::policy::compile::RedisSettings;
use crate::policy::limit::Unit;
use crate::policy::redis_url::RedisUrl;
use crate::units::NanoUsd;

/// Two requests pass under a quota of two, and the third does not.
pub(super) async fn counts(store: &Redis, subject: &str) {
    let two = limits([quota("chat", Unit::Requests, 3600, 2)]);
    for admitted in [true, true, false] {
        let (cost, now) = (NanoUsd(0), Timestamp(0));
        let demand =
            Demand { subject, limits: &two, cost, tokens: 0, bytes: 0, now, enforce: true };
        match store.reserve(demand).await.unwrap() {
            Decision::Admitted(hold, _) => {
                assert!(admitted, "{subject} has used its two");
                store.settle(hold, Outcome::Keep, Timestamp(0));
            }
            Decision::Refused(_) => assert!(!admitted, "{subject} has not used its two"),
        }
    }
}

pub(super) fn at(settings: RedisSettings, url: &str) -> RedisSettings {
    RedisSettings { url: RedisUrl::parse(url).unwrap(), ..settings }
}

pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let began = Instant::now();
    while !look().await {
        assert!(began.elapsed() < Duration::from_secs(60), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_least_rights_may_count_and_a_wrong_password_is_told() {
    let server = Server::start();
    server.cli(&["ACL", "SETUSER", "weir", "on", ">p@ss", "~weir:*", "resetchannels", "-@all"]);
    server.cli(&["ACL", "SETUSER", "weir", "+@hash", "+@scripting", "+time", "+get"]);
    server
        .cli(&["ACL", "SETUSER", "weir", "+set", "+pexpire", "+scan", "+ping", "+select", "+role"]);
    server.cli(&["ACL", "SETUSER", "default", "off"]);
    let url = |user: &str| format!("redis://{user}127.0.0.1:{}/3", server.port);
    let store = Redis::open(&at(server.settings(), &url("weir:p%40ss@"))).unwrap();
    counts(&store, "ada").await;
    assert_eq!(store.subjects("", 9).await.unwrap().len(), 1);
    for (user, said) in [("weir:canary@", "WRONGPASS"), ("", "NOAUTH")] {
        let error = Redis::open(&at(server.settings(), &url(user))).unwrap_err();
        let StoreError::Incapable { problem } = &error else { panic!("{error:?}") };
        assert!(problem.contains(said) && !format!("{error:?}").contains("canary"), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_not_run_scripts_keeps_the_store_from_opening() {
    let server = Server::start();
    server.cli(&["ACL", "SETUSER", "weir", "on", ">pw", "~weir:*", "+@all", "-@scripting"]);
    let url = format!("redis://weir:pw@127.0.0.1:{}", server.port);
    let error = Redis::open(&at(server.settings(), &url)).unwrap_err();
    assert!(error.to_string().contains("to run a script"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgot_the_script_is_told_it_again() {
    let server = Server::start();
    let store = server.open();
    counts(&store, "ada").await;
    server.cli(&["SCRIPT", "FLUSH"]);
    counts(&store, "eve").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_the_file_system_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("redis.sock");
    let server = Server::with(&["--unixsocket", socket.to_str().unwrap()]);
    let url = format!("redis+unix://{}?database=2", socket.display());
    counts(&Redis::open(&at(server.settings(), &url)).unwrap(), "ada").await;
}

/// An authority, and a certificate of it for `localhost`.
pub(super) fn certify(directory: &Path) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate that is issued by its own name for one that signed itself.
    params.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params =
        rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
            .unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let files = [
        ("ca.crt", authority.pem()),
        ("own.crt", certificate.pem()),
        ("own.key", key.serialize_pem()),
    ];
    files.iter().for_each(|(name, pem)| std::fs::write(directory.join(name), pem).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_verified_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    certify(directory.path());
    let path = |name: &str| directory.path().join(name);
    let place = Place::free();
    let port = place.port.to_string();
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    let server = Server::with(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &text("own.crt"),
        "--tls-key-file",
        &text("own.key"),
        "--tls-ca-cert-file",
        &text("ca.crt"),
        "--tls-auth-clients",
        "yes",
    ]);
    let settings = at(server.settings(), &format!("rediss://localhost:{port}"));
    let (ca, own) = (Some(path("ca.crt")), Some((path("own.crt"), path("own.key"))));
    let store =
        Redis::open(&RedisSettings { ca: ca.clone(), own: own.clone(), ..settings.clone() });
    counts(&store.unwrap(), "ada").await;
    // Without the authority, and without a certificate of ours, nobody is counted.
    for (ca, own) in [(None, own), (ca, None)] {
        let store = Redis::open(&RedisSettings { ca, own, ..settings.clone() }).unwrap();
        assert!(!store.is_up());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_went_away_is_found_again_and_nobody_waits_meanwhile() {
    let server = Server::start();
    let store =
        Redis::open(&RedisSettings { deadline: Duration::from_secs(2), ..server.settings() });
    let store = store.unwrap();
    counts(&store, "ada").await;
    let epoch = store.probe().await.unwrap();
    assert_eq!(store.probe().await.unwrap(), epoch);
    server.signal("STOP");
    let one = limits([quota("chat", Unit::Requests, 3600, 9)]);
    let ask = || {
        let (cost, now) = (NanoUsd(0), Timestamp(0));
        let demand =
            Demand { subject: "bob", limits: &one, cost, tokens: 0, bytes: 0, now, enforce: true };
        store.reserve(demand)
    };
    assert!(matches!(ask().await, Err(StoreError::Away)));
    let began = Instant::now();
    for _ in 0..1_000 {
        assert!(matches!(ask().await, Err(StoreError::Away)));
    }
    // Were each to wait for its deadline, this would take half an hour.
    assert!(began.elapsed() < Duration::from_secs(60) && !store.is_up());
    server.signal("CONT");
    until("the server is back", || async { store.is_up() }).await;
    counts(&store, "eve").await;
    // What was given up while the server slept has booked nothing that stays.
    until("nothing is held", || async {
        store.usage("bob", Timestamp(0)).await.is_ok_and(|usage| usage.iter().all(|u| u.used == 0))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_lead_to_the_new_master() {
    let (master, replica) = (Server::start(), Server::start());
    replica.cli(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("sentinel.conf");
    let places = [Place::free(), Place::free()];
    let port = places[0].port;
    let text = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
        master.port
    );
    std::fs::write(&config, text).unwrap();
    let sentinel = Server::of(Command::new(program()).arg(&config).arg("--sentinel"), places);
    let url = format!("redis-sentinel://127.0.0.1:1,127.0.0.1:{port}/main");
    let store = Redis::open(&at(sentinel.settings(), &url)).unwrap();
    counts(&store, "ada").await;
    let known = || sentinel.cli(&["SENTINEL", "replicas", "main"]);
    until("the replica is known", || async { known().contains(&replica.port.to_string()) }).await;
    // A master that dies takes with it what no replica has heard.
    let books = |server: &Server| server.cli(&["HGETALL", "weir:{ada}"]);
    store.usage("ada", Timestamp(0)).await.unwrap();
    until("the replica has the count", || async { books(&replica) == books(&master) }).await;
    drop(master);
    until("a new master counts", || async {
        store.usage("ada", Timestamp(0)).await.is_ok_and(|usage| usage[0].used == 2)
    })
    .await;
    counts(&store, "eve").await;
}
