//! Stores behind the layer that bridges absences, while there is none: it must not be felt.

use std::sync::Arc;

use tempfile::TempDir;

use super::{Fallback, Keeping};
use crate::clock::Timestamp;
use crate::ledger::authority::{Authority, Entry, Epoch, Outbox};
use crate::ledger::{
    CounterUsage, Decision, Demand, Hold, Outcome, Refused, Standing, Store, StoreError,
};
use crate::telemetry::Metrics;

/// A store as an authority that is always there.
#[derive(Debug)]
pub(in crate::ledger) struct Reachable<S>(pub S);

/// A store behind the layer, and the directory that it needs.
pub(in crate::ledger) fn bridged<S: Authority>(authority: S) -> (Fallback<S>, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let keeping = Keeping::within(directory.path().into());
    let store = Fallback::open(authority, &keeping, Arc::new(Metrics::default())).unwrap();
    (store, directory)
}

impl<S: Store> Authority for Reachable<S> {
    async fn probe(&self) -> Result<Epoch, StoreError> {
        Ok(Epoch(0))
    }

    async fn import(&self, entries: &[Entry]) -> Result<(), StoreError> {
        panic!("it was never away: {entries:?}");
    }

    fn post(&self, _: Arc<dyn Outbox>) {}
}

impl<S: Store> Store for Reachable<S> {
    async fn reserve(&self, demand: Demand<'_>) -> Result<Decision, StoreError> {
        self.0.reserve(demand).await
    }

    async fn raise(
        &self,
        hold: &mut Hold,
        demand: Demand<'_>,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        self.0.raise(hold, demand).await
    }

    fn settle(&self, hold: Box<Hold>, outcome: Outcome, now: Timestamp) {
        self.0.settle(hold, outcome, now);
    }

    async fn usage(&self, subject: &str, now: Timestamp) -> Result<Vec<CounterUsage>, StoreError> {
        self.0.usage(subject, now).await
    }

    async fn subjects(&self, prefix: &str, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.0.subjects(prefix, limit).await
    }

    async fn reset(&self, subject: &str) -> Result<bool, StoreError> {
        self.0.reset(subject).await
    }

    fn sweep(&self, now: Timestamp) -> usize {
        self.0.sweep(now)
    }

    fn is_up(&self) -> bool {
        self.0.is_up()
    }
}
