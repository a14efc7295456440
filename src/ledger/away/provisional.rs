//! What was booked here for one request, in the authority's place.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::ledger::authority::{Amount, Move};
use crate::ledger::decision::{Demand, Hold, Outcome};
use crate::ledger::slot::Name;
use crate::policy::limit::{CounterId, Limit, Limits, Span, Unit};
use crate::units::NanoUsd;

/// The part of a hold that the authority knows nothing of.
#[derive(Debug)]
pub(in crate::ledger) struct Provisional {
    /// What the authority holds of the same request, when it went away in between.
    pub(super) base: Option<Base>,
    /// The booking in local accounts; `None` for a request that passes uncounted.
    pub(super) local: Option<Box<Hold>>,
    /// What the backlog was told, one entry per counter.
    pub(super) told: SmallVec<[Told; 6]>,
}

/// What the authority holds of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    cost: u64,
    tokens: u64,
    bytes: u64,
}

/// What the backlog was told of one counter.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// The counter, as its limit named it when the first of its charges was told.
    counter: CounterId,
    /// Where this one was booked; another name, if the counter was renamed in between.
    name: Name,
    /// Whether it is one that all callers share.
    is_pooled: bool,
    period: (u64, u64),
    at: u64,
    amount: u64,
}

impl Base {
    pub(super) fn of(hold: &Hold) -> Self {
        let [cost, tokens, bytes] =
            [Unit::NanoUsd, Unit::Tokens, Unit::Bytes].map(|unit| hold.booked(unit));
        Self { cost, tokens, bytes }
    }

    /// What a demand asks for beyond it.
    pub(super) fn beyond<'a>(self, demand: Demand<'a>, limits: &'a Arc<Limits>) -> Demand<'a> {
        Demand {
            limits,
            cost: NanoUsd(demand.cost.0.saturating_sub(self.cost)),
            tokens: demand.tokens.saturating_sub(self.tokens),
            bytes: demand.bytes.saturating_sub(self.bytes),
            ..demand
        }
    }

    /// Divides an outcome: what the authority's hold came to, and what the local one did.
    pub(super) fn divide(self, outcome: Outcome) -> (Outcome, Outcome) {
        let actual = |[cost, tokens, bytes]: [u64; 3]| Outcome::Actual {
            cost: NanoUsd(cost),
            tokens,
            bytes,
        };
        let own = [self.cost, self.tokens, self.bytes];
        match outcome {
            Outcome::Refund => (Outcome::Refund, Outcome::Refund),
            // Said in numbers: a raise that was given up must not count, should it have arrived.
            Outcome::Keep => (actual(own), Outcome::Keep),
            Outcome::Actual { cost, tokens, bytes } => {
                let all = [cost.0, tokens, bytes];
                let there = std::array::from_fn(|i| all[i].min(own[i]));
                let here = std::array::from_fn(|i| all[i] - all[i].min(own[i]));
                (actual(there), actual(here))
            }
        }
    }
}

impl Provisional {
    /// A request that is counted nowhere.
    pub(super) fn uncounted() -> Self {
        Self { base: None, local: None, told: SmallVec::new() }
    }

    /// What is to be told of an admission: one entry per counter, empty ones too, since a
    /// request may come to more than its estimate.
    pub(super) fn admitted(base: Option<Base>, local: Box<Hold>, demand: &Demand<'_>) -> Self {
        let mut told: SmallVec<[Told; 6]> = SmallVec::new();
        for (limit, is_pooled) in lasting(demand.limits) {
            let counter = limit.counter.id();
            if !told.iter().any(|told| told.counter == counter) {
                let amount = demand.amount(limit.counter.unit());
                told.push(Told::of(limit, counter, is_pooled, demand.now, amount));
            }
        }
        Self { base, local: Some(local), told }
    }

    /// What a better estimate adds: the difference counts from now, and in the present period.
    pub(super) fn raised(&self, demand: &Demand<'_>) -> SmallVec<[Told; 6]> {
        let mut added: SmallVec<[Told; 6]> = SmallVec::new();
        for (limit, is_pooled) in lasting(demand.limits) {
            let known = self.told.iter().find(|told| limit.counter.has(told.counter));
            let counter = known.map_or(limit.counter.id(), |told| told.counter);
            let more = demand.amount(limit.counter.unit()).saturating_sub(self.sum(counter));
            if more > 0 && !added.iter().any(|told| told.counter == counter) {
                added.push(Told::of(limit, counter, is_pooled, demand.now, more));
            }
        }
        added
    }

    fn sum(&self, counter: CounterId) -> u64 {
        let same = self.told.iter().filter(|told| told.counter == counter);
        same.fold(0, |sum, told| sum.saturating_add(told.amount))
    }

    /// What the end of the request changes. The truth fills the charges of one counter in the
    /// order of their booking, and what exceeds them belongs to the last.
    pub(super) fn settled(&self, outcome: Outcome) -> Moves {
        let all = &self.told;
        let change = |index: usize| Some((&all[index], Self::change(all, index, outcome)?));
        Moves::of((0..all.len()).filter_map(change))
    }

    fn change(all: &[Told], index: usize, outcome: Outcome) -> Option<Amount> {
        let told = &all[index];
        let same = |other: &&Told| other.counter == told.counter;
        let earlier = all[..index].iter().filter(same);
        let before = earlier.fold(0, |sum: u64, other| sum.saturating_add(other.amount));
        let is_last = !all[index + 1..].iter().any(|other| same(&other));
        let rest = outcome
            .amount(told.name.unit)
            .map_or(told.amount, |whole| whole.saturating_sub(before));
        let own = if is_last { rest } else { rest.min(told.amount) };
        match own.checked_sub(told.amount) {
            Some(0) => None,
            Some(more) => Some(Amount::Add(more)),
            None => Some(Amount::Take { at: told.at, amount: told.amount - own }),
        }
    }
}

/// What changed, by whose counters.
#[derive(Debug, Default)]
pub(super) struct Moves {
    pub(super) own: SmallVec<[Move; 6]>,
    pub(super) pool: SmallVec<[Move; 6]>,
}

impl Moves {
    /// What an admission or a raise changed.
    pub(super) fn charged(told: &[Told]) -> Self {
        let charged = told.iter().filter(|told| told.amount > 0);
        Self::of(charged.map(|told| (told, Amount::Add(told.amount))))
    }

    fn of<'t>(changes: impl Iterator<Item = (&'t Told, Amount)>) -> Self {
        let mut moves = Self::default();
        for (told, amount) in changes {
            let side = if told.is_pooled { &mut moves.pool } else { &mut moves.own };
            side.push(Move { name: told.name.clone(), period: told.period, amount });
        }
        moves
    }
}

impl Told {
    fn of(limit: &Limit, counter: CounterId, is_pooled: bool, now: Timestamp, amount: u64) -> Self {
        let period = match limit.counter.span() {
            Span::Window(_) | Span::InFlight => (0, 0),
            Span::Period(calendar) => {
                let bounds = calendar.bounds(now);
                (bounds.start.0, bounds.end.0)
            }
        };
        Self { counter, name: Name::from(&limit.counter), is_pooled, period, at: now.0, amount }
    }
}

/// The limits whose counts outlive a request, and whether all callers share them.
fn lasting(limits: &Limits) -> impl Iterator<Item = (&Limit, bool)> {
    let own = limits.limits.iter().map(|limit| (limit, false));
    let all = own.chain(limits.pools.iter().map(|limit| (limit, true)));
    all.filter(|(limit, _)| !matches!(limit.counter.span(), Span::InFlight))
}
