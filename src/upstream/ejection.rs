//! Whether one endpoint among several is passed over because of what requests met there.
//!
//! Failures in a row eject it: for the shortest time first, then twice as long,
//! three times, up to the longest. When its time is over it is used again, but
//! the row has not been forgotten: one more failure ejects it at once, one
//! success begins anew. An ejection of the longest time without a failure behind
//! it forgets how many there were.
//!
//! # Limits
//! Each length is shortened by up to a tenth, by lot, so that endpoints that
//! failed together do not come back together. A clock that steps back ends an
//! ejection.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{clock::Timestamp, policy::resilience::Ejection as Rule};

/// What requests met at one endpoint.
#[derive(Debug, Default)]
pub(super) struct Ejection {
    /// Failures since the last success.
    row: AtomicU32,
    /// Ejections that count for the length of the next.
    times: AtomicU32,
    /// The millisecond at which the last ejection ends or ended.
    until: AtomicU64,
}

impl Ejection {
    /// Whether the endpoint is passed over.
    pub(super) fn holds(&self, rule: &Rule, now: Timestamp) -> bool {
        let left = self.until().since(now);
        left > Duration::ZERO && left <= rule.longest
    }

    /// When the last ejection ends or ended.
    pub(super) fn until(&self) -> Timestamp {
        Timestamp(self.until.load(Relaxed))
    }

    /// A request went well.
    pub(super) fn succeeded(&self) {
        // Read first: writing would take the line from every other core.
        if self.row.load(Relaxed) > 0 {
            self.row.store(0, Relaxed);
        }
    }

    /// A request failed; `random` decides the jitter. Returns for how long that ejects the endpoint.
    pub(super) fn failed(&self, rule: &Rule, now: Timestamp, random: u64) -> Option<Duration> {
        let row = self.row.load(Relaxed).saturating_add(1);
        self.row.store(row, Relaxed);
        if row < rule.failures || self.holds(rule, now) {
            return None;
        }
        let before = self.until();
        let well = now.since(before) >= rule.longest || before > now;
        let times = if well { 1 } else { self.times.load(Relaxed).saturating_add(1) };
        let length = jittered(rule.shortest.saturating_mul(times).min(rule.longest), random);
        let until = now.after(length).as_millis();
        // Of several that fail at once, one ejects.
        let won = self.until.compare_exchange(before.as_millis(), until, Relaxed, Relaxed);
        won.ok()?;
        self.times.store(times, Relaxed);
        Some(length)
    }

    /// Forgets what happened: the policy ejects nobody any more, or the endpoint was away and has come back.
    pub(super) fn reset(&self) {
        self.row.store(0, Relaxed);
        self.until.store(0, Relaxed);
    }
}

/// `length`, shortened by up to a tenth.
fn jittered(length: Duration, random: u64) -> Duration {
    let parts = u32::try_from(random % 1_000).unwrap_or_default();
    length - length * parts / 10_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, units::Percent};

    const RULE: Rule = Rule {
        failures: 3,
        shortest: Duration::from_secs(30),
        longest: Duration::from_secs(100),
        panic: Percent::whole(25),
    };

    fn clock() -> Clock {
        Clock::manual(Timestamp(1_700_000_000_000))
    }

    fn fail(ejection: &Ejection, clock: &Clock) -> Option<Duration> {
        ejection.failed(&RULE, clock.now(), 0)
    }

    #[test]
    fn a_row_of_failures_ejects_and_a_success_begins_anew() {
        let (clock, ejection) = (clock(), Ejection::default());
        for _ in 0..5 {
            assert_eq!([fail(&ejection, &clock), fail(&ejection, &clock)], [None, None]);
            ejection.succeeded();
        }
        assert_eq!([fail(&ejection, &clock), fail(&ejection, &clock)], [None, None]);

        assert_eq!(fail(&ejection, &clock), Some(RULE.shortest));

        assert!(ejection.holds(&RULE, clock.now()));
        assert_eq!(fail(&ejection, &clock), None, "what was under way changes nothing");
        clock.advance(RULE.shortest);
        assert!(!ejection.holds(&RULE, clock.now()));
    }

    #[test]
    fn each_ejection_is_longer_up_to_the_longest() {
        let (clock, ejection) = (clock(), Ejection::default());
        fail(&ejection, &clock);
        fail(&ejection, &clock);
        for seconds in [30, 60, 90, 100, 100] {
            let length = fail(&ejection, &clock);
            assert_eq!(length, Some(Duration::from_secs(seconds)), "one failure is enough now");
            clock.advance(Duration::from_secs(seconds));
        }

        clock.advance(RULE.longest);
        assert_eq!(fail(&ejection, &clock), Some(RULE.shortest), "it has been well for long");
    }

    #[test]
    fn the_length_is_drawn_from_its_last_tenth() {
        for random in [0, 1, 999, 1_000, u64::MAX] {
            let length = jittered(RULE.shortest, random);
            assert!(length <= RULE.shortest && length > RULE.shortest * 9 / 10, "{length:?}");
        }
        assert_ne!(jittered(RULE.shortest, 0), jittered(RULE.shortest, 500));
    }

    #[test]
    fn a_clock_that_steps_back_ends_it() {
        let (clock, ejection) = (clock(), Ejection::default());
        assert!([(); 3].map(|()| fail(&ejection, &clock))[2].is_some());
        assert!(!ejection.holds(&RULE, Timestamp(1_600_000_000_000)));
        assert!(ejection.failed(&RULE, Timestamp(1_600_000_000_000), 0).is_some());
    }
}
