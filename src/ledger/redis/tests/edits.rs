//! Edits of the policy while shares of it are in hand.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Redis;
use super::Server;
use crate::clock::Timestamp;
use crate::ledger::contract::{budget, limits};
use crate::ledger::{Decision, Demand, Outcome, Store};
use crate::policy::calendar::Period;
use crate::policy::limit::Limits;
use crate::units::NanoUsd;

/// What one request costs.
const COST: u64 = 3;

fn day(zone: &str, amount: u64) -> Arc<Limits> {
    limits([budget(Period::Day, zone, amount)])
}

async fn rush(store: &Redis, limits: &Arc<Limits>, count: u64) -> u64 {
    let mut admitted = 0;
    for _ in 0..count {
        let (cost, now) = (NanoUsd(COST), Timestamp(0));
        let demand =
            Demand { subject: "ada", limits, cost, tokens: 0, bytes: 0, now, enforce: true };
        if let Decision::Admitted(hold, _) = store.reserve(demand).await.unwrap() {
            store.settle(hold, Outcome::Keep, now);
            admitted += 1;
        }
    }
    admitted
}

/// Spends all that there is; shares of the policy before come back by and by.
async fn exhaust(store: &Redis, limits: &Arc<Limits>, most: u64) -> u64 {
    let (mut admitted, began) = (0, Instant::now());
    while admitted < most && began.elapsed() < Duration::from_secs(60) {
        admitted += rush(store, limits, 20).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    admitted + rush(store, limits, 20).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_cut_below_what_is_drawn_ahead_holds_at_once_and_gives_all_it_has() {
    let server = Server::start();
    let store = server.open();
    assert_eq!(rush(&store, &day("UTC", 100_000), 300).await, 300);
    // Far more than this is in hand, of which only what was spent counts in the end.
    let cut = day("UTC", 310 * COST);
    assert_eq!(exhaust(&store, &cut, 10).await, 10);
    let usage = store.usage("ada", Timestamp(0)).await.unwrap();
    assert_eq!((usage[0].used, usage[0].held), (310 * COST, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_moves_to_another_zone_keeps_what_was_spent_of_shares() {
    let server = Server::start();
    let (store, other) = (server.open(), server.open());
    let (utc, far) = (day("UTC", 1_000 * COST), day("Pacific/Kiritimati", 1_000 * COST));
    assert_eq!(rush(&store, &utc, 300).await, 300);
    assert_eq!(rush(&other, &utc, 300).await, 300);
    // One replica has read the new policy, and then the other.
    assert_eq!(rush(&store, &far, 100).await, 100);
    assert_eq!(rush(&other, &utc, 100).await, 100);
    assert_eq!(exhaust(&other, &far, 200).await, 200);
    assert_eq!(rush(&store, &far, 20).await, 0);
}
