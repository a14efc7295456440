//! What the server is told after an absence: runs of journals, merged, each once.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Server;
use crate::clock::Timestamp;
use crate::ledger::authority::{Amount, Authority, Deed, Entry, EntryId, Move};
use crate::ledger::contract::{NOON, budget, quota};
use crate::ledger::{Redis, Store};
use crate::policy::calendar::Period;
use crate::policy::limit::{Limit, Span, Unit};

fn moved(limit: &Limit, amount: Amount) -> Move {
    let period = match limit.counter.span() {
        Span::Period(calendar) => calendar.bounds(Timestamp(NOON)),
        _ => return Move { name: (&limit.counter).into(), period: (0, 0), amount },
    };
    Move { name: (&limit.counter).into(), period: (period.start.0, period.end.0), amount }
}

fn entry(sequence: u64, at: u64, moves: impl IntoIterator<Item = Move>) -> Entry {
    let moves: SmallVec<_> = moves.into_iter().collect();
    let deed = Deed::Change { subject: Arc::from("ada"), at: Timestamp(at), moves };
    Entry { id: EntryId { journal: 7, sequence }, deed }
}

/// Each entry adds so much of each, and the one behind it gives a part back.
fn entries(count: u64) -> Vec<Entry> {
    let (window, day) = limits();
    let pair = |n: u64| {
        let at = NOON - 60_000 + n;
        let taken = Amount::Take { at, amount: 2 };
        [
            entry(2 * n + 1, at, [moved(&window, Amount::Add(3)), moved(&day, Amount::Add(10))]),
            entry(2 * n + 2, at + 1, [moved(&window, taken), moved(&day, taken)]),
        ]
    };
    (0..count).flat_map(pair).collect()
}

fn limits() -> (Limit, Limit) {
    (quota("chat", Unit::Tokens, 3_600, 1 << 50), budget(Period::Day, "UTC", 1 << 50))
}

async fn used(store: &Redis, now: u64) -> Vec<u64> {
    let usage = store.usage("ada", Timestamp(now)).await.unwrap();
    usage.iter().map(|usage| usage.used).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_entries_are_a_handful_of_commands_and_count_exactly() {
    let server = Server::start();
    let store = server.store();
    used(&store, NOON).await;
    let before = store.calls();
    store.import(&entries(1_000)).await.unwrap();
    assert!(store.calls() - before < 10, "{} commands", store.calls() - before);
    assert_eq!(used(&store, NOON).await, [1_000, 8_000]);
    // A window keeps it until its hour is over, and a 256th longer at most.
    assert_eq!(used(&store, NOON + 3_540_000 - 1).await, [1_000, 8_000]);
    assert_eq!(used(&store, NOON + 3_541_000 + 14_063).await, [0, 8_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_overlap_what_was_heard_count_once() {
    let server = Server::start();
    let store = server.store();
    used(&store, NOON).await;
    let all = entries(500);
    // Told in parts that end anywhere, again and again.
    for (from, to) in [(0, 101), (50, 400), (0, 1_000), (399, 777), (0, 1_000)] {
        store.import(&all[from..to]).await.unwrap();
        let heard = if to == 101 { 101 } else { to.max(400) };
        if heard == 101 {
            assert_eq!(used(&store, NOON).await, [50 + 3, 400 + 10]);
        }
    }
    assert_eq!(used(&store, NOON).await, [500, 4_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_of_an_earlier_run_is_found_there() {
    let server = Server::start();
    let store = server.store();
    used(&store, NOON).await;
    let all = entries(100);
    let (adds, takes): (Vec<_>, Vec<_>) = all.into_iter().partition(|e| e.id.sequence % 2 == 1);
    store.import(&adds).await.unwrap();
    assert_eq!(used(&store, NOON).await, [300, 1_000]);
    // Another journal: the same marks say nothing of it.
    let other = |mut entry: Entry| {
        entry.id.journal = 8;
        entry
    };
    let takes: Vec<_> = takes.into_iter().map(other).collect();
    store.import(&takes).await.unwrap();
    assert_eq!(used(&store, NOON).await, [100, 800]);
}
