//! Counts what costs us more than the client that sends it.
//!
//! Most limits hold within a window of one second: a connection that lives for
//! days may send many PINGs. Where a long life makes harmless things add up, a
//! quarter of the answers that were given is allowed on top. Updates of windows
//! are measured by the DATA frames that may have caused them.
//!
//! The figures are those of Sozu, checked against what browsers, gRPC and HTTP
//! libraries send.

use std::time::{Duration, Instant};

use super::frames::{Frame, kind};
use crate::telemetry::Violation;

const WINDOW: Duration = Duration::from_secs(1);
const RESETS: u32 = 100;
const PINGS: u32 = 100;
const SETTINGS: u32 = 50;
const EMPTY_DATA: u32 = 100;
const PRIORITIES: u32 = 100;
const OTHERS: u32 = 100;
const WINDOW_UPDATES: u32 = 100;
/// Updates that one DATA frame of ours may cause (Envoy's figure).
const UPDATES_PER_DATA: u32 = 10;
/// An update of fewer octets than this buys less than its frame costs.
const TINY_UPDATE: u32 = 16;
const TINY_UPDATES: u32 = 100;
/// In the life of a connection.
const EARLY_RESETS: u64 = 50;
const ALL_RESETS: u64 = 10_000;
const FAULTS: u64 = 500;

/// What happened in the running window, and in the connection's life.
#[derive(Debug)]
pub(super) struct Floods {
    began: Instant,
    window: Counts,
    early_resets: u64,
    resets: u64,
    faults: u64,
    answers: u64,
}

#[derive(Debug, Default)]
struct Counts {
    resets: u32,
    pings: u32,
    settings: u32,
    empty_data: u32,
    priorities: u32,
    others: u32,
    updates: u32,
    tiny_updates: u32,
    /// DATA frames that we sent.
    sent: u32,
}

impl Floods {
    pub(super) fn new(now: Instant) -> Self {
        let window = Counts::default();
        Self { began: now, window, early_resets: 0, resets: 0, faults: 0, answers: 0 }
    }

    /// A frame of the client begins.
    pub(super) fn received(&mut self, frame: Frame, now: Instant) -> Result<(), Violation> {
        let counts = self.counts(now);
        match frame.kind {
            kind::DATA if frame.length == 0 && !frame.ends_stream() => {
                within(&mut counts.empty_data, EMPTY_DATA, Violation::EmptyData)
            }
            kind::DATA | kind::HEADERS | kind::CONTINUATION => Ok(()),
            kind::PRIORITY => within(&mut counts.priorities, PRIORITIES, Violation::Priorities),
            kind::RST_STREAM => within(&mut counts.resets, RESETS, Violation::Resets),
            kind::SETTINGS => within(&mut counts.settings, SETTINGS, Violation::Settings),
            kind::PING => within(&mut counts.pings, PINGS, Violation::Pings),
            kind::WINDOW_UPDATE => {
                let most = WINDOW_UPDATES + counts.sent.saturating_mul(UPDATES_PER_DATA);
                within(&mut counts.updates, most, Violation::WindowUpdates)
            }
            _ => within(&mut counts.others, OTHERS, Violation::OtherFrames),
        }
    }

    /// The client opens a window by this much.
    pub(super) fn update(&mut self, octets: u32) -> Result<(), Violation> {
        if octets >= TINY_UPDATE {
            return Ok(());
        }
        within(&mut self.window.tiny_updates, TINY_UPDATES, Violation::WindowUpdates)
    }

    /// The client reset a stream, before its answer began or later.
    pub(super) fn reset(&mut self, early: bool) -> Result<(), Violation> {
        self.resets += 1;
        self.early_resets += u64::from(early);
        let earned = self.answers / 4;
        let over = self.early_resets > EARLY_RESETS + earned || self.resets > ALL_RESETS + earned;
        if over { Err(Violation::Resets) } else { Ok(()) }
    }

    /// We reset a stream with this error code.
    pub(super) fn fault(&mut self, code: u32) -> Result<(), Violation> {
        // NO_ERROR, INTERNAL_ERROR and CANCEL are our doing; the others are what a client provokes.
        if matches!(code, 0x0 | 0x2 | 0x8) {
            return Ok(());
        }
        self.faults += 1;
        let over = self.faults > FAULTS + self.answers / 4;
        if over { Err(Violation::Faults) } else { Ok(()) }
    }

    /// We sent HEADERS, with which an answer begins or not.
    pub(super) fn answered(&mut self, begins: bool) {
        self.answers += u64::from(begins);
    }

    /// We sent a DATA frame.
    pub(super) fn sent(&mut self, now: Instant) {
        self.counts(now).sent += 1;
    }

    fn counts(&mut self, now: Instant) -> &mut Counts {
        if now.saturating_duration_since(self.began) >= WINDOW {
            // What was sent last may still be answered by updates.
            let sent = self.window.sent;
            self.window = Counts { sent: sent / 2, ..Counts::default() };
            self.began = now;
        }
        &mut self.window
    }
}

fn within(count: &mut u32, most: u32, violation: Violation) -> Result<(), Violation> {
    *count += 1;
    if *count > most { Err(violation) } else { Ok(()) }
}
