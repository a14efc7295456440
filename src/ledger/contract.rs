//! What every store promises, as one suite that runs against each of them.
//!
//! A promise is an async function over a fresh, empty store; [`of_every_store`] makes a test of it
//! for each kind, and for those behind the layer that bridges absences. Promises know nothing of a store but its trait, and no time but `demand.now`: a
//! store that follows another clock is made in a mode in which its callers tell the time.

mod attacks;
mod operators;
mod pools;
mod renames;
mod streams;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ledger::{
    CONCURRENCY_WAIT, Decision, Demand, Exceeded, Excess, Hold, Outcome, Refused, Standing, Store,
};
use crate::policy::calendar::{Calendar, Period};
use crate::policy::limit::{Counter, Limit, Limits, Span, Unit};
use crate::units::NanoUsd;

/// 2026-03-10 12:00 UTC.
pub(super) const NOON: u64 = 1_773_144_000_000;
pub(super) const HOUR: u64 = 3_600_000;
pub(super) const CENT: u64 = 10_000_000;

pub(super) fn quota(scope: &str, unit: Unit, seconds: u64, amount: u64) -> Limit {
    let span = Span::Window(Duration::from_secs(seconds));
    Limit { counter: Counter::new(scope, unit, span), amount }
}

pub(super) fn budget(period: Period, zone: &str, amount: u64) -> Limit {
    let span = Span::Period(Calendar::new(period, zone).unwrap());
    Limit { counter: Counter::new("*", Unit::NanoUsd, span), amount }
}

pub(super) fn limits(limits: impl IntoIterator<Item = Limit>) -> Arc<Limits> {
    Arc::new(Limits { limits: limits.into_iter().collect(), ..Limits::default() })
}

fn hourly(amount: u64) -> Arc<Limits> {
    limits([quota("chat", Unit::Requests, 3600, amount)])
}

fn crowd(concurrency: u32) -> Arc<Limits> {
    Arc::new(Limits { concurrency: NonZeroU32::new(concurrency), ..Limits::default() })
}

pub(super) fn demand(limits: &Arc<Limits>, now: u64) -> Demand<'_> {
    let (cost, now) = (NanoUsd(2 * CENT), Timestamp(now));
    Demand { subject: "ada", limits, cost, tokens: 100, bytes: 10, now, enforce: true }
}

pub(super) async fn admitted(store: &impl Store, demand: Demand<'_>) -> (Box<Hold>, Standing) {
    match store.reserve(demand).await.unwrap() {
        Decision::Admitted(hold, standing) => (hold, standing),
        Decision::Refused(refused) => panic!("refused: {refused:?}"),
    }
}

pub(super) async fn keep(store: &impl Store, demand: Demand<'_>) -> Standing {
    let (hold, standing) = admitted(store, demand).await;
    store.settle(hold, Outcome::Keep, demand.now);
    standing
}

pub(super) async fn refused(store: &impl Store, demand: Demand<'_>) -> Refused {
    match store.reserve(demand).await.unwrap() {
        Decision::Admitted(..) => panic!("admitted"),
        Decision::Refused(refused) => refused,
    }
}

pub(super) async fn used(store: &impl Store, now: u64) -> Vec<u64> {
    store.usage("ada", Timestamp(now)).await.unwrap().iter().map(|usage| usage.used).collect()
}

async fn race<S: Store>(store: S, count: usize, limits: Arc<Limits>) -> usize {
    let store = Arc::new(store);
    let mut tasks = Vec::new();
    for _ in 0..count {
        let (store, limits) = (store.clone(), limits.clone());
        tasks.push(tokio::spawn(async move {
            let decision = store.reserve(demand(&limits, NOON)).await.unwrap();
            let Decision::Admitted(hold, _) = decision else { return 0 };
            store.settle(hold, Outcome::Keep, Timestamp(NOON + 1));
            1
        }));
    }
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.unwrap();
    }
    admitted
}

async fn of_200_concurrent_requests_a_quota_of_3_admits_3(store: impl Store) {
    assert_eq!(race(store, 200, hourly(3)).await, 3);
}

async fn half_a_dollar_pays_25_requests_of_two_cents(store: impl Store) {
    assert_eq!(race(store, 200, limits([budget(Period::Day, "UTC", 50 * CENT)])).await, 25);
}

async fn a_refusal_books_nothing_on_any_limit(store: impl Store) {
    let mixed =
        limits([quota("chat", Unit::Requests, 3600, 9), quota("chat", Unit::Tokens, 60, 150)]);
    keep(&store, demand(&mixed, NOON)).await;
    let refusal = refused(&store, demand(&mixed, NOON + 1)).await;
    assert_eq!(refusal.limit, Exceeded::Limit(1));
    assert_eq!(refusal.standing.states.iter().map(|s| s.used).collect::<Vec<_>>(), [1, 100]);
    assert_eq!(used(&store, NOON + 1).await, [1, 100]);
}

async fn a_refund_gives_back_cost_count_and_place(store: impl Store) {
    let mixed = Arc::new(Limits {
        limits: Box::new([
            quota("chat", Unit::Requests, 3600, 1),
            budget(Period::Month, "UTC", 2 * CENT),
        ]),
        concurrency: NonZeroU32::new(1),
        ..Limits::default()
    });
    for round in 0..5 {
        let (hold, standing) = admitted(&store, demand(&mixed, NOON + round)).await;
        assert_eq!(standing.states.iter().map(|s| s.remaining).collect::<Vec<_>>(), [0, 0]);
        store.settle(hold, Outcome::Refund, Timestamp(NOON + round));
        assert_eq!(used(&store, NOON + round).await, [0, 0]);
    }
}

async fn the_truth_replaces_the_estimate(store: impl Store) {
    let mixed = limits([
        quota("chat", Unit::Requests, 3600, 9),
        quota("chat", Unit::Tokens, 60, 1000),
        quota("chat", Unit::Bytes, 60, 1000),
        budget(Period::Day, "UTC", 50 * CENT),
    ]);
    let (hold, _) = admitted(&store, demand(&mixed, NOON)).await;
    let held = |usage: Vec<crate::ledger::CounterUsage>| usage.iter().map(|u| u.held).sum::<u64>();
    assert_eq!(held(store.usage("ada", Timestamp(NOON)).await.unwrap()), 2 * CENT);
    let actual = Outcome::Actual { cost: NanoUsd(3 * CENT), tokens: 40, bytes: 25 };
    store.settle(hold, actual, Timestamp(NOON + 5));
    assert_eq!(used(&store, NOON + 5).await, [1, 40, 25, 3 * CENT]);
    assert_eq!(held(store.usage("ada", Timestamp(NOON + 5)).await.unwrap()), 0);
}

async fn concurrency_slots_come_back(store: impl Store) {
    let two = crowd(2);
    let (first, _) = admitted(&store, demand(&two, NOON)).await;
    let (second, _) = admitted(&store, demand(&two, NOON)).await;
    let refusal = refused(&store, demand(&two, NOON)).await;
    assert_eq!((refusal.limit, refusal.retry_after), (Exceeded::Concurrency, CONCURRENCY_WAIT));
    store.settle(first, Outcome::Keep, Timestamp(NOON));
    let (third, _) = admitted(&store, demand(&two, NOON)).await;
    store.settle(second, Outcome::Refund, Timestamp(NOON));
    store.settle(third, Outcome::Keep, Timestamp(NOON));
}

async fn a_raised_amount_keeps_the_count(store: impl Store) {
    keep(&store, demand(&hourly(1), NOON)).await;
    refused(&store, demand(&hourly(1), NOON)).await;
    let standing = keep(&store, demand(&hourly(2), NOON)).await;
    assert_eq!(standing.states[0].used, 2);
}

async fn a_lowered_amount_keeps_the_count(store: impl Store) {
    for _ in 0..3 {
        keep(&store, demand(&hourly(5), NOON)).await;
    }
    let refusal = refused(&store, demand(&hourly(2), NOON + 1000)).await;
    assert_eq!(refusal.standing.states[0].used, 3);
    assert_eq!(refusal.standing.states[0].remaining, 0);
}

async fn another_zone_keeps_the_count(store: impl Store) {
    let day = |zone| limits([budget(Period::Day, zone, 50 * CENT)]);
    keep(&store, demand(&day("UTC"), NOON)).await;
    let standing = keep(&store, demand(&day("America/New_York"), NOON + 11 * HOUR)).await;
    assert_eq!(standing.states[0].used, 4 * CENT);
    assert_eq!(standing.states[0].resets_in, Duration::from_millis(5 * HOUR));
    let standing = keep(&store, demand(&day("Asia/Tokyo"), NOON + 11 * HOUR)).await;
    assert_eq!(standing.states[0].used, 6 * CENT, "the last charge lies in Tokyo's present day");
    let standing = keep(&store, demand(&day("Asia/Tokyo"), NOON + 27 * HOUR)).await;
    assert_eq!(standing.states[0].used, 2 * CENT);
}

async fn a_hold_from_the_last_period_leaves_the_new_one_alone(store: impl Store) {
    let day = limits([budget(Period::Day, "UTC", 50 * CENT)]);
    let midnight = NOON + 12 * HOUR;
    let mut holds = Vec::new();
    for _ in 0..4 {
        holds.push(admitted(&store, demand(&day, midnight - 1)).await.0);
    }
    store.settle(holds.remove(0), Outcome::Refund, Timestamp(midnight));
    assert_eq!(keep(&store, demand(&day, midnight)).await.states[0].used, 2 * CENT);
    let more = Outcome::Actual { cost: NanoUsd(40 * CENT), tokens: 0, bytes: 0 };
    for (hold, outcome) in holds.into_iter().zip([Outcome::Refund, Outcome::Keep, more]) {
        store.settle(hold, outcome, Timestamp(midnight + 1));
        assert_eq!(used(&store, midnight + 1).await, [2 * CENT]);
    }
}

async fn a_window_tells_the_exact_wait(store: impl Store) {
    let two = hourly(2);
    keep(&store, demand(&two, NOON)).await;
    keep(&store, demand(&two, NOON + 700)).await;
    let refusal = refused(&store, demand(&two, NOON + 1000)).await;
    assert_eq!(refusal.retry_after, Duration::from_millis(HOUR - 1000));
    assert_eq!(refusal.standing.states[0].resets_in, refusal.retry_after);
    refused(&store, demand(&two, NOON + HOUR - 1)).await;
    keep(&store, demand(&two, NOON + HOUR)).await;
    let refusal = refused(&store, demand(&two, NOON + HOUR)).await;
    assert_eq!(refusal.retry_after, Duration::from_millis(700));
}

async fn of_several_waits_the_longest_is_told(store: impl Store) {
    let both = limits([
        quota("chat", Unit::Requests, 60, 1),
        budget(Period::Day, "UTC", 2 * CENT),
        quota("chat", Unit::Requests, 3600, 1),
    ]);
    keep(&store, demand(&both, NOON)).await;
    let refusal = refused(&store, demand(&both, NOON + 1)).await;
    assert_eq!(refusal.limit, Exceeded::Limit(1));
    assert_eq!(refusal.retry_after, Duration::from_millis(12 * HOUR - 1));
}

async fn shadow_books_past_the_limit_and_says_so(store: impl Store) {
    let one = hourly(1);
    let shadow = |now| Demand { enforce: false, ..demand(&one, now) };
    assert_eq!(keep(&store, shadow(NOON)).await.excess, None);
    let standing = keep(&store, shadow(NOON + 1000)).await;
    let retry_after = Duration::from_millis(HOUR - 1000);
    assert_eq!(standing.excess, Some(Excess { limit: Exceeded::Limit(0), retry_after }));
    assert_eq!((standing.states[0].used, standing.states[0].remaining), (2, 0));
}

async fn subjects_and_operations_share_nothing_unless_the_scope_says_so(store: impl Store) {
    let chat =
        limits([quota("chat", Unit::Requests, 3600, 1), quota("*", Unit::Requests, 3600, 2)]);
    let draw =
        limits([quota("draw", Unit::Requests, 3600, 1), quota("*", Unit::Requests, 3600, 2)]);
    keep(&store, demand(&chat, NOON)).await;
    keep(&store, Demand { subject: "eve", ..demand(&chat, NOON) }).await;
    let standing = keep(&store, demand(&draw, NOON)).await;
    assert_eq!(standing.states.iter().map(|s| s.used).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(refused(&store, demand(&draw, NOON)).await.standing.states[1].used, 2);
}

async fn a_counter_named_twice_counts_once(store: impl Store) {
    let twice =
        limits([quota("chat", Unit::Requests, 60, 2), quota("chat", Unit::Requests, 60, 5)]);
    let standing = keep(&store, demand(&twice, NOON)).await;
    assert_eq!(standing.states.iter().map(|s| s.used).collect::<Vec<_>>(), [1, 1]);
}

async fn a_spent_budget_lets_free_requests_pass(store: impl Store) {
    let day = limits([budget(Period::Day, "UTC", CENT)]);
    let (hold, _) = admitted(&store, Demand { cost: NanoUsd(1), ..demand(&day, NOON) }).await;
    let dear = Outcome::Actual { cost: NanoUsd(5 * CENT), tokens: 0, bytes: 0 };
    store.settle(hold, dear, Timestamp(NOON));
    refused(&store, Demand { cost: NanoUsd(1), ..demand(&day, NOON) }).await;
    keep(&store, Demand { cost: NanoUsd(0), ..demand(&day, NOON) }).await;
}

async fn a_hold_is_raised_whole_or_not_at_all(store: impl Store) {
    let mixed =
        limits([quota("chat", Unit::Requests, 60, 1), quota("chat", Unit::Tokens, 60, 500)]);
    let (mut hold, _) = admitted(&store, Demand { tokens: 0, ..demand(&mixed, NOON) }).await;
    let raise = |tokens, now| Demand { tokens, ..demand(&mixed, now) };
    let standing = store.raise(&mut hold, raise(300, NOON + 1)).await.unwrap().unwrap();
    assert_eq!(standing.states.iter().map(|s| s.used).collect::<Vec<_>>(), [1, 300]);
    let refusal = store.raise(&mut hold, raise(501, NOON + 2)).await.unwrap().unwrap_err();
    assert_eq!(refusal.limit, Exceeded::Never(1));
    store.raise(&mut hold, raise(500, NOON + 2)).await.unwrap().unwrap();
    assert_eq!(used(&store, NOON + 2).await, [1, 500]);
    store.settle(hold, Outcome::Refund, Timestamp(NOON + 3));
    assert_eq!(used(&store, NOON + 3).await, [0, 0]);
}

async fn a_reset_forgets_use_and_what_was_in_flight_then(store: impl Store) {
    let day = limits([quota("chat", Unit::Tokens, 60, 500), budget(Period::Day, "UTC", 50 * CENT)]);
    let (before, _) = admitted(&store, demand(&day, NOON)).await;
    assert!(store.reset("ada").await.unwrap());
    assert!(!store.reset("nobody").await.unwrap());
    assert_eq!(used(&store, NOON).await, [0, 0]);
    keep(&store, demand(&day, NOON)).await;
    store.settle(before, Outcome::Refund, Timestamp(NOON));
    assert_eq!(used(&store, NOON).await, [100, 2 * CENT]);
}

async fn a_clock_set_back_neither_frees_nor_blocks(store: impl Store) {
    let one = hourly(1);
    keep(&store, demand(&one, NOON)).await;
    let refusal = refused(&store, demand(&one, NOON - 500)).await;
    assert_eq!(refusal.retry_after, Duration::from_millis(HOUR + 500));
    let refusal = refused(&store, demand(&one, NOON - 40 * HOUR)).await;
    assert_eq!(refusal.retry_after, Duration::from_millis(HOUR));
    keep(&store, demand(&one, NOON - 39 * HOUR)).await;
}

macro_rules! of_every_store {
    ($($promise:ident,)*) => {
        $crate::ledger::contract::of_local_stores! { $($promise,)* }

        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let server = crate::ledger::redis::tests::Server::start();
                super::$promise(server.patient_store()).await;
            })*
        }

        mod bridged_redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let server = crate::ledger::redis::tests::Server::start();
                let (store, _directory) = crate::ledger::away::bridged(server.patient_store());
                super::$promise(store).await;
            })*
        }
    };
}

macro_rules! of_local_stores {
    ($($promise:ident,)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                super::$promise(crate::ledger::Memory::default()).await;
            })*
        }

        mod bridged {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let authority = crate::ledger::away::Reachable(crate::ledger::Memory::default());
                let (store, _directory) = crate::ledger::away::bridged(authority);
                super::$promise(store).await;
            })*
        }

        mod releasing {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let directory = tempfile::tempdir().unwrap();
                let release_after = Some(std::time::Duration::from_secs(10));
                let options = crate::ledger::Options { release_after, ..Default::default() };
                let store = crate::ledger::Embedded::open(directory.path(), options).unwrap();
                super::$promise(store).await;
            })*
        }

        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let directory = tempfile::tempdir().unwrap();
                let options = crate::ledger::Options::default();
                let store = crate::ledger::Embedded::open(directory.path(), options).unwrap();
                super::$promise(store).await;
            })*
        }
    };
}

use {of_every_store, of_local_stores};

of_every_store! {
    of_200_concurrent_requests_a_quota_of_3_admits_3,
    half_a_dollar_pays_25_requests_of_two_cents,
    a_refusal_books_nothing_on_any_limit,
    a_refund_gives_back_cost_count_and_place,
    the_truth_replaces_the_estimate,
    concurrency_slots_come_back,
    a_raised_amount_keeps_the_count,
    a_lowered_amount_keeps_the_count,
    another_zone_keeps_the_count,
    a_hold_from_the_last_period_leaves_the_new_one_alone,
    a_window_tells_the_exact_wait,
    of_several_waits_the_longest_is_told,
    shadow_books_past_the_limit_and_says_so,
    subjects_and_operations_share_nothing_unless_the_scope_says_so,
    a_counter_named_twice_counts_once,
    a_spent_budget_lets_free_requests_pass,
    a_hold_is_raised_whole_or_not_at_all,
    a_reset_forgets_use_and_what_was_in_flight_then,
    a_clock_set_back_neither_frees_nor_blocks,
}
