//! How what a shard decides is kept.
//!
//! A shard makes a change in memory first and has its [`Lane`] write it down before
//! the answer, with the hold that it is about where a crash gives holds back. What is
//! the subject's and what all callers share is written at once, so that a crash
//! leaves both or none.
//!
//! # Failure
//! A decision that cannot be written is undone by whoever asked for it. A settlement
//! stands: the next checkpoint has its account.

use crate::clock::Timestamp;
use crate::ledger::StoreError;
use crate::ledger::account::{Account, Moves};
use crate::ledger::decide::Changes;
use crate::ledger::decision::{Charges, Hold};
use crate::ledger::leases::Note;

/// Makes the changes of one shard durable, under the shard's lock.
pub(super) trait Lane: Send {
    /// Whether a crash gives back what open holds have booked, so that they must be known.
    fn keeps_holds(&self) -> bool;

    /// Prepares the record of `moves` of an account, already made; [`Lane::write`] follows.
    fn stage(&mut self, account: &mut Account, moves: &Moves, note: Note<'_>);

    /// Writes what was staged here and in `other`; on an error the changes are undone.
    ///
    /// # Errors
    /// The records could not be written, and nothing of them will be read again.
    fn write(&mut self, other: Option<&mut Self>) -> Result<(), StoreError>;

    /// Records that an account was reset.
    ///
    /// # Errors
    /// As [`Lane::write`].
    fn record_reset(&mut self, account: &mut Account) -> Result<(), StoreError>;

    /// Takes note that an account is no longer in memory.
    fn dropped(&mut self, account: Account);
}

/// The lane of a store that forgets: nothing is recorded.
impl Lane for () {
    fn keeps_holds(&self) -> bool {
        false
    }

    fn stage(&mut self, _: &mut Account, _: &Moves, _: Note<'_>) {}

    fn write(&mut self, _: Option<&mut Self>) -> Result<(), StoreError> {
        Ok(())
    }

    fn record_reset(&mut self, _: &mut Account) -> Result<(), StoreError> {
        Ok(())
    }

    fn dropped(&mut self, _: Account) {}
}

/// Records what a decision changed, and the hold that it is about.
pub(super) fn record<L: Lane>(
    (own, lane): (&mut Account, &mut L),
    pool: Option<&mut (&mut Account, &mut L)>,
    changes: &Changes,
    hold: Option<&Hold>,
) -> Result<(), StoreError> {
    let changed = !(changes.own.is_empty() && changes.pool.is_empty());
    let hold = hold.filter(|_| changed && lane.keeps_holds());
    let stage = |account: &mut Account, lane: &mut L, moves, charges: fn(&Hold) -> &Charges| {
        let note = hold.map_or(Note::None, |hold| account.keep_open(hold.id, charges(hold)));
        lane.stage(account, moves, note);
    };
    stage(own, lane, &changes.own, |hold| &hold.charges);
    let Some((pool, shared)) = pool else { return lane.write(None) };
    stage(pool, shared, &changes.pool, |hold| &hold.pooled);
    lane.write(Some(shared))
}

/// Gives back what orphans held here whose lease has ended.
pub(super) fn expire<L: Lane>(account: &mut Account, lane: &mut L, now: Timestamp) {
    while account.is_due(now)
        && let Some((id, moves)) = account.expire(now)
    {
        lane.stage(account, &moves, Note::Expired(id));
        // As a settlement that cannot be written: the next checkpoint has the account.
        let _ = lane.write(None);
    }
}
