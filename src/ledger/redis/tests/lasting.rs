//! How long what is written stays: never for ever, and never shorter than anything in it counts.

use std::sync::Arc;
use std::time::Duration;

use super::Server;
use crate::clock::Timestamp;
use crate::ledger::authority::{Amount, Authority, Deed, Entry, EntryId, Move};
use crate::ledger::contract::{CENT, HOUR, NOON, admitted, demand, keep, limits, quota};
use crate::ledger::redis::Redis;
use crate::ledger::slot::Name;
use crate::ledger::{Demand, Outcome, Store};
use crate::policy::calendar::{Calendar, Period};
use crate::policy::compile::RedisSettings;
use crate::policy::limit::{Counter, Limit, Limits, Span, Unit};
use crate::units::{NanoUsd, Percent};

const DAY: u64 = 24 * HOUR;
const LEASE: u64 = 60_000;

fn rolling(days: u64) -> Arc<Limits> {
    limits([quota("chat", Unit::NanoUsd, days * DAY / 1000, 1_000_000 * CENT)])
}

fn period(period: Period) -> Arc<Limits> {
    let span = Span::Period(Calendar::new(period, "UTC").unwrap());
    let own =
        Limit { counter: Counter::new("*", Unit::NanoUsd, span.clone()), amount: 1000 * CENT };
    let all = Limit { counter: Counter::new("operation:chat", Unit::NanoUsd, span), ..own.clone() };
    Arc::new(Limits { limits: Box::new([own]), pools: Box::new([all]), ..Limits::default() })
}

fn brief() -> Arc<Limits> {
    limits([quota("draw", Unit::Requests, 1, 1_000)])
}

fn imported(limits: &Limits, sequence: u64, at: u64) -> Entry {
    let name = Name::from(&limits.limits[0].counter);
    let moves = [Move { name, period: (0, 0), amount: Amount::Add(1) }].into_iter().collect();
    let id = EntryId { journal: 7, sequence };
    Entry { id, deed: Deed::Change { subject: "ada".into(), at: Timestamp(at), moves } }
}

/// What is left of every account, at least `least` of it; the mark of the books alone lasts.
fn lasts(server: &Server, (least, longest): (u64, u64), when: &str) {
    // What the machine takes between a command and the question.
    let slack = 60_000;
    let keys = server.cli(&["KEYS", "*"]);
    assert!(keys.contains("weir:{ada}"), "{when}: {keys}");
    for key in keys.lines().filter(|key| *key != "weir:books") {
        let left: i64 = server.cli(&["PTTL", key]).parse().unwrap();
        assert!(left > 0, "{when}: {key} has no end");
        let left = u64::try_from(left).unwrap() + slack;
        assert!(left >= least, "{when}: {key} ends in {left}, not {least}");
        // An hour or two, and a week for another zone or another first day, are given on top.
        assert!(left <= longest.max(HOUR) + 2 * HOUR + 8 * DAY, "{when}: {key} ends in {left}");
    }
}

fn open(server: &Server, share: u16) -> Redis {
    let (lease, share) = (Duration::from_millis(LEASE), Percent::whole(share));
    Redis::start(&RedisSettings { lease, share, ..server.settings() }, true).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_ends_by_itself_and_not_before_anything_in_it() {
    let month = 21 * DAY + 12 * HOUR; // from noon on the 10th of March
    let rows = [
        (brief(), HOUR),
        (rolling(31), 31 * DAY),
        (period(Period::Day), 12 * HOUR),
        (period(Period::Month), month),
    ];
    for (longest, least) in rows {
        for share in [0, 10] {
            let server = Server::start();
            let store = open(&server, share);
            let least = least.max(HOUR).max(LEASE);
            let (mut hold, _) = admitted(&store, demand(&longest, NOON)).await;
            lasts(&server, (least, least), "reserve");
            let dear = Demand { cost: NanoUsd(9 * CENT), ..demand(&longest, NOON + 1) };
            store.raise(&mut hold, dear).await.unwrap().unwrap();
            lasts(&server, (least, least), "raise");
            // What counts for long is not cut short by what counts for a second.
            keep(&store, demand(&brief(), NOON + 2)).await;
            lasts(&server, (least, least), "another reserve");
            store.import(&[imported(&brief(), 1, NOON + 3)]).await.unwrap();
            lasts(&server, (least, least), "import");
            store.usage("ada", Timestamp(NOON + 4)).await.unwrap();
            store.settle(hold, Outcome::Refund, Timestamp(NOON + 5));
            store.usage("ada", Timestamp(NOON + 6)).await.unwrap();
            lasts(&server, (least, least), "settle");
            // Half of it later, an open request is still known for its lease and an hour.
            let later = NOON + least / 2;
            let (open, _) = admitted(&store, demand(&brief(), later)).await;
            lasts(&server, (HOUR.max(least / 2), least), "reserve later");
            // A clock that is set back moves what is booked, and its end with it.
            let (back, _) = admitted(&store, demand(&brief(), later - 2 * HOUR)).await;
            lasts(&server, (HOUR, least + 2 * HOUR), "set back");
            store.settle(open, Outcome::Keep, Timestamp(later));
            store.settle(back, Outcome::Keep, Timestamp(later));
        }
    }
}
