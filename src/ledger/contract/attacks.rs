//! What must hold though the policy is pulled away under a request, or somebody asks for too much.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{
    CENT, HOUR, NOON, admitted, budget, demand, keep, limits, of_every_store, of_local_stores,
    quota, refused, used,
};
use crate::clock::Timestamp;
use crate::ledger::{Decision, Demand, Exceeded, Memory, Outcome, Store, StoreError};
use crate::policy::calendar::Period;
use crate::policy::limit::{Limits, Unit};
use crate::units::NanoUsd;

fn actual(cents: u64, tokens: u64) -> Outcome {
    Outcome::Actual { cost: NanoUsd(cents * CENT), tokens, bytes: 0 }
}

async fn a_hold_outlives_the_limits_that_it_was_booked_on(store: impl Store) {
    let before = Arc::new(Limits {
        limits: Box::new([
            quota("chat", Unit::Requests, 3600, 9),
            budget(Period::Day, "UTC", 50 * CENT),
        ]),
        concurrency: NonZeroU32::new(1),
        ..Limits::default()
    });
    let after = limits([quota("chat", Unit::Tokens, 60, 1_000)]);
    let (mut hold, _) = admitted(&store, demand(&before, NOON)).await;
    let more = Demand { tokens: 300, cost: NanoUsd(90 * CENT), ..demand(&after, NOON + 1) };
    store.raise(&mut hold, more).await.unwrap().unwrap();
    assert_eq!(used(&store, NOON + 1).await, [1, 2 * CENT, 300]);
    store.settle(hold, actual(7, 40), Timestamp(NOON + 2));
    assert_eq!(used(&store, NOON + 2).await, [1, 7 * CENT, 40]);
    keep(&store, demand(&before, NOON + 3)).await;
}

async fn a_limit_below_what_is_held_stops_raises_and_nothing_else(store: impl Store) {
    let day = |cents| limits([budget(Period::Day, "UTC", cents * CENT)]);
    let (mut first, _) = admitted(&store, demand(&day(50), NOON)).await;
    let (second, _) = admitted(&store, demand(&day(50), NOON)).await;
    let little = day(3);
    let three = Demand { cost: NanoUsd(3 * CENT), ..demand(&little, NOON + 1) };
    store.raise(&mut first, three).await.unwrap().unwrap_err();
    store.raise(&mut first, demand(&little, NOON + 1)).await.unwrap().unwrap();
    assert_eq!(refused(&store, demand(&little, NOON + 1)).await.standing.states[0].remaining, 0);
    store.settle(first, actual(1, 0), Timestamp(NOON + 2));
    store.settle(second, Outcome::Refund, Timestamp(NOON + 2));
    assert_eq!(used(&store, NOON + 2).await, [CENT]);
    keep(&store, demand(&little, NOON + 3)).await;
}

async fn a_limit_of_nothing_lets_only_the_free_pass(store: impl Store) {
    let none = limits([budget(Period::Day, "UTC", 0)]);
    assert_eq!(refused(&store, demand(&none, NOON)).await.limit, Exceeded::Never(0));
    keep(&store, Demand { cost: NanoUsd(0), ..demand(&none, NOON) }).await;
    assert_eq!(used(&store, NOON).await, [0]);
}

of_every_store! {
    a_hold_outlives_the_limits_that_it_was_booked_on,
    a_limit_below_what_is_held_stops_raises_and_nothing_else,
    a_limit_of_nothing_lets_only_the_free_pass,
}

/// A server's numbers end at 2^53 - 1, sums included.
mod huge {
    use super::*;

    async fn what_one_asks_for_beyond_all_reason_leaves_what_others_hold(store: impl Store) {
        let own =
            limits([quota("chat", Unit::Tokens, 60, 500), budget(Period::Day, "UTC", 50 * CENT)]);
        let (hold, _) = admitted(&store, demand(&own, NOON)).await;
        let mut vast = demand(&own, NOON + 1);
        (vast.cost, vast.tokens, vast.enforce) = (NanoUsd(u64::MAX), u64::MAX, false);
        let (shadow, _) = admitted(&store, vast).await;
        refused(&store, demand(&own, NOON + 2)).await;
        store.settle(shadow, Outcome::Refund, Timestamp(NOON + 3));
        assert_eq!(used(&store, NOON + 3).await, [100, 2 * CENT]);
        store.settle(hold, actual(5, 7), Timestamp(NOON + 4));
        assert_eq!(used(&store, NOON + 4).await, [7, 5 * CENT]);
    }

    of_local_stores! {
        what_one_asks_for_beyond_all_reason_leaves_what_others_hold,
    }
}

/// However many strangers come, nobody who has spent is dropped for them.
#[tokio::test]
async fn a_crowd_of_strangers_makes_nobodys_spent_money_forgotten() {
    let (store, day) = (Memory::new(50), limits([budget(Period::Day, "UTC", 2 * CENT)]));
    let names: Vec<String> = (0..50).map(|n| format!("known-{n}")).collect();
    for subject in &names {
        keep(&store, Demand { subject, ..demand(&day, NOON) }).await;
    }
    let midnight = NOON + 12 * HOUR;
    for second in 0..2_000 {
        let stranger = format!("stranger-{second}");
        let now = NOON + second * (12 * HOUR / 2_000);
        let asked = store.reserve(Demand { subject: &stranger, ..demand(&day, now) }).await;
        assert!(matches!(asked, Err(StoreError::Full { subjects: 50 })), "{asked:?}");
        store.sweep(Timestamp(now));
    }
    for subject in &names {
        let asked = Demand { subject, ..demand(&day, midnight - 1) };
        assert!(matches!(store.reserve(asked).await, Ok(Decision::Refused(_))), "{subject}");
    }
}
