//! A thread that does one thing again and again.
//!
//! Dropping a [`Worker`] asks its thread to end, wakes it and waits for the round
//! that is under way.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Owns a thread until it has ended.
#[derive(Debug)]
pub(super) struct Worker {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    wake: Condvar,
}

impl Worker {
    /// Starts a thread that calls `round` at this interval.
    pub(super) fn start(
        name: &str,
        every: Duration,
        mut round: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let seen = stop.clone();
        let work = move || {
            while !seen.within(every) {
                round();
            }
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        *self.stop.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A round that panicked has ended too.
            let _ = thread.join();
        }
    }
}

impl Stop {
    /// Waits this long, or until asked to stop; `true` then.
    fn within(&self, every: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(asked, every, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
