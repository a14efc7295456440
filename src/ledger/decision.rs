//! What goes into a reservation and what comes out of it.
//!
//! A [`Demand`] asks for room under all limits at once; the answer is a
//! [`Decision`]. An admitted request owns a [`Hold`], which is the only way to
//! settle it: [`Store::settle`] takes it by value, so it happens at most once.
//! The figures that a caller is shown come from the same [`Standing`] as the
//! verdict, so they cannot disagree with it.
//!
//! # Limits
//! A hold that is dropped instead of settled stays booked, and its concurrency
//! slot stays taken, until the process ends.
//!
//! [`Store::settle`]: crate::ledger::Store::settle

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::ledger::away::Provisional;
use crate::ledger::redis::Held;
use crate::policy::limit::{CounterId, Limits, SpanKey, Unit};
use crate::units::NanoUsd;

/// A request for room under all limits that apply to it.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// Who is counted; at most [`MAX_SUBJECT`] bytes.
    pub subject: &'a str,
    /// The limits of the operation in the caller's tier.
    pub limits: &'a Arc<Limits>,
    /// The estimated cost.
    pub cost: NanoUsd,
    /// The estimated tokens; 0 when they are not known yet.
    pub tokens: u64,
    /// The size of the request's body; 0 when it is not known yet.
    pub bytes: u64,
    /// The instant of the request.
    pub now: Timestamp,
    /// `false` in shadow mode: books even past a limit and says what would have been refused.
    pub enforce: bool,
}

/// The longest subject that a store counts, in bytes: identities beyond it are not names.
pub const MAX_SUBJECT: usize = 1024;

impl Demand<'_> {
    pub(super) fn amount(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Requests => 1,
            Unit::Tokens => self.tokens.min(MOST),
            Unit::Bytes => self.bytes.min(MOST),
            Unit::NanoUsd => self.cost.0.min(MOST),
        }
    }
}

/// The most that one request counts for, $9,007,199 in nano-dollars: sums of these do not saturate,
/// so that whatever one request asked for, its refund leaves what others hold.
const MOST: u64 = (1 << 53) - 1;

/// The answer to a [`Demand`].
#[derive(Debug)]
pub enum Decision {
    /// There was room under every limit, and it is booked. The hold goes through many hands, by its address.
    Admitted(Box<Hold>, Standing),
    /// At least one limit had no room; nothing is booked.
    Refused(Refused),
}

/// The state of every limit right after a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// One entry per limit, in the order of [`Limits::all`].
    pub states: SmallVec<[LimitState; 4]>,
    /// In shadow mode: why the request would have been refused.
    pub excess: Option<Excess>,
}

/// The state of one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitState {
    /// Committed and held together, in the counter's unit.
    pub used: u64,
    /// What is left of the amount; 0 when more than it was used.
    pub remaining: u64,
    /// Until the oldest counted request leaves the window, or until the period ends.
    pub resets_in: Duration,
}

/// A refusal: nothing was booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The state of every limit, without the refused request.
    pub standing: Standing,
    /// Of the limits that were exceeded, the one with the longest wait.
    pub limit: Exceeded,
    /// When the same request would fit under that limit, if no other came in between.
    pub retry_after: Duration,
}

/// A limit without room, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Of the limits that were exceeded, the one with the longest wait.
    pub limit: Exceeded,
    /// When the same request would fit under that limit.
    pub retry_after: Duration,
}

/// Which limit was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// Index into [`Limits::all`].
    Limit(usize),
    /// Index into [`Limits::all`]: the request asks for more than the limit has when nothing is used.
    /// It never fits as it is, whatever the wait that is told.
    Never(usize),
    /// Index into [`Limits::all`]: the part of the limit that may be used while the store that
    /// replicas share is away.
    Allowance(usize),
    /// Too many requests of the subject in flight.
    Concurrency,
}

impl Exceeded {
    /// The limit, unless it is the subject's concurrency.
    pub fn index(self) -> Option<usize> {
        match self {
            Self::Limit(index) | Self::Never(index) | Self::Allowance(index) => Some(index),
            Self::Concurrency => None,
        }
    }
}

/// Nobody knows when a request in flight ends; this is what its rivals are told to wait.
pub const CONCURRENCY_WAIT: Duration = Duration::from_secs(1);

/// One process that counts: drawn at random when its store is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u64);

impl ReplicaId {
    /// Draws a new id.
    pub fn mint() -> Self {
        Self(rand::rng().next_u64())
    }
}

/// The name of a reservation, minted by the store and by nobody else: never twice the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldId {
    /// Who owns the hold.
    pub replica: ReplicaId,
    /// Its number there.
    pub serial: u64,
}

/// 32 hex digits.
impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.replica.0, self.serial)
    }
}

/// Proof of a reservation, to be settled exactly once.
#[derive(Debug)]
#[must_use = "a hold that is not settled stays booked"]
pub struct Hold {
    pub(super) id: HoldId,
    pub(super) subject: Arc<str>,
    pub(super) hash: u64,
    pub(super) lease: Option<Timestamp>,
    /// On the subject's counters, in the order of booking.
    pub(super) charges: Charges,
    /// On the counters under [`POOLS`](crate::policy::limit::POOLS).
    pub(super) pooled: Charges,
    /// What a server that replicas share knows of it; `None` where there is none.
    pub(super) remote: Option<Box<Held>>,
    /// What stands in for a store that is away; `None` while it is not.
    pub(super) away: Option<Box<Provisional>>,
}

/// What a hold has booked on one account.
pub(super) type Charges = SmallVec<[Charge; 4]>;

impl Hold {
    /// The reservation's name.
    pub fn id(&self) -> HoldId {
        self.id
    }

    /// Who is charged.
    pub fn subject(&self) -> &Arc<str> {
        &self.subject
    }

    /// The process that made the reservation, and renews it.
    pub fn owner(&self) -> ReplicaId {
        self.id.replica
    }

    /// When the store gives the hold up unless its owner renews it; `None` as long as the process lives.
    pub fn lease(&self) -> Option<Timestamp> {
        self.lease
    }

    /// What is booked of a unit, on any one of the subject's counters.
    pub(super) fn booked(&self, unit: Unit) -> u64 {
        let mut most = 0;
        for charge in self.charges.iter().filter(|charge| charge.unit == unit) {
            let same = self.charges.iter().filter(|other| other.counter == charge.counter);
            most = most.max(same.fold(0, |sum: u64, other| sum.saturating_add(other.amount)));
        }
        most
    }
}

/// What a hold has booked on one counter at one time.
///
/// A hold that was raised may have several on one counter: each counts from when it was booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Charge {
    /// The counter, as its limit named it when the first of its charges was booked.
    pub(super) counter: CounterId,
    /// Where an account of this process has it; a remote store has no use for it.
    pub(super) slot: u32,
    pub(super) generation: u16,
    pub(super) unit: Unit,
    pub(super) time: u64,
    pub(super) amount: u64,
}

/// How an admitted request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The estimate stands.
    Keep,
    /// Cost and count are given back in full.
    Refund,
    /// The truth is known and replaces the estimate; the request stays counted.
    Actual {
        /// What it did cost.
        cost: NanoUsd,
        /// How many tokens it took.
        tokens: u64,
        /// How many bytes its body had.
        bytes: u64,
    },
}

impl Outcome {
    /// What the request came to in this unit; `None` when what was booked stands.
    pub(super) fn amount(&self, unit: Unit) -> Option<u64> {
        match (self, unit) {
            (Self::Refund, _) => Some(0),
            (Self::Keep, _) | (Self::Actual { .. }, Unit::Requests) => None,
            (Self::Actual { tokens, .. }, Unit::Tokens) => Some((*tokens).min(MOST)),
            (Self::Actual { bytes, .. }, Unit::Bytes) => Some((*bytes).min(MOST)),
            (Self::Actual { cost, .. }, Unit::NanoUsd) => Some(cost.0.min(MOST)),
        }
    }

    /// What the charge at `index` comes to: the truth fills the charges of one counter in the
    /// order of their booking, and what exceeds them belongs to the last.
    pub(super) fn share(&self, charges: &[Charge], index: usize) -> u64 {
        let charge = &charges[index];
        let Some(actual) = self.amount(charge.unit) else { return charge.amount };
        let same = |other: &&Charge| other.counter == charge.counter;
        let earlier = charges[..index].iter().filter(same);
        let before = earlier.fold(0, |sum: u64, other| sum.saturating_add(other.amount));
        let rest = actual.saturating_sub(before);
        let last = !charges[index + 1..].iter().any(|other| same(&other));
        if last { rest } else { rest.min(charge.amount) }
    }
}

/// What a subject has used of one counter, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterUsage {
    /// The counter's key.
    pub id: CounterId,
    /// The operation's name, or `*`; `tier:NAME`, `tier:NAME/OPERATION` or `operation:NAME` of a pool.
    pub scope: Arc<str>,
    /// What is counted.
    pub unit: Unit,
    /// Over which time.
    pub span: SpanKey,
    /// Committed and held together.
    pub used: u64,
    /// The part of `used` that requests in flight hold; always 0 for windows, which count at once.
    pub held: u64,
    /// Until the oldest counted request leaves the window, or until the period ends.
    pub resets_in: Duration,
}
