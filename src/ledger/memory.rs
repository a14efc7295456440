//! Counts that live as long as the process.
//!
//! Exact, and the fastest store there is: for tests, demonstrations and policies
//! without budgets. A restart begins from nothing.
//!
//! # Failure
//! Only [`StoreError::Full`] and [`StoreError::SubjectTooLong`].

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::ledger::decision::{CounterUsage, Decision, Demand, Hold, Outcome, Refused, Standing};
use crate::ledger::shards::Shards;
use crate::ledger::{DEFAULT_MAX_SUBJECTS, Store, StoreError};

/// A store without durability.
#[derive(Debug)]
pub struct Memory {
    shards: Shards<()>,
}

impl Memory {
    /// Makes an empty store for at most `max_subjects` subjects.
    pub fn new(max_subjects: usize) -> Self {
        Self { shards: Shards::new(max_subjects, || ()) }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_SUBJECTS)
    }
}

impl Store for Memory {
    async fn reserve(&self, demand: Demand<'_>) -> Result<Decision, StoreError> {
        self.shards.reserve(&demand)
    }

    async fn raise(
        &self,
        hold: &mut Hold,
        demand: Demand<'_>,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        self.shards.raise(hold, &demand)
    }

    fn settle(&self, hold: Box<Hold>, outcome: Outcome, now: Timestamp) {
        self.shards.settle(&hold, outcome, now);
    }

    async fn usage(&self, subject: &str, now: Timestamp) -> Result<Vec<CounterUsage>, StoreError> {
        Ok(self.shards.usage(subject, now))
    }

    async fn subjects(&self, prefix: &str, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        Ok(self.shards.subjects(prefix, limit))
    }

    async fn reset(&self, subject: &str) -> Result<bool, StoreError> {
        self.shards.reset(subject)
    }

    fn sweep(&self, now: Timestamp) -> usize {
        self.shards.sweep(now)
    }

    fn is_up(&self) -> bool {
        true
    }
}
