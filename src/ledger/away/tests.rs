//! What the layer around a shared store promises, one case each.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::gate::{Gate, Server};
use super::{Fallback, Keeping};
use crate::clock::Timestamp;
use crate::ledger::contract::{NOON, budget, quota};
use crate::ledger::{
    Decision, Demand, Exceeded, Hold, Outcome, Refused, Standing, Store, StoreError,
};
use crate::policy::calendar::Period;
use crate::policy::limit::{Away, Limit, Limits, Unit};
use crate::telemetry::Metrics;
use crate::units::NanoUsd;

const CENT: u64 = 10_000_000;

/// Limits, and what may be used of each while the server is away.
pub(super) fn limits(limits: Vec<Limit>, allowances: &[u64]) -> Arc<Limits> {
    let cut = |(limit, amount): (&Limit, &u64)| Limit { amount: *amount, ..limit.clone() };
    let cut = limits.iter().zip(allowances).map(cut).collect();
    let away = Away::Local(Arc::new(Limits { limits: cut, ..Limits::default() }));
    Arc::new(Limits { limits: limits.into(), away, ..Limits::default() })
}

fn hourly(amount: u64, allowance: u64) -> Arc<Limits> {
    limits(vec![quota("chat", Unit::Requests, 3600, amount)], &[allowance])
}

fn daily(amount: u64, allowance: u64) -> Arc<Limits> {
    limits(vec![budget(Period::Day, "UTC", amount)], &[allowance])
}

pub(super) fn demand(limits: &Arc<Limits>, now: u64) -> Demand<'_> {
    let (cost, now) = (NanoUsd(2 * CENT), Timestamp(now));
    Demand { subject: "ada", limits, cost, tokens: 0, bytes: 0, now, enforce: true }
}

pub(super) struct Rig {
    pub(super) server: Arc<Server>,
    directory: TempDir,
    metrics: Arc<Metrics>,
    pub(super) store: Fallback<Gate>,
}

impl Rig {
    pub(super) fn new() -> Self {
        let (server, directory) = (Arc::new(Server::default()), tempfile::tempdir().unwrap());
        let metrics = Arc::new(Metrics::default());
        let store = open(&server, &directory, &metrics).unwrap();
        Self { server, directory, metrics, store }
    }

    pub(super) fn goes_away(&self) {
        self.server.state().away = true;
    }

    pub(super) async fn returns(&self) {
        self.server.state().away = false;
        self.store.look().await;
    }

    /// Ends the process as `kill -9` does, and starts it again.
    fn killed(self) -> Self {
        let Self { server, directory, metrics, store } = self;
        drop(store);
        let store = open(&server, &directory, &metrics).unwrap();
        Self { server, directory, metrics, store }
    }

    async fn ask(&self, limits: &Arc<Limits>, now: u64) -> Result<Decision, StoreError> {
        self.store.reserve(demand(limits, now)).await
    }

    pub(super) async fn admitted(&self, limits: &Arc<Limits>, now: u64) -> (Box<Hold>, Standing) {
        match self.ask(limits, now).await.unwrap() {
            Decision::Admitted(hold, standing) => (hold, standing),
            Decision::Refused(refused) => panic!("refused: {refused:?}"),
        }
    }

    async fn refused(&self, limits: &Arc<Limits>, now: u64) -> Refused {
        match self.ask(limits, now).await.unwrap() {
            Decision::Admitted(..) => panic!("admitted"),
            Decision::Refused(refused) => refused,
        }
    }

    pub(super) async fn keep(&self, limits: &Arc<Limits>, now: u64) {
        let (hold, _) = self.admitted(limits, now).await;
        self.settle(hold, Outcome::Keep);
    }

    pub(super) fn settle(&self, hold: Box<Hold>, outcome: Outcome) {
        self.store.settle(hold, outcome, Timestamp(NOON + 1));
    }

    fn spent(&self) -> u64 {
        self.server.sum(Unit::NanoUsd)
    }
}

pub(super) fn open(
    server: &Arc<Server>,
    directory: &TempDir,
    metrics: &Arc<Metrics>,
) -> Result<Fallback<Gate>, StoreError> {
    let keeping = Keeping { max_subjects: 1000, ..Keeping::within(directory.path().into()) };
    Fallback::open(server.line(), &keeping, Arc::clone(metrics))
}

pub(super) fn actual(cost: u64) -> Outcome {
    Outcome::Actual { cost: NanoUsd(cost), tokens: 0, bytes: 0 }
}

#[tokio::test]
async fn while_the_server_is_away_the_allowance_is_what_there_is() {
    let (rig, eight) = (Rig::new(), hourly(8, 2));
    rig.goes_away();
    rig.keep(&eight, NOON).await;
    rig.keep(&eight, NOON).await;
    let refused = rig.refused(&eight, NOON + 1).await;
    assert_eq!(refused.limit, Exceeded::Allowance(0));
    assert_eq!(refused.retry_after, Duration::from_secs(10), "it may be back any moment");
    assert!(!rig.store.is_up());
    rig.returns().await;
    assert!(rig.store.is_up());
    assert_eq!((rig.store.depth(), rig.server.sum(Unit::Requests)), (0, 2));
    assert_eq!(rig.admitted(&eight, NOON + 2).await.1.states[0].used, 3);
}

#[tokio::test]
async fn an_allowance_is_given_once_per_window_however_often_the_server_leaves() {
    let (mut rig, eight) = (Rig::new(), hourly(8, 2));
    for round in 0..4 {
        rig.goes_away();
        if round == 0 {
            rig.keep(&eight, NOON).await;
            rig.keep(&eight, NOON).await;
        }
        rig.refused(&eight, NOON + round).await;
        rig.returns().await;
        rig = rig.killed();
    }
    rig.goes_away();
    rig.keep(&eight, NOON + 3_600_000).await;
}

#[tokio::test]
async fn whoever_had_used_the_limit_gets_nothing_more() {
    let (rig, three) = (Rig::new(), hourly(3, 1));
    for _ in 0..3 {
        rig.keep(&three, NOON).await;
    }
    rig.goes_away();
    let refused = rig.refused(&three, NOON + 1).await;
    assert_eq!((refused.limit, refused.standing.states[0].used), (Exceeded::Limit(0), 3));
}

#[tokio::test]
async fn what_was_used_here_and_heard_there_counts_once() {
    let (rig, ten) = (Rig::new(), hourly(10, 5));
    rig.goes_away();
    rig.keep(&ten, NOON).await;
    rig.keep(&ten, NOON).await;
    rig.returns().await;
    for _ in 0..5 {
        rig.keep(&ten, NOON).await;
    }
    rig.goes_away();
    // Seven are used, two of them here: three more fit, by the limit and by the allowance.
    for left in [2, 1, 0] {
        assert_eq!(rig.admitted(&ten, NOON + 1).await.1.states[0].remaining, left);
    }
    rig.refused(&ten, NOON + 1).await;
}

#[tokio::test]
async fn a_hold_of_before_is_settled_after() {
    let (rig, day) = (Rig::new(), daily(100 * CENT, 25 * CENT));
    let (hold, _) = rig.admitted(&day, NOON).await;
    rig.goes_away();
    rig.settle(hold, actual(7));
    assert_eq!((rig.spent(), rig.store.depth()), (2 * CENT, 1));
    let rig = rig.killed();
    assert_eq!(rig.store.depth(), 1);
    rig.returns().await;
    assert_eq!((rig.spent(), rig.store.depth()), (7, 0));
}

#[tokio::test]
async fn what_is_settled_here_is_exact_there() {
    let (rig, day) = (Rig::new(), daily(100 * CENT, 25 * CENT));
    rig.goes_away();
    for outcome in [actual(3), Outcome::Refund, Outcome::Keep, actual(5 * CENT)] {
        let (hold, _) = rig.admitted(&day, NOON).await;
        rig.settle(hold, outcome);
    }
    let (late, _) = rig.admitted(&day, NOON).await;
    rig.returns().await;
    assert_eq!(rig.spent(), 3 + 2 * CENT + 5 * CENT + 2 * CENT, "what is in flight is held");
    rig.settle(late, actual(1));
    rig.store.look().await;
    assert_eq!(rig.spent(), 3 + 2 * CENT + 5 * CENT + 1);
}

#[tokio::test]
async fn a_hold_of_before_grows_here_and_is_settled_in_two_parts() {
    let rows = [
        (Outcome::Keep, 6 * CENT),
        (Outcome::Refund, 0),
        (actual(CENT), CENT),
        (actual(5 * CENT), 5 * CENT),
        (actual(9 * CENT), 9 * CENT),
    ];
    for (outcome, spent) in rows {
        let (rig, day) = (Rig::new(), daily(100 * CENT, 25 * CENT));
        let (mut hold, _) = rig.admitted(&day, NOON).await;
        rig.goes_away();
        for cost in [4 * CENT, 6 * CENT] {
            let more = Demand { cost: NanoUsd(cost), ..demand(&day, NOON) };
            rig.store.raise(&mut hold, more).await.unwrap().unwrap();
        }
        let much = Demand { cost: NanoUsd(28 * CENT), ..demand(&day, NOON) };
        let refused = rig.store.raise(&mut hold, much).await.unwrap().unwrap_err();
        assert_eq!(refused.limit, Exceeded::Allowance(0));
        rig.settle(hold, outcome);
        rig.returns().await;
        assert_eq!(rig.spent(), spent, "{outcome:?}");
    }
}

#[tokio::test]
async fn an_import_that_breaks_off_is_told_again_and_counts_once() {
    let (mut rig, day) = (Rig::new(), daily(100 * CENT, 25 * CENT));
    rig.goes_away();
    for _ in 0..5 {
        let (hold, _) = rig.admitted(&day, NOON).await;
        rig.settle(hold, actual(3));
    }
    for booked in [1, 4, 7, 10] {
        rig.server.state().breaks_after = Some(booked);
        rig.returns().await;
        assert!(!rig.store.is_up());
        rig = rig.killed();
    }
    rig.returns().await;
    assert_eq!((rig.spent(), rig.store.depth()), (15, 0));
}

#[tokio::test(start_paused = true)]
async fn an_authority_is_back_a_quarter_of_a_second_after_any_absence_and_knows_everything() {
    let rig = Rig::new();
    let day = daily(100_000 * CENT, 25_000 * CENT);
    let (second, tending) = (Duration::from_secs(1), rig.store.tend());
    tokio::pin!(tending);
    for hours in [0, 1, 3] {
        rig.goes_away();
        for _ in 0..2_000 {
            rig.keep(&day, NOON).await;
        }
        assert!(rig.store.depth() >= 2_000);
        let away = tokio::time::sleep(hours * 3_600 * second + second);
        tokio::select! { () = &mut tending => unreachable!("it never ends"), () = away => {} }
        assert!(!rig.store.is_up());
        rig.server.state().away = false;
        let back = tokio::time::sleep(Duration::from_millis(260));
        tokio::select! { () = &mut tending => unreachable!("it never ends"), () = back => {} }
        assert_eq!((rig.store.is_up(), rig.store.depth()), (true, 0), "after {hours} h");
    }
}

#[tokio::test]
async fn a_limit_that_refuses_refuses_and_one_that_allows_lets_pass() {
    let rig = Rig::new();
    let with = |away| {
        let limits = Box::new([quota("chat", Unit::Requests, 3600, 1)]);
        Arc::new(Limits { limits, away, ..Limits::default() })
    };
    rig.goes_away();
    assert!(matches!(rig.ask(&with(Away::Refuse), NOON).await, Err(StoreError::Away)));
    for _ in 0..3 {
        rig.keep(&with(Away::Allow), NOON).await;
    }
    rig.keep(&Arc::new(Limits::default()), NOON).await;
    assert_eq!(rig.store.depth(), 0);
}

#[tokio::test]
async fn requests_in_flight_are_bounded_here() {
    let rig = Rig::new();
    let crowd = |concurrency, away| {
        let concurrency = NonZeroU32::new(concurrency);
        Arc::new(Limits { concurrency, away, ..Limits::default() })
    };
    let four = crowd(4, Away::Local(crowd(1, Away::Refuse)));
    rig.goes_away();
    let (hold, _) = rig.admitted(&four, NOON).await;
    assert_eq!(rig.refused(&four, NOON).await.limit, Exceeded::Concurrency);
    rig.settle(hold, Outcome::Keep);
    rig.keep(&four, NOON).await;
}

#[tokio::test]
async fn a_full_journal_admits_nobody_and_still_settles() {
    let rig = Rig::new();
    let directory = tempfile::tempdir().unwrap();
    let keeping = Keeping { max_bytes: 4096, ..Keeping::within(directory.path().into()) };
    let store = Fallback::open(rig.server.line(), &keeping, Arc::clone(&rig.metrics)).unwrap();
    let day = daily(1_000_000 * CENT, 1_000_000 * CENT);
    rig.goes_away();
    let mut holds = Vec::new();
    let error = loop {
        match store.reserve(demand(&day, NOON)).await {
            Ok(Decision::Admitted(hold, _)) => holds.push(hold),
            Ok(Decision::Refused(refused)) => panic!("{refused:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::JournalFull { .. }), "{error:?}");
    let kept = holds.len() as u64 - 1;
    store.settle(holds.pop().unwrap(), Outcome::Refund, Timestamp(NOON));
    rig.server.state().away = false;
    store.look().await;
    assert_eq!(rig.spent(), kept * 2 * CENT);
    let again = store.reserve(demand(&day, NOON)).await;
    assert!(matches!(again, Ok(Decision::Admitted(..))), "{again:?}");
}

#[tokio::test]
async fn replicas_on_one_machine_have_places_of_their_own_and_inherit() {
    let (rig, day) = (Rig::new(), daily(100 * CENT, 25 * CENT));
    let other = open(&rig.server, &rig.directory, &rig.metrics).unwrap();
    rig.goes_away();
    rig.keep(&day, NOON).await;
    let Ok(Decision::Admitted(hold, _)) = other.reserve(demand(&day, NOON)).await else {
        panic!("refused");
    };
    other.settle(hold, actual(5), Timestamp(NOON));
    drop(other);
    rig.returns().await;
    assert_eq!(rig.spent(), 2 * CENT, "the other one may come back");
    rig.store.adopt().await;
    assert_eq!(rig.spent(), 2 * CENT + 5);
    rig.store.adopt().await;
    assert_eq!(rig.spent(), 2 * CENT + 5);
}

#[tokio::test]
async fn books_that_began_anew_are_noticed_once() {
    let rig = Rig::new();
    rig.store.look().await;
    rig.store.look().await;
    assert_eq!(rig.metrics.books_changed.value(), 0);
    rig.server.state().epoch = 7;
    rig.store.look().await;
    rig.store.look().await;
    assert_eq!(rig.metrics.books_changed.value(), 1);
}

#[tokio::test]
async fn a_damaged_journal_keeps_the_process_from_starting_and_a_torn_one_does_not() {
    let (rig, day) = (Rig::new(), daily(100 * CENT, 25 * CENT));
    rig.goes_away();
    for _ in 0..3 {
        rig.keep(&day, NOON).await;
    }
    let Rig { server, directory, metrics, store } = rig;
    drop(store);
    let path = directory.path().join("0/journal-00000000000000000001.log");
    let sound = std::fs::read(&path).unwrap();
    std::fs::write(&path, &sound[..sound.len() - 3]).unwrap();
    assert_eq!(open(&server, &directory, &metrics).unwrap().depth(), 2);
    let mut damaged = sound;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let error = open(&server, &directory, &metrics).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
}
