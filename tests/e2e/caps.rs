//! As much as there is room for: connections in all, for each address, and memory.

use std::time::Instant;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    client::{Client, Connection},
    harness::{PATIENCE, run, soon, until_async},
    origin::Origin,
    raw,
    shake::{Shake, get, status},
    sidecar::Sidecar,
};

const GET: &[u8] = b"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n";
const SHED: &str = r#"weir_connections_shed_total{reason="total"}"#;

#[test]
fn past_the_cap_new_connections_are_told_503_and_old_ones_live() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").listen("max_connections = 4");
        let sidecar = plan.before(&origin).start().await;
        let mut old: Vec<Connection> = Vec::new();
        for _ in 0..4 {
            let mut connection = sidecar.client.h1().await;
            assert_eq!(sidecar.client.get("/x").on(&mut connection).await.status, 200);
            old.push(connection);
        }

        for h2 in [false, true] {
            let mut more = if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await };
            let answer = sidecar.client.get("/x").on(&mut more).await;
            assert_eq!(answer.refusal(), (503, "overloaded".to_owned()), "h2: {h2}");
            assert!(answer.header("retry-after").is_some());
            assert_eq!(answer.header("connection"), (!h2).then_some("close"));
        }
        // One that is told, and does not go, is ended.
        let mut stays = sidecar.client.tls(&["http/1.1"]).await;
        raw::read_to_end("it is not kept", &mut stays).await;
        assert!(sidecar.metric(SHED).await >= 3.0);
        assert_eq!(origin.count("/x"), 4);
        for connection in &mut old {
            assert_eq!(sidecar.client.get("/x").on(connection).await.status, 200);
        }

        drop(old.pop());
        let room = || async { (sidecar.client.get("/x").send().await.status == 200).then_some(()) };
        until_async("there is room again", room).await;
    });
}

#[test]
fn far_past_the_cap_connections_are_closed_at_once() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").listen("max_connections = 1\nhandshake_timeout = \"1m\"");
        let sidecar = plan.before(&origin).start().await;
        // 65 that say nothing fill the place, and all from which one would be told.
        let mut silent = Vec::new();
        for _ in 0..65 {
            silent.push(TcpStream::connect(sidecar.address).await.unwrap());
        }
        sidecar.metric_is(SHED, 64.0).await;

        let mut more = TcpStream::connect(sidecar.address).await.unwrap();
        let mut got = Vec::new();
        drop(soon("it is closed", more.read_to_end(&mut got)).await);

        assert!(got.is_empty());
        drop(silent);
        let room = || async {
            let stream = sidecar.client.try_tls(&["http/1.1"]).await;
            let Ok(mut stream) = stream else { return None };
            (status(&get(&mut stream, "localhost").await) == 200).then_some(())
        };
        until_async("there is room again", room).await;
    });
}

#[test]
fn one_address_has_its_own_cap_and_the_others_are_served() {
    run(async {
        let origin = Origin::start().await;
        let address = "address = \"127.0.0.1:0\"";
        let plan = Sidecar::with("").listen("max_connections_per_address = 2");
        let plan = plan.replacing(address, "address = [\"127.0.0.1:0\", \"[::1]:0\"]");
        let sidecar = plan.before(&origin).start().await;
        let serving = sidecar.logged("it serves", |line| line["message"] == "serving").await;
        let other = serving["addresses"].as_str().unwrap().split(' ').nth(1).unwrap().to_owned();
        let shake = Shake::trusting(&sidecar.file("certs/ca.crt"));

        let mut kept = Vec::new();
        for _ in 0..2 {
            let mut stream = shake.to(sidecar.address).await.unwrap();
            assert_eq!(status(&get(&mut stream, "localhost").await), 200);
            kept.push(stream);
        }
        assert!(shake.to(sidecar.address).await.is_err(), "a third one");
        sidecar.metric_is(r#"weir_connections_shed_total{reason="address"}"#, 1.0).await;
        let answer = shake.get(other.parse().unwrap(), "localhost").await;
        assert_eq!(status(&answer), 200, "another address: {answer}");
        drop(kept.pop());
        let room = || async { shake.to(sidecar.address).await.ok() };
        until_async("there is room again", room).await;
    });
}

const WHOLE: &str = "[operations.whole]\nroutes = [\"POST /whole\"]\n\
request = { max_depth = 5, max_body = \"64MiB\" }\n\
[operations.general]\nroutes = [\"* /**\"]\n";

/// Sends a JSON string of this many KiB, never ends it, and keeps the connection.
async fn hoard(client: Client, kibibytes: usize) {
    let Ok(mut stream) = client.try_tls(&["http/1.1"]).await else { return };
    let head = format!(
        "POST /whole HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n\"",
        kibibytes * 1024 + 100
    );
    drop(stream.write_all(head.as_bytes()).await);
    for _ in 0..kibibytes.div_ceil(64) {
        if stream.write_all(&[b'a'; 64 << 10]).await.is_err() {
            break;
        }
    }
    // Refused or cut: either way it is over then.
    drop(stream.read_to_end(&mut Vec::new()).await);
}

const RESIDENT: &str = "process_resident_memory_bytes";
const LEVEL: &str = "weir_overload_level";
/// So many of half a MiB are more than any of these tests leaves room for.
const HOARDS: usize = 400;

/// A sidecar that may use this much more memory than it takes to serve a few requests.
async fn with_room(origin: &Origin, mebibytes: u32) -> (Sidecar, f64) {
    let probe = Sidecar::with(WHOLE).before(origin).start().await;
    assert_eq!(probe.client.get("/x").send().await.status, 200);
    let limit = probe.metric(RESIDENT).await + f64::from(mebibytes << 20);
    drop(probe);
    let max_memory = format!("max_memory = \"{}KiB\"", (limit / 1024.0).round());
    let sidecar = Sidecar::with(WHOLE).listen(&max_memory).before(origin).start().await;
    assert_eq!(sidecar.client.get("/x").send().await.status, 200);
    (sidecar, limit)
}

/// The answer to a GET; nothing when its connection was ended to make room before it was asked.
async fn asked(sidecar: &Sidecar) -> String {
    match sidecar.client.try_tls(&["http/1.1"]).await {
        Ok(mut stream) => get(&mut stream, "localhost").await,
        Err(_) => String::new(),
    }
}

/// Hoards more and more, so many KiB each, until `found` finds something.
async fn press<T>(
    sidecar: &Sidecar,
    hoards: &mut JoinSet<()>,
    kibibytes: usize,
    what: &str,
    found: impl AsyncFn() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        // Those that were refused or given up hoard nothing any more.
        while hoards.try_join_next().is_some() {}
        if hoards.len() < HOARDS {
            hoards.spawn(hoard(sidecar.client.clone(), kibibytes));
        }
    }
}

/// Waits until there is no pressure and requests are served.
async fn is_calm(sidecar: &Sidecar) {
    sidecar.metric_is(LEVEL, 0.0).await;
    let served = || async { (status(&asked(sidecar).await) == 200).then_some(()) };
    until_async("it serves again", served).await;
}

#[test]
fn a_burst_of_large_bodies_stays_within_the_memory_limit_and_passes_by() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, limit) = with_room(&origin, 128).await;

        // Five times what there is room for.
        let mut hoards = JoinSet::new();
        for _ in 0..16 {
            hoards.spawn(hoard(sidecar.client.clone(), 40 << 10));
        }
        let runs_out = |line: &serde_json::Value| line["message"] == "memory runs out";
        let mut highest: f64 = 0.0;
        let mut ended = 0;
        while ended < 8 {
            tokio::select! {
                _ = hoards.join_next() => ended += 1,
                resident = sidecar.metric(RESIDENT) => highest = highest.max(resident),
            }
        }

        sidecar.logged("memory runs out", runs_out).await;
        assert!(highest < limit * 1.25, "bounded: {highest} of {limit}");
        hoards.shutdown().await;
        is_calm(&sidecar).await;
        let free = |line: &serde_json::Value| line["message"] == "memory is free again";
        sidecar.logged("memory is free again", free).await;
        assert_eq!(origin.count("/whole"), 0);
    });
}

#[test]
fn a_sidecar_that_is_full_and_then_left_alone_opens_again() {
    run(async {
        let origin = Origin::start().await;
        for _ in 0..3 {
            let (sidecar, _) = with_room(&origin, 64).await;
            let mut hoards = JoinSet::new();
            let is_full = async || (sidecar.metric(LEVEL).await >= 3.0).then_some(());
            press(&sidecar, &mut hoards, 8 << 10, "nothing is accepted", is_full).await;

            hoards.shutdown().await;

            // Nobody asks it for anything but how it is: what was freed has to be given back all the same.
            sidecar.metric_is(LEVEL, 0.0).await;
            is_calm(&sidecar).await;
        }
    });
}

#[test]
fn near_the_memory_limit_connections_end_then_requests_are_refused_and_it_comes_back() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, _) = with_room(&origin, 64).await;
        assert!(sidecar.metric("weir_memory_limit_bytes").await > 0.0);
        let mut idle = sidecar.client.tls(&["http/1.1"]).await;
        idle.write_all(GET).await.unwrap();
        let answer = raw::read_answer(&mut idle).await;
        assert!(status(&answer) == 200 && !answer.contains("connection: close"), "{answer}");

        let mut hoards = JoinSet::new();
        let closes = async || {
            let is_close = |answer: String| answer.contains("connection: close").then_some(());
            is_close(asked(&sidecar).await)
        };
        press(&sidecar, &mut hoards, 512, "connections end after their request", closes).await;
        raw::read_to_end("an idle connection makes room", &mut idle).await;
        let refused = async || {
            let answer = asked(&sidecar).await;
            (status(&answer) == 503).then_some(answer)
        };
        let answer = press(&sidecar, &mut hoards, 512, "requests are refused", refused).await;
        for part in ["\"error_code\":\"overloaded\"", "connection: close", "retry-after: "] {
            assert!(answer.contains(part), "{part}: {answer}");
        }
        let health = sidecar.operator("/livez").send().await;
        assert_eq!(health.status, 200, "operators are still served");

        hoards.shutdown().await;
        is_calm(&sidecar).await;
    });
}
