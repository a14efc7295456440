//! A place of its own for each process that shares a directory.
//!
//! Places are numbered. A process takes the first one that no other has open, so
//! one that is started again finds what it left, and a replica on the same
//! machine gets its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ledger::StoreError;
use crate::ledger::away::backlog::{Backlog, SYNC_EVERY};
use crate::ledger::embedded::claim;
use crate::ledger::worker::Worker;

/// More processes than this do not share one directory.
const MAX_PLACES: u32 = 256;

/// A place that belongs to this process.
#[derive(Debug)]
pub(super) struct Directory {
    // In the order of dropping: the thread, then the lock.
    syncing: Mutex<Option<Worker>>,
    shared: PathBuf,
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Takes the first free place in a directory, which is made if it is missing.
    ///
    /// # Errors
    /// The directory cannot be used, or has no free place.
    pub(super) fn claim(shared: &Path) -> Result<Self, StoreError> {
        for number in 0..MAX_PLACES {
            if let Some(place) = Self::take(shared, shared.join(number.to_string()))? {
                return Ok(place);
            }
        }
        Err(StoreError::Locked { directory: shared.into() })
    }

    fn take(shared: &Path, path: PathBuf) -> Result<Option<Self>, StoreError> {
        match claim(&path) {
            Ok(lock) => Ok(Some(Self {
                syncing: Mutex::default(),
                shared: shared.into(),
                path,
                _lock: lock,
            })),
            Err(StoreError::Locked { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Another place in the same directory that was left with something in it.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn orphan(&self) -> Result<Option<Self>, StoreError> {
        let unavailable = |source| StoreError::Unavailable { path: self.shared.clone(), source };
        for entry in std::fs::read_dir(&self.shared).map_err(unavailable)? {
            let path = entry.map_err(unavailable)?.path();
            let left = path != self.path && path.join("delivered").exists();
            if left && let Some(place) = Self::take(&self.shared, path)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Brings a backlog to the disk again and again, as long as the place is held.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn syncing(self, backlog: &Arc<Backlog>) -> Result<Self, StoreError> {
        let synced = Arc::clone(backlog);
        let worker = Worker::start("ledger-backlog", SYNC_EVERY, move || {
            // The journal is down then, and says so.
            let _ = synced.sync();
        });
        let worker =
            worker.map_err(|source| StoreError::Unavailable { path: self.path.clone(), source })?;
        *self.syncing.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker);
        Ok(self)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the local accounts are.
    pub(super) fn accounts(&self) -> PathBuf {
        self.path.join("accounts")
    }
}
