//! What operators see of a store, and what it lets go of.

use std::sync::Arc;
use std::time::Duration;

use super::{
    CENT, HOUR, NOON, admitted, budget, demand, hourly, keep, limits, of_every_store, quota,
    refused,
};
use crate::clock::Timestamp;
use crate::ledger::{Demand, Memory, Outcome, Store, StoreError};
use crate::policy::calendar::Period;
use crate::policy::limit::Unit;

async fn operators_see_counters_by_name(store: impl Store) {
    let mixed =
        limits([quota("chat", Unit::Requests, 3600, 9), budget(Period::Month, "UTC", 50 * CENT)]);
    keep(&store, demand(&mixed, NOON)).await;
    let usage = store.usage("ada", Timestamp(NOON + 1000)).await.unwrap();
    let lines: Vec<_> =
        usage.iter().map(|u| format!("{} {} {} {}", u.scope, u.unit, u.span, u.used)).collect();
    assert_eq!(lines, ["chat requests 3600000ms 1", "* nano_usd month 20000000"]);
    assert_eq!(usage[0].resets_in, Duration::from_millis(HOUR - 1000));
    assert!(store.usage("nobody", Timestamp(NOON)).await.unwrap().is_empty());
}

async fn subjects_are_listed_in_order(store: impl Store) {
    let one = hourly(1);
    for subject in ["bob", "ada", "adam", "eve"] {
        keep(&store, Demand { subject, ..demand(&one, NOON) }).await;
    }
    assert_eq!(
        store.subjects("", 3).await.unwrap(),
        ["ada".into(), "adam".into(), Arc::from("bob")]
    );
    assert_eq!(store.subjects("ad", 9).await.unwrap(), ["ada".into(), Arc::from("adam")]);
}

async fn an_endless_subject_is_no_subject(store: impl Store) {
    let (one, long) = (hourly(1), "x".repeat(1025));
    let error = store.reserve(Demand { subject: &long, ..demand(&one, NOON) }).await.unwrap_err();
    assert!(matches!(error, StoreError::SubjectTooLong { bytes: 1025 }));
}

of_every_store! {
    operators_see_counters_by_name,
    subjects_are_listed_in_order,
    an_endless_subject_is_no_subject,
}

#[tokio::test]
async fn a_full_store_refuses_strangers_until_there_is_room() {
    let (store, one) = (Memory::new(1), hourly(1));
    keep(&store, demand(&one, NOON)).await;
    let stranger = |now| Demand { subject: "ada2", ..demand(&one, now) };
    assert!(matches!(store.reserve(stranger(NOON)).await, Err(StoreError::Full { subjects: 1 })));
    refused(&store, demand(&one, NOON)).await;
    let swept = (0..64).map(|_| store.sweep(Timestamp(NOON + HOUR))).sum::<usize>();
    assert_eq!(swept, 1);
    keep(&store, stranger(NOON + HOUR)).await;
}

/// What a server keeps ends there, by itself.
mod swept {
    use super::super::of_local_stores;
    use super::*;

    async fn sweeping_drops_only_what_is_empty(store: impl Store) {
        let one = hourly(1);
        keep(&store, demand(&one, NOON)).await;
        let (hold, _) = admitted(&store, Demand { subject: "eve", ..demand(&one, NOON) }).await;
        let sweep = |now| (0..64).map(|_| store.sweep(Timestamp(now))).sum::<usize>();
        assert_eq!(sweep(NOON + HOUR - 1), 0);
        assert_eq!(sweep(NOON + HOUR), 1);
        store.settle(hold, Outcome::Keep, Timestamp(NOON + HOUR));
        assert_eq!(sweep(NOON + HOUR), 1);
        assert!(store.subjects("", 9).await.unwrap().is_empty());
    }

    of_local_stores! {
        sweeping_drops_only_what_is_empty,
    }
}
