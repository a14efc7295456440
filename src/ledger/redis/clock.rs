//! The server's clock, as far as a replica knows it.
//!
//! Counts follow the server's clock alone. A replica needs it only to compute
//! calendar periods and to say how long a command is of use; every answer tells
//! it anew, to within the time that the answer took.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::clock::{Clock, Timestamp};

/// How far the server's clock is from ours.
#[derive(Debug)]
pub(super) struct ServerClock {
    began: Instant,
    /// The server's minus ours, in milliseconds; [`i64::MIN`] while it is not known.
    offset: AtomicI64,
    /// The last instant that was told, where callers tell the time.
    told: Option<AtomicU64>,
}

impl ServerClock {
    /// The server tells the time; with `told`, those who ask do, as the tests of all stores need it.
    pub(super) fn new(told: bool) -> Self {
        Self {
            began: Instant::now(),
            offset: AtomicI64::new(i64::MIN),
            told: told.then(AtomicU64::default),
        }
    }

    /// Whether callers tell the time.
    pub(super) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// What to tell the script: nothing, or the caller's instant.
    pub(super) fn told(&self, now: Option<Timestamp>) -> Option<u64> {
        let told = self.told.as_ref()?;
        if let Some(now) = now {
            told.store(now.0, Relaxed);
        }
        Some(told.load(Relaxed))
    }

    /// Milliseconds of a clock that is never set, for leases.
    pub(super) fn ticks(&self, now: Timestamp) -> u64 {
        if self.told.is_some() {
            return now.0;
        }
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The server's present, to the best of our knowledge.
    pub(super) fn present(&self, now: Timestamp) -> Timestamp {
        if self.told.is_some() {
            return now;
        }
        let ours = Clock::System.now();
        match self.offset.load(Relaxed) {
            i64::MIN => ours,
            offset => Timestamp(ours.0.saturating_add_signed(offset)),
        }
    }

    /// The instant, on the server, from which on an answer is of no use; `None` while its clock is unknown.
    pub(super) fn until(&self, patience_ms: u64) -> Option<u64> {
        let known = self.told.is_none() && self.offset.load(Relaxed) != i64::MIN;
        known.then(|| self.present(Timestamp(0)).0.saturating_add(patience_ms))
    }

    /// Forgets what was known: it turned out to be wrong.
    pub(super) fn forget(&self) {
        self.offset.store(i64::MIN, Relaxed);
    }

    /// Takes note of what an answer said.
    pub(super) fn note(&self, server: u64) {
        let ours = Clock::System.now().0;
        let offset = i64::try_from(i128::from(server) - i128::from(ours)).unwrap_or(0);
        self.offset.store(offset, Relaxed);
    }
}
