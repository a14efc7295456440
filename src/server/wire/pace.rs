//! Patience with a client that gives or takes too slowly.
//!
//! Patience is spent while we wait for the client and earned back by octets, at
//! the minimum rate; there is never more of it than [`PATIENCE`]. So a client that
//! stands still is given up after that time, one that drips a little later,
//! however long it was good before, and one that keeps the rate never. Time in
//! which nobody waits for the client costs it nothing.

use std::time::{Duration, Instant};

/// How long a client may stand still, and the most that octets earn.
pub(in crate::server) const PATIENCE: Duration = Duration::from_secs(10);

/// What is left of our patience.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Octets a second that keep patience level; 0 never loses it.
    rate: u64,
    most: Duration,
    left: Duration,
    since: Option<Instant>,
}

impl Pace {
    /// Full patience with one who should keep `rate` octets a second; 0 is for ever.
    pub fn new(rate: u64) -> Self {
        Self::within(rate, PATIENCE)
    }

    /// The same, with at most this patience.
    pub(in crate::server) fn within(rate: u64, most: Duration) -> Self {
        Self { rate, most, left: most, since: None }
    }

    /// We wait for the client from now on, if we did not before.
    pub fn wait(&mut self, now: Instant) {
        if self.rate > 0 && self.since.is_none() {
            self.since = Some(now);
        }
    }

    /// We do not wait any more, and `octets` moved.
    pub fn moved(&mut self, now: Instant, octets: u64) {
        let Some(since) = self.since.take() else { return self.earn(octets) };
        self.left = self.left.saturating_sub(now.saturating_duration_since(since));
        self.earn(octets);
    }

    /// Octets moved, whether we wait or not.
    pub(in crate::server) fn earn(&mut self, octets: u64) {
        if let Some(millis) = octets.saturating_mul(1_000).checked_div(self.rate) {
            self.left = self.left.saturating_add(Duration::from_millis(millis)).min(self.most);
        }
    }

    /// Patience ends after `more` from now, if we wait.
    pub(in crate::server) fn grant(&mut self, now: Instant, more: Duration) {
        if let Some(since) = self.since {
            self.left = now.saturating_duration_since(since) + more;
        }
    }

    /// When patience ends if nothing moves; `None` while we do not wait.
    pub fn ends(&self) -> Option<Instant> {
        self.since.map(|since| since + self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a client is given up that moves `octets` every `step`, in whole steps.
    fn given_up(rate: u64, octets: u64, step: Duration) -> Option<Duration> {
        let began = Instant::now();
        let mut pace = Pace::new(rate);
        (1..10_000_u32).map(|n| step * n).find(|elapsed| {
            let now = began + *elapsed;
            pace.wait(now - step);
            let over = pace.ends().is_some_and(|end| end <= now);
            pace.moved(now, octets);
            over
        })
    }

    #[test]
    fn standing_still_is_given_up_after_the_grace() {
        assert_eq!(given_up(240, 0, Duration::from_secs(1)), Some(PATIENCE));
    }

    #[test]
    fn drips_are_given_up_a_little_later_and_the_rate_is_kept_for_ever() {
        let dripped = given_up(240, 1, Duration::from_secs(1)).expect("given up");
        assert!(dripped <= PATIENCE + Duration::from_secs(1), "{dripped:?}");
        assert_eq!(given_up(240, 240, Duration::from_secs(1)), None);
        assert_eq!(given_up(0, 0, Duration::from_secs(1)), None);
    }

    #[test]
    fn a_fast_past_buys_no_more_than_the_grace() {
        let now = Instant::now();
        let mut pace = Pace::new(240);
        pace.moved(now, 100 << 20);
        pace.wait(now);
        assert_eq!(pace.ends(), Some(now + PATIENCE));
    }

    #[test]
    fn time_in_which_nobody_waits_costs_nothing() {
        let now = Instant::now();
        let mut pace = Pace::new(240);
        pace.wait(now);
        pace.moved(now + Duration::from_secs(4), 0);
        let later = now + Duration::from_secs(3_600);
        pace.wait(later);
        assert_eq!(pace.ends(), Some(later + Duration::from_secs(6)));
    }
}
