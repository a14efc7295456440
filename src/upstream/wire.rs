//! What the pool and a connection's byte stream know of each other.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, Method, header};
use tokio::{sync::Notify, task::AbortHandle};

use super::framing::Asked;
use crate::telemetry::{Gauge, Metrics};

/// A connection that was idle for less was idle for a moment only.
const MOMENT: Duration = Duration::from_millis(1);

/// Shared by one connection's byte stream and whoever holds the connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// An [`Asked`], as its number.
    asked: AtomicU8,
    /// A [`Use`], as its number.
    uses: AtomicU8,
    /// Whether it was idle for a moment only before the running request.
    brief: AtomicBool,
    /// Whether the upstream's first HTTP/2 frame has come.
    greeted: Notify,
    /// What drives an HTTP/1 connection.
    driver: OnceLock<AbortHandle>,
    metrics: Arc<Metrics>,
}

/// What a connection is there for at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Use {
    /// Waiting for a request.
    Idle,
    /// Carrying at least one.
    Busy,
    /// Its descriptor is closed.
    Closed,
}

impl Wire {
    /// The wire of a connection that has just been opened, counted as idle.
    pub(super) fn new(metrics: &Arc<Metrics>) -> Arc<Self> {
        metrics.upstream_idle.add(1);
        let metrics = Arc::clone(metrics);
        let asked = AtomicU8::new(Asked::Nothing as u8);
        let uses = AtomicU8::new(Use::Idle as u8);
        let (greeted, driver) = (Notify::new(), OnceLock::new());
        let brief = AtomicBool::new(false);
        Arc::new(Self { asked, uses, brief, greeted, driver, metrics })
    }

    /// Says what the next request is, before it is handed to the connection.
    pub(super) fn ask(&self, method: &Method, headers: &HeaderMap) {
        let asked = match *method {
            Method::HEAD => Asked::Head,
            Method::CONNECT => Asked::Connect,
            _ if headers.contains_key(header::UPGRADE) => Asked::Upgrade,
            _ => Asked::Ordinary,
        };
        self.asked.store(asked as u8, Relaxed);
    }

    /// What the running request is.
    pub(super) fn asked(&self) -> Asked {
        const ALL: [Asked; 5] =
            [Asked::Nothing, Asked::Ordinary, Asked::Head, Asked::Connect, Asked::Upgrade];
        ALL.get(usize::from(self.asked.load(Relaxed))).copied().unwrap_or_default()
    }

    /// Says that the running request has been answered.
    pub(super) fn answered(&self) {
        self.asked.store(Asked::Nothing as u8, Relaxed);
    }

    /// Says how long it was idle before the next request.
    pub(super) fn idled(&self, time: Duration) {
        self.brief.store(time < MOMENT, Relaxed);
    }

    /// Whether it was idle for a moment only.
    pub(super) fn was_idle_briefly(&self) -> bool {
        self.brief.load(Relaxed)
    }

    /// Counts answers 1xx. They go no further: the caller has its `100 Continue` from us, and the
    /// rest is of no use to it.
    pub(super) fn count_interim(&self, answers: u32) {
        if answers > 0 {
            self.metrics.upstream_informational.add(u64::from(answers));
        }
    }

    /// Says what drives the connection.
    pub(super) fn driven_by(&self, driver: AbortHandle) {
        // Each connection is driven once.
        drop(self.driver.set(driver));
    }

    /// Closes the connection, whatever it is in the middle of.
    pub(super) fn cut(&self) {
        if let Some(driver) = self.driver.get() {
            driver.abort();
        }
    }

    /// Says that the upstream's first HTTP/2 frame has come.
    pub(super) fn greet(&self) {
        self.greeted.notify_one();
    }

    /// Waits for the upstream's first HTTP/2 frame.
    pub(super) async fn greeted(&self) {
        self.greeted.notified().await;
    }

    /// Notes what the connection is there for. Closed is for ever.
    pub(super) fn note(&self, next: Use) {
        let change =
            |now: u8| (now != Use::Closed as u8 && now != next as u8).then_some(next as u8);
        let Ok(before) = self.uses.fetch_update(Relaxed, Relaxed, change) else { return };
        let before = if before == Use::Idle as u8 { Use::Idle } else { Use::Busy };
        self.count(before, -1);
        self.count(next, 1);
    }

    fn count(&self, uses: Use, change: i64) {
        let gauge: &Gauge = match uses {
            Use::Idle => &self.metrics.upstream_idle,
            Use::Busy => &self.metrics.upstream_busy,
            Use::Closed => return,
        };
        gauge.add(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_counted_once_until_it_is_closed() {
        let metrics = Arc::new(Metrics::default());
        let counts = || (metrics.upstream_idle.value(), metrics.upstream_busy.value());
        let wire = Wire::new(&metrics);
        assert_eq!(counts(), (1, 0));
        wire.note(Use::Busy);
        wire.note(Use::Busy);
        assert_eq!(counts(), (0, 1));
        wire.note(Use::Closed);
        assert_eq!(counts(), (0, 0));
        wire.note(Use::Idle);
        assert_eq!(counts(), (0, 0));
    }

    #[test]
    fn what_was_asked_is_known_until_it_is_answered() {
        let wire = Wire::new(&Arc::default());
        let mut headers = HeaderMap::new();
        assert_eq!(wire.asked(), Asked::Nothing);
        for (method, asked) in [
            (Method::GET, Asked::Ordinary),
            (Method::HEAD, Asked::Head),
            (Method::CONNECT, Asked::Connect),
        ] {
            wire.ask(&method, &headers);
            assert_eq!(wire.asked(), asked);
        }
        headers.insert(header::UPGRADE, http::HeaderValue::from_static("websocket"));
        wire.ask(&Method::GET, &headers);
        assert_eq!(wire.asked(), Asked::Upgrade);
        wire.answered();
        assert_eq!(wire.asked(), Asked::Nothing);
    }
}
