//! Looks for an authority that is away, and tells it what it missed.
//!
//! One task of the process asks again and again; requests never do. On return
//! everything that waits is delivered in batches, oldest first.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::ledger::authority::{Authority, Epoch};
use crate::ledger::away::Fallback;
use crate::ledger::away::backlog::{self, Backlog};
use crate::ledger::away::directory::Directory;
use crate::ledger::{Store, StoreError};

/// How often an authority that is away is asked.
const WHILE_AWAY: Duration = Duration::from_millis(250);
/// How often one that answers is asked which books it keeps.
const WHILE_WELL: Duration = Duration::from_secs(1);
/// Looks between two searches for what another process left.
const SEARCH_EVERY: u32 = 20;
/// Entries per import: the more, the more of them the authority can merge. Some 20 MiB.
const BATCH: usize = 32 << 10;
/// Entries that are read at once: less than a millisecond, in which nobody else has the thread.
const PART: usize = 512;
/// How long a process that stops may take to deliver what waits.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl<S: Authority> Fallback<S> {
    /// Looks after the authority for ever.
    pub async fn tend(&self) {
        for look in 1_u32.. {
            let well = self.is_up() && self.backlog.depth() == 0;
            tokio::time::sleep(if well { WHILE_WELL } else { WHILE_AWAY }).await;
            self.look().await;
            if look % SEARCH_EVERY == 0 && self.is_up() {
                self.adopt().await;
            }
        }
    }

    /// Asks the authority once, and tells it what it missed.
    pub async fn look(&self) {
        match self.authority.probe().await {
            Ok(epoch) => {
                self.compare(epoch);
                let delivered = self.deliver(&self.backlog).await;
                // One that is too slow for requests is told, and yet away.
                let answers = self.authority.is_up();
                self.report(if answers { delivered } else { Err(StoreError::Away) });
            }
            Err(_) => self.gone(),
        }
        self.show();
    }

    /// Notes that the authority is missed, and says so once.
    pub(super) fn gone(&self) {
        if !self.away.load(Relaxed) && !self.away.swap(true, Relaxed) {
            self.metrics.store_up.set(0);
            tracing::warn!("the store does not answer: deciding as the policy says for that time");
        }
    }

    fn report(&self, delivered: Result<u64, StoreError>) {
        match delivered {
            Ok(entries) => {
                if self.away.swap(false, Relaxed) {
                    self.metrics.store_up.set(1);
                    tracing::info!(entries, "the store answers again and knows what it missed");
                }
            }
            Err(StoreError::Away) => self.gone(),
            Err(error) => {
                self.gone();
                tracing::error!(%error, "what the store missed cannot be delivered");
            }
        }
    }

    /// Notices when the authority keeps other books than before.
    fn compare(&self, Epoch(epoch): Epoch) {
        let (known, last) = (&self.epoch.0, &self.epoch.1);
        let before = last.swap(epoch, Relaxed);
        if known.swap(true, Relaxed) && before != epoch {
            self.metrics.books_changed.add(1);
            tracing::error!(
                "the store was restarted, replaced or emptied: what it counted last may be missing"
            );
        }
    }

    fn show(&self) {
        let depth = self.backlog.depth();
        self.metrics.journal_depth.set(i64::try_from(depth).unwrap_or(i64::MAX));
    }

    /// Delivers all that waits; returns how many entries.
    async fn deliver(&self, backlog: &Backlog) -> Result<u64, StoreError> {
        let mut delivered = 0;
        while let Some(mut batch) = backlog.batch(PART)? {
            while batch.entries.len() < BATCH && backlog.more(&mut batch, PART)? {
                tokio::task::yield_now().await;
            }
            self.authority.import(&batch.entries).await?;
            backlog.delivered(&batch);
            let count = batch.entries.len() as u64;
            self.metrics.reconciled.add(count);
            delivered += count;
        }
        backlog.tidy()?;
        Ok(delivered)
    }

    /// Delivers what a process left that shared the directory and did not come back.
    pub(super) async fn adopt(&self) {
        let adopted = async {
            let Some(place) = self.directory.orphan()? else { return Ok(()) };
            self.adopt_from(&place).await
        };
        if let Err(error) = adopted.await
            && !matches!(error, StoreError::Away)
        {
            tracing::error!(%error, "what another process left cannot be delivered");
        }
    }

    async fn adopt_from(&self, place: &Directory) -> Result<(), StoreError> {
        let backlog = Backlog::open(place.path(), u64::MAX)?;
        let entries = self.deliver(&backlog).await?;
        drop(backlog);
        backlog::remove(place.path())?;
        if entries > 0 {
            tracing::info!(entries, "delivered what another process had left");
        }
        Ok(())
    }

    /// Delivers what can be delivered, then closes the books.
    ///
    /// # Errors
    /// A file cannot be written; what waits is delivered after the next start.
    pub async fn close(&self) -> Result<(), StoreError> {
        // What is not delivered by then is on disk.
        let _ = tokio::time::timeout(LAST_WORDS, self.deliver(&self.backlog)).await;
        self.backlog.sync()?;
        self.local.close()
    }
}
