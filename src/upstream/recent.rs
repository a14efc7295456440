//! How often something happened lately.
//!
//! A span is cut into [`SLICES`] slices, each a counter in one atomic with the
//! number of the slice that it counts for: adding is one compare-and-swap, and
//! nothing has to be swept. The oldest slice leaves as a whole, so an event
//! counts for nine to ten tenths of the span.
//!
//! # Limits
//! 16 million events a slice; more are not counted. A clock that steps back, or
//! another span, makes what was counted before invisible: it never counts twice.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::clock::Timestamp;

const SLICES: u64 = 10;
/// Bits of a slot that count; the others say for which slice.
const BITS: u32 = 24;
const MOST: u64 = (1 << BITS) - 1;

/// Counts the events of the last span.
#[derive(Debug, Default)]
pub(super) struct Recent {
    slots: [AtomicU64; SLICES as usize],
}

impl Recent {
    /// Counts one event.
    pub(super) fn add(&self, now: Timestamp, span: Duration) {
        let slice = slice(now, span);
        let Some(slot) = self.slots.get((slice % SLICES) as usize) else { return };
        let next = |old: u64| {
            let count = if old >> BITS == slice { old & MOST } else { 0 };
            Some(slice << BITS | (count + 1).min(MOST))
        };
        // The closure never gives up.
        let _ = slot.fetch_update(Relaxed, Relaxed, next);
    }

    /// Events of the last `span`.
    pub(super) fn count(&self, now: Timestamp, span: Duration) -> u64 {
        let current = slice(now, span);
        let counts = self.slots.iter().map(|slot| slot.load(Relaxed));
        let recent =
            counts.filter(|slot| current.checked_sub(slot >> BITS).is_some_and(|age| age < SLICES));
        recent.map(|slot| slot & MOST).sum()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.slots.iter().for_each(|slot| slot.store(0, Relaxed));
    }
}

/// The number of the slice that `now` is in; never 0, so that an untouched slot counts for none.
fn slice(now: Timestamp, span: Duration) -> u64 {
    let length = u64::try_from(span.as_millis()).unwrap_or(u64::MAX) / SLICES;
    // 40 bits: at 1 ms a slice, as many as 34 years have. Numbers come round then.
    (now.as_millis() / length.max(1) + SLICES) & (u64::MAX >> BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);
    const START: Timestamp = Timestamp(1_700_000_000_000);

    fn after(ms: u64) -> Timestamp {
        START.after(Duration::from_millis(ms))
    }

    #[test]
    fn events_count_for_nine_to_ten_tenths_of_the_span() {
        let recent = Recent::default();
        for at in [0, 500, 999, 5_000] {
            recent.add(after(at), SPAN);
        }

        assert_eq!(recent.count(after(5_000), SPAN), 4);
        assert_eq!(recent.count(after(9_999), SPAN), 4);
        assert_eq!(recent.count(after(10_000), SPAN), 1);
        assert_eq!(recent.count(after(15_000), SPAN), 0);
    }

    #[test]
    fn a_slot_that_comes_round_begins_anew() {
        let recent = Recent::default();
        recent.add(START, SPAN);
        recent.add(after(10_000), SPAN);
        assert_eq!(recent.count(after(10_000), SPAN), 1);
    }

    #[test]
    fn a_clock_that_steps_back_and_another_span_count_nothing_twice() {
        let recent = Recent::default();
        recent.add(after(60_000), SPAN);
        assert_eq!(recent.count(START, SPAN), 0);
        assert_eq!(recent.count(after(60_000), Duration::from_secs(30)), 0);
        recent.add(START, SPAN);
        assert_eq!(recent.count(START, SPAN), 1);
    }

    #[test]
    fn nothing_has_happened_before_the_first_event_or_after_a_clear() {
        let recent = Recent::default();
        assert_eq!(recent.count(Timestamp(0), SPAN), 0);
        recent.add(START, SPAN);
        recent.clear();
        assert_eq!(recent.count(START, SPAN), 0);
    }
}
