//! Measures what one decision costs: `cargo bench --bench ledger [-- DIRECTORY]`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::clock::Timestamp;
use weir::ledger::{Decision, Demand, Embedded, Memory, Options, Outcome, Store};
use weir::policy::calendar::{Calendar, Period};
use weir::policy::limit::{Counter, Limit, Limits, Span, Unit};
use weir::units::NanoUsd;

const ROUNDS: u64 = 1_000_000;
const NOON: u64 = 1_773_144_000_000;

/// Two windows and two budgets, as a free tier has them.
fn limits() -> Arc<Limits> {
    let limit = |scope: &str, unit, span| Limit {
        counter: Counter::new(scope, unit, span),
        amount: u64::MAX / 2,
    };
    let budget =
        |period| Span::Period(Calendar::new(period, "Europe/Berlin").expect("a known zone"));
    let limits = Box::new([
        limit("chat", Unit::Requests, Span::Window(Duration::from_secs(3600))),
        limit("*", Unit::Requests, Span::Window(Duration::from_secs(60))),
        limit("*", Unit::NanoUsd, budget(Period::Day)),
        limit("*", Unit::NanoUsd, budget(Period::Month)),
    ]);
    Arc::new(Limits { limits, ..Limits::default() })
}

async fn rounds(store: &impl Store, outcome: Outcome, subjects: &[String], from: u64) {
    let limits = limits();
    for round in 0..ROUNDS {
        let now = Timestamp(NOON + from + round);
        let subject = &subjects[round as usize % subjects.len()];
        let cost = NanoUsd(20_000_000);
        let demand =
            Demand { subject, limits: &limits, cost, tokens: 100, bytes: 0, now, enforce: true };
        if let Ok(Decision::Admitted(hold, _)) = store.reserve(demand).await {
            store.settle(hold, outcome, now);
        }
    }
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

async fn measure(name: &str, store: &impl Store) {
    for count in [1, 1000, 100_000] {
        let subjects: Vec<String> = (0..count).map(|n| format!("user-{n:08}")).collect();
        for (from, what, outcome) in
            [(0, "keep", Outcome::Keep), (ROUNDS, "refund", Outcome::Refund)]
        {
            let (start, before) = (Instant::now(), cpu());
            rounds(store, outcome, &subjects, from).await;
            let (wall, used) = (start.elapsed(), cpu() - before);
            let each = |time: Duration| time.as_nanos() as f64 / ROUNDS as f64 / 1000.0;
            println!(
                "{name:8} {count:6} subjects, reserve and {what:6}: {:.3} us wall, {:.3} us CPU, {:.0}/s",
                each(wall),
                each(used),
                ROUNDS as f64 / wall.as_secs_f64()
            );
        }
    }
}

/// Prints one line per store, number of subjects and outcome.
#[tokio::main(flavor = "current_thread")]
async fn main() {
    measure("memory", &Memory::default()).await;
    let directory = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let directory = directory.unwrap_or_else(|| "target/ledger-bench".into());
    let store = Embedded::open(Path::new(&directory), Options::default()).expect("a store");
    measure("embedded", &store).await;
    store.close().expect("a last checkpoint");
}
