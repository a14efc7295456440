//! What was counted under a former name counts under the present one, once.

use std::sync::Arc;

use super::{CENT, NOON, admitted, demand, keep, of_every_store, refused};
use crate::clock::Timestamp;
use crate::ledger::{Demand, Exceeded, Outcome, Store};
use crate::policy::calendar::{Calendar, Period};
use crate::policy::limit::{Counter, Limit, Limits, POOLS, Span, Unit};
use crate::units::NanoUsd;

/// A window and a day under one name, of the subject and of all callers.
fn named(name: &str, former: &[&str]) -> Arc<Limits> {
    let window = || Span::Window(std::time::Duration::from_secs(3_600));
    let day = || Span::Period(Calendar::new(Period::Day, "UTC").unwrap());
    let limit = |counter: Counter, amount| Limit {
        counter: counter.renamed_from(former.iter().copied()),
        amount,
    };
    let both = |prefix: &str| -> Box<[Limit]> {
        let former: Vec<String> = former.iter().map(|name| format!("{prefix}{name}")).collect();
        let scope = format!("{prefix}{name}");
        let limit = |counter: Counter, amount| Limit {
            counter: counter.renamed_from(former.iter().map(String::as_str)),
            amount,
        };
        Box::new([
            limit(Counter::new(scope.as_str(), Unit::Requests, window()), 5),
            limit(Counter::new(scope.as_str(), Unit::NanoUsd, day()), 50 * CENT),
        ])
    };
    let own = Box::new([
        limit(Counter::new(name, Unit::Requests, window()), 5),
        limit(Counter::new(name, Unit::NanoUsd, day()), 50 * CENT),
    ]);
    Arc::new(Limits { limits: own, pools: both("operation:"), ..Limits::default() })
}

async fn counts(store: &impl Store, limits: &Arc<Limits>, now: u64) -> Vec<u64> {
    let (hold, standing) = admitted(store, demand(limits, now)).await;
    store.settle(hold, Outcome::Refund, Timestamp(now));
    standing.states.iter().map(|state| state.used).collect()
}

async fn a_new_name_goes_on_counting_through_a_chain(store: impl Store) {
    keep(&store, demand(&named("first", &[]), NOON)).await;
    keep(&store, demand(&named("first", &[]), NOON)).await;
    let second = named("second", &["first"]);
    assert_eq!(counts(&store, &second, NOON + 1).await, [3, 6 * CENT, 3, 6 * CENT]);
    keep(&store, demand(&second, NOON + 1)).await;
    let third = named("third", &["second", "first"]);
    assert_eq!(counts(&store, &third, NOON + 2).await, [4, 8 * CENT, 4, 8 * CENT]);
    keep(&store, demand(&third, NOON + 3)).await;
    keep(&store, demand(&third, NOON + 3)).await;
    assert_eq!(refused(&store, demand(&third, NOON + 3)).await.limit, Exceeded::Limit(0));
}

async fn who_never_used_the_name_between_keeps_the_count_as_well(store: impl Store) {
    keep(&store, demand(&named("first", &[]), NOON)).await;
    let third = named("third", &["second", "first"]);
    assert_eq!(counts(&store, &third, NOON).await, [2, 4 * CENT, 2, 4 * CENT]);
}

async fn a_name_that_comes_back_to_life_is_added_once(store: impl Store) {
    let (old, new) = (named("old", &[]), named("new", &["old"]));
    keep(&store, demand(&old, NOON)).await;
    keep(&store, demand(&new, NOON)).await;
    assert_eq!(counts(&store, &old, NOON).await, [1, 2 * CENT, 1, 2 * CENT], "it begins anew");
    keep(&store, demand(&old, NOON + 1)).await;
    for _ in 0..3 {
        assert_eq!(counts(&store, &new, NOON + 2).await, [4, 8 * CENT, 4, 8 * CENT]);
    }
    assert_eq!(counts(&store, &old, NOON + 2).await, [1, 2 * CENT, 1, 2 * CENT]);
}

async fn a_refusal_moves_the_count_all_the_same(store: impl Store) {
    for _ in 0..5 {
        keep(&store, demand(&named("old", &[]), NOON)).await;
    }
    let new = named("new", &["old"]);
    assert_eq!(refused(&store, demand(&new, NOON)).await.standing.states[0].used, 5);
    assert_eq!(refused(&store, demand(&new, NOON)).await.standing.states[0].used, 5);
}

async fn requests_in_flight_at_a_rename_are_settled_under_the_new_name(store: impl Store) {
    let (old, new) = (named("old", &[]), named("new", &["old"]));
    let (first, _) = admitted(&store, demand(&old, NOON)).await;
    let (second, _) = admitted(&store, demand(&old, NOON)).await;
    keep(&store, demand(&new, NOON + 1)).await;
    // One more of the policy that went, whose count is taken over as well.
    let (third, _) = admitted(&store, demand(&old, NOON + 1)).await;
    assert_eq!(counts(&store, &new, NOON + 2).await, [5, 10 * CENT, 5, 10 * CENT]);
    store.settle(first, Outcome::Refund, Timestamp(NOON + 3));
    let actual = Outcome::Actual { cost: NanoUsd(9 * CENT), tokens: 0, bytes: 0 };
    store.settle(second, actual, Timestamp(NOON + 3));
    let actual = Outcome::Actual { cost: NanoUsd(CENT), tokens: 0, bytes: 0 };
    store.settle(third, actual, Timestamp(NOON + 3));
    assert_eq!(counts(&store, &new, NOON + 4).await, [4, 14 * CENT, 4, 14 * CENT]);
}

async fn a_hold_is_raised_across_a_rename(store: impl Store) {
    let (old, new) = (named("old", &[]), named("new", &["old"]));
    let (mut of_old, _) = admitted(&store, demand(&old, NOON)).await;
    let (mut of_new, _) = admitted(&store, demand(&new, NOON)).await;
    let ten = |limits| Demand { cost: NanoUsd(10 * CENT), ..demand(limits, NOON + 1) };
    store.raise(&mut of_old, ten(&old)).await.unwrap().unwrap();
    store.raise(&mut of_new, ten(&new)).await.unwrap().unwrap();
    assert_eq!(counts(&store, &new, NOON + 2).await, [3, 22 * CENT, 3, 22 * CENT]);
    store
        .raise(&mut of_old, Demand { cost: NanoUsd(12 * CENT), ..ten(&new) })
        .await
        .unwrap()
        .unwrap();
    store.settle(of_old, Outcome::Keep, Timestamp(NOON + 3));
    store.settle(of_new, Outcome::Refund, Timestamp(NOON + 3));
    assert_eq!(counts(&store, &new, NOON + 4).await, [2, 14 * CENT, 2, 14 * CENT]);
    let pools = store.usage(POOLS, Timestamp(NOON + 4)).await.unwrap();
    assert_eq!(pools.iter().map(|usage| usage.held).sum::<u64>(), 0);
}

of_every_store! {
    a_new_name_goes_on_counting_through_a_chain,
    who_never_used_the_name_between_keeps_the_count_as_well,
    a_name_that_comes_back_to_life_is_added_once,
    a_refusal_moves_the_count_all_the_same,
    requests_in_flight_at_a_rename_are_settled_under_the_new_name,
    a_hold_is_raised_across_a_rename,
}
