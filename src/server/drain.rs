//! Leaving without dropping anybody.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Peer;

/// How long before the end what never ends by itself is told to part.
const PARTING: Duration = Duration::from_secs(2);

/// What connections are asked. One channel for both, since each connection looks at it whenever
/// it wakes.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// To end after what they carry, for good.
    drain: bool,
    /// How often they were asked to end because there are too many.
    reminders: u64,
}

/// Tells every connection to finish, and waits until they have.
#[derive(Clone, Debug)]
pub struct Drain {
    asked: Arc<watch::Sender<Asked>>,
    parting: CancellationToken,
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            asked: Arc::new(watch::Sender::new(Asked::default())),
            parting: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }
}

impl Drain {
    /// Whether draining has begun.
    pub fn has_begun(&self) -> bool {
        self.asked.borrow().drain
    }

    /// Begins: no new connections, and those that are open end after their requests.
    pub fn begin(&self) {
        self.asked.send_modify(|asked| asked.drain = true);
        self.tasks.close();
    }

    /// Returns once draining has begun.
    pub async fn begun(&self) {
        let mut asked = self.asked.subscribe();
        // The sender lives as long as `self`, so this ends only with the value.
        drop(asked.wait_for(|asked| asked.drain).await);
    }

    /// Asks open connections to end after the request that they carry; those on which nothing was
    /// asked yet are spared.
    pub(super) fn remind(&self) {
        self.asked.send_modify(|asked| asked.reminders += 1);
    }

    /// Returns once this connection is asked to end.
    pub(super) async fn asks(&self, peer: &Peer) {
        let mut asked = self.asked.subscribe();
        let before = asked.borrow().reminders;
        let is_meant = |now: &Asked| now.drain || (now.reminders != before && peer.requests() > 0);
        drop(asked.wait_for(is_meant).await);
    }

    /// Returns once draining has begun and every connection has ended.
    pub async fn finished(&self) {
        self.begun().await;
        self.tasks.wait().await;
    }

    /// Returns once little time is left: what never ends by itself says goodbye now.
    pub async fn parting(&self) {
        self.parting.cancelled().await;
    }

    /// Returns once connections must be cut.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Owns `task` until it ends.
    pub(super) fn track<F: Future>(&self, task: F) -> impl Future<Output = F::Output> + use<F> {
        self.tasks.track_future(task)
    }

    /// Waits for all connections at most `patience`, then cuts the rest.
    /// Returns how many were cut.
    pub async fn finish(&self, patience: Duration) -> usize {
        self.begin();
        let goodbye = PARTING.min(patience / 2);
        if tokio::time::timeout(patience - goodbye, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        self.parting.cancel();
        if tokio::time::timeout(goodbye, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        let late = self.tasks.len();
        self.cut.cancel();
        self.tasks.wait().await;
        late
    }

    /// Cuts what is still open, now.
    pub fn hasten(&self) {
        self.cut.cancel();
    }
}
