//! Holds that are open on an account, kept so that a crash need not charge them.
//!
//! What is booked counts from its admission on; a store that charges what a crash
//! leaves open has nothing to remember of it. One that gives it back does: its
//! journal and its checkpoints say which charges belong to which open hold. When the
//! store is opened again those holds are orphans: they stay booked until their lease
//! ends, and are given back then, at the next look at their account.
//!
//! # Limits
//! Places in `concurrency` are not held by orphans: their connections are gone.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::ledger::account::{Account, Moves};
use crate::ledger::codec::{Reader, put_id, put_number};
use crate::ledger::decision::{Charge, Charges, HoldId, Outcome, ReplicaId};
use crate::ledger::slot::{Name, Usage};
use crate::policy::limit::CounterId;

/// The open holds of one account.
#[derive(Debug)]
pub(super) struct Leases {
    open: HashMap<HoldId, Lease, FixedState>,
    /// Before this instant no lease of an orphan ends.
    next: u64,
}

#[derive(Debug)]
struct Lease {
    charges: Charges,
    /// When the lease of an orphan ends; `None` as long as its owner lives.
    ends: Option<u64>,
}

/// A charge as it is stored: the counter that has it, when it was booked, and how much.
pub(super) type Stored = (CounterId, u64, u64);

/// What a record says of a hold, beside the changes that it makes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note<'a> {
    /// Nothing.
    None,
    /// It is open from now on, and has these charges on the account.
    Opened(HoldId, &'a [Charge]),
    /// It has other charges now.
    Raised(HoldId, &'a [Charge]),
    /// It is over.
    Closed(HoldId),
    /// It was an orphan, and is over.
    Expired(HoldId),
}

impl Default for Leases {
    fn default() -> Self {
        Self { open: HashMap::default(), next: u64::MAX }
    }
}

impl Account {
    /// Remembers what an open hold has charged here.
    pub(super) fn keep_open<'a>(&mut self, id: HoldId, charges: &'a [Charge]) -> Note<'a> {
        let lease = Lease { charges: charges.into(), ends: None };
        match self.leases.get_or_insert_default().open.insert(id, lease) {
            None => Note::Opened(id, charges),
            Some(_) => Note::Raised(id, charges),
        }
    }

    /// Forgets an open hold.
    pub(super) fn close(&mut self, id: HoldId) -> Note<'static> {
        let Some(leases) = &mut self.leases else { return Note::None };
        let was_open = leases.open.remove(&id).is_some();
        if leases.open.is_empty() {
            self.leases = None;
        }
        if was_open { Note::Closed(id) } else { Note::None }
    }

    /// Whether the lease of an orphan has ended.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.leases.as_ref().is_some_and(|leases| leases.next <= now.0)
    }

    /// Gives back what an orphan held whose lease has ended; `None` when there is none any more.
    pub(super) fn expire(&mut self, now: Timestamp) -> Option<(HoldId, Moves)> {
        let leases = self.leases.as_mut()?;
        let due = |lease: &Lease| lease.ends.is_some_and(|ends| ends <= now.0);
        let Some(id) = leases.open.iter().find(|(_, lease)| due(lease)).map(|(id, _)| *id) else {
            leases.next =
                leases.open.values().filter_map(|lease| lease.ends).min().unwrap_or(u64::MAX);
            return None;
        };
        let lease = leases.open.remove(&id)?;
        if leases.open.is_empty() {
            self.leases = None;
        }
        let now = self.advance(now);
        Some((id, self.replace(&lease.charges, Outcome::Refund, now)))
    }

    /// No lease of an orphan lasts longer than the longest that it may have from `now` on.
    pub(super) fn rebase_leases(&mut self, was: u64, now: u64) {
        let Some(leases) = &mut self.leases else { return };
        for ends in leases.open.values_mut().filter_map(|lease| lease.ends.as_mut()) {
            *ends = (*ends).min(now.saturating_add(ends.saturating_sub(was)));
        }
        leases.next = 0;
    }

    /// Makes orphans of holds whose owner died, until `ends`. `is_known` tells whether a hold
    /// stands on its subject's own account too; one that does not was settled there, and stands.
    pub(super) fn orphan(&mut self, ends: u64, is_known: impl Fn(&HoldId) -> bool) {
        let Some(mut leases) = self.leases.take() else { return };
        leases.open.retain(|id, lease| lease.ends.is_some() || is_known(id));
        for lease in leases.open.values_mut() {
            lease.charges.retain(|charge| self.reopen(charge));
            lease.ends = lease.ends.or(Some(ends));
        }
        leases.open.retain(|_, lease| !lease.charges.is_empty());
        leases.next = 0;
        self.leases = (!leases.open.is_empty()).then_some(leases);
    }

    /// Whether a charge is still counted; what is spent by it counts as held again.
    fn reopen(&mut self, charge: &mut Charge) -> bool {
        let Some((at, generation)) = self.follow(charge) else { return false };
        let slot = &mut self.slots[at as usize];
        slot.generation == generation
            && match &mut slot.usage {
                Usage::Period(tally) => tally.reopen(charge.amount, charge.time),
                Usage::Window(_) => true,
                Usage::InFlight(_) | Usage::Moved(_) => false,
            }
    }

    /// The holds that are open here.
    pub(super) fn open_holds(&self) -> impl Iterator<Item = HoldId> {
        self.leases.iter().flat_map(|leases| leases.open.keys().copied())
    }

    /// Restores an open hold from where it was stored.
    pub(super) fn restore_hold(&mut self, id: HoldId, ends: Option<u64>, stored: &[Stored]) {
        let charge = |&(counter, time, amount): &Stored| {
            let slot = self.slot_of(counter)?;
            let Name { unit, .. } = self.slots[slot as usize].name;
            let generation = self.slots[slot as usize].generation;
            Some(Charge { counter, slot, generation, unit, time, amount })
        };
        let lease = Lease { charges: stored.iter().filter_map(charge).collect(), ends };
        self.leases.get_or_insert_default().open.insert(id, lease);
    }

    /// Charges as they are stored: those that count, under the present name of their counter.
    fn stored<'a>(&'a self, charges: &'a [Charge]) -> impl Iterator<Item = Stored> + 'a {
        charges.iter().filter_map(|charge| {
            let (at, generation) = self.follow(charge)?;
            let slot = &self.slots[at as usize];
            let counts = slot.generation == generation && slot.is_kept() && charge.amount > 0;
            counts.then_some((slot.name.id, charge.time, charge.amount))
        })
    }

    pub(super) fn put_charges(&self, out: &mut Vec<u8>, charges: &[Charge]) {
        let stored: SmallVec<[Stored; 8]> = self.stored(charges).collect();
        put_number(out, stored.len() as u64);
        for (counter, time, amount) in stored {
            put_id(out, counter);
            put_number(out, time);
            put_number(out, amount);
        }
    }

    /// All open holds, for a checkpoint; nothing when there are none.
    pub(super) fn put_holds(&self, out: &mut Vec<u8>) {
        let Some(leases) = &self.leases else { return };
        put_number(out, leases.open.len() as u64);
        for (id, lease) in &leases.open {
            put_hold_id(out, *id);
            put_number(out, lease.ends.unwrap_or(0));
            self.put_charges(out, &lease.charges);
        }
    }
}

pub(super) fn put_hold_id(out: &mut Vec<u8>, id: HoldId) {
    out.extend_from_slice(&id.replica.0.to_le_bytes());
    put_number(out, id.serial);
}

/// An open hold as a checkpoint has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredHold {
    pub(super) id: HoldId,
    pub(super) ends: Option<u64>,
    pub(super) charges: Vec<Stored>,
}

impl Reader<'_> {
    pub(super) fn hold_id(&mut self) -> Option<HoldId> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        let replica = ReplicaId(u64::from_le_bytes(*bytes));
        Some(HoldId { replica, serial: self.number()? })
    }

    pub(super) fn charges(&mut self) -> Option<Vec<Stored>> {
        let count = self.number()?;
        (0..count).map(|_| Some((self.id()?, self.number()?, self.number()?))).collect()
    }

    /// The open holds at the end of a row.
    pub(super) fn holds(&mut self) -> Option<Vec<StoredHold>> {
        if self.is_empty() {
            return Some(Vec::new());
        }
        let count = self.number()?;
        let hold = |_| {
            let (id, ends) = (self.hold_id()?, self.number()?);
            let ends = (ends > 0).then_some(ends);
            Some(StoredHold { id, ends, charges: self.charges()? })
        };
        (0..count).map(hold).collect()
    }
}
