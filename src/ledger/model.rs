//! Random histories against a naive oracle that keeps every booking for ever.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use jiff::civil::Weekday;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::clock::Timestamp;
use crate::ledger::contract::{NOON, budget, quota};
use crate::ledger::oracle::Oracle;
use crate::ledger::{
    Decision, Demand, Embedded, Exceeded, Hold, Memory, Options, Outcome, Refused, Standing, Store,
};
use crate::policy::calendar::{Calendar, Period};
use crate::policy::limit::{Counter, Limit, Limits, Span, Unit};
use crate::units::NanoUsd;

const SUBJECTS: [&str; 2] = ["ada", "eve"];
const ZONES: [&str; 3] = ["Europe/Berlin", "America/New_York", "Asia/Tokyo"];
const FIRST: [Weekday; 2] = [Weekday::Monday, Weekday::Thursday];

#[derive(Clone, Debug)]
enum Op {
    Reserve { subject: usize, operation: usize, cost: u64, tokens: u64, enforce: bool },
    Raise { hold: usize, cost: u64, tokens: u64 },
    Settle { hold: usize, outcome: Outcome },
    Wait(u64),
    Back(u64),
    Edit { limit: usize, amount: u64 },
    Calendar { zone: usize, first: usize },
    More(bool),
    Reset(usize),
    Sweep,
    Checkpoint,
    Reopen,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let actual = |(cost, tokens)| Outcome::Actual { cost: NanoUsd(cost), tokens, bytes: 0 };
    prop_oneof![Just(Outcome::Keep), Just(Outcome::Refund), (0u64..9, 0u64..9).prop_map(actual)]
}

fn op() -> impl Strategy<Value = Op> {
    let reserve = (0..SUBJECTS.len(), 0usize..2, 0u64..6, 0u64..6, prop::bool::weighted(0.9));
    prop_oneof![
        12 => reserve.prop_map(|(subject, operation, cost, tokens, enforce)| {
            Op::Reserve { subject, operation, cost, tokens, enforce }
        }),
        3 => (0usize..9, 0u64..9, 0u64..9).prop_map(|(hold, cost, tokens)| Op::Raise { hold, cost, tokens }),
        6 => (0usize..9, outcome()).prop_map(|(hold, outcome)| Op::Settle { hold, outcome }),
        6 => (0u64..30_000).prop_map(Op::Wait),
        1 => (0u64..50_000_000).prop_map(Op::Wait),
        2 => (0usize..6, 1u64..30).prop_map(|(limit, amount)| Op::Edit { limit, amount }),
        1 => (0..ZONES.len(), 0usize..2).prop_map(|(zone, first)| Op::Calendar { zone, first }),
        1 => any::<bool>().prop_map(Op::More),
    ]
}

fn history(extra: BoxedStrategy<Op>) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(prop_oneof![30 => op(), 5 => extra], 1..120)
}

/// A store that can be closed and opened again, or only pretends to.
pub(super) trait Durable: Store {
    fn checkpoint(&self) {}
    /// Crashes; what was open is given back this long after the last sign of life, or charged.
    fn reopen(self, directory: &TempDir, release_after: Option<Duration>) -> Self;
}

impl Durable for Memory {
    fn reopen(self, _: &TempDir, _: Option<Duration>) -> Self {
        self
    }
}

impl Durable for Embedded {
    fn checkpoint(&self) {
        self.checkpoint().unwrap();
    }

    fn reopen(self, directory: &TempDir, release_after: Option<Duration>) -> Self {
        drop(self);
        Self::open(directory.path(), Options { release_after, ..Options::default() }).unwrap()
    }
}

/// The stores of this module finish in their first poll.
pub(super) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a local store waited"),
    }
}

/// What the operator has written besides amounts.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    zone: usize,
    first: usize,
    /// Money per week and per rolling hour as well.
    more: bool,
}

fn week(written: Written, amount: u64) -> Limit {
    let calendar = Calendar::new(Period::Week, ZONES[written.zone]).unwrap();
    let calendar = calendar.with_week_start(FIRST[written.first]);
    Limit { counter: Counter::new("*", Unit::NanoUsd, Span::Period(calendar)), amount }
}

fn policy(amounts: &[u64; 6], written: Written) -> [Arc<Limits>; 2] {
    let zone = ZONES[written.zone];
    let shared = |scope| {
        let mut all = vec![
            quota(scope, Unit::Requests, 60, amounts[0]),
            quota("*", Unit::Tokens, 90, amounts[1]),
            budget(Period::Day, zone, amounts[2]),
            budget(Period::Month, zone, amounts[3]),
        ];
        if written.more {
            all.push(week(written, amounts[3]));
            all.push(quota("*", Unit::NanoUsd, 3600, amounts[2]));
        }
        all
    };
    let mut chat = shared("chat");
    chat.push(quota("chat", Unit::Requests, 10, amounts[4]));
    let concurrency = u32::try_from(amounts[5]).ok().and_then(std::num::NonZeroU32::new);
    [
        Arc::new(Limits { limits: chat.into(), concurrency, ..Limits::default() }),
        Arc::new(Limits { limits: shared("draw").into(), ..Limits::default() }),
    ]
}

struct Run<S> {
    store: S,
    oracle: Oracle,
    policy: [Arc<Limits>; 2],
    amounts: [u64; 6],
    written: Written,
    holds: Vec<(usize, usize, Option<Box<Hold>>, u64)>,
    now: u64,
}

impl<S: Durable> Run<S> {
    fn over(store: S) -> Self {
        let amounts = [10, 20, 25, 60, 4, 3];
        let written = Written::default();
        Self {
            store,
            oracle: Oracle::default(),
            policy: policy(&amounts, written),
            amounts,
            written,
            holds: Vec::new(),
            now: NOON,
        }
    }

    fn step(mut self, op: Op, directory: &TempDir) -> Self {
        match op {
            Op::Reserve { subject, operation, cost, tokens, enforce } => {
                self.reserve(subject, operation, (cost, tokens), enforce);
            }
            Op::Raise { hold, cost, tokens } => self.raise(hold, cost, tokens),
            Op::Settle { hold, outcome } => self.settle(hold, outcome),
            Op::Wait(ms) => self.now += ms,
            Op::Back(ms) => self.now -= ms,
            Op::Edit { limit, amount } => {
                self.amounts[limit] = amount;
                self.policy = policy(&self.amounts, self.written);
            }
            Op::Calendar { zone, first } => {
                (self.written.zone, self.written.first) = (zone, first);
                self.policy = policy(&self.amounts, self.written);
            }
            Op::More(more) => {
                self.written.more = more;
                self.policy = policy(&self.amounts, self.written);
            }
            Op::Reset(subject) => {
                now(self.store.reset(SUBJECTS[subject])).unwrap();
                self.oracle.forget(subject);
            }
            Op::Sweep => {
                for _ in 0..64 {
                    self.store.sweep(Timestamp(self.now));
                }
            }
            Op::Checkpoint => self.store.checkpoint(),
            Op::Reopen => {
                self.holds.clear();
                self.oracle.crash();
                self.store = self.store.reopen(directory, None);
            }
        }
        self
    }

    fn reserve(
        &mut self,
        subject: usize,
        operation: usize,
        (cost, tokens): (u64, u64),
        enforce: bool,
    ) {
        let limits = self.policy[operation].clone();
        let demand = Demand {
            subject: SUBJECTS[subject],
            limits: &limits,
            cost: NanoUsd(cost),
            tokens,
            bytes: 0,
            now: Timestamp(self.now),
            enforce,
        };
        let decision = now(self.store.reserve(demand)).unwrap();
        let (expected, excess) = self.oracle.decide(subject, &demand, 0);
        match (decision, expected) {
            (Decision::Admitted(hold, standing), Ok(serial)) => {
                self.holds.push((subject, operation, Some(hold), serial));
                assert_eq!(standing.excess.map(|e| (e.limit, e.retry_after)), excess);
                self.compare(subject, &limits, &standing);
            }
            (Decision::Refused(refused), Err(expected)) => {
                self.compare_refusal(subject, &limits, &refused, expected)
            }
            (decision, expected) => panic!("{decision:?}, not {expected:?}"),
        }
    }

    fn raise(&mut self, hold: usize, cost: u64, tokens: u64) {
        let Some((subject, operation, Some(mut hold), serial)) = self.pick(hold) else { return };
        let limits = self.policy[operation].clone();
        let (cost, now_) = (NanoUsd(cost), Timestamp(self.now));
        let demand = Demand {
            subject: SUBJECTS[subject],
            limits: &limits,
            cost,
            tokens,
            bytes: 0,
            now: now_,
            enforce: true,
        };
        let raised = now(self.store.raise(&mut hold, demand)).unwrap();
        match (raised, self.oracle.decide(subject, &demand, serial).0) {
            (Ok(standing), Ok(_)) => self.compare(subject, &limits, &standing),
            (Err(refused), Err(expected)) => {
                self.compare_refusal(subject, &limits, &refused, expected)
            }
            (raised, expected) => panic!("{raised:?}, not {expected:?}"),
        }
        self.holds.push((subject, operation, Some(hold), serial));
    }

    fn settle(&mut self, hold: usize, outcome: Outcome) {
        let Some((subject, operation, Some(hold), serial)) = self.pick(hold) else { return };
        // Whatever was ever bounded: the policy may have changed since.
        let limits =
            policy(&self.amounts, Written { more: true, ..self.written })[operation].clone();
        self.store.settle(hold, outcome, Timestamp(self.now));
        self.oracle.settle(subject, serial, outcome, self.now, |id| {
            let limit = limits.limits.iter().find(|limit| limit.counter.id() == id).unwrap();
            (limit.counter.unit(), matches!(limit.counter.span(), Span::Window(_)))
        });
    }

    fn pick(&mut self, hold: usize) -> Option<(usize, usize, Option<Box<Hold>>, u64)> {
        let count = self.holds.len();
        (count > 0).then(|| self.holds.swap_remove(hold % count))
    }

    fn compare_refusal(
        &self,
        subject: usize,
        limits: &Limits,
        refused: &Refused,
        expected: (Exceeded, Duration),
    ) {
        assert_eq!((refused.limit, refused.retry_after), expected);
        self.compare(subject, limits, &refused.standing);
    }

    fn compare(&self, subject: usize, limits: &Limits, standing: &Standing) {
        let at = self.oracle.latest[subject];
        for (limit, state) in limits.limits.iter().zip(&standing.states) {
            let used = self.oracle.used(subject, limit, at, 0);
            let remaining = limit.amount.saturating_sub(used);
            assert_eq!((state.used, state.remaining), (used, remaining), "{limit:?} at {at}");
        }
        assert_eq!(standing.states.len(), limits.limits.len());
    }
}

fn play<S: Durable>(store: S, directory: &TempDir, history: Vec<Op>) {
    history.into_iter().fold(Run::over(store), |run, op| run.step(op, directory));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn memory_agrees_with_the_oracle_though_clocks_race(
        history in history(prop_oneof![(0u64..2_000).prop_map(Op::Back), (0usize..2).prop_map(Op::Reset)].boxed()),
    ) {
        play(Memory::default(), &tempfile::tempdir().unwrap(), history);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn embedded_agrees_with_the_oracle_through_crashes_and_checkpoints(
        history in history(prop_oneof![
            Just(Op::Checkpoint), Just(Op::Reopen), Just(Op::Sweep), (0usize..2).prop_map(Op::Reset),
        ].boxed()),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path(), Options::default()).unwrap();
        play(store, &directory, history);
    }
}

/// A boundary moves to the very instant of a charge of nothing, after a crash.
#[test]
fn a_charge_of_nothing_is_remembered_with_the_count_that_it_is_in() {
    let (hour, spent) = (3_600_000, Outcome::Actual { cost: NanoUsd(1), tokens: 0, bytes: 0 });
    let reserve =
        |cost, tokens| Op::Reserve { subject: 0, operation: 0, cost, tokens, enforce: true };
    let to_midnight_in_berlin = Op::Wait(11 * hour);
    let history = vec![
        to_midnight_in_berlin,
        reserve(0, 0),
        Op::Settle { hold: 0, outcome: spent },
        Op::Wait(5 * hour),
        reserve(0, 4),
        Op::Reopen,
        Op::Calendar { zone: 1, first: 0 },
        reserve(4, 1),
    ];
    let directory = tempfile::tempdir().unwrap();
    let store = Embedded::open(directory.path(), Options::default()).unwrap();
    play(store, &directory, history);
}
