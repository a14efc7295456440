//! What every caller may still use.
//!
//! A [`Store`] keeps counters per subject and answers one question: is there room
//! under *all* limits of this request? If so it books the estimate on all of them
//! in one step, and the [`Hold`] it returns is settled when the truth is known;
//! if not, it books nothing. Refused requests are never counted, and of two
//! concurrent requests for the last place one is refused.
//!
//! [`Memory`] forgets at exit, [`Embedded`] journals to a directory, [`Redis`] asks a server that
//! replicas share; [`Ledger`] chooses between them without boxing. The first two are one map of accounts and differ
//! only in what a shard's lane does with a change. Time is always an argument.
//!
//! # Failure
//! [`StoreError`]: whether a request may pass uncounted is the caller's decision.

mod account;
mod authority;
mod away;
mod checkpoint;
mod codec;
mod decide;
mod decision;
mod embedded;
#[cfg(fuzzing)]
pub mod fuzz;
mod journal;
mod lane;
mod leases;
mod memory;
mod recording;
mod redis;
mod rename;
mod replay;
mod shards;
mod slot;
mod tally;
mod window;
mod worker;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod model;
#[cfg(test)]
mod oracle;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use authority::{Amount, Authority, Deed, Entry, EntryId, Epoch, Move, Outbox};
pub use away::{Fallback, Keeping};
pub use decision::{
    CONCURRENCY_WAIT, CounterUsage, Decision, Demand, Exceeded, Excess, Hold, HoldId, LimitState,
    MAX_SUBJECT, Outcome, Refused, ReplicaId, Standing,
};
pub use embedded::{Embedded, Options};
pub use memory::Memory;
pub use redis::Redis;
pub use replay::Recovery;

use crate::clock::Timestamp;

/// How many subjects a store counts unless told otherwise: about 0.75 GiB at four limits each.
pub const DEFAULT_MAX_SUBJECTS: usize = 1_000_000;

/// Keeps the counts of all subjects.
pub trait Store: Send + Sync + 'static {
    /// Books room under all limits of a request, or under none.
    ///
    /// # Errors
    /// The store cannot count this request; nothing is booked.
    ///
    /// # Cancellation
    /// A future that was never polled has done nothing. The stores of this module
    /// finish in their first poll.
    fn reserve(
        &self,
        demand: Demand<'_>,
    ) -> impl Future<Output = Result<Decision, StoreError>> + Send;

    /// Raises a hold to a better estimate: after the body was read, and while a stream runs.
    ///
    /// `demand` states the new totals, not the difference, and the subject and limits
    /// of the reservation. All or nothing: on a refusal the hold stays as it was.
    /// A smaller estimate changes nothing. The request itself is not counted again.
    /// The difference counts from now, and in the present period; what was booked
    /// before counts from when it was booked.
    ///
    /// # Errors
    /// The store cannot count this request; the hold may be raised or not, and is to be refunded.
    fn raise(
        &self,
        hold: &mut Hold,
        demand: Demand<'_>,
    ) -> impl Future<Output = Result<Result<Standing, Refused>, StoreError>> + Send;

    /// Ends a hold. Never waits and never fails: what needs I/O is retried behind the scenes.
    ///
    /// Each part of a hold is settled where it was booked. A part whose period has rolled over,
    /// or whose subject was reset since, gives back its concurrency slot and touches no count.
    fn settle(&self, hold: Box<Hold>, outcome: Outcome, now: Timestamp);

    /// What a subject has used: one entry per counter, in the order of first use.
    /// The pools are the subject [`POOLS`](crate::policy::limit::POOLS).
    ///
    /// # Errors
    /// The store cannot be asked.
    fn usage(
        &self,
        subject: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<CounterUsage>, StoreError>> + Send;

    /// The first `limit` known subjects that begin with `prefix`, sorted, without the pools.
    ///
    /// # Errors
    /// The store cannot be asked.
    fn subjects(
        &self,
        prefix: &str,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Arc<str>>, StoreError>> + Send;

    /// Forgets what a subject has used; `false` when it is unknown.
    ///
    /// # Errors
    /// The store cannot be asked; nothing is forgotten.
    fn reset(&self, subject: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Drops accounts that hold nothing any more, a part of them per call; returns how many.
    fn sweep(&self, now: Timestamp) -> usize;

    /// Whether the last attempt to keep a count succeeded.
    fn is_up(&self) -> bool;
}

/// The store that the settings chose.
#[derive(Debug)]
pub enum Ledger {
    /// Counts in memory.
    Memory(Memory),
    /// Counts in memory and a directory.
    Embedded(Embedded),
    /// Counts on a Redis that replicas share, and in its place while it is away.
    Redis(Box<Fallback<Redis>>),
}

macro_rules! each {
    ($ledger:ident, $store:ident => $call:expr) => {
        match $ledger {
            Ledger::Memory($store) => $call,
            Ledger::Embedded($store) => $call,
            Ledger::Redis($store) => $call,
        }
    };
}

impl Store for Ledger {
    async fn reserve(&self, demand: Demand<'_>) -> Result<Decision, StoreError> {
        each!(self, store => store.reserve(demand).await)
    }

    async fn raise(
        &self,
        hold: &mut Hold,
        demand: Demand<'_>,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        each!(self, store => store.raise(hold, demand).await)
    }

    fn settle(&self, hold: Box<Hold>, outcome: Outcome, now: Timestamp) {
        each!(self, store => store.settle(hold, outcome, now));
    }

    async fn usage(&self, subject: &str, now: Timestamp) -> Result<Vec<CounterUsage>, StoreError> {
        each!(self, store => store.usage(subject, now).await)
    }

    async fn subjects(&self, prefix: &str, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        each!(self, store => store.subjects(prefix, limit).await)
    }

    async fn reset(&self, subject: &str) -> Result<bool, StoreError> {
        each!(self, store => store.reset(subject).await)
    }

    fn sweep(&self, now: Timestamp) -> usize {
        each!(self, store => store.sweep(now))
    }

    fn is_up(&self) -> bool {
        each!(self, store => store.is_up())
    }
}

/// Why a store could not be opened or could not count.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// As many subjects are counted as the store may hold.
    #[error("the store is full: {subjects} subjects are counted")]
    Full {
        /// The bound that was reached.
        subjects: usize,
    },
    /// A subject is longer than [`MAX_SUBJECT`].
    #[error("a subject of {bytes} bytes is too long to be counted")]
    SubjectTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The server that keeps the counts does not answer.
    #[error("the store's server does not answer")]
    Away,
    /// The subject has the name under which the pools are counted.
    #[error("the subject has the name of the pools")]
    ReservedSubject,
    /// The server answers, but cannot keep counts for us.
    #[error("the store's server cannot be used: {problem}")]
    Incapable {
        /// What it said, or what is wrong with what we would show it.
        problem: String,
    },
    /// Too much waits to be delivered to the store's server.
    #[error("the journal is full: {bytes} bytes wait for the store's server")]
    JournalFull {
        /// How long it is.
        bytes: u64,
    },
    /// The hold was not made by this store.
    #[error("the hold is not of this store")]
    UnknownHold,
    /// A file or directory could not be read or written.
    #[error("cannot write the store at {}", path.display())]
    Unavailable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has the store open.
    #[error("the store in {} is in use by another process", directory.display())]
    Locked {
        /// The directory of the store.
        directory: PathBuf,
    },
    /// A file of the store is damaged or was made by another version.
    #[error("the store's file {} cannot be read: {problem}; {cure}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What the operator can do.
        cure: &'static str,
    },
}
