//! Random histories of what is shared and renamed, against plain sums.
//!
//! All of it happens within one day and one window, so that nothing leaves: what a counter shows must
//! be the sum of what its requests came to, whoever made them and under whichever name, through raises,
//! refunds, edits of amounts, renames, stragglers of the policy that went, and crashes. What was open at a
//! crash stands, or is given back when its lease ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use crate::clock::Timestamp;
use crate::ledger::contract::{NOON, quota};
use crate::ledger::model::{Durable, now};
use crate::ledger::{Decision, Demand, Embedded, Hold, Memory, Options, Outcome, Standing};
use crate::policy::calendar::{Calendar, Period};
use crate::policy::limit::{Counter, Limit, Limits, Span, Unit};
use crate::units::NanoUsd;

const SUBJECTS: [&str; 3] = ["ada", "bob", "eve"];
const KINDS: [&str; 2] = ["chat", "draw"];
const NAMES: usize = 4;

#[derive(Clone, Debug)]
enum Op {
    Reserve { subject: usize, kind: usize, cost: u64, straggles: bool },
    Raise { hold: usize, cost: u64 },
    Settle { hold: usize, cost: Option<u64>, keep: bool },
    Rename { kind: usize },
    Amounts { own: u64, shared: u64, crowd: u64 },
    Wait(u64),
    Reopen,
    Checkpoint,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..3usize, 0..2usize, 0..6u64, prop::bool::weighted(0.1)).prop_map(
            |(subject, kind, cost, straggles)| Op::Reserve { subject, kind, cost, straggles }
        ),
        4 => (0..9usize, 0..9u64).prop_map(|(hold, cost)| Op::Raise { hold, cost }),
        6 => (0..9usize, prop::option::of(0..9u64), any::<bool>())
            .prop_map(|(hold, cost, keep)| Op::Settle { hold, cost, keep }),
        2 => (0..2usize).prop_map(|kind| Op::Rename { kind }),
        2 => (4..40u64, 10..60u64, 1..9u64)
            .prop_map(|(own, shared, crowd)| Op::Amounts { own, shared, crowd }),
        4 => (0..60_000u64).prop_map(Op::Wait),
        1 => Just(Op::Reopen),
        1 => Just(Op::Checkpoint),
    ]
}

/// What a counter counts, whatever it is called: a subject's own money, or everybody's, of one kind of work.
type Key = (Option<usize>, usize, Unit);

struct Booked {
    subject: usize,
    kind: usize,
    cost: u64,
    /// The policy that it came under, and its hold while it is in flight.
    open: Option<(Arc<Limits>, Box<Hold>)>,
    /// When it is given back, if a crash left it open.
    ends: Option<u64>,
}

struct Run<S> {
    store: S,
    booked: Vec<Booked>,
    names: [usize; 2],
    amounts: (u64, u64, u64),
    policy: [Arc<Limits>; 2],
    /// The policy before the last rename.
    before: [Arc<Limits>; 2],
    now: u64,
    release_after: Option<Duration>,
}

fn limits(kind: usize, name: usize, (own, shared, crowd): (u64, u64, u64)) -> Arc<Limits> {
    let called = |prefix: &str, name: usize| format!("{prefix}{}{name}", KINDS[kind]);
    let counter = |prefix: &str, unit, span| {
        let former: Vec<String> = (0..name).rev().map(|former| called(prefix, former)).collect();
        Counter::new(called(prefix, name), unit, span)
            .renamed_from(former.iter().map(String::as_str))
    };
    let window = || Span::Window(Duration::from_secs(86_400));
    let day = || Span::Period(Calendar::new(Period::Day, "UTC").unwrap());
    Arc::new(Limits {
        limits: Box::new([
            Limit { counter: counter("", Unit::Requests, window()), amount: own },
            Limit { counter: counter("", Unit::NanoUsd, day()), amount: own },
        ]),
        pools: Box::new([
            Limit { counter: counter("operation:", Unit::NanoUsd, window()), amount: shared },
            Limit { counter: counter("operation:", Unit::Requests, Span::InFlight), amount: crowd },
        ]),
        ..Limits::default()
    })
}

impl<S: Durable> Run<S> {
    fn over(store: S, release_after: Option<Duration>) -> Self {
        let amounts = (20, 40, 6);
        let policy = [limits(0, 0, amounts), limits(1, 0, amounts)];
        let before = policy.clone();
        let (booked, names, now) = (Vec::new(), [0; 2], NOON);
        Self { store, booked, names, amounts, policy, before, now, release_after }
    }

    fn step(mut self, op: Op, directory: &TempDir) -> Self {
        match op {
            Op::Reserve { subject, kind, cost, straggles } => {
                let policy = if straggles { &self.before } else { &self.policy };
                let limits = policy[kind].clone();
                let expected = self.room(None, subject, kind, cost);
                let current = Arc::ptr_eq(&limits, &self.policy[kind]);
                match now(self.store.reserve(self.demand(subject, &limits, cost))).unwrap() {
                    Decision::Admitted(hold, standing) => {
                        let open = Some((limits, hold));
                        self.booked.push(Booked { subject, kind, cost, open, ends: None });
                        if current {
                            assert!(expected, "admitted beyond a limit");
                            self.compare(subject, kind, &standing);
                        }
                    }
                    Decision::Refused(refused) if current => {
                        assert!(!expected, "refused though there was room: {refused:?}");
                        self.compare(subject, kind, &refused.standing);
                    }
                    Decision::Refused(_) => {}
                }
            }
            Op::Raise { hold, cost } => self.raise(hold, cost),
            Op::Settle { hold, cost, keep } => self.settle(hold, cost, keep),
            Op::Rename { kind } if self.names[kind] + 1 < NAMES => {
                self.before = self.policy.clone();
                self.names[kind] += 1;
                self.edit();
            }
            Op::Amounts { own, shared, crowd } => {
                self.amounts = (own, shared, crowd);
                self.edit();
                self.before = self.policy.clone();
            }
            Op::Rename { .. } => {}
            Op::Wait(ms) => {
                self.now += ms;
                self.booked.retain(|booked| booked.ends.is_none_or(|ends| self.now < ends));
            }
            Op::Checkpoint => self.store.checkpoint(),
            Op::Reopen => {
                self.show_life();
                let ends = self.release_after.map(|lease| Timestamp(self.now).after(lease).0);
                for booked in self.booked.iter_mut().filter(|booked| booked.open.is_some()) {
                    (booked.open, booked.ends) = (None, ends);
                }
                self.store = self.store.reopen(directory, self.release_after);
            }
        }
        self
    }

    /// Leases count from the last that the store heard.
    fn show_life(&self) {
        let limits = Arc::new(Limits {
            limits: Box::new([quota("pulse", Unit::Requests, 60, 1)]),
            ..Limits::default()
        });
        let asked = Demand { subject: "pulse", ..self.demand(0, &limits, 0) };
        if let Decision::Admitted(hold, _) = now(self.store.reserve(asked)).unwrap() {
            self.store.settle(hold, Outcome::Refund, Timestamp(self.now));
        }
    }

    fn edit(&mut self) {
        self.policy = [0, 1].map(|kind| limits(kind, self.names[kind], self.amounts));
    }

    fn demand<'a>(&self, subject: usize, limits: &'a Arc<Limits>, cost: u64) -> Demand<'a> {
        let (cost, now) = (NanoUsd(cost), Timestamp(self.now));
        let subject = SUBJECTS[subject];
        Demand { subject, limits, cost, tokens: 0, bytes: 0, now, enforce: true }
    }

    /// What every counter has come to.
    fn sums(&self) -> BTreeMap<Key, u64> {
        let mut sums = BTreeMap::new();
        for booked in &self.booked {
            let (subject, kind) = (Some(booked.subject), booked.kind);
            *sums.entry((subject, kind, Unit::Requests)).or_default() += 1;
            *sums.entry((subject, kind, Unit::NanoUsd)).or_default() += booked.cost;
            *sums.entry((None, kind, Unit::NanoUsd)).or_default() += booked.cost;
            let open = u64::from(booked.open.is_some());
            *sums.entry((None, kind, Unit::Requests)).or_default() += open;
        }
        sums
    }

    /// Whether `cost` has room: of a new request, or in place of what one has already.
    fn room(&self, has: Option<u64>, subject: usize, kind: usize, cost: u64) -> bool {
        let (sums, (own, shared, crowd)) = (self.sums(), self.amounts);
        let used = |key: Key| sums.get(&key).copied().unwrap_or(0);
        let more = cost.saturating_sub(has.unwrap_or(0));
        let fits = |key, more: u64, amount| more == 0 || used(key) + more <= amount;
        let one = u64::from(has.is_none());
        fits((Some(subject), kind, Unit::Requests), one, own)
            && fits((Some(subject), kind, Unit::NanoUsd), more, own)
            && fits((None, kind, Unit::NanoUsd), more, shared)
            && fits((None, kind, Unit::Requests), one, crowd)
    }

    fn compare(&self, subject: usize, kind: usize, standing: &Standing) {
        let sums = self.sums();
        let keys = [
            (Some(subject), kind, Unit::Requests),
            (Some(subject), kind, Unit::NanoUsd),
            (None, kind, Unit::NanoUsd),
            (None, kind, Unit::Requests),
        ];
        let wanted = keys.map(|key| sums.get(&key).copied().unwrap_or(0));
        let shown: Vec<u64> = standing.states.iter().map(|state| state.used).collect();
        assert_eq!(shown, wanted, "{} of {}", KINDS[kind], SUBJECTS[subject]);
    }

    fn pick(&self, hold: usize) -> Option<usize> {
        let open: Vec<usize> =
            (0..self.booked.len()).filter(|i| self.booked[*i].open.is_some()).collect();
        (!open.is_empty()).then(|| open[hold % open.len()])
    }

    fn raise(&mut self, hold: usize, cost: u64) {
        let Some(index) = self.pick(hold) else { return };
        let (subject, kind, had) =
            (self.booked[index].subject, self.booked[index].kind, self.booked[index].cost);
        // By the policy in force, as a long stream is.
        let limits = self.policy[kind].clone();
        let expected = self.room(Some(had), subject, kind, cost);
        let Some((of, mut hold)) = self.booked[index].open.take() else { return };
        let raised = now(self.store.raise(&mut hold, self.demand(subject, &limits, cost))).unwrap();
        self.booked[index].open = Some((of, hold));
        assert_eq!(raised.is_ok(), expected, "a raise from {had} to {cost}");
        if let Ok(standing) = raised {
            self.booked[index].cost = had.max(cost);
            self.compare(subject, kind, &standing);
        }
    }

    fn settle(&mut self, hold: usize, cost: Option<u64>, keep: bool) {
        let Some(index) = self.pick(hold) else { return };
        let Some((_, hold)) = self.booked[index].open.take() else { return };
        let outcome = match (cost, keep) {
            (Some(cost), _) => {
                self.booked[index].cost = cost;
                Outcome::Actual { cost: NanoUsd(cost), tokens: 0, bytes: 0 }
            }
            (None, true) => Outcome::Keep,
            (None, false) => {
                self.booked.swap_remove(index);
                Outcome::Refund
            }
        };
        self.store.settle(hold, outcome, Timestamp(self.now));
    }
}

fn play<S: Durable>(
    store: S,
    directory: &TempDir,
    history: Vec<Op>,
    release_after: Option<Duration>,
) {
    let run = Run::over(store, release_after);
    let run = history.into_iter().fold(run, |run, op| run.step(op, directory));
    // At the end everybody asks once more: whatever was renamed or crashed last is seen.
    (0..6).fold(run, |run, n| {
        let ask = Op::Reserve { subject: n % 3, kind: n / 3, cost: 0, straggles: false };
        run.step(ask, directory)
    });
}

fn history() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn memory_keeps_what_is_shared_and_renamed(history in history()) {
        // What forgets at exit cannot be opened again.
        let history = history.into_iter().filter(|op| !matches!(op, Op::Reopen)).collect();
        play(Memory::default(), &tempfile::tempdir().unwrap(), history, None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn embedded_keeps_what_is_shared_and_renamed_through_crashes(history in history()) {
        let directory = tempfile::tempdir().unwrap();
        let store = Embedded::open(directory.path(), Options::default()).unwrap();
        play(store, &directory, history, None);
    }

    #[test]
    fn embedded_gives_back_what_crashes_leave_open_and_nothing_else(history in history()) {
        let directory = tempfile::tempdir().unwrap();
        let release_after = Some(Duration::from_secs(90));
        let options = Options { release_after, ..Options::default() };
        let store = Embedded::open(directory.path(), options).unwrap();
        play(store, &directory, history, release_after);
    }
}
