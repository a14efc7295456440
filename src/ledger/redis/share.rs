//! A share: what a replica drew ahead for one subject, and spends without asking.
//!
//! The server counts a share as used from the moment it is drawn. What is spent of
//! it is told in reports. A window books it at the time of the report, which is
//! never before it was spent, so it cannot leave the window early; a period commits
//! it when the request is settled. What is not spent goes back when the share ends.
//!
//! Far from its limits a share tells of its spending every three seconds, near them
//! five times a second: who is refused elsewhere waits for what is given back. An answer
//! renews the lease, so a share lasts until it is spent or nobody spends it.
//!
//! A report is told again, word for word, until it is answered; the server knows
//! its number and books it once.
//!
//! # Failure
//! A server that is away hears the last of a share from the journal of this process,
//! whether it lives then or not. A share whose replica crashed before that ends with its
//! lease on the server: what was reported stays, the rest is charged or given back as
//! `on_expired` says.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;

use super::ask::Verdict;
use super::held::{Amounts, MAX_AMOUNT};
use super::live::Keys;
use super::resp::Reply;
use super::script::Invocation;
use super::server::names;
use crate::ledger::decision::{LimitState, Standing};
use crate::policy::limit::{CounterId, Limit, Limits, Span, Unit};

/// When the report that told of a spending was booked, by the server's clock; 0 until it was.
pub(super) type Stamp = Arc<AtomicU64>;

/// What was drawn at once.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) serial: u64,
    pub(super) keys: Keys,
    limits: Arc<Limits>,
    /// How long what was spent may wait to be told, in milliseconds.
    pace: u64,
    /// When it was drawn, and how long its lease was, in milliseconds.
    drawn: (u64, u64),
    state: Mutex<State>,
}

/// How often spending is told where little is left, or the limit is short; and where it is far.
const SOON: u64 = 200;
const LATE: u64 = 3_000;
/// A window counts what was spent ahead by this part of its length later at most.
const PART: u64 = 20;

#[derive(Debug)]
struct State {
    counters: SmallVec<[Drawn; 4]>,
    /// The counter of each limit, in the order of [`Limits::all`].
    of_limit: SmallVec<[Option<u8>; 8]>,
    /// What others had used of each limit when the share was drawn, and when it begins to shrink.
    others: SmallVec<[(u64, u64); 8]>,
    slots: u64,
    in_flight: u64,
    /// Spendings that are not settled yet: one request that was raised has several, and one slot.
    unsettled: u64,
    /// Whether more may be spent, until when, and until when at most: a period ends.
    open: bool,
    ends: u64,
    over: u64,
    spent_last: u64,
    told_last: u64,
    dirty: bool,
    sequence: u64,
    stamp: Stamp,
    report: Option<Told>,
}

/// A report that has no answer yet.
#[derive(Debug)]
struct Told {
    call: Invocation,
    stamp: Stamp,
    last: bool,
    /// Until when its answer will have renewed the lease.
    renews: u64,
}

/// One counter's part.
#[derive(Clone, Debug)]
struct Drawn {
    counter: CounterId,
    account: u64,
    unit: Unit,
    kind: Kind,
    /// What may still be spent.
    free: u64,
    /// What requests in flight hold; always 0 for windows, which count at once.
    held: u64,
    /// What was spent and has not been reported.
    unreported: u64,
    /// What was spent in all.
    spent: u64,
    /// What comes back of what was reported.
    takes: Vec<(Stamp, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Window,
    Period,
    InFlight,
}

impl Share {
    /// Takes in what the script has drawn: `times` the amounts of one request.
    pub(super) fn new(
        serial: u64,
        (keys, limits): (Keys, &Arc<Limits>),
        amounts: &Amounts,
        verdict: &Verdict,
        asked: u64,
    ) -> Self {
        let (mut counters, mut of_limit) = (SmallVec::<[Drawn; 4]>::new(), SmallVec::new());
        let (mut others, mut pace, mut over) = (SmallVec::new(), LATE, u64::MAX);
        for (index, (limit, state)) in limits.all().zip(&verdict.states).enumerate() {
            let (counter, unit) = (limit.counter.id(), limit.counter.unit());
            let free = amounts.get(unit).saturating_mul(verdict.times);
            let account = if index < limits.limits.len() { 1 } else { 2 };
            let same = |drawn: &Drawn| drawn.counter == counter && drawn.account == account;
            let mut at = counters.iter().position(same);
            if at.is_none() && free > 0 {
                let kind = match limit.counter.span() {
                    Span::Window(_) => Kind::Window,
                    Span::Period(_) => Kind::Period,
                    Span::InFlight => Kind::InFlight,
                };
                at = Some(counters.len());
                let takes = Vec::new();
                let (held, unreported, spent) = (0, 0, 0);
                counters.push(Drawn {
                    counter,
                    account,
                    unit,
                    kind,
                    free,
                    held,
                    unreported,
                    spent,
                    takes,
                });
            }
            of_limit.push(at.map(|at| at as u8));
            others.push((state.used.saturating_sub(free), asked + millis(state.resets_in)));
            pace = pace.min(pace_of(limit, state));
            if matches!(limit.counter.span(), Span::Period(_)) {
                over = over.min(asked + millis(state.resets_in));
            }
        }
        let state = State {
            counters,
            of_limit,
            others,
            slots: verdict.times,
            in_flight: 0,
            unsettled: 0,
            open: true,
            ends: asked + millis(verdict.lease),
            over,
            spent_last: asked,
            told_last: asked,
            dirty: false,
            sequence: 0,
            stamp: Stamp::default(),
            report: None,
        };
        let drawn = (asked, millis(verdict.lease));
        Self { serial, keys, limits: Arc::clone(limits), pace, drawn, state: Mutex::new(state) }
    }

    pub(super) fn is_for(&self, limits: &Arc<Limits>) -> bool {
        Arc::ptr_eq(&self.limits, limits)
    }

    /// Whether it is so young that one spent by now was too small.
    pub(super) fn is_young(&self, now: u64) -> bool {
        now.saturating_sub(self.drawn.0) < self.drawn.1
    }

    /// Spends what a request asks for, if there is as much of everything.
    pub(super) fn spend(&self, amounts: &Amounts, now: u64) -> Option<(Stamp, Standing)> {
        let mut state = self.guard();
        let slots = amounts.0[0].min(1);
        let state = &mut *state;
        if !state.open || now >= state.ends || state.slots < slots {
            return None;
        }
        for (limit, at) in self.limits.all().zip(&state.of_limit) {
            let free = at.map_or(0, |at| state.counters[usize::from(at)].free);
            if free < amounts.get(limit.counter.unit()) {
                return None;
            }
        }
        for drawn in &mut state.counters {
            drawn.spend(amounts.get(drawn.unit));
        }
        state.slots -= slots;
        state.in_flight += slots;
        state.unsettled += 1;
        (state.spent_last, state.dirty) = (now, true);
        Some((Arc::clone(&state.stamp), state.standing(&self.limits, now)))
    }

    /// Replaces what was spent by what it came to.
    pub(super) fn settle(&self, estimate: &Amounts, actual: &Amounts, stamp: &Stamp) {
        let mut state = self.guard();
        let unsaid = Arc::ptr_eq(&state.stamp, stamp);
        let slots = estimate.0[0].min(1);
        state.in_flight = state.in_flight.saturating_sub(slots);
        state.unsettled = state.unsettled.saturating_sub(1);
        state.slots += slots;
        state.dirty = true;
        for drawn in &mut state.counters {
            drawn.settle(estimate.get(drawn.unit), actual.get(drawn.unit), stamp, unsaid);
        }
    }

    /// Ends the spending; what is left goes back with the next report.
    pub(super) fn end(&self) {
        let mut state = self.guard();
        state.dirty |= state.open;
        state.open = false;
    }

    /// Whether more may be spent; ends the share when its time is over or nobody spends it.
    pub(super) fn is_open(&self, now: u64, idle: u64) -> bool {
        let mut state = self.guard();
        if state.open && (now >= state.ends || now.saturating_sub(state.spent_last) >= idle) {
            (state.open, state.dirty) = (false, true);
        }
        state.open
    }

    /// What is to be told now: the report that has no answer yet, or a new one if there is something to say.
    pub(super) fn report(
        &self,
        id: &str,
        (now, lease): (u64, u64),
        told: Option<u64>,
    ) -> Option<Invocation> {
        let mut state = self.guard();
        if let Some(told) = &state.report {
            return Some(told.call.clone());
        }
        // The end is told at once: others may wait for what is left.
        let pace = if !state.dirty { lease / 3 } else { self.pace.min(lease / 3) };
        if now.saturating_sub(state.told_last) < pace && (state.open || !state.dirty) {
            return None;
        }
        let mut call = Invocation::new("report", &names(&self.keys), told);
        let last = state.put(&mut call, id, lease);
        state.told_last = now;
        let stamp = std::mem::take(&mut state.stamp);
        state.report = Some(Told { call: call.clone(), stamp, last, renews: now + lease });
        Some(call)
    }

    /// Lets `keep` have the reports with which a share is over, oldest first, once nothing more will come
    /// of it; `true` when it took them, and this share need not be told of any more.
    pub(super) fn hand_over(
        &self,
        id: &str,
        (lease, told): (u64, Option<u64>),
        keep: impl FnOnce(&[Invocation]) -> bool,
    ) -> bool {
        let mut state = self.guard();
        if state.open || state.unsettled > 0 || state.waits() {
            return false;
        }
        let before = (state.counters.clone(), state.sequence, state.dirty);
        let mut calls = SmallVec::<[Invocation; 2]>::new();
        calls.extend(state.report.as_ref().map(|told| told.call.clone()));
        if state.report.as_ref().is_none_or(|told| !told.last) {
            let mut call = Invocation::new("report", &names(&self.keys), told);
            state.put(&mut call, id, lease);
            calls.push(call);
        }
        let kept = keep(&calls);
        if !kept {
            (state.counters, state.sequence, state.dirty) = before;
        }
        kept
    }

    /// Takes note of the answer to the report; `true` when the share is no more.
    pub(super) fn told(&self, reply: &Reply) -> bool {
        let [found, _, applied, recalled] = reply.array() else { return false };
        let mut state = self.guard();
        let Some(Told { stamp, last, renews, .. }) = state.report.take() else { return false };
        stamp.store(applied.amount().unwrap_or(0), Relaxed);
        if recalled.number() == Some(1) && state.open {
            (state.open, state.dirty) = (false, true);
        }
        let is_there = found.number() != Some(0);
        if is_there {
            state.ends = state.ends.max(renews.min(state.over));
        }
        last || !is_there
    }

    fn guard(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn standing(&self, limits: &Limits, now: u64) -> Standing {
        let mut states = SmallVec::new();
        for ((limit, at), (others, shrinks)) in limits.all().zip(&self.of_limit).zip(&self.others) {
            let own = at.map_or(0, |at| self.counters[usize::from(at)].spent);
            let used = others.saturating_add(own);
            let resets_in = Duration::from_millis(shrinks.saturating_sub(now));
            states.push(LimitState {
                used,
                remaining: limit.amount.saturating_sub(used),
                resets_in,
            });
        }
        Standing { states, excess: None }
    }

    /// Whether something is to be taken back of what was told in a report that has no answer yet.
    fn waits(&self) -> bool {
        let waits = |drawn: &Drawn| drawn.takes.iter().any(|(stamp, _)| stamp.load(Relaxed) == 0);
        self.counters.iter().any(waits)
    }

    /// Appends a report; `true` when it is the last.
    fn put(&mut self, call: &mut Invocation, id: &str, lease: u64) -> bool {
        if !self.open {
            self.slots = 0;
            self.counters.iter_mut().for_each(|drawn| drawn.free = 0);
        }
        let waiting = self.waits();
        let last = !self.open && self.unsettled == 0 && !waiting;
        self.sequence += 1;
        self.dirty = waiting;
        call.text(id).number(self.sequence).flag(last).number(lease);
        call.number(self.slots + self.in_flight).number(self.counters.len() as u64);
        self.counters.iter_mut().for_each(|drawn| drawn.put(call));
        last
    }
}

impl Drawn {
    fn spend(&mut self, amount: u64) {
        self.free -= amount;
        self.spent = self.spent.saturating_add(amount);
        match self.kind {
            Kind::Window => self.unreported += amount,
            Kind::Period | Kind::InFlight => self.held += amount,
        }
    }

    fn settle(&mut self, estimate: u64, actual: u64, stamp: &Stamp, unsaid: bool) {
        let (back, more) = (estimate.saturating_sub(actual), actual.saturating_sub(estimate));
        match self.kind {
            Kind::InFlight => {
                self.held = self.held.saturating_sub(estimate);
                self.free += estimate;
                self.spent = self.spent.saturating_sub(estimate);
                return;
            }
            Kind::Period => {
                self.held = self.held.saturating_sub(estimate);
                self.unreported = self.unreported.saturating_add(actual);
                self.free += back;
            }
            Kind::Window if unsaid => {
                self.unreported = self.unreported.saturating_sub(back);
                self.free += back;
            }
            Kind::Window if back > 0 => self.takes.push((Arc::clone(stamp), back)),
            Kind::Window => {}
        }
        if self.kind == Kind::Window {
            self.unreported = self.unreported.saturating_add(more);
        }
        self.free = self.free.saturating_sub(more);
        self.spent = self.spent.saturating_sub(back).saturating_add(more);
    }

    fn put(&mut self, call: &mut Invocation) {
        let spent = std::mem::take(&mut self.unreported);
        call.number(self.account).text(&format!("{:016x}", self.counter.to_u64()));
        call.number(spent.min(MAX_AMOUNT)).number(self.free + self.held);
        let known = |(stamp, _): &(Stamp, u64)| stamp.load(Relaxed) > 0;
        call.number(self.takes.iter().filter(|take| known(take)).count() as u64);
        self.takes.retain(|take| {
            if !known(take) {
                return true;
            }
            call.number(take.0.load(Relaxed)).number(take.1);
            false
        });
    }
}

/// How long what is spent of a limit may wait to be told.
fn pace_of(limit: &Limit, state: &LimitState) -> u64 {
    let far = state.used <= limit.amount / 2;
    match limit.counter.span() {
        Span::Window(length) if far => (millis(*length) / PART).clamp(SOON, LATE),
        Span::Period(_) if far => LATE,
        Span::Window(_) | Span::Period(_) | Span::InFlight => SOON,
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
