//! What the authority said last of subjects that are close to a limit.
//!
//! An allowance alone would give a subject that has used its whole limit a part of
//! it again. Only subjects for which that could happen are remembered: those with
//! less left than their allowance.
//!
//! # Limits
//! At most `max` subjects; those beyond have their allowance and no more. What was
//! used of a sliding window counts whole until its oldest part leaves, and from
//! then on in proportion to the time that is left: only the authority has the log.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::ledger::decision::{CounterUsage, Demand, LimitState, Standing};
use crate::policy::limit::{CounterId, Limit, Limits, Span};

/// The last known use of subjects that are close to a limit.
#[derive(Debug)]
pub(super) struct Known {
    subjects: Mutex<HashMap<Box<str>, Facts, RandomState>>,
    count: AtomicUsize,
    max: usize,
}

/// One entry per counter that is close to its limit.
type Facts = SmallVec<[Fact; 2]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fact {
    counter: CounterId,
    used: u64,
    /// When the oldest part leaves, or the period ends.
    shrinks: u64,
    /// From when on nothing of it is left.
    gone: u64,
    /// What this process had used in the authority's place by then, which `used` contains.
    own: u64,
}

impl Fact {
    fn of(limit: &Limit, state: &LimitState, now: Timestamp, own: &[CounterUsage]) -> Self {
        let counter = limit.counter.id();
        let shrinks = now.after(state.resets_in).0;
        let gone = match limit.counter.span() {
            Span::Window(length) => now.after(*length).0.max(shrinks),
            Span::Period(_) | Span::InFlight => shrinks,
        };
        let own = own.iter().find(|usage| usage.id == counter).map_or(0, |usage| usage.used);
        Self { counter, used: state.used, shrinks, gone, own }
    }

    /// What may still count of it.
    fn at(&self, now: Timestamp) -> u64 {
        if now.0 < self.shrinks {
            return self.used;
        }
        let left = self.gone.saturating_sub(now.0);
        let whole = self.gone.saturating_sub(self.shrinks).max(1);
        let part = u128::from(self.used) * u128::from(left) / u128::from(whole);
        u64::try_from(part).unwrap_or(self.used)
    }
}

impl Known {
    pub(super) fn new(max: usize) -> Self {
        Self { subjects: Mutex::default(), count: AtomicUsize::new(0), max }
    }

    /// Remembers what a decision of the authority showed, where it may matter later.
    ///
    /// `allowances` are the limits cut down; `own` tells what this process has used by itself.
    pub(super) fn note(
        &self,
        demand: &Demand<'_>,
        standing: &Standing,
        allowances: &Limits,
        own: impl FnOnce() -> Vec<CounterUsage>,
    ) {
        let limits = demand.limits.all().zip(allowances.all()).zip(&standing.states);
        let is_close = |limit: &Limit, allowance: &Limit, state: &LimitState| {
            let rest = limit.amount.checked_sub(allowance.amount);
            rest.is_some_and(|rest| state.used > rest)
        };
        let close =
            limits.clone().any(|((limit, allowance), state)| is_close(limit, allowance, state));
        if !close && self.count.load(Relaxed) == 0 {
            return;
        }
        let own = if close { own() } else { Vec::new() };
        let facts: Facts = limits
            .filter(|((limit, allowance), state)| is_close(limit, allowance, state))
            .map(|((limit, _), state)| Fact::of(limit, state, demand.now, &own))
            .collect();
        self.replace(demand.subject, facts);
    }

    fn replace(&self, subject: &str, facts: Facts) {
        let mut subjects = self.lock();
        if facts.is_empty() {
            subjects.remove(subject);
        } else if let Some(known) = subjects.get_mut(subject) {
            *known = facts;
        } else if subjects.len() < self.max {
            subjects.insert(subject.into(), facts);
        }
        self.count.store(subjects.len(), Relaxed);
    }

    /// What of each limit is known to be used without `allowances`' own counts, in policy order.
    pub(super) fn used(&self, demand: &Demand<'_>) -> SmallVec<[u64; 8]> {
        let limits = demand.limits.all();
        let subjects = self.lock();
        let facts = subjects.get(demand.subject);
        let used = |limit: &Limit| {
            let fact = facts?.iter().find(|fact| limit.counter.has(fact.counter))?;
            Some(fact.at(demand.now).saturating_sub(fact.own))
        };
        limits.map(|limit| used(limit).unwrap_or(0)).collect()
    }

    /// Forgets what no longer counts.
    pub(super) fn sweep(&self, now: Timestamp) {
        if self.count.load(Relaxed) > 0 {
            let mut subjects = self.lock();
            subjects.retain(|_, facts| facts.iter().any(|fact| fact.gone > now.0));
            self.count.store(subjects.len(), Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Facts, RandomState>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The allowances, further cut down to what is left beside what is known to be used.
pub(super) fn narrowed(limits: &Limits, allowances: &Arc<Limits>, used: &[u64]) -> Arc<Limits> {
    let left = |(limit, used): (&Limit, &u64)| limit.amount.saturating_sub(*used);
    let pairs = limits.all().zip(used).map(left).zip(allowances.all());
    if pairs.clone().all(|(left, allowance)| left >= allowance.amount) {
        return Arc::clone(allowances);
    }
    let narrow = |(left, allowance): (u64, &Limit)| Limit {
        counter: allowance.counter.clone(),
        amount: allowance.amount.min(left),
    };
    let mut all = pairs.map(narrow);
    let own = all.by_ref().take(allowances.limits.len()).collect();
    let (pools, concurrency) = (all.collect(), allowances.concurrency);
    Arc::new(Limits { limits: own, pools, concurrency, ..Limits::default() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ledger::contract::{NOON, demand, limits, quota};
    use crate::policy::limit::Unit;

    fn state(used: u64, resets_in: u64) -> LimitState {
        LimitState { used, remaining: 0, resets_in: Duration::from_millis(resets_in) }
    }

    fn told(known: &Known, amount: u64, used: u64) {
        let whole = limits([quota("chat", Unit::Requests, 60, amount)]);
        let quarter = limits([quota("chat", Unit::Requests, 60, amount / 4)]);
        let standing =
            Standing { states: [state(used, 20_000)].into_iter().collect(), excess: None };
        known.note(&demand(&whole, NOON), &standing, &quarter, Vec::new);
    }

    fn used(known: &Known, later: u64) -> u64 {
        let whole = limits([quota("chat", Unit::Requests, 60, 1)]);
        known.used(&demand(&whole, NOON + later))[0]
    }

    #[test]
    fn only_who_is_close_to_a_limit_is_remembered() {
        let known = Known::new(10);
        told(&known, 100, 75);
        assert_eq!(used(&known, 0), 0);
        told(&known, 100, 76);
        assert_eq!(used(&known, 0), 76);
        told(&known, 100, 10);
        assert_eq!((used(&known, 0), known.count.load(Relaxed)), (0, 0));
    }

    #[test]
    fn what_was_used_of_a_window_shrinks_once_its_oldest_part_may_have_left() {
        let known = Known::new(10);
        told(&known, 100, 80);
        assert_eq!(
            [19_999, 20_000, 40_000, 60_000].map(|later| used(&known, later)),
            [80, 80, 40, 0]
        );
        known.sweep(Timestamp(NOON + 60_000));
        assert_eq!(known.count.load(Relaxed), 0);
    }

    #[test]
    fn a_new_name_is_as_close_to_the_limit_as_the_old_one_was() {
        let known = Known::new(10);
        told(&known, 100, 80);
        let chat = quota("talk", Unit::Requests, 60, 100);
        let renamed = limits([Limit { counter: chat.counter.renamed_from(["chat"]), ..chat }]);
        assert_eq!(known.used(&demand(&renamed, NOON))[0], 80);
    }

    #[test]
    fn an_allowance_is_never_more_than_what_is_left() {
        let whole =
            limits([quota("a", Unit::Requests, 60, 100), quota("b", Unit::Requests, 60, 8)]);
        let quarter =
            limits([quota("a", Unit::Requests, 60, 25), quota("b", Unit::Requests, 60, 2)]);
        assert!(Arc::ptr_eq(&narrowed(&whole, &quarter, &[75, 6]), &quarter));
        let amounts = |used: &[u64]| -> Vec<u64> {
            narrowed(&whole, &quarter, used).limits.iter().map(|limit| limit.amount).collect()
        };
        assert_eq!(amounts(&[80, 0]), [20, 2]);
        assert_eq!(amounts(&[0, 9]), [25, 0]);
    }
}
