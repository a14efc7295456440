//! What a request holds on the server, as its replica remembers it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::live::Keys;
use super::share::{Share, Stamp};
use crate::ledger::decision::{Demand, Outcome};
use crate::policy::limit::Unit;

/// The largest amount that is exact in the server's script: 2^53 - 1, $9,007,199 in nano-dollars.
pub(super) const MAX_AMOUNT: u64 = (1 << 53) - 1;

/// Amounts of requests, tokens, bytes and nano-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Amounts(pub(super) [u64; 4]);

const UNITS: [Unit; 4] = [Unit::Requests, Unit::Tokens, Unit::Bytes, Unit::NanoUsd];

impl Amounts {
    pub(super) fn of(demand: &Demand<'_>) -> Self {
        Self(UNITS.map(|unit| demand.amount(unit).min(MAX_AMOUNT)))
    }

    pub(super) fn get(&self, unit: Unit) -> u64 {
        self.0[position(unit)]
    }

    /// What `self` has more.
    pub(super) fn beyond(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].saturating_sub(other.0[i])))
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].saturating_add(other.0[i])))
    }

    pub(super) fn max(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].max(other.0[i])))
    }

    fn min(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].min(other.0[i])))
    }

    /// What an outcome makes of an estimate.
    pub(super) fn after(&self, outcome: Outcome) -> Self {
        match outcome {
            Outcome::Keep => *self,
            Outcome::Refund => Self::default(),
            Outcome::Actual { cost, tokens, bytes } => {
                Self([self.0[0], tokens, bytes, cost.0].map(|amount| amount.min(MAX_AMOUNT)))
            }
        }
    }
}

fn position(unit: Unit) -> usize {
    match unit {
        Unit::Requests => 0,
        Unit::Tokens => 1,
        Unit::Bytes => 2,
        Unit::NanoUsd => 3,
    }
}

/// Where a request's estimate is booked: one list for the subject's account, or for all accounts
/// where one server has them, and one for pools that lie elsewhere; in the order of booking.
#[derive(Debug, Default)]
pub(in crate::ledger) struct Held {
    own: Parts,
    pooled: Parts,
}

type Parts = SmallVec<[Part; 1]>;

/// One booking.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) amounts: Amounts,
    pub(super) source: Source,
}

/// What it was taken from.
#[derive(Debug)]
pub(super) enum Source {
    /// A hold of its own on the server.
    Direct {
        /// Its number here.
        serial: u64,
        /// The accounts that it is in.
        keys: Keys,
    },
    /// A share that was drawn before.
    Share(Arc<Share>, Stamp),
}

impl Held {
    /// The parts on one side.
    pub(super) fn side(&mut self, pools: bool) -> &mut Parts {
        if pools { &mut self.pooled } else { &mut self.own }
    }

    /// A part that was taken from a share.
    pub(super) fn spent(share: Arc<Share>, stamp: Stamp, amounts: Amounts) -> Part {
        Part { amounts, source: Source::Share(share, stamp) }
    }

    /// The only part, if it has the whole request and is a hold of its own.
    pub(super) fn lone(&mut self) -> Option<&mut Part> {
        match (&mut *self.own, &*self.pooled) {
            ([part], []) if matches!(part.source, Source::Direct { .. }) => Some(part),
            _ => None,
        }
    }

    /// The share from which the request was taken.
    pub(super) fn share(&self) -> Option<Arc<Share>> {
        self.own.iter().rev().find_map(|part| match &part.source {
            Source::Share(share, _) => Some(Arc::clone(share)),
            Source::Direct { .. } => None,
        })
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.own.extend(more.own);
        self.pooled.extend(more.pooled);
    }

    /// All that is booked on any one account.
    pub(super) fn total(&self) -> Amounts {
        total(&self.own)
    }

    /// What each part comes to.
    pub(super) fn settled(self, outcome: Outcome) -> impl Iterator<Item = (Part, Amounts)> {
        share(self.own, outcome).chain(share(self.pooled, outcome))
    }
}

fn total(parts: &[Part]) -> Amounts {
    parts.iter().fold(Amounts::default(), |sum, part| sum.plus(&part.amounts))
}

/// The truth fills the parts in order, and the last has the rest.
fn share(parts: Parts, outcome: Outcome) -> impl Iterator<Item = (Part, Amounts)> {
    let mut rest = total(&parts).after(outcome);
    let last = parts.len().saturating_sub(1);
    parts.into_iter().enumerate().map(move |(index, part)| {
        let mut actual = rest;
        if index < last {
            actual = rest.min(&part.amounts);
            rest = rest.beyond(&actual);
        }
        (part, actual)
    })
}
