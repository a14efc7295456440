//! What is shown of one endpoint of the upstream.
//!
//! An [`EndpointCell`] lives as long as the process, so that a reload that names
//! the same endpoint goes on counting. Counters of an endpoint that the policy
//! no longer names stay; what it is doing now is no longer shown.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use super::cells::{Counter, Gauge};
use crate::clock::Timestamp;

/// The values of the label `kind` of a provider's limits.
pub const QUOTA_KINDS: [&str; 4] = ["requests", "tokens", "input_tokens", "output_tokens"];

/// What is shown of one endpoint.
#[derive(Debug)]
pub struct EndpointCell {
    pub(super) name: Arc<str>,
    /// Whether the policy in force names it.
    pub(super) named: AtomicBool,
    /// 1 while probes find it well.
    pub well: Gauge,
    /// Requests that are on their way there or back.
    pub in_flight: Gauge,
    /// The state of its circuit: 0 closed, 1 half-open, 2 open.
    pub circuit: Gauge,
    /// The millisecond until which it is ejected.
    pub ejected_until: AtomicU64,
    /// Ejections since the start.
    pub ejections: Counter,
    /// The millisecond at which the last hold ends that its provider asked for.
    pub held_until: AtomicU64,
    /// Answers that asked to be left alone.
    pub limited: Counter,
    /// The provider's limits, in the order of [`QUOTA_KINDS`].
    pub quotas: [QuotaCell; QUOTA_KINDS.len()],
}

/// One of a provider's limits, as its last answer said.
#[derive(Debug, Default)]
pub struct QuotaCell {
    /// The whole.
    pub limit: Known,
    /// What is left.
    pub remaining: Known,
    /// The millisecond at which it is whole again.
    pub resets_at: Known,
}

/// A number that may not be known.
#[derive(Debug)]
pub struct Known(AtomicU64);

impl Default for Known {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Known {
    /// Notes the number; the largest of all stands for "not known".
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The number, if it is known.
    pub fn value(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|value| *value != u64::MAX)
    }
}

impl EndpointCell {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            named: AtomicBool::new(true),
            well: Gauge::default(),
            in_flight: Gauge::default(),
            circuit: Gauge::default(),
            ejected_until: AtomicU64::default(),
            ejections: Counter::default(),
            held_until: AtomicU64::default(),
            limited: Counter::default(),
            quotas: Default::default(),
        }
    }

    /// 1 when probes find it well and it is not ejected.
    pub(super) fn up(&self, now: Timestamp) -> i64 {
        let ejected = self.ejected_until.load(Relaxed) > now.as_millis();
        if ejected { 0 } else { self.well.value() }
    }

    /// Seconds until the last hold ends.
    pub(super) fn held(&self, now: Timestamp) -> f64 {
        Timestamp(self.held_until.load(Relaxed)).since(now).as_secs_f64()
    }
}
