//! The log behind one sliding window.
//!
//! Every admitted amount is kept with its time, so that no interval of the
//! window's length ever admits more than the limit and the wait for room is
//! exact. Above [`MAX_ENTRIES`] entries, those that share one of [`CELLS`] cells
//! of a fixed grid merge into the latest time among them: an amount then leaves
//! late by less than a 256th of the window, and never early.
//!
//! Times must not decrease from call to call; the account sees to that.
//!
//! # Limits
//! One log holds at most [`MAX_ENTRIES`] entries of 16 bytes.

use std::collections::VecDeque;

/// From how many entries on neighbours are merged. Twice [`CELLS`], so that merging,
/// which walks the log, happens at most once per 255 additions.
pub(super) const MAX_ENTRIES: usize = 512;

/// How finely a full log divides its window.
const CELLS: u64 = 256;

/// How finely one hold that is raised again and again divides it.
const PIECES: u64 = 16;

/// What was admitted within the last `length` milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    length: u64,
    sum: u64,
    /// Sorted by time, no time twice.
    entries: VecDeque<Entry>,
}

/// An amount and the millisecond from which it counts; it leaves `length` later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) time: u64,
    pub(super) amount: u64,
}

impl Window {
    pub(super) fn new(length: u64) -> Self {
        Self { length, sum: 0, entries: VecDeque::new() }
    }

    /// Lets go of what has left the window.
    pub(super) fn expire(&mut self, now: u64) {
        while let Some(first) = self.entries.front()
            && self.left(first.time, now)
        {
            self.sum -= first.amount;
            self.entries.pop_front();
        }
    }

    /// Books `amount` at `now`, which is not before any earlier booking.
    pub(super) fn add(&mut self, now: u64, amount: u64) {
        // Saturated, the log would no longer add up; no limit comes near.
        let amount = amount.min(u64::MAX - self.sum);
        if amount == 0 {
            return;
        }
        self.sum += amount;
        match self.entries.back_mut() {
            Some(last) if last.time >= now => last.amount += amount,
            _ => self.entries.push_back(Entry { time: now, amount }),
        }
        if self.entries.len() > MAX_ENTRIES {
            self.merge();
        }
    }

    /// Takes back up to `amount` of what was booked at `at`; returns how much.
    ///
    /// What has left the window since is not there to be taken. Merging only moves
    /// amounts to later times, so the first entry at or after `at` has this one.
    pub(super) fn take(&mut self, at: u64, amount: u64, now: u64) -> u64 {
        if self.left(at, now) || self.entries.is_empty() {
            return 0;
        }
        let index =
            self.entries.partition_point(|entry| entry.time < at).min(self.entries.len() - 1);
        let entry = &mut self.entries[index];
        let taken = amount.min(entry.amount);
        entry.amount -= taken;
        self.sum -= taken;
        if entry.amount == 0 {
            self.entries.remove(index);
        }
        taken
    }

    /// Moves what lies after `now` to `now`: the clock was set back, and nothing happens in the future.
    pub(super) fn rebase(&mut self, now: u64) {
        let mut late = 0;
        while let Some(last) = self.entries.pop_back_if(|last| last.time > now) {
            late += last.amount;
        }
        self.sum -= late;
        self.add(now, late);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.length);
    }

    pub(super) fn used(&self) -> u64 {
        self.sum
    }

    /// The time of the latest entry.
    pub(super) fn last(&self) -> Option<u64> {
        self.entries.back().map(|entry| entry.time)
    }

    /// Milliseconds until the oldest entry leaves; 0 when there is none.
    pub(super) fn resets_in(&self, now: u64) -> u64 {
        self.entries.front().map_or(0, |first| self.leaves_in(first.time, now))
    }

    /// Milliseconds until `needed` has left, not counting what is `own`; the whole window when there is not as much.
    pub(super) fn wait(&self, needed: u64, own: &[Entry], now: u64) -> u64 {
        let mut freed = 0u64;
        for (index, entry) in self.entries.iter().enumerate() {
            freed += entry.amount.saturating_sub(self.booked_in(index, own));
            if freed >= needed {
                return self.leaves_in(entry.time, now);
            }
        }
        self.length
    }

    /// How much of `own` lies in the entry at `index`: merging only moves amounts to later times.
    fn booked_in(&self, index: usize, own: &[Entry]) -> u64 {
        let here = |own: &&Entry| self.entries.partition_point(|e| e.time < own.time) == index;
        own.iter().filter(here).map(|own| own.amount).sum()
    }

    /// Whether bookings at these two times are so close that they may count from the later one.
    pub(super) fn is_near(&self, earlier: u64, later: u64) -> bool {
        let cell = self.length.div_ceil(PIECES);
        earlier / cell == later / cell
    }

    /// Takes in what another log of this length has.
    pub(super) fn absorb(&mut self, other: &Self) {
        let (mut merged, mut sum) = (VecDeque::new(), 0u64);
        let mut entries: Vec<Entry> = self.entries.iter().chain(&other.entries).copied().collect();
        entries.sort_by_key(|entry| entry.time);
        for entry in entries {
            let amount = entry.amount.min(u64::MAX - sum);
            sum += amount;
            match merged.back_mut() {
                Some(Entry { time, amount: last }) if *time == entry.time => *last += amount,
                _ => merged.push_back(Entry { amount, ..entry }),
            }
        }
        (self.entries, self.sum) = (merged, sum);
        if self.entries.len() > MAX_ENTRIES {
            self.merge();
        }
    }

    /// Sorted by time.
    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = Entry> {
        self.entries.iter().copied()
    }

    /// Whether what was booked at `time` has left the window.
    pub(super) fn left(&self, time: u64, now: u64) -> bool {
        time.saturating_add(self.length) <= now
    }

    fn leaves_in(&self, time: u64, now: u64) -> u64 {
        time.saturating_add(self.length).saturating_sub(now)
    }

    /// A grid that does not move with the entries: merging twice moves nothing further.
    fn merge(&mut self) {
        let cell = self.length.div_ceil(CELLS);
        let mut merged: VecDeque<Entry> = VecDeque::with_capacity(self.entries.capacity());
        for entry in self.entries.drain(..) {
            match merged.back_mut() {
                Some(last) if last.time / cell == entry.time / cell => {
                    *last = Entry { time: entry.time, amount: last.amount + entry.amount };
                }
                _ => merged.push_back(entry),
            }
        }
        self.entries = merged;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(length: u64, entries: &[(u64, u64)]) -> Window {
        let mut window = Window::new(length);
        for &(time, amount) in entries {
            window.add(time, amount);
        }
        window
    }

    #[test]
    fn an_entry_leaves_exactly_one_window_later() {
        let mut window = filled(1000, &[(5, 1), (10, 1)]);
        window.expire(1004);
        assert_eq!((window.used(), window.resets_in(1004)), (2, 1));
        window.expire(1005);
        assert_eq!((window.used(), window.resets_in(1005)), (1, 5));
    }

    #[test]
    fn the_wait_ends_when_enough_has_left() {
        let window = filled(1000, &[(0, 2), (100, 3), (200, 1)]);
        assert_eq!(window.wait(2, &[], 300), 700);
        assert_eq!(window.wait(3, &[], 300), 800);
        assert_eq!(window.wait(6, &[], 300), 900);
        assert_eq!(window.wait(7, &[], 300), 1000);
        let own = [Entry { time: 100, amount: 3 }];
        assert_eq!(window.wait(3, &own, 300), 900);
    }

    #[test]
    fn a_take_finds_its_entry_after_merging() {
        let mut window = Window::new(256_000);
        for i in 0..600 {
            window.add(i * 100, 1);
        }
        assert!(window.entries().len() < MAX_ENTRIES);
        assert_eq!(window.take(1_100, 1, 60_000), 1);
        assert_eq!(window.take(1_900, 9, 60_000), 9);
        assert_eq!(window.used(), 590);
        window.expire(257_999);
        assert_eq!(window.used(), 590 - 10, "the first cell, and nothing of the second, has left");
    }

    #[test]
    fn what_has_left_cannot_be_taken_from_others() {
        let mut window = filled(1000, &[(0, 1), (900, 1)]);
        assert_eq!(window.take(0, 1, 1000), 0);
        assert_eq!(window.used(), 2);
    }

    #[test]
    fn two_logs_become_one_in_the_order_of_time() {
        let mut window = filled(1000, &[(0, 1), (200, 2)]);
        window.absorb(&filled(1000, &[(100, 4), (200, 8)]));
        let entries: Vec<_> = window.entries().map(|entry| (entry.time, entry.amount)).collect();
        assert_eq!((entries, window.used()), (vec![(0, 1), (100, 4), (200, 10)], 15));
    }

    #[test]
    fn a_clock_set_back_leaves_nothing_in_the_future() {
        let mut window = filled(1000, &[(10, 1), (5000, 2), (6000, 3)]);
        window.rebase(500);
        assert_eq!((window.used(), window.resets_in(500)), (6, 510));
    }

    #[test]
    fn sums_saturate() {
        let mut window = filled(1000, &[(0, u64::MAX), (1, 7)]);
        assert_eq!(window.used(), u64::MAX);
        window.expire(1000);
        assert_eq!(window.used(), 0);
    }

    proptest! {
        /// Against a plain list: merging may let amounts leave late by less than a cell, never early.
        #[test]
        fn amounts_never_leave_early_and_hardly_late(
            length in 1u64..100_000,
            steps in prop::collection::vec((0u64..400, 1u64..5), 1..1500),
        ) {
            let mut window = Window::new(length);
            let (mut all, mut now) = (Vec::new(), 1_000);
            for (wait, amount) in steps {
                now += wait;
                window.expire(now);
                window.add(now, amount);
                all.push((now, amount));
                let since = |slack: u64| -> u64 {
                    all.iter().filter(|(t, _)| t + length + slack > now).map(|(_, a)| a).sum()
                };
                prop_assert!(window.used() >= since(0));
                prop_assert!(window.used() <= since(length.div_ceil(256)));
                prop_assert!(window.entries().len() <= MAX_ENTRIES);
                prop_assert_eq!(window.entries().map(|e| e.amount).sum::<u64>(), window.used());
                if all.len() <= 256 {
                    prop_assert_eq!(window.used(), since(0));
                }
            }
        }
    }
}
