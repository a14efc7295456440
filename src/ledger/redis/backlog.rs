//! Commands that must arrive, and have not yet.
//!
//! Each is idempotent, so it is told again until it is answered. What could not be
//! sent because the server is away goes to the [`Outbox`], where there is one, and
//! waits here otherwise.
//!
//! # Limits
//! At most [`MAX`] commands wait in memory. Beyond it the oldest is forgotten, and
//! the lease of its hold decides what it cost; `dropped` counts them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::node::Fault;
use super::resp::Reply;
use super::script::{self, Invocation};
use crate::ledger::Outbox;

/// Commands that wait at most: some 40 MiB.
const MAX: usize = 100_000;

/// What is still to be told.
#[derive(Default)]
pub(super) struct Backlog {
    waiting: Mutex<VecDeque<Invocation>>,
    outbox: OnceLock<Arc<dyn Outbox>>,
    dropped: AtomicU64,
}

impl Backlog {
    pub(super) fn post(&self, outbox: Arc<dyn Outbox>) {
        // Called once, before the first request.
        let _ = self.outbox.set(outbox);
    }

    /// Keeps a command unless its answer says that it is done.
    pub(super) fn judge(&self, call: Invocation, answer: &Result<Reply, Fault>) {
        match answer {
            Ok(Reply::Error(_)) => self.push(call),
            Ok(_) => {}
            Err(_) => {
                if !self.keep(std::slice::from_ref(&call)) {
                    self.push(call);
                }
            }
        }
    }

    /// Hands over commands that are to be told in this order; `false` when nobody takes them.
    pub(super) fn keep(&self, calls: &[Invocation]) -> bool {
        self.outbox.get().is_some_and(|outbox| outbox.keep(&script::to_bytes(calls)).is_ok())
    }

    pub(super) fn push(&self, call: Invocation) {
        let mut waiting = self.guard();
        if waiting.len() >= MAX {
            waiting.pop_front();
            if self.dropped.fetch_add(1, Relaxed) == 0 {
                tracing::error!(
                    "too many settlements wait for the store's server: the oldest are left to their leases"
                );
            }
        }
        waiting.push_back(call);
    }

    /// The oldest that wait.
    pub(super) fn take(&self, count: usize) -> Vec<Invocation> {
        let mut waiting = self.guard();
        let count = count.min(waiting.len());
        waiting.drain(..count).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.guard().is_empty()
    }

    fn guard(&self) -> MutexGuard<'_, VecDeque<Invocation>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
