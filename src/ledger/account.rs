//! All counters of one subject, and the decision over them.
//!
//! Pure: no I/O, no clock, no lock. Whoever owns an account calls one method at a
//! time, so every decision is one step over all limits, all or nothing.
//!
//! # Time
//! An account's time never runs backwards. An instant up to [`MAX_SKEW`] in its
//! past counts as its present: threads race by that much, and a wait is then told
//! from the caller's own instant. Beyond it the clock was set back; what was booked
//! in the future moves to the present, and nothing stays counted for longer than
//! its window from then on.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::ledger::decision::{
    CONCURRENCY_WAIT, Charge, CounterUsage, Decision, Demand, Exceeded, Excess, Hold, Outcome,
    Refused, Standing,
};
use crate::ledger::slot::{Name, Slot, Step};
use crate::policy::limit::{CounterId, Limit, Limits};

/// How far apart two readings of one clock may be before the clock was set back.
const MAX_SKEW: u64 = 60_000;

/// Zones differ by up to 26 h: so long after its end, a period may yet be the
/// present one of a budget that moved to another zone.
const ZONE_GRACE: u64 = 26 * 3_600_000;

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
type Indices = SmallVec<[u32; 8]>;

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
    in_flight: u32,
    /// Only ever appended to while holds are out: they point at their slots.
    slots: Vec<Slot>,
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
        }
    }

    /// Decides on all limits at once and books all or nothing.
    pub(super) fn reserve(&mut self, demand: &Demand<'_>) -> (Decision, Moves) {
        let now = self.advance(demand.now);
        let indices = self.open(demand.limits, now);
        let mut excess = self.crowded(demand.limits.concurrency);
        for (position, (limit, &index)) in demand.limits.limits.iter().zip(&indices).enumerate() {
            let amount = demand.amount(limit.counter.unit());
            let wait = self.slots[index as usize].shortfall(limit, None, amount, now);
            excess = longest(excess, position, wait, now - demand.now.0.min(now));
        }
        if let (Some(excess), true) = (excess, demand.enforce) {
            return (Decision::Refused(self.refused(demand, &indices, excess)), Moves::new());
        }
        let (hold, moves) = self.book(demand, &indices, now);
        (Decision::Admitted(hold, self.standing(demand, &indices, excess)), moves)
    }

    /// Raises a hold's charges to a better estimate, or leaves everything as it is.
    pub(super) fn raise(
        &mut self,
        hold: &mut Hold,
        demand: &Demand<'_>,
    ) -> (Result<Standing, Refused>, Moves) {
        let now = self.advance(demand.now);
        let indices = self.open(demand.limits, now);
        let mut excess = None;
        for (position, (limit, &index)) in demand.limits.limits.iter().zip(&indices).enumerate() {
            let slot = &self.slots[index as usize];
            let own = own_charge(hold, index, slot).map(|i| &hold.charges[i]);
            let amount = demand.amount(limit.counter.unit());
            if own.is_some_and(|charge| charge.amount >= amount) {
                continue;
            }
            let wait = slot.shortfall(limit, own, amount, now);
            excess = longest(excess, position, wait, now - demand.now.0.min(now));
        }
        if let (Some(excess), true) = (excess, demand.enforce) {
            return (Err(self.refused(demand, &indices, excess)), Moves::new());
        }
        let moves = self.rebook(hold, demand, &indices, now);
        (Ok(self.standing(demand, &indices, excess)), moves)
    }

    /// Ends a hold.
    pub(super) fn settle(&mut self, hold: &Hold, outcome: Outcome, now: Timestamp) -> Moves {
        let now = self.advance(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        let mut moves = Moves::new();
        for charge in &hold.charges {
            let Some(slot) = self.slots.get_mut(charge.slot as usize) else { continue };
            if slot.generation == charge.generation {
                let step = slot.settle(charge, outcome.amount(charge), now);
                moves.extend(step.map(|step| (charge.slot, step)));
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
        if self.in_flight > 0 {
            return false;
        }
        let grace = if sweep == Sweep::Gentle { ZONE_GRACE } else { 0 };
        self.slots.retain(|slot| !slot.is_spent(now, grace));
        self.slots.is_empty()
    }

    /// Repeats what a journal says was changed at `now`.
    pub(super) fn replay(&mut self, now: Timestamp, steps: impl Iterator<Item = (Name, Step)>) {
        let now = self.advance(now);
        for (name, step) in steps {
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
        self.slots.iter().map(|slot| slot.usage(now.0)).collect()
    }

    fn advance(&mut self, now: Timestamp) -> u64 {
        if now.0.saturating_add(MAX_SKEW) < self.latest {
            self.slots.iter_mut().for_each(|slot| slot.rebase(now.0));
            self.latest = now.0;
        }
        self.latest = self.latest.max(now.0);
        self.latest
    }

    /// The slot of each limit, made where it was missing and brought to `now`.
    fn open(&mut self, limits: &Limits, now: u64) -> Indices {
        if self.slots.is_empty() {
            self.slots.reserve_exact(limits.limits.len());
        }
        let open = |(position, limit): (usize, &Limit)| {
            // Accounts mostly meet the same limits in the same order.
            let id = limit.counter.id();
            let here = self.slots.get(position).is_some_and(|slot| slot.name.id == id);
            let known = if here { Some(position as u32) } else { self.slot_of(id) };
            let index = known.unwrap_or_else(|| self.push(Slot::new(Name::from(&limit.counter))));
            self.slots[index as usize].enter(limit.counter.span(), now);
            index
        };
        limits.limits.iter().enumerate().map(open).collect()
    }

    fn slot_of(&self, id: CounterId) -> Option<u32> {
        self.slots.iter().position(|slot| slot.name.id == id).map(|index| index as u32)
    }

    fn push(&mut self, slot: Slot) -> u32 {
        self.slots.push(slot);
        self.slots.len() as u32 - 1
    }

    fn crowded(&self, concurrency: Option<NonZeroU32>) -> Option<Excess> {
        let full = concurrency.is_some_and(|limit| self.in_flight >= limit.get());
        full.then_some(Excess { limit: Exceeded::Concurrency, retry_after: CONCURRENCY_WAIT })
    }

    fn book(&mut self, demand: &Demand<'_>, indices: &Indices, now: u64) -> (Hold, Moves) {
        let mut hold =
            Hold { subject: self.subject.clone(), hash: self.hash, charges: SmallVec::new() };
        let mut moves = Moves::new();
        for (limit, &index) in demand.limits.limits.iter().zip(indices) {
            // Two limits on one counter bound the same count; it counts once.
            if hold.charges.iter().any(|charge| charge.slot == index) {
                continue;
            }
            let unit = limit.counter.unit();
            let slot = &mut self.slots[index as usize];
            let amount = demand.amount(unit);
            moves.extend(slot.book(amount, now).map(|step| (index, step)));
            hold.charges.push(Charge {
                slot: index,
                generation: slot.generation,
                unit,
                time: now,
                amount,
            });
        }
        self.in_flight = self.in_flight.saturating_add(1);
        (hold, moves)
    }

    fn rebook(
        &mut self,
        hold: &mut Hold,
        demand: &Demand<'_>,
        indices: &Indices,
        now: u64,
    ) -> Moves {
        let mut moves = Moves::new();
        for (limit, &index) in demand.limits.limits.iter().zip(indices) {
            let unit = limit.counter.unit();
            let (slot, amount) = (&mut self.slots[index as usize], demand.amount(unit));
            let own = own_charge(hold, index, slot);
            if own.is_some_and(|i| hold.charges[i].amount >= amount) {
                continue;
            }
            let charge =
                Charge { slot: index, generation: slot.generation, unit, time: now, amount };
            if let Some(i) = own {
                moves.extend(slot.unbook(&hold.charges[i], now).map(|step| (index, step)));
                hold.charges[i] = charge;
            } else {
                hold.charges.push(charge);
            }
            moves.extend(slot.book(amount, now).map(|step| (index, step)));
        }
        moves
    }

    fn refused(&self, demand: &Demand<'_>, indices: &Indices, excess: Excess) -> Refused {
        let standing = self.standing(demand, indices, None);
        Refused { standing, limit: excess.limit, retry_after: excess.retry_after }
    }

    fn standing(&self, demand: &Demand<'_>, indices: &Indices, excess: Option<Excess>) -> Standing {
        let limits = demand.limits.limits.iter().zip(indices);
        let states =
            limits.map(|(limit, &i)| self.slots[i as usize].state(limit.amount, demand.now.0));
        Standing { states: states.collect(), excess }
    }
}

/// The charge that a hold has on a slot, unless the slot's count began anew since.
fn own_charge(hold: &Hold, index: u32, slot: &Slot) -> Option<usize> {
    hold.charges
        .iter()
        .position(|charge| charge.slot == index && charge.generation == slot.generation)
}

fn longest(
    excess: Option<Excess>,
    position: usize,
    wait: Option<Duration>,
    skew: u64,
) -> Option<Excess> {
    let Some(wait) = wait else { return excess };
    let retry_after = wait + Duration::from_millis(skew);
    let longer = excess.is_none_or(|excess| excess.retry_after < retry_after);
    if longer { Some(Excess { limit: Exceeded::Limit(position), retry_after }) } else { excess }
}
