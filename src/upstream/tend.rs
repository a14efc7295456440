//! Looks after a pool in the background: drops what is no longer needed, opens
//! what soon will be.

use std::{sync::Arc, time::Duration};

use super::{RequestBody, pool::Pool};
use crate::policy::handle::PolicyHandle;

/// How often a pool is looked at, and how soon a failure to fill it is tried again.
const ROUND: Duration = Duration::from_secs(1);

impl<B: RequestBody> Pool<B> {
    /// Keeps the pool as the policy in force wants it, for ever. Runs on the pool's own worker, where its
    /// connections live.
    pub async fn tend(self: Arc<Self>, policy: Arc<PolicyHandle>) {
        loop {
            let now = policy.load();
            self.sweep(&now.upstream);
            let filled = self.fill(&now.upstream).await;
            drop(now);
            // An upstream that is away is not asked more often because requests fail.
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                () = self.low.notified(), if filled => {}
            }
        }
    }
}
