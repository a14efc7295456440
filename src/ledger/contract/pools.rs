//! What all callers share: decided in one step with what is the subject's own.

use std::sync::Arc;
use std::time::Duration;

use super::{CENT, NOON, admitted, budget, demand, keep, of_every_store, quota, refused, used};
use crate::clock::Timestamp;
use crate::ledger::{CONCURRENCY_WAIT, Decision, Demand, Exceeded, Outcome, Store, StoreError};
use crate::policy::calendar::Period;
use crate::policy::limit::{Counter, Limit, Limits, POOLS, Span, Unit};
use crate::units::NanoUsd;

fn pooled(
    own: impl IntoIterator<Item = Limit>,
    pools: impl IntoIterator<Item = Limit>,
) -> Arc<Limits> {
    let (limits, pools) = (own.into_iter().collect(), pools.into_iter().collect());
    Arc::new(Limits { limits, pools, ..Limits::default() })
}

fn crowd(scope: &str, amount: u64) -> Limit {
    Limit { counter: Counter::new(scope, Unit::Requests, Span::InFlight), amount }
}

async fn shared(store: &impl Store, now: u64) -> Vec<u64> {
    store.usage(POOLS, Timestamp(now)).await.unwrap().iter().map(|usage| usage.used).collect()
}

async fn of_200_callers_a_total_of_30_admits_30(store: impl Store) {
    let own = quota("chat", Unit::Requests, 3_600, 5);
    let limits = pooled([own], [quota("tier:free", Unit::Requests, 3_600, 30)]);
    let store = Arc::new(store);
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..200 {
        let (store, limits) = (store.clone(), limits.clone());
        tasks.spawn(async move {
            let subject = format!("caller-{}", caller % 50);
            let demand = Demand { subject: &subject, ..demand(&limits, NOON) };
            let Decision::Admitted(hold, _) = store.reserve(demand).await.unwrap() else {
                return 0;
            };
            store.settle(hold, Outcome::Keep, Timestamp(NOON));
            1
        });
    }
    assert_eq!(tasks.join_all().await.into_iter().sum::<u64>(), 30);
    assert_eq!(shared(&*store, NOON).await, [30]);
}

async fn a_pool_without_room_books_nothing_of_the_subjects_own(store: impl Store) {
    let limits = pooled(
        [quota("chat", Unit::Requests, 3_600, 9)],
        [quota("tier:free", Unit::Tokens, 60, 150)],
    );
    let standing = keep(&store, demand(&limits, NOON)).await;
    assert_eq!(standing.states.iter().map(|s| s.used).collect::<Vec<_>>(), [1, 100]);
    let refusal = refused(&store, Demand { subject: "eve", ..demand(&limits, NOON + 1) }).await;
    assert_eq!(refusal.limit, Exceeded::Limit(1), "own limits come first");
    assert_eq!(refusal.retry_after, Duration::from_millis(59_999));
    assert_eq!(refusal.standing.states.iter().map(|s| s.used).collect::<Vec<_>>(), [0, 100]);
    let eve = store.usage("eve", Timestamp(NOON + 1)).await.unwrap();
    assert!(eve.iter().all(|usage| usage.used == 0));
}

async fn a_subject_without_room_books_nothing_of_the_pool(store: impl Store) {
    let limits = pooled(
        [quota("chat", Unit::Requests, 3_600, 1)],
        [quota("tier:free", Unit::Requests, 3_600, 9)],
    );
    keep(&store, demand(&limits, NOON)).await;
    assert_eq!(refused(&store, demand(&limits, NOON)).await.limit, Exceeded::Limit(0));
    assert_eq!(shared(&store, NOON).await, [1]);
}

async fn a_hold_is_raised_and_settled_on_the_pool_as_well(store: impl Store) {
    let limits = pooled(
        [budget(Period::Day, "UTC", 50 * CENT)],
        [
            Limit { counter: day("tier:free"), amount: 12 * CENT },
            quota("operation:chat", Unit::Tokens, 60, 1_000),
        ],
    );
    let (mut hold, _) = admitted(&store, demand(&limits, NOON)).await;
    let raise =
        |cents, tokens| Demand { cost: NanoUsd(cents * CENT), tokens, ..demand(&limits, NOON + 1) };
    store.raise(&mut hold, raise(9, 200)).await.unwrap().unwrap();
    assert_eq!(shared(&store, NOON + 1).await, [9 * CENT, 200]);
    let refusal = store.raise(&mut hold, raise(10, 1_001)).await.unwrap().unwrap_err();
    assert_eq!(refusal.limit, Exceeded::Never(2));
    assert_eq!(shared(&store, NOON + 1).await, [9 * CENT, 200]);
    let actual = Outcome::Actual { cost: NanoUsd(5 * CENT), tokens: 150, bytes: 0 };
    store.settle(hold, actual, Timestamp(NOON + 2));
    assert_eq!(shared(&store, NOON + 2).await, [5 * CENT, 150]);
    assert_eq!(used(&store, NOON + 2).await, [5 * CENT]);
    let (hold, _) = admitted(&store, demand(&limits, NOON + 3)).await;
    store.settle(hold, Outcome::Refund, Timestamp(NOON + 4));
    assert_eq!(shared(&store, NOON + 4).await, [5 * CENT, 150]);
}

fn day(scope: &str) -> Counter {
    let calendar = crate::policy::calendar::Calendar::new(Period::Day, "UTC").unwrap();
    Counter::new(scope, Unit::NanoUsd, Span::Period(calendar))
}

async fn requests_in_flight_are_counted_over_all_callers(store: impl Store) {
    let limits = pooled([], [crowd("tier:free", 2)]);
    let (first, _) = admitted(&store, demand(&limits, NOON)).await;
    let eve = Demand { subject: "eve", ..demand(&limits, NOON) };
    let (second, standing) = admitted(&store, eve).await;
    assert_eq!((standing.states[0].used, standing.states[0].remaining), (2, 0));
    let refusal = refused(&store, Demand { subject: "bob", ..demand(&limits, NOON) }).await;
    assert_eq!((refusal.limit, refusal.retry_after), (Exceeded::Limit(0), CONCURRENCY_WAIT));
    store.settle(first, Outcome::Keep, Timestamp(NOON));
    let (third, _) = admitted(&store, Demand { subject: "bob", ..demand(&limits, NOON) }).await;
    store.settle(second, Outcome::Refund, Timestamp(NOON));
    store.settle(third, Outcome::Keep, Timestamp(NOON));
    keep(&store, demand(&limits, NOON)).await;
}

async fn tiers_share_what_is_an_operations_and_nothing_else(store: impl Store) {
    let of = |tier: &str| {
        let (own, both) = (format!("tier:{tier}"), "operation:chat");
        pooled([], [quota(&own, Unit::Requests, 60, 9), quota(both, Unit::Requests, 60, 3)])
    };
    let (free, plus) = (of("free"), of("plus"));
    keep(&store, demand(&free, NOON)).await;
    keep(&store, demand(&free, NOON)).await;
    let standing = keep(&store, Demand { subject: "eve", ..demand(&plus, NOON) }).await;
    assert_eq!(standing.states.iter().map(|s| s.used).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(refused(&store, demand(&plus, NOON)).await.limit, Exceeded::Limit(1));
}

async fn pools_are_no_subject_and_no_subject_is_the_pools(store: impl Store) {
    let limits = pooled([], [quota("tier:free", Unit::Requests, 60, 9)]);
    keep(&store, demand(&limits, NOON)).await;
    assert_eq!(store.subjects("", 9).await.unwrap(), [Arc::from("ada")]);
    let error = store.reserve(Demand { subject: POOLS, ..demand(&limits, NOON) }).await;
    assert!(matches!(error.unwrap_err(), StoreError::ReservedSubject));
    store.reset("ada").await.unwrap();
    assert_eq!(shared(&store, NOON).await, [1], "what all share is not hers to forget");
}

async fn a_shadow_request_goes_past_a_pool_and_says_so(store: impl Store) {
    let limits = pooled([], [quota("tier:free", Unit::Requests, 60, 1)]);
    keep(&store, demand(&limits, NOON)).await;
    let standing = keep(&store, Demand { enforce: false, ..demand(&limits, NOON) }).await;
    assert_eq!(standing.excess.map(|excess| excess.limit), Some(Exceeded::Limit(0)));
    assert_eq!(shared(&store, NOON).await, [2]);
}

of_every_store! {
    of_200_callers_a_total_of_30_admits_30,
    a_pool_without_room_books_nothing_of_the_subjects_own,
    a_subject_without_room_books_nothing_of_the_pool,
    a_hold_is_raised_and_settled_on_the_pool_as_well,
    requests_in_flight_are_counted_over_all_callers,
    tiers_share_what_is_an_operations_and_nothing_else,
    pools_are_no_subject_and_no_subject_is_the_pools,
    a_shadow_request_goes_past_a_pool_and_says_so,
}
