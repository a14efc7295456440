//! What requests of one kind usually cost, learned from what they did cost.
//!
//! [`Learned`] is a histogram with logarithmic buckets: eight to each doubling, from a
//! micro-dollar to about a thousand dollars, so a quantile is at most an eighth above the
//! truth and never below it. Noting and asking take no lock; a kilobyte each, once per
//! operation and tier. Old costs fade: after [`FADE_AT`] costs all counts are halved.
//!
//! # Limits
//! Threads that note while another halves may lose a few counts; a quantile does not mind.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::units::NanoUsd;

/// Buckets to each doubling.
const PER_DOUBLING: u32 = 8;
/// log₂ of that.
const STEPS: u32 = PER_DOUBLING.trailing_zeros();
/// Costs below 2¹⁰ nano-dollars, about a micro-dollar, are not told apart.
const FIRST: u32 = 10;
/// Costs from 2⁴⁰ nano-dollars, about $1,100, are not told apart.
const LAST: u32 = 40;
/// One for all below the first, then eight to each doubling, then one for all above.
const BUCKETS: usize = ((LAST - FIRST) * PER_DOUBLING + 2) as usize;
/// Costs after which the older half of them counts half.
pub const FADE_AT: u32 = 4_096;
/// Costs that must be known before a quantile is: fewer say little of the twentieth that is dear.
pub const ENOUGH: u32 = 50;

/// The costs of one kind of request.
#[derive(Debug)]
pub struct Learned {
    buckets: [AtomicU32; BUCKETS],
    count: AtomicU32,
}

impl Default for Learned {
    fn default() -> Self {
        Self { buckets: [const { AtomicU32::new(0) }; BUCKETS], count: AtomicU32::new(0) }
    }
}

impl Learned {
    /// Notes what a request did cost.
    pub fn note(&self, cost: NanoUsd) {
        self.buckets[bucket(cost.0)].fetch_add(1, Relaxed);
        // Exactly one of many threads sees this number, and halves.
        if self.count.fetch_add(1, Relaxed) + 1 == FADE_AT {
            self.fade();
        }
    }

    /// The cost that `per_mille` of a thousand requests do not exceed: 950 for the 95th percentile.
    ///
    /// At or above the true quantile, by an eighth at most. `None` while fewer than [`ENOUGH`] costs are known,
    /// and when the quantile is beyond what the buckets tell apart.
    pub fn quantile(&self, per_mille: u32) -> Option<NanoUsd> {
        let counts = self.buckets.each_ref().map(|bucket| u64::from(bucket.load(Relaxed)));
        let total: u64 = counts.iter().sum();
        if total < u64::from(ENOUGH) {
            return None;
        }
        let rank = (total * u64::from(per_mille.min(1_000))).div_ceil(1_000).max(1);
        let mut below = 0;
        let place = counts.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        upper(place).map(NanoUsd)
    }

    fn fade(&self) {
        let mut left = 0;
        for bucket in &self.buckets {
            let gone = bucket.load(Relaxed) / 2;
            left += bucket.fetch_sub(gone, Relaxed) - gone;
        }
        self.count.store(left, Relaxed);
    }
}

/// The bucket of a cost.
fn bucket(cost: u64) -> usize {
    let Some(exponent) = cost.checked_ilog2().filter(|exponent| *exponent >= FIRST) else {
        return 0;
    };
    if exponent >= LAST {
        return BUCKETS - 1;
    }
    let step = (cost >> (exponent - STEPS)) - u64::from(PER_DOUBLING);
    // At most 7: it fits wherever a number does.
    1 + ((exponent - FIRST) * PER_DOUBLING) as usize + step as usize
}

/// The largest cost of a bucket; `None` for the last, which has no end.
fn upper(place: usize) -> Option<u64> {
    let place = u32::try_from(place).ok()?;
    let Some(above) = place.checked_sub(1) else {
        return Some((1 << FIRST) - 1);
    };
    let (doubling, step) = (above / PER_DOUBLING, u64::from(above % PER_DOUBLING));
    let exponent = FIRST + doubling;
    (exponent < LAST).then(|| ((step + 1 + u64::from(PER_DOUBLING)) << (exponent - STEPS)) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(costs: &[u64]) -> Learned {
        let learned = Learned::default();
        costs.iter().for_each(|cost| learned.note(NanoUsd(*cost)));
        learned
    }

    proptest! {
        #[test]
        fn a_quantile_is_at_the_truth_or_an_eighth_above(
            mut costs in prop::collection::vec(1_024_u64..1 << 40, 50..400),
            per_mille in 0_u32..=1_000,
        ) {
            let found = of(&costs).quantile(per_mille).expect("enough is known").0;
            costs.sort_unstable();
            let rank = (costs.len() * per_mille as usize).div_ceil(1_000).max(1);
            let truth = costs[rank - 1];
            prop_assert!(truth <= found && found <= truth + truth / 8, "{truth} {found}");
        }

        #[test]
        fn every_cost_has_a_bucket_that_it_fits(cost: u64) {
            let place = bucket(cost);
            prop_assert!(upper(place).is_none_or(|upper| cost <= upper));
            let before = place.checked_sub(1).and_then(upper);
            prop_assert!(before.is_none_or(|before| before < cost));
        }
    }

    #[test]
    fn little_is_known_from_few() {
        let mut costs = vec![5_000; 49];
        assert_eq!(of(&costs).quantile(950), None);
        costs.push(5_000);
        assert_eq!(of(&costs).quantile(950), Some(NanoUsd(5_119)));
    }

    #[test]
    fn what_is_beyond_the_buckets_is_not_guessed() {
        assert_eq!(of(&[u64::MAX; 60]).quantile(950), None);
        assert_eq!(of(&[0; 60]).quantile(950), Some(NanoUsd(1_023)));
    }

    #[test]
    fn old_costs_fade() {
        let learned = Learned::default();
        (0..FADE_AT).for_each(|_| learned.note(NanoUsd(1_000_000)));
        (0..FADE_AT).for_each(|_| learned.note(NanoUsd(64_000_000)));
        let median = learned.quantile(500).expect("enough is known");
        assert!(median >= NanoUsd(64_000_000), "{median}");
        assert!(learned.count.load(Relaxed) < FADE_AT);
    }

    #[test]
    fn many_threads_note_at_once() {
        let learned = Learned::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| learned.note(NanoUsd(1_000_000))));
            }
        });
        let median = learned.quantile(500).expect("enough is known");
        assert!((1_000_000..1_125_000).contains(&median.0), "{median}");
    }
}
