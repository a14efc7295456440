//! Does less as memory runs out, in steps, and more again when there is some.
//!
//! A thread of our own reads the resident memory [`SAMPLE`]s apart and compares
//! it with the limit. At 92 % connections end after their request, at 95 % new
//! requests are refused, at 98 % nothing is accepted and bodies that are being
//! collected are given up. Each step is left 4 points below where it begins, so
//! that it does not flutter. Meanwhile freed memory is given back to the system
//! by us: with nothing accepted and nothing under way, nobody else would.
//!
//! # Failure
//! Without a limit, or where the resident memory cannot be read, nothing is refused.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use super::Drain;
use crate::{resources, telemetry::Metrics};

/// How often memory is looked at: fast enough for a burst, and a few microseconds each.
const SAMPLE: Duration = Duration::from_millis(20);
/// How often connections are told again that they should end, in samples.
const REMIND: u32 = 25;

/// How little memory is left; each step includes those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Pressure {
    /// Enough.
    #[default]
    None,
    /// Connections end after the request that they carry.
    NoKeepAlive,
    /// New requests are refused.
    NoRequests,
    /// No connection is accepted.
    NoConnections,
}

impl Pressure {
    const ALL: [Self; 4] = [Self::None, Self::NoKeepAlive, Self::NoRequests, Self::NoConnections];

    /// Where each step begins, in percent of the limit.
    const fn begins(self) -> u64 {
        match self {
            Self::None => 0,
            Self::NoKeepAlive => 92,
            Self::NoRequests => 95,
            Self::NoConnections => 98,
        }
    }

    /// How many points below its beginning a step is left.
    const SLACK: u64 = 4;

    /// The step after `used` bytes of `limit` were found.
    fn after(self, used: u64, limit: u64) -> Self {
        let percent = used.saturating_mul(100) / limit.max(1);
        let reached = |step: &Self| percent >= step.begins();
        let kept = |step: &Self| *step <= self && percent + Self::SLACK >= step.begins();
        let highest = Self::ALL.into_iter().rev().find(|step| reached(step) || kept(step));
        highest.unwrap_or_default()
    }

    /// The word in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NoKeepAlive => "no_keep_alive",
            Self::NoRequests => "no_requests",
            Self::NoConnections => "no_connections",
        }
    }
}

/// The pressure of this process, for all who must give way to it.
#[derive(Debug)]
pub struct Overload {
    limit: Option<u64>,
    level: AtomicU8,
    connections: Drain,
}

impl Overload {
    /// No pressure yet; `limit` is the memory that may be used, in bytes.
    pub fn new(limit: Option<u64>, connections: Drain) -> Arc<Self> {
        Arc::new(Self { limit, level: AtomicU8::new(0), connections })
    }

    /// How little memory is left.
    pub fn pressure(&self) -> Pressure {
        let level = usize::from(self.level.load(Relaxed));
        Pressure::ALL.get(level).copied().unwrap_or_default()
    }

    /// Looks at the memory on a thread of its own, until the watch is dropped.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn watch(self: &Arc<Self>, metrics: Arc<Metrics>) -> io::Result<OverloadWatch> {
        let (stop, stopped) = mpsc::channel();
        let overload = Arc::clone(self);
        metrics.memory_limit.set(self.limit.map_or(0, |limit| limit.try_into().unwrap_or(0)));
        let thread = std::thread::Builder::new().name("overload".into());
        let thread = thread.spawn(move || overload.look(&stopped, &metrics))?;
        Ok(OverloadWatch { stop: Some(stop), thread: Some(thread) })
    }

    fn look(&self, stopped: &mpsc::Receiver<()>, metrics: &Metrics) {
        let Some(limit) = self.limit else { return };
        let mut samples = 0;
        while stopped.recv_timeout(SAMPLE) == Err(mpsc::RecvTimeoutError::Timeout) {
            if let Some(used) = resources::resident() {
                self.take_in(used, limit, metrics);
            }
            samples = (samples + 1) % REMIND;
            if self.pressure() == Pressure::None {
                continue;
            }
            resources::give_back();
            if samples == 0 {
                self.connections.remind();
            }
        }
    }

    fn take_in(&self, used: u64, limit: u64, metrics: &Metrics) {
        let was = self.pressure();
        let now = was.after(used, limit);
        if was == now {
            return;
        }
        self.level.store(now as u8, Relaxed);
        metrics.overload.set(i64::from(now as u8));
        let pressure = now.name();
        if now > was {
            tracing::warn!(pressure, used_bytes = used, limit_bytes = limit, "memory runs out");
        } else {
            tracing::info!(
                pressure,
                used_bytes = used,
                limit_bytes = limit,
                "memory is free again"
            );
        }
        if now > was {
            self.connections.remind();
        }
    }

    /// Returns when connections may be accepted.
    pub(super) async fn admits(&self) {
        while self.pressure() >= Pressure::NoConnections {
            tokio::time::sleep(SAMPLE).await;
        }
    }
}

/// The thread that looks at the memory; ended when dropped.
#[derive(Debug)]
#[must_use]
pub struct OverloadWatch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for OverloadWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by itself.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_begin_and_end_where_they_should() {
        use Pressure::{NoConnections, NoKeepAlive, NoRequests, None};
        for (was, percent, is) in [
            (None, 91, None),
            (None, 92, NoKeepAlive),
            (None, 96, NoRequests),
            (None, 120, NoConnections),
            (NoKeepAlive, 90, NoKeepAlive),
            (NoKeepAlive, 87, None),
            (NoRequests, 91, NoRequests),
            (NoRequests, 90, NoKeepAlive),
            (NoConnections, 94, NoConnections),
            (NoConnections, 93, NoRequests),
            (NoConnections, 89, NoKeepAlive),
            (NoConnections, 50, None),
        ] {
            assert_eq!(was.after(percent, 100), is, "{was:?} at {percent} %");
        }
    }
}
