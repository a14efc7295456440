//! All counters of one subject.
//!
//! Pure: no I/O, no clock, no lock. Whoever owns an account calls one method at a
//! time. [`decide`](super::decide) decides over one or two of them in one step;
//! [`rename`](super::rename) moves counts whose counter got another name.
//!
//! # Time
//! An account's time never runs backwards. An instant up to [`MAX_SKEW`] in its
//! past counts as its present: threads race by that much, and a wait is then told
//! from the caller's own instant. Beyond it the clock was set back; what was booked
//! in the future moves to the present, and nothing stays counted for longer than
//! its window from then on.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::ledger::decision::{Charge, CounterUsage, Outcome};
use crate::ledger::leases::Leases;
use crate::ledger::slot::{Name, Slot, Step, Usage};
use crate::policy::calendar::Period;
use crate::policy::limit::{Counter, CounterId, Limit, SpanKey};

/// How far apart two readings of one clock may be before the clock was set back.
const MAX_SKEW: u64 = 60_000;

/// Zones differ by up to 26 h: so long after its end, a period may yet be the
/// present one of a budget that moved to another zone.
const ZONE_GRACE: u64 = 26 * 3_600_000;
/// A week may begin on any other day as well.
const WEEK_GRACE: u64 = ZONE_GRACE + 6 * 24 * 3_600_000;

/// How thoroughly a sweep looks for what may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sweep {
    /// Keeps ended periods that a change of zone might bring back.
    Gentle,
    /// Keeps nothing that has ended: there is no room left.
    Thorough,
}

/// One change of one slot, by its index.
pub(super) type Move = (u32, Step);
/// The changes of one operation on one account.
pub(super) type Moves = SmallVec<[Move; 4]>;
/// The slot of each limit.
pub(super) type Indices = SmallVec<[u32; 8]>;

/// The counters of one subject.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) subject: Arc<str>,
    pub(super) hash: u64,
    /// The journal segment that holds the latest change; 0 for none.
    pub(super) changed: u64,
    /// Whether the last checkpoint may have a row of this account.
    pub(super) stored: bool,
    latest: u64,
    pub(super) in_flight: u32,
    /// Only ever appended to while holds are out: they point at their slots.
    pub(super) slots: Vec<Slot>,
    /// What is kept of open holds, for stores that give back what a crash leaves open.
    pub(super) leases: Option<Box<Leases>>,
}

impl Account {
    pub(super) fn new(subject: &str, hash: u64) -> Self {
        let subject = subject.into();
        Self {
            subject,
            hash,
            changed: 0,
            stored: false,
            latest: 0,
            in_flight: 0,
            slots: Vec::new(),
            leases: None,
        }
    }

    /// Ends the part of a hold that this account has.
    pub(super) fn settle(&mut self, charges: &[Charge], outcome: Outcome, now: Timestamp) -> Moves {
        let now = self.advance(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.replace(charges, outcome, now)
    }

    /// Replaces what was charged by what it came to.
    pub(super) fn replace(&mut self, charges: &[Charge], outcome: Outcome, now: u64) -> Moves {
        let mut moves = Moves::new();
        for (index, charge) in charges.iter().enumerate() {
            let Some((at, generation)) = self.follow(charge) else { continue };
            let slot = &mut self.slots[at as usize];
            if slot.generation == generation {
                let step = slot.settle(charge, outcome.share(charges, index), now);
                moves.extend(step.map(|step| (at, step)));
            }
        }
        moves
    }

    /// Forgets all use; requests in flight stay in flight, but what they cost no longer counts.
    pub(super) fn reset(&mut self) {
        self.slots.iter_mut().for_each(Slot::clear);
    }

    /// Drops counters without content; `true` when the account may go as a whole.
    pub(super) fn sweep(&mut self, now: u64, sweep: Sweep) -> bool {
        // Holds point at their slots.
        if self.in_flight > 0 || self.leases.is_some() {
            return false;
        }
        self.slots.retain(|slot| {
            let grace = match (sweep, slot.name.span) {
                (Sweep::Thorough, _) => 0,
                (Sweep::Gentle, SpanKey::Period(Period::Week)) => WEEK_GRACE,
                (Sweep::Gentle, _) => ZONE_GRACE,
            };
            !slot.is_spent(now, grace)
        });
        self.slots.is_empty()
    }

    /// Repeats what a journal says was changed at `now`.
    pub(super) fn replay(&mut self, now: Timestamp, steps: impl Iterator<Item = (Name, Step)>) {
        let now = self.advance(now);
        for (name, step) in steps {
            if let Step::Adopt { from } = step {
                self.adopt(from, &name);
                continue;
            }
            let index = self.slot_of(name.id).unwrap_or_else(|| self.push(Slot::new(name)));
            self.slots[index as usize].apply(step, now);
        }
    }

    /// Restores an account as a checkpoint stored it.
    pub(super) fn restore(&mut self, latest: u64, slots: Vec<Slot>) {
        self.latest = latest;
        self.slots = slots;
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The account's own time, which journaled steps are told at.
    pub(super) fn latest(&self) -> u64 {
        self.latest
    }

    pub(super) fn usage(&self, now: Timestamp) -> Vec<CounterUsage> {
        let named = self.slots.iter().filter(|slot| !matches!(slot.usage, Usage::Moved(_)));
        named.map(|slot| slot.usage(now.0)).collect()
    }

    pub(super) fn advance(&mut self, now: Timestamp) -> u64 {
        if now.0.saturating_add(MAX_SKEW) < self.latest {
            self.slots.iter_mut().for_each(|slot| slot.rebase(now.0));
            self.rebase_leases(self.latest, now.0);
            self.latest = now.0;
        }
        self.latest = self.latest.max(now.0);
        self.latest
    }

    /// The slot of each limit, made where it was missing and brought to `now`.
    pub(super) fn open(
        &mut self,
        limits: &[Limit],
        charges: &[Charge],
        now: u64,
        moves: &mut Moves,
    ) -> Indices {
        if self.slots.is_empty() {
            self.slots.reserve_exact(limits.len());
        }
        let open = |(position, limit): (usize, &Limit)| {
            let counter = &limit.counter;
            self.inherit(counter, now, moves);
            let index = self.known(position, counter, charges);
            let index = index.unwrap_or_else(|| self.push(Slot::new(Name::from(counter))));
            let ended = self.slots[index as usize].enter(counter.span(), now);
            moves.extend(ended.map(|step| (index, step)));
            index
        };
        limits.iter().enumerate().map(open).collect()
    }

    fn known(&self, position: usize, counter: &Counter, charges: &[Charge]) -> Option<u32> {
        // Accounts mostly meet the same limits in the same order.
        if self.slots.get(position).is_some_and(|slot| slot.is(counter.id())) {
            return Some(position as u32);
        }
        // A hold stays where it was booked, though its counter may have another name by now.
        let own = charges.iter().rfind(|charge| counter.has(charge.counter));
        own.and_then(|charge| self.follow(charge)).map(|(at, _)| at).or(self.slot_of(counter.id()))
    }

    pub(super) fn slot_of(&self, id: CounterId) -> Option<u32> {
        self.slots.iter().position(|slot| slot.is(id)).map(|index| index as u32)
    }

    pub(super) fn push(&mut self, slot: Slot) -> u32 {
        self.slots.push(slot);
        self.slots.len() as u32 - 1
    }
}
