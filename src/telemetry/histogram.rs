//! A histogram of durations that the hot path may add to without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds for whole requests and upstream waits, in nanoseconds: 1 ms to 120 s.
pub(super) const REQUEST_BOUNDS: &[u64] = &[
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    120_000_000_000,
];

/// Upper bounds for what Weir itself adds, in nanoseconds: 25 us to 100 ms.
pub(super) const OVERHEAD_BOUNDS: &[u64] = &[
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
];

/// Counts durations in fixed buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One count per bound, and one for all that is longer.
    counts: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

impl Histogram {
    /// An empty histogram with these upper bounds, in nanoseconds, ascending.
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_ns: AtomicU64::new(0) }
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| *bound < ns);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// Sum in seconds, count, and (upper bound in seconds, count) per bucket.
    pub(super) fn snapshot(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let uppers = self.bounds.iter().map(|ns| seconds(*ns)).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<_> = uppers.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        (seconds(self.sum_ns.load(Relaxed)), count, buckets)
    }
}

/// Metrics are read by people and stored as floats: precision ends at 2^53 ns (104 days).
#[allow(clippy::cast_precision_loss)]
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_in_the_bucket_that_it_does_not_exceed() {
        let histogram = Histogram::new(OVERHEAD_BOUNDS);
        histogram.observe(Duration::from_micros(25));
        histogram.observe(Duration::from_micros(26));
        histogram.observe(Duration::from_secs(1));
        let (sum, count, buckets) = histogram.snapshot();
        assert_eq!(count, 3);
        assert!((sum - 1.000_051).abs() < 1e-9);
        assert_eq!((buckets[0].1, buckets[1].1), (1, 1));
        assert_eq!(buckets.last().map(|bucket| bucket.1), Some(1));
    }
}
