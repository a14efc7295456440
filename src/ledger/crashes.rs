//! What becomes of holds that a crash leaves open in a directory.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::clock::Timestamp;
use crate::ledger::contract::{CENT, HOUR, NOON, budget, demand, quota};
use crate::ledger::{Decision, Demand, Embedded, Hold, Options, Outcome, Store};
use crate::policy::calendar::{Calendar, Period};
use crate::policy::limit::{Counter, Limit, Limits, POOLS, Span, Unit};
use crate::units::NanoUsd;

const LEASE: u64 = 10_000;

fn open(directory: &Path, release: bool) -> Embedded {
    let release_after = release.then_some(Duration::from_millis(LEASE));
    Embedded::open(directory, Options { release_after, ..Options::default() }).unwrap()
}

/// The directory as a crash would leave it at this moment: the lock is not copied.
pub(super) fn crashed(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

/// A window and a day, of the subject and of all callers; `chat` was called `former` before.
fn limits(former: Option<&str>) -> Arc<Limits> {
    let day = || Span::Period(Calendar::new(Period::Day, "UTC").unwrap());
    let pool =
        Limit { counter: Counter::new("operation:chat", Unit::NanoUsd, day()), amount: 100 * CENT };
    let hourly = quota("chat", Unit::Requests, 3600, 100);
    let hourly = Limit { counter: hourly.counter.renamed_from(former), ..hourly };
    let own = Box::new([hourly, budget(Period::Day, "UTC", 50 * CENT)]);
    Arc::new(Limits { limits: own, pools: Box::new([pool]), ..Limits::default() })
}

async fn admitted(store: &Embedded, demand: Demand<'_>) -> Box<Hold> {
    match store.reserve(demand).await.unwrap() {
        Decision::Admitted(hold, _) => hold,
        Decision::Refused(refused) => panic!("refused: {refused:?}"),
    }
}

fn actual(cost: u64) -> Outcome {
    Outcome::Actual { cost: NanoUsd(cost), tokens: 0, bytes: 0 }
}

/// Used and held of each counter, of the subject and of all callers.
async fn books(store: &Embedded, now: u64) -> Vec<(u64, u64)> {
    let mut all = store.usage("ada", Timestamp(now)).await.unwrap();
    all.extend(store.usage(POOLS, Timestamp(now)).await.unwrap());
    all.iter().map(|usage| (usage.used, usage.held)).collect()
}

#[tokio::test]
async fn what_was_open_stays_held_until_its_lease_ends_and_is_given_back_then() {
    let (directory, all) = (tempfile::tempdir().unwrap(), limits(None));
    let store = open(directory.path(), true);
    let settled = admitted(&store, demand(&all, NOON)).await;
    let same = admitted(&store, demand(&all, NOON)).await;
    let refunded = admitted(&store, demand(&all, NOON)).await;
    let left = admitted(&store, demand(&all, NOON + 1)).await;
    store.settle(settled, actual(7 * CENT), Timestamp(NOON + 2));
    store.settle(same, Outcome::Keep, Timestamp(NOON + 3));
    store.settle(refunded, Outcome::Refund, Timestamp(NOON + 4));

    let copy = crashed(directory.path());
    let again = open(copy.path(), true);
    let last = NOON + 4;
    let held = [(3, 0), (11 * CENT, 2 * CENT), (11 * CENT, 2 * CENT)];
    assert_eq!(books(&again, last + LEASE - 1).await, held);
    let given_back = [(2, 0), (9 * CENT, 0), (9 * CENT, 0)];
    assert_eq!(books(&again, last + LEASE).await, given_back);
    let twice = crashed(copy.path());
    assert_eq!(books(&open(twice.path(), true), last + LEASE).await, given_back, "once");
    drop(again);
    assert_eq!(books(&open(copy.path(), true), last + 2 * LEASE).await, given_back);
    store.settle(left, Outcome::Keep, Timestamp(NOON + 5));
}

#[tokio::test]
async fn where_it_is_charged_what_was_open_is_spent_at_once() {
    let (directory, all) = (tempfile::tempdir().unwrap(), limits(None));
    for release in [false, true] {
        let store = open(directory.path(), release);
        let hold = admitted(&store, demand(&all, NOON)).await;
        drop((store, hold));
    }
    // The second was made by a process that would have given it back: what holds now decides.
    let store = open(directory.path(), false);
    assert_eq!(books(&store, NOON + 1).await, [(2, 0), (4 * CENT, 0), (4 * CENT, 0)]);
    drop(store);
    let store = open(directory.path(), true);
    assert_eq!(books(&store, NOON + HOUR - 1).await, [(2, 0), (4 * CENT, 0), (4 * CENT, 0)]);
}

#[tokio::test]
async fn a_crash_loop_prolongs_no_lease() {
    let (directory, all) = (tempfile::tempdir().unwrap(), limits(None));
    let store = open(directory.path(), true);
    let hold = admitted(&store, demand(&all, NOON)).await;
    drop((store, hold));
    for crash in 1..4 {
        let store = open(directory.path(), true);
        let hold = admitted(&store, demand(&all, NOON + crash * 3000)).await;
        store.settle(hold, Outcome::Refund, Timestamp(NOON + crash * 3000));
        assert_eq!(books(&store, NOON + crash * 3000).await[0].0, 1);
    }
    let store = open(directory.path(), true);
    assert_eq!(books(&store, NOON + LEASE).await[1], (0, 0));
}

#[tokio::test]
async fn a_long_request_is_held_as_long_as_its_process_shows_life() {
    let (directory, all) = (tempfile::tempdir().unwrap(), limits(None));
    let store = open(directory.path(), true);
    let hold = admitted(&store, demand(&all, NOON)).await;
    for second in 0..300 {
        store.sweep(Timestamp(NOON + second * 1000));
    }
    drop((store, hold));
    let store = open(directory.path(), true);
    // The last sign of life is at most a quarter of a lease old.
    assert_eq!(books(&store, NOON + 299_000 + LEASE * 3 / 4 - 1).await[1].1, 2 * CENT);
    assert_eq!(books(&store, NOON + 299_000 + LEASE).await[1].1, 0);
}

#[tokio::test]
async fn what_was_raised_checkpointed_and_renamed_is_given_back_whole() {
    let (directory, before) = (tempfile::tempdir().unwrap(), limits(Some("draw")));
    let store = open(directory.path(), true);
    let draw = Arc::new(Limits {
        limits: Box::new([
            quota("draw", Unit::Requests, 3600, 100),
            budget(Period::Day, "UTC", 50 * CENT),
        ]),
        pools: Box::new([]),
        ..Limits::default()
    });
    let mut hold = admitted(&store, demand(&draw, NOON)).await;
    let kept = admitted(&store, demand(&draw, NOON)).await;
    store.checkpoint().unwrap();
    let more = Demand { cost: NanoUsd(9 * CENT), ..demand(&before, NOON + 400_000) };
    store.raise(&mut hold, more).await.unwrap().unwrap();
    store.settle(kept, Outcome::Keep, Timestamp(NOON + 400_000));
    let expected = [(1, 0), (2 * CENT, 0), (0, 0)];
    for checkpointed in [false, true] {
        if checkpointed {
            store.checkpoint().unwrap();
        }
        let copy = crashed(directory.path());
        let again = open(copy.path(), true);
        let (used, held): (Vec<_>, Vec<_>) =
            books(&again, NOON + 400_001).await.into_iter().unzip();
        assert_eq!((used, held), (vec![2, 11 * CENT, 9 * CENT], vec![0, 9 * CENT, 9 * CENT]));
        assert_eq!(books(&again, NOON + 400_000 + LEASE).await, expected, "{checkpointed}");
    }
    store.settle(hold, Outcome::Keep, Timestamp(NOON + 400_000));
}

#[tokio::test]
async fn a_hold_of_yesterday_or_of_before_a_reset_gives_nothing_of_today_back() {
    let (directory, all) = (tempfile::tempdir().unwrap(), limits(None));
    let store = open(directory.path(), true);
    let midnight = NOON + 12 * HOUR;
    let of_yesterday = admitted(&store, demand(&all, midnight - 1)).await;
    let today = admitted(&store, demand(&all, midnight + 1)).await;
    store.settle(today, Outcome::Keep, Timestamp(midnight + 2));
    let again = open(crashed(directory.path()).path(), true);
    let books_then = books(&again, midnight + 2 + LEASE).await;
    assert_eq!(books_then, [(1, 0), (2 * CENT, 0), (2 * CENT, 0)]);

    assert!(store.reset("ada").await.unwrap() && store.reset(POOLS).await.unwrap());
    let kept = admitted(&store, demand(&all, midnight + 3)).await;
    store.settle(kept, Outcome::Keep, Timestamp(midnight + 4));
    let again = open(crashed(directory.path()).path(), true);
    let books_then = books(&again, midnight + 4 + LEASE).await;
    assert_eq!(books_then, [(1, 0), (2 * CENT, 0), (2 * CENT, 0)]);
    store.settle(of_yesterday, Outcome::Refund, Timestamp(midnight + 5));
}

#[tokio::test]
async fn a_journal_cut_at_any_byte_never_forgets_what_was_settled_before() {
    let (directory, all) = (tempfile::tempdir().unwrap(), limits(None));
    let store = open(directory.path(), true);
    let log = directory.path().join("journal-00000000000000000002.log");
    let length = || std::fs::metadata(&log).unwrap().len();
    let first = admitted(&store, demand(&all, NOON)).await;
    store.settle(first, actual(5 * CENT), Timestamp(NOON));
    let settled = length();
    let second = admitted(&store, demand(&all, NOON)).await;
    let opened = length();
    store.settle(second, actual(CENT), Timestamp(NOON));
    let closed = length();
    for cut in settled..=closed {
        let copy = crashed(directory.path());
        let torn = copy.path().join(log.file_name().unwrap());
        std::fs::File::options().write(true).open(torn).unwrap().set_len(cut).unwrap();
        let again = open(copy.path(), true);
        let day = books(&again, NOON).await[1];
        let open_then = cut >= opened && cut < closed;
        let own = [5 * CENT, 6 * CENT, 7 * CENT];
        assert!(
            own.contains(&day.0) && (day.1 == 0 || open_then || cut < opened),
            "{cut}: {day:?}"
        );
        let whole = if cut >= closed { 6 * CENT } else { 5 * CENT };
        let after = books(&again, NOON + LEASE).await;
        // Frames of one write may be torn between the accounts; each is whole.
        assert!(after[1].0 == whole || after[1].0 == 6 * CENT, "{cut}: {after:?}");
        assert!(after[2].0 >= 5 * CENT, "{cut}: {after:?}");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_keeps_what_is_left_of_a_lease() {
    let (directory, all) = (tempfile::tempdir().unwrap(), limits(None));
    let store = open(directory.path(), true);
    let hold = admitted(&store, demand(&all, NOON)).await;
    drop((store, hold));
    let store = open(directory.path(), true);
    let earlier = NOON - 3 * HOUR;
    let hold = admitted(&store, demand(&all, earlier)).await;
    store.settle(hold, Outcome::Refund, Timestamp(earlier));
    assert_eq!(books(&store, earlier + LEASE - 1).await[1], (2 * CENT, 2 * CENT));
    assert_eq!(books(&store, earlier + LEASE).await[1], (0, 0));
}
