//! Moves counts whose counter got another name.
//!
//! The policy says under which keys a counter was known before. Whenever one of
//! them has content, that content goes to the present key, so it counts once: at
//! the first request after an edit, and again if something was still counted under
//! the former key since. Requests in flight keep their charges: the slot that was
//! left says where its count went.

use crate::ledger::account::{Account, Moves};
use crate::ledger::decision::Charge;
use crate::ledger::slot::{Moved, Name, Step, Usage};
use crate::policy::limit::{Counter, CounterId};

impl Account {
    /// Takes over what is counted under former keys of `counter`.
    pub(super) fn inherit(&mut self, counter: &Counter, now: u64, moves: &mut Moves) {
        for &former in counter.former() {
            let Some(from) = self.slot_of(former) else { continue };
            // What ended in the meantime is not to be added to what has not.
            self.slots[from as usize].enter(counter.span(), now);
            if let Some(into) = self.slot_of(counter.id()) {
                self.slots[into as usize].enter(counter.span(), now);
            }
            let Some(into) = self.adopt(former, &Name::from(counter)) else { continue };
            moves.push((into, Step::Adopt { from: former }));
            moves.extend(self.slots[into as usize].sum().map(|step| (into, step)));
        }
    }

    /// Moves the count under `former` to `name`; returns where it is now.
    pub(super) fn adopt(&mut self, former: CounterId, name: &Name) -> Option<u32> {
        let from = self.slot_of(former)?;
        if self.slots[from as usize].name.span != name.span {
            return None;
        }
        let Some(into) = self.slot_of(name.id) else {
            self.slots[from as usize].name = name.clone();
            return Some(from);
        };
        let now = self.slots[into as usize].generation;
        let left = &mut self.slots[from as usize];
        let moved = Usage::Moved(Moved { slot: into, was: left.generation, now });
        let count = std::mem::replace(&mut left.usage, moved);
        self.slots[into as usize].usage.absorb(&count);
        Some(into)
    }

    /// The slot that has a charge now, and the generation that the charge has there; `None` when
    /// the charge was no longer counted when its slot was left.
    pub(super) fn follow(&self, charge: &Charge) -> Option<(u32, u16)> {
        let (mut at, mut generation) = (charge.slot, charge.generation);
        // Each step leads to a slot that was left later, if at all: there is no circle.
        while let Usage::Moved(moved) = &self.slots.get(at as usize)?.usage {
            if moved.was != generation {
                return None;
            }
            (at, generation) = (moved.slot, moved.now);
        }
        Some((at, generation))
    }
}
