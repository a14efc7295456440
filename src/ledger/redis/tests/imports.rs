//! What replicas tell of an outage, when the policy was edited in between.

use std::sync::Arc;
use std::time::Duration;

use super::Server;
use crate::clock::Timestamp;
use crate::ledger::authority::{Amount, Authority, Deed, Entry, EntryId, Move};
use crate::ledger::contract::{CENT, HOUR, NOON, admitted, demand, keep, limits, quota, used};
use crate::ledger::redis::Redis;
use crate::ledger::slot::Name;
use crate::ledger::{Outcome, Store};
use crate::policy::calendar::{Calendar, Period};
use crate::policy::compile::RedisSettings;
use crate::policy::limit::{Counter, Limit, Limits, Span, Unit};
use crate::units::Percent;

fn day(name: &str, zone: &str, former: &[&str]) -> Arc<Limits> {
    let day = Span::Period(Calendar::new(Period::Day, zone).unwrap());
    let hour = quota(name, Unit::NanoUsd, 3600, 0).counter;
    let named = |counter: Counter| Limit {
        counter: counter.renamed_from(former.iter().copied()),
        amount: 1000 * CENT,
    };
    limits([named(Counter::new(name, Unit::NanoUsd, day)), named(hour)])
}

/// One change of every counter of a policy.
fn entry(limits: &Limits, sequence: u64, at: u64, amount: Amount) -> Entry {
    let step = |limit: &Limit| {
        let period = match limit.counter.span() {
            Span::Period(calendar) => calendar.bounds(Timestamp(at)),
            _ => return Move { name: Name::from(&limit.counter), period: (0, 0), amount },
        };
        let period = (period.start.0, period.end.0);
        Move { name: Name::from(&limit.counter), period, amount }
    };
    let moves = limits.limits.iter().map(step).collect();
    let id = EntryId { journal: 7, sequence };
    Entry { id, deed: Deed::Change { subject: "ada".into(), at: Timestamp(at), moves } }
}

/// Without shares, so that what is used is what was spent.
fn open(server: &Server) -> Redis {
    let (lease, share) = (Duration::from_secs(3_600), Percent::whole(0));
    Redis::start(&RedisSettings { lease, share, ..server.settings() }, true).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_under_a_former_name_is_taken_back_under_the_present_one() {
    let server = Server::start();
    let store = open(&server);
    let (old, new) = (day("old", "UTC", &[]), day("new", "UTC", &["old"]));
    keep(&store, demand(&old, NOON)).await;
    store.import(&[entry(&old, 1, NOON, Amount::Add(9 * CENT))]).await.unwrap();
    keep(&store, demand(&new, NOON + 1)).await;
    assert_eq!(used(&store, NOON + 1).await, [13 * CENT; 2]);
    let back = Amount::Take { at: NOON, amount: 8 * CENT };
    let told = [entry(&old, 2, NOON + 1, back), entry(&old, 3, NOON + 1, Amount::Add(CENT))];
    for _ in 0..2 {
        store.import(&told).await.unwrap();
        assert_eq!(used(&store, NOON + 1).await, [6 * CENT; 2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_zone_does_not_begin_the_day_anew() {
    let server = Server::start();
    let store = open(&server);
    // 23:30 UTC is half past midnight in Berlin, whose day is the one that counts now.
    let (here, there) = (day("chat", "UTC", &[]), day("chat", "Europe/Berlin", &[]));
    let before = NOON + 11 * HOUR + HOUR / 2;
    keep(&store, demand(&there, before)).await;
    let after = before + HOUR;
    let (hold, _) = admitted(&store, demand(&there, after)).await;
    store.settle(hold, Outcome::Refund, Timestamp(after));
    store.import(&[entry(&here, 1, after, Amount::Add(CENT))]).await.unwrap();
    assert_eq!(used(&store, after).await[0], 3 * CENT);
}
