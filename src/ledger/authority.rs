//! A store that many replicas share, and that may be out of reach.
//!
//! While an [`Authority`] answers [`StoreError::Away`], the
//! layer around it decides in its place and writes
//! down what it did. On return those [`Entry`]s are imported, each exactly once
//! however often it is told.
//!
//! # What an authority promises
//! * Nobody waits longer than its deadline, and while it is known to be away, nobody waits.
//! * A reservation or a raise that was answered with [`StoreError::Away`], or given up,
//!   books nothing that lasts, not even when the server reads the command later.
//! * A settlement that cannot be delivered soon is handed to the [`Outbox`].

use std::sync::Arc;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::ledger::slot::Name;
use crate::ledger::{Store, StoreError};

/// What a store must do, besides counting, so that its absence can be bridged.
pub trait Authority: Store {
    /// Asks the server whether it answers and which books it keeps; never answered from memory.
    ///
    /// A server that is too slow for requests may answer: [`Store::is_up`] says whether they wait for it.
    ///
    /// # Errors
    /// [`StoreError::Away`] within a second.
    fn probe(&self) -> impl Future<Output = Result<Epoch, StoreError>> + Send;

    /// Books what was decided elsewhere: all that it has not booked before, told by [`Entry::id`].
    ///
    /// Entries of one journal come in the order of their sequence, so the highest sequence
    /// that was booked of a subject is all that must be remembered: one mark per subject and
    /// journal, kept as long as the subject's counters, and written in the same step as they.
    /// What has left its window, or belongs to a period that has ended, changes no count.
    ///
    /// # Errors
    /// [`StoreError::Away`]: any part of the entries may have been booked; they are told again.
    ///
    /// # Cancellation
    /// As an error.
    fn import(&self, entries: &[Entry]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Says where settlements go that cannot be delivered; called once, before the first request.
    fn post(&self, outbox: Arc<dyn Outbox>);
}

/// Which books an authority keeps: another number when they began anew or lost writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub u64);

/// Keeps settlements that could not be delivered until they can be.
pub trait Outbox: Send + Sync + 'static {
    /// Writes a settlement down, in the authority's own bytes (at most 64 KiB), before it
    /// returns. It comes back through [`Authority::import`] as [`Deed::Settlement`].
    ///
    /// # Errors
    /// It could not be written; the authority's lease on the hold decides what it costs.
    fn keep(&self, settlement: &[u8]) -> Result<(), StoreError>;
}

/// One thing that was done while the authority was away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Tells it from every other entry of all replicas, for ever.
    pub id: EntryId,
    /// What was done.
    pub deed: Deed,
}

/// The name of an entry: minted here, never taken from a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// 128 random bits, drawn anew at each start of a process.
    pub journal: u128,
    /// Grows from entry to entry of a journal.
    pub sequence: u64,
}

/// What an entry tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "nearly every entry is the large one")]
pub enum Deed {
    /// Counters of one subject changed.
    Change {
        /// Whose counters.
        subject: Arc<str>,
        /// When, by the clock of the replica.
        at: Timestamp,
        /// One entry per counter that changed.
        moves: SmallVec<[Move; 6]>,
    },
    /// A settlement in the authority's own bytes. Idempotent by itself: it may have been
    /// delivered before it was written down.
    Settlement(Box<[u8]>),
}

/// A change of one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which counter.
    pub(in crate::ledger) name: Name,
    /// For periods: the first and the one-past-last millisecond of the period in which it was
    /// charged. Zeros for windows.
    pub(in crate::ledger) period: (u64, u64),
    /// What became of it.
    pub(in crate::ledger) amount: Amount,
}

/// By how much a counter changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Charged at the time of the entry: it leaves a window that much later.
    Add(u64),
    /// Given back of what was charged at this time.
    Take {
        /// When it was charged, in milliseconds since the Unix epoch.
        at: u64,
        /// How much.
        amount: u64,
    },
}
