//! What the service manager is told (`sd_notify(3)`): ready, reloading, stopping, alive.
//!
//! Without `NOTIFY_SOCKET` in the environment every call is a no-op.
//!
//! # Failure
//! A manager that does not listen changes nothing here; it is said once in the log.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use sd_notify::NotifyState;

/// Whether a failure was said already.
static COMPLAINED: AtomicBool = AtomicBool::new(false);

/// Says that the service works, and in what state.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that the files are being looked at; [`ready`] must follow.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd 253 and later want the time of day beside it.
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
        Err(_) => tell(&[NotifyState::Reloading, NotifyState::Status("reloading")]),
    }
}

/// Says that the service is on its way out.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Says that the service is alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How long the manager waits for [`alive`] before it ends us; `None` when it does not ask.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states)
        && !COMPLAINED.swap(true, Relaxed)
    {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
