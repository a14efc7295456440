//! Random histories of two replicas, one server, and everything that can go wrong between them: absences,
//! broken lines, crashes, clocks that jump, and edits of the policy while any of it is so.
//!
//! After each admission: within any window and period, no more was admitted than the limit and an
//! allowance per replica, as they were at their largest. At the end, when all were heard: the server's
//! sum is what was served, exactly, whatever the counter was called meanwhile.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::Fallback;
use super::gate::{Gate, Server};
use super::tests::{demand, limits, open};
use crate::clock::Timestamp;
use crate::ledger::contract::{HOUR, NOON};
use crate::ledger::{Decision, Demand, Hold, Outcome, Store};
use crate::policy::calendar::{Calendar, Period};
use crate::policy::limit::{Counter, Limit, Limits, Span, Unit};
use crate::telemetry::Metrics;
use crate::units::NanoUsd;

const REPLICAS: usize = 2;
const SUBJECTS: [&str; 2] = ["ada", "eve"];
const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
const ZONES: [&str; 3] = ["UTC", "Europe/Berlin", "America/New_York"];
const NAMES: [&str; 3] = ["chat", "talk", "speech"];
/// Requests per minute and money per day: the limits at first, and the largest that an edit makes of them.
const REQUESTS: (u64, u64) = (8, 12);
const MONEY: (u64, u64) = (60, 80);

#[derive(Clone, Debug)]
enum Op {
    Reserve { replica: usize, subject: usize, cost: u64 },
    Raise { hold: usize, cost: u64 },
    Settle { hold: usize, outcome: Option<u64>, refund: bool },
    Wait(u64),
    Gate { away: bool },
    Break(usize),
    Look(usize),
    Kill(usize),
    Sweep(usize),
    Back(u64),
    Amounts { requests: u64, money: u64 },
    Rename,
    Zone(usize),
    Add { rolling: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let reserve = (0..REPLICAS, 0..SUBJECTS.len(), 0u64..6);
    prop_oneof![
        14 => reserve.prop_map(|(replica, subject, cost)| Op::Reserve { replica, subject, cost }),
        4 => (0usize..9, 0u64..12).prop_map(|(hold, cost)| Op::Raise { hold, cost }),
        8 => (0usize..9, prop::option::of(0u64..12), prop::bool::weighted(0.2))
            .prop_map(|(hold, outcome, refund)| Op::Settle { hold, outcome, refund }),
        4 => (0..MINUTE / 2).prop_map(Op::Wait),
        1 => (0..DAY).prop_map(Op::Wait),
        4 => any::<bool>().prop_map(|away| Op::Gate { away }),
        1 => (0usize..6).prop_map(Op::Break),
        3 => (0..REPLICAS).prop_map(Op::Look),
        1 => (0..REPLICAS).prop_map(Op::Kill),
        1 => (0..REPLICAS).prop_map(Op::Sweep),
        1 => (0..MINUTE).prop_map(Op::Back),
        1 => (0..DAY).prop_map(Op::Back),
        2 => (1..=REQUESTS.1, 1..=MONEY.1)
            .prop_map(|(requests, money)| Op::Amounts { requests, money }),
        1 => Just(Op::Rename),
        1 => (0..ZONES.len()).prop_map(Op::Zone),
        1 => any::<bool>().prop_map(|rolling| Op::Add { rolling }),
    ]
}

/// Everything here finishes in its first poll.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("something waited"),
    }
}

/// What a caller was served, and what is charged for it as things stand.
struct Served {
    subject: usize,
    at: u64,
    counts: u64,
    /// When each part of the cost was charged, and how much.
    parts: Vec<(u64, u64)>,
}

struct Out {
    replica: usize,
    subject: usize,
    served: usize,
    hold: Box<Hold>,
}

/// What the operator has written.
struct Policy {
    requests: u64,
    money: u64,
    name: usize,
    zone: usize,
    /// Limits that were added, and since when they count: money per week, and per rolling hour.
    week: Option<u64>,
    rolling: Option<u64>,
    /// Charges before it may be forgotten: a day that had begun by some policy that was in force.
    day_from: u64,
    week_from: u64,
}

impl Policy {
    fn calendar(&self, period: Period) -> Calendar {
        Calendar::new(period, ZONES[self.zone]).unwrap()
    }

    /// Every limit, with a quarter of it as allowance.
    fn limits(&self) -> Arc<Limits> {
        let former = || NAMES[..self.name].iter().rev().copied();
        let counter =
            |unit, span| Counter::new(NAMES[self.name], unit, span).renamed_from(former());
        let limit = |unit, span, amount| Limit { counter: counter(unit, span), amount };
        let minute = Span::Window(Duration::from_millis(MINUTE));
        let hour = Span::Window(Duration::from_millis(HOUR));
        let day = Span::Period(self.calendar(Period::Day));
        let week = Span::Period(self.calendar(Period::Week));
        let mut all = vec![
            limit(Unit::Requests, minute, self.requests),
            limit(Unit::NanoUsd, day, self.money),
        ];
        all.extend(self.week.map(|_| limit(Unit::NanoUsd, week, MONEY.1)));
        all.extend(self.rolling.map(|_| limit(Unit::NanoUsd, hour, MONEY.0)));
        let allowances: Vec<u64> = all.iter().map(|limit| limit.amount / 4).collect();
        limits(all, &allowances)
    }

    fn enter(&mut self, now: u64) {
        let start = |period| self.calendar(period).bounds(Timestamp(now)).start.0;
        let (day, week) = (start(Period::Day), start(Period::Week));
        (self.day_from, self.week_from) = (self.day_from.max(day), self.week_from.max(week));
    }
}

/// The most that may be used of a limit that was never larger than this.
fn most(limit: u64) -> u64 {
    limit + REPLICAS as u64 * (limit / 4)
}

struct Run {
    server: Arc<Server>,
    directories: Vec<TempDir>,
    replicas: Vec<Option<Fallback<Gate>>>,
    policy: Policy,
    limits: Arc<Limits>,
    served: Vec<Served>,
    out: Vec<Out>,
    now: u64,
}

impl Run {
    fn new() -> Self {
        let server = Arc::new(Server::default());
        let directories: Vec<_> = (0..REPLICAS).map(|_| tempfile::tempdir().unwrap()).collect();
        let start =
            |directory| Some(open(&server, directory, &Arc::new(Metrics::default())).unwrap());
        let replicas = directories.iter().map(start).collect();
        let (requests, money) = (REQUESTS.0, MONEY.0);
        let (name, zone, week, rolling) = (0, 0, None, None);
        let policy =
            Policy { requests, money, name, zone, week, rolling, day_from: 0, week_from: 0 };
        Self {
            server,
            directories,
            replicas,
            limits: policy.limits(),
            policy,
            served: Vec::new(),
            out: Vec::new(),
            now: NOON,
        }
    }

    fn step(&mut self, op: Op) {
        self.policy.enter(self.now);
        match op {
            Op::Reserve { replica, subject, cost } => self.reserve(replica, subject, cost),
            Op::Raise { hold, cost } => self.raise(hold, cost),
            Op::Settle { hold, outcome, refund } => self.settle(hold, outcome, refund),
            Op::Wait(ms) => self.now += ms,
            Op::Gate { away } => self.server.state().away = away,
            Op::Break(after) => self.server.state().breaks_after = Some(after),
            Op::Look(replica) => now(self.replica(replica).look()),
            Op::Kill(replica) => self.kill(replica),
            Op::Sweep(replica) => {
                for _ in 0..64 {
                    self.replica(replica).sweep(Timestamp(self.now));
                }
            }
            Op::Back(ms) => self.back(ms),
            op => self.edit(op),
        }
    }

    /// What was charged in what is the future now counts from now on at the latest.
    fn back(&mut self, ms: u64) {
        self.now -= ms;
        for served in &mut self.served {
            served.at = served.at.min(self.now);
            served.parts.iter_mut().for_each(|(at, _)| *at = (*at).min(self.now));
        }
    }

    fn edit(&mut self, op: Op) {
        let policy = &mut self.policy;
        match op {
            Op::Amounts { requests, money } => (policy.requests, policy.money) = (requests, money),
            Op::Rename => policy.name = (policy.name + 1).min(NAMES.len() - 1),
            Op::Zone(zone) => policy.zone = zone,
            Op::Add { rolling: true } => policy.rolling = policy.rolling.or(Some(self.now)),
            Op::Add { rolling: false } => policy.week = policy.week.or(Some(self.now)),
            op => panic!("{op:?} is no edit"),
        }
        policy.enter(self.now);
        self.limits = policy.limits();
    }

    fn replica(&self, replica: usize) -> &Fallback<Gate> {
        self.replicas[replica].as_ref().unwrap()
    }

    fn demand(&self, subject: usize, cost: u64) -> Demand<'_> {
        Demand { subject: SUBJECTS[subject], cost: NanoUsd(cost), ..demand(&self.limits, self.now) }
    }

    fn reserve(&mut self, replica: usize, subject: usize, cost: u64) {
        let asked = self.demand(subject, cost);
        if let Decision::Admitted(hold, _) = now(self.replica(replica).reserve(asked)).unwrap() {
            self.out.push(Out { replica, subject, served: self.served.len(), hold });
            let parts = vec![(self.now, cost)];
            self.served.push(Served { subject, at: self.now, counts: 1, parts });
            self.check(subject);
        }
    }

    fn raise(&mut self, hold: usize, cost: u64) {
        let Some(mut out) = self.pick(hold) else { return };
        let asked = self.demand(out.subject, cost);
        let raised = now(self.replica(out.replica).raise(&mut out.hold, asked)).unwrap();
        let parts = &mut self.served[out.served].parts;
        let before: u64 = parts.iter().map(|(_, cost)| cost).sum();
        if raised.is_ok() && cost > before {
            // The naive server moves the whole charge to the present, a replica adds to it.
            parts.push((self.now, cost - before));
        }
        let subject = out.subject;
        self.out.push(out);
        self.check(subject);
    }

    /// Never for more than was held: what comes to more is bounded by nobody.
    fn settle(&mut self, hold: usize, actual: Option<u64>, refund: bool) {
        let Some(out) = self.pick(hold) else { return };
        let served = &mut self.served[out.served];
        let held: u64 = served.parts.iter().map(|(_, cost)| cost).sum();
        let outcome = match (refund, actual) {
            (true, _) => Outcome::Refund,
            (false, None) => Outcome::Keep,
            (false, Some(cost)) => {
                Outcome::Actual { cost: NanoUsd(cost.min(held)), tokens: 0, bytes: 0 }
            }
        };
        let mut left = match outcome {
            Outcome::Refund => 0,
            Outcome::Keep => held,
            Outcome::Actual { cost, .. } => cost.0,
        };
        served.counts = u64::from(!refund);
        for (_, part) in &mut served.parts {
            *part = left.min(*part);
            left -= *part;
        }
        self.replica(out.replica).settle(out.hold, outcome, Timestamp(self.now));
    }

    fn pick(&mut self, hold: usize) -> Option<Out> {
        let count = self.out.len();
        (count > 0).then(|| self.out.swap_remove(hold % count))
    }

    /// What was in flight is over, and its estimate stands.
    fn kill(&mut self, replica: usize) {
        self.out.retain(|out| out.replica != replica);
        self.replicas[replica] = None;
        let metrics = Arc::new(Metrics::default());
        let again = open(&self.server, &self.directories[replica], &metrics);
        self.replicas[replica] = Some(again.unwrap());
    }

    fn check(&self, subject: usize) {
        let mine = || self.served.iter().filter(|served| served.subject == subject);
        let fresh = mine().filter(|served| served.at + MINUTE > self.now);
        let requests: u64 = fresh.map(|served| served.counts).sum();
        let (most_requests, policy) = (most(REQUESTS.1), &self.policy);
        assert!(requests <= most_requests, "{requests} requests of {most_requests}");
        let since = |from: u64| -> u64 {
            let parts = mine().flat_map(|served| &served.parts);
            parts.filter(|(at, _)| *at >= from).map(|(_, cost)| cost).sum()
        };
        let hour = self.now.saturating_sub(HOUR - 1);
        let spent = [
            (Some(policy.day_from), MONEY.1),
            (policy.week.map(|added| added.max(policy.week_from)), MONEY.1),
            (policy.rolling.map(|added| added.max(hour)), MONEY.0),
        ];
        for (from, limit) in spent.into_iter().filter_map(|(from, limit)| Some((from?, limit))) {
            let money = since(from);
            assert!(money <= most(limit), "{money} of {limit} nano-dollars since {from}");
        }
    }

    fn finish(mut self) {
        let mut state = self.server.state();
        (state.away, state.breaks_after) = (false, None);
        drop(state);
        while !self.out.is_empty() {
            self.settle(0, Some(3), false);
        }
        for replica in 0..REPLICAS {
            now(self.replica(replica).look());
            assert_eq!(self.replica(replica).depth(), 0);
            assert!(self.replica(replica).is_up());
        }
        let served = self.served.iter().flat_map(|served| &served.parts).map(|(_, cost)| cost);
        let served: u64 = served.sum();
        assert_eq!(self.total(1), served);
        let counts: u64 = self.served.iter().map(|served| served.counts).sum();
        assert_eq!(self.total(0), counts);
    }

    /// What the server has of the limit at this index, under all the names that it had.
    fn total(&self, index: usize) -> u64 {
        let counter = &self.limits.limits[index].counter;
        self.server.total(|id| counter.has(id))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_outage_oversteps_the_promise_or_loses_a_nano_dollar(
        history in prop::collection::vec(op(), 1..150),
    ) {
        let mut run = Run::new();
        for op in history {
            run.step(op);
        }
        run.finish();
    }
}
