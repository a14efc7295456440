//! The count of one calendar period.
//!
//! What requests in flight hold is kept apart from what is spent. A tally has no
//! period of its own: it remembers the instant of its last charge and starts
//! anew when that lies before the current period. Moving a budget to another
//! zone therefore moves its boundary and keeps its count.

/// What was used within one calendar period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    committed: u64,
    held: u64,
    last: u64,
    until: u64,
    /// No charge before it is in the count: the start of the period in which the count began.
    since: u64,
}

impl Tally {
    /// A tally as it was stored; what was in flight then counts as spent.
    pub(super) fn restored(total: u64, last: u64, until: u64, since: u64) -> Self {
        Self { committed: total, held: 0, last, until, since }
    }

    /// Takes a charge of `amount` at `time` for one in flight again; `false` when it is no longer counted.
    pub(super) fn reopen(&mut self, amount: u64, time: u64) -> bool {
        if time < self.since || amount > self.committed {
            return false;
        }
        self.committed -= amount;
        self.held = self.held.saturating_add(amount);
        true
    }

    /// Enters the period `start..until`; `true` when a new count began.
    pub(super) fn enter(&mut self, start: u64, until: u64) -> bool {
        self.until = until;
        // A tally without a charge begins at its period's start, so that it begins once.
        let begins = self.last < start;
        if begins {
            *self = Self { last: start, until, since: start, ..Self::default() };
        }
        begins
    }

    pub(super) fn hold(&mut self, amount: u64, now: u64) {
        self.held = self.held.saturating_add(amount);
        self.last = self.last.max(now);
    }

    /// Replaces a hold of `held`, made at `time`, by what it came to.
    pub(super) fn commit(&mut self, held: u64, actual: u64, time: u64) {
        self.held = self.held.saturating_sub(held);
        self.committed = self.committed.saturating_add(actual);
        self.last = self.last.max(time);
    }

    /// Takes in the count of another tally of the same period.
    pub(super) fn absorb(&mut self, other: Self) {
        self.committed = self.committed.saturating_add(other.committed);
        self.held = self.held.saturating_add(other.held);
        self.last = self.last.max(other.last);
        self.since = self.since.max(other.since);
    }

    pub(super) fn rebase(&mut self, now: u64) {
        self.last = self.last.min(now);
        self.since = self.since.min(now);
    }

    pub(super) fn used(&self) -> u64 {
        self.committed.saturating_add(self.held)
    }

    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// The instant of the last charge.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// No charge before this instant is in the count.
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// The end of the period that was entered last.
    pub(super) fn until(&self) -> u64 {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_period_begins_from_nothing_once() {
        let mut tally = Tally::restored(7, 90, 100, 0);
        assert!(!tally.enter(50, 100));
        assert!(tally.enter(100, 200));
        assert_eq!(tally.used(), 0);
        assert!(!tally.enter(100, 200));
    }

    #[test]
    fn a_moved_boundary_keeps_the_count_of_the_last_charge() {
        let mut tally = Tally::default();
        tally.enter(0, 100);
        tally.hold(5, 80);
        assert!(!tally.enter(60, 160), "80 lies in the moved period");
        assert_eq!(tally.used(), 5);
        assert!(tally.enter(90, 190), "80 lies before it");
    }

    #[test]
    fn only_what_is_still_counted_is_in_flight_again() {
        let mut tally = Tally::restored(7, 90, 100, 50);
        assert!(!tally.reopen(3, 49), "of the period before");
        assert!(tally.reopen(3, 50) && !tally.reopen(5, 60), "more than is left");
        assert_eq!((tally.used(), tally.held()), (7, 3));
    }

    #[test]
    fn held_and_committed_are_apart() {
        let mut tally = Tally::default();
        tally.enter(0, 100);
        tally.hold(5, 10);
        assert_eq!((tally.used(), tally.held()), (5, 5));
        tally.commit(5, 3, 10);
        assert_eq!((tally.used(), tally.held()), (3, 0));
    }
}
