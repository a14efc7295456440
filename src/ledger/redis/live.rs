//! The holds that this replica owes a sign of life.
//!
//! A hold whose owner crashed expires with its lease. As long as a request lives,
//! its holds are renewed: in one command per subject, only where a request has
//! lasted for a third of the lease, so short requests cost nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Enough that worker threads rarely meet.
const SHARDS: usize = 16;

/// The accounts that a hold is in.
pub(super) type Keys = Arc<[String]>;

/// Where each hold is, and when it was renewed.
type Holds = HashMap<u64, (Keys, Instant), RandomState>;

/// Holds in flight, by serial number.
#[derive(Default)]
pub(super) struct Live {
    shards: [Mutex<Holds>; SHARDS],
}

impl Live {
    pub(super) fn add(&self, serial: u64, keys: Keys) {
        self.shard(serial).insert(serial, (keys, Instant::now()));
    }

    pub(super) fn remove(&self, serial: u64) {
        self.shard(serial).remove(&serial);
    }

    /// Holds that were last renewed this long ago, by account; they count as renewed now.
    pub(super) fn due(&self, age: Duration) -> Vec<(Keys, Vec<u64>)> {
        let mut due: HashMap<Keys, Vec<u64>> = HashMap::new();
        let now = Instant::now();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (serial, (keys, renewed)) in &mut *shard {
                if now.duration_since(*renewed) >= age {
                    *renewed = now;
                    due.entry(Arc::clone(keys)).or_default().push(*serial);
                }
            }
        }
        due.into_iter().collect()
    }

    fn shard(&self, serial: u64) -> MutexGuard<'_, Holds> {
        let shard = &self.shards[serial as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
