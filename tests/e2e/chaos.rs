//! An upstream that is killed, freezes, slows down, resets and flaps, under load.
//!
//! Whatever it does, every request ends in time with an answer that says what happened, no POST
//! arrives twice, and when it is well again so is everything, by itself.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    faulty::{Faulty, Manner},
    harness::{PATIENCE, run, until, until_async},
    plan::Plan,
    sidecar::Sidecar,
};

const CLIENTS: usize = 6;
/// Longest time to an answer that the policy allows: connecting, waiting, and a little.
const LIMIT: Duration = Duration::from_secs(1);

fn plan() -> Plan {
    Sidecar::with("[health]\nevery = \"1s\"\ntimeout = \"500ms\"\n").upstream(
        "connect_timeout = \"1s\"\nresponse_timeout = \"1s\"\nidle_timeout = \"1s\"\n\
         retry = { attempts = 3, backoff = \"5ms..50ms\", on = [\"connect\", \"refused\", \"reset\", \"503\"] }\n\
         circuit_breaker = { failures = 20, within = \"5s\", open_for = \"200ms\" }\n\
         ejection = { failures = 5, eject_for = \"200ms..1s\" }",
    )
}

#[derive(Default)]
struct Tally {
    number: AtomicUsize,
    done: AtomicBool,
    statuses: Mutex<std::collections::BTreeMap<u16, usize>>,
    slowest: Mutex<Duration>,
}

/// Asks until the storm is over: POSTs with a number each, and GETs.
async fn load(sidecar: Arc<Sidecar>, tally: Arc<Tally>, h2: bool) {
    let client = &sidecar.client;
    let mut connection = if h2 { client.h2().await } else { client.h1().await };
    while !tally.done.load(Relaxed) {
        let number = tally.number.fetch_add(1, Relaxed);
        let ask = match number % 2 {
            0 => client.post(&format!("/post/{number}"), "{}"),
            _ => client.get(&format!("/get/{number}")),
        };
        let began = Instant::now();
        let answer = ask.on(&mut connection).await;
        let took = began.elapsed();
        *tally.statuses.lock().unwrap().entry(answer.status.as_u16()).or_default() += 1;
        let mut slowest = tally.slowest.lock().unwrap();
        *slowest = took.max(*slowest);
    }
}

/// Runs `storm` under load, and says what came of it.
async fn under_load<T, F>(
    sidecar: &Arc<Sidecar>,
    storm: impl FnOnce(Arc<Tally>) -> F,
) -> (Arc<Tally>, T)
where
    F: Future<Output = T>,
{
    let (tally, mut clients) = (Arc::new(Tally::default()), JoinSet::new());
    for number in 0..CLIENTS {
        clients.spawn(load(Arc::clone(sidecar), Arc::clone(&tally), number % 2 == 0));
    }
    let result = storm(Arc::clone(&tally)).await;
    tally.done.store(true, Relaxed);
    clients.join_all().await;
    (tally, result)
}

impl Tally {
    /// Lets this long pass, and at least so many requests: a busy machine has few in a moment.
    async fn moves_on(&self, pause: Duration, requests: usize) {
        let goal = self.number.load(Relaxed) + requests;
        tokio::time::sleep(pause).await;
        until("requests go on", || (self.number.load(Relaxed) >= goal).then_some(())).await;
    }
}

fn check(tally: &Tally, services: &[&Faulty]) {
    let statuses = tally.statuses.lock().unwrap().clone();
    let known = [200, 500, 502, 503, 504];
    assert!(statuses.keys().all(|status| known.contains(status)), "{statuses:?}");
    assert!(statuses.get(&200).copied().unwrap_or_default() > 0, "{statuses:?}");
    // The limit, and what a busy machine may add.
    let slowest = *tally.slowest.lock().unwrap();
    assert!(slowest < LIMIT + PATIENCE / 3, "an answer took {slowest:?}");
    for number in 0..tally.number.load(Relaxed) {
        let line = format!("POST /post/{number}");
        let times: usize = services.iter().map(|service| service.count(&line)).sum();
        assert!(times <= 1, "{line} arrived {times} times");
        let line = format!("GET /get/{number}");
        let times: usize = services.iter().map(|service| service.count(&line)).sum();
        assert!(times <= 4, "{line} arrived {times} times");
    }
}

/// Waits until fifty requests in a row are answered well.
async fn recovered(sidecar: &Sidecar) {
    let row = AtomicUsize::new(0);
    until_async("it has recovered by itself", || async {
        let well = sidecar.client.get("/after").send().await.status == 200;
        row.store(if well { row.load(Relaxed) + 1 } else { 0 }, Relaxed);
        (row.load(Relaxed) >= 50).then_some(())
    })
    .await;
}

async fn descriptors_are(sidecar: &Sidecar, before: f64) {
    until_async("descriptors are back", || async {
        // Idle connections are kept on purpose; what is left over otherwise is not.
        let now = sidecar.metric("process_open_fds").await;
        let idle = sidecar.metric("weir_upstream_connections{state=\"idle\"}").await;
        (now - idle <= before + 2.0).then_some(())
    })
    .await;
}

#[test]
fn one_upstream_that_does_everything_wrong_under_load() {
    run(async {
        let mut a = Faulty::start("a").await;
        let sidecar = Arc::new(plan().before_address(a.address).start().await);
        recovered(&sidecar).await;
        let before = sidecar.metric("process_open_fds").await;

        let (tally, a) = under_load(&sidecar, async |tally| {
            let rest = || tally.moves_on(Duration::from_millis(300), 12);
            rest().await;
            for manner in [
                Manner::Resets,
                Manner::Frozen,
                Manner::Slow(Duration::from_millis(50)),
                Manner::HalfHead,
                Manner::Answers(503, &[]),
                Manner::Answers(500, &[]),
                Manner::Slow(Duration::from_secs(5)),
            ] {
                a.becomes(manner);
                rest().await;
                a.becomes(Manner::Well);
                rest().await;
            }
            a.kill();
            rest().await;
            a.revive().await;
            rest().await;
            a
        })
        .await;

        check(&tally, &[&a]);
        recovered(&sidecar).await;
        descriptors_are(&sidecar, before).await;
        sidecar.metric_is("weir_upstream_connections{state=\"busy\"}", 0.0).await;
        sidecar.metric_is("weir_circuit_state", 0.0).await;
    });
}

#[test]
fn an_upstream_that_flaps_under_load() {
    run(async {
        let mut a = Faulty::start("a").await;
        let sidecar = Arc::new(plan().before_address(a.address).start().await);
        recovered(&sidecar).await;
        let before = sidecar.metric("process_open_fds").await;

        let (tally, a) = under_load(&sidecar, async |_| {
            for _ in 0..25 {
                a.kill();
                tokio::time::sleep(Duration::from_millis(40)).await;
                a.revive().await;
                tokio::time::sleep(Duration::from_millis(80)).await;
            }
            a
        })
        .await;

        check(&tally, &[&a]);
        recovered(&sidecar).await;
        descriptors_are(&sidecar, before).await;
    });
}

#[test]
fn of_three_upstreams_one_after_the_other_fails_under_load() {
    run(async {
        let mut all = Vec::new();
        for name in ["a", "b", "c"] {
            all.push(Faulty::start(name).await);
        }
        let addresses: Vec<_> = all.iter().map(|service| service.address).collect();
        let sidecar = Arc::new(plan().before_all(&addresses).start().await);
        recovered(&sidecar).await;
        let before = sidecar.metric("process_open_fds").await;

        let (tally, all) = under_load(&sidecar, async |tally| {
            let rest = || tally.moves_on(Duration::from_millis(400), 200);
            for service in &mut all {
                service.kill();
                rest().await;
                service.revive().await;
                service.becomes(Manner::Resets);
                rest().await;
                service.becomes(Manner::Frozen);
                rest().await;
                service.becomes(Manner::Well);
            }
            all
        })
        .await;

        check(&tally, &all.iter().collect::<Vec<_>>());
        let statuses = tally.statuses.lock().unwrap().clone();
        let (well, others): (usize, usize) = (
            statuses.get(&200).copied().unwrap_or_default(),
            statuses.iter().filter(|(status, _)| **status != 200).map(|(_, count)| count).sum(),
        );
        assert!(others * 4 < well, "two of three are always well: {statuses:?}");
        recovered(&sidecar).await;
        descriptors_are(&sidecar, before).await;
    });
}
