//! Counters of one operation and tier, resolved once per policy.
//!
//! A [`Cell`] is an array of atomics indexed by method and status, so that the
//! request path neither hashes labels nor takes a lock. Cells live outside the
//! policy: a reload that names the same operation and tier goes on counting.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use http::{Method, StatusCode};

use super::{
    histogram::{Histogram, REQUEST_BOUNDS},
    spend::Models,
};
use crate::{
    meter::{Usage, price::Learned},
    units::NanoUsd,
};

/// The values of the label `method`.
pub(super) const METHODS: [&str; 9] =
    ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "other"];

/// The values of the label `status`; the last one is a code that no registry knows.
pub(super) const STATUSES: [u16; 65] = [
    101, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308,
    400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418,
    421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507,
    508, 510, 511, 520, 522, 524, 529, 0,
];

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// The current value.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// Replaces the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// The current value.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// What is counted for one operation and tier.
#[derive(Debug)]
pub struct Cell {
    pub(super) operation: Arc<str>,
    pub(super) tier: Arc<str>,
    requests: Box<[AtomicU64]>,
    refusals: Box<[AtomicU64]>,
    /// Whole requests, first byte in to last byte out.
    pub duration: Histogram,
    /// Nano-dollars charged, but for what is known to be a model's.
    pub cost: Counter,
    pub(super) models: Models,
    learned: OnceLock<Arc<Learned>>,
}

impl Cell {
    pub(super) fn new(operation: Arc<str>, tier: Arc<str>, codes: usize) -> Self {
        let zeros = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        Self {
            operation,
            tier,
            requests: zeros(METHODS.len() * STATUSES.len()),
            refusals: zeros(codes),
            duration: Histogram::new(REQUEST_BOUNDS),
            cost: Counter::default(),
            models: Models::default(),
            learned: OnceLock::new(),
        }
    }

    /// Counts one finished request.
    pub fn request(&self, method: &Method, status: StatusCode) {
        let index = method_index(method) * STATUSES.len() + status_index(status.as_u16());
        self.requests[index].fetch_add(1, Relaxed);
    }

    /// What requests of this pair have cost; made when it is first asked for, because most never are.
    pub fn learned(&self) -> &Learned {
        self.learned.get_or_init(Arc::default)
    }

    /// Goes on from what `former` has learned, unless it has begun to learn by itself.
    pub(super) fn inherit(&self, former: &Self) {
        if let Some(learned) = former.learned.get() {
            // Whoever has begun already keeps its own.
            drop(self.learned.set(Arc::clone(learned)));
        }
    }

    /// Counts what a request used of a model, and its charge.
    pub fn spent(&self, model: &Arc<str>, cost: NanoUsd, usage: &Usage) {
        self.models.add(model, cost, usage);
    }

    /// Counts one refusal; `code` is its index in the list that telemetry was made with.
    pub fn refusal(&self, code: usize) {
        if let Some(count) = self.refusals.get(code) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// (method, status, count) of all that happened at least once.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&'static str, u16, u64)> + '_ {
        self.requests.iter().enumerate().filter_map(|(index, count)| {
            let (method, status) = (index / STATUSES.len(), index % STATUSES.len());
            let count = count.load(Relaxed);
            (count > 0).then_some((METHODS[method], STATUSES[status], count))
        })
    }

    /// One count per refusal code, in the order of the codes.
    pub(super) fn refusals(&self) -> impl Iterator<Item = u64> + '_ {
        self.refusals.iter().map(|count| count.load(Relaxed))
    }
}

fn method_index(method: &Method) -> usize {
    METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1)
}

fn status_index(status: u16) -> usize {
    STATUSES[..STATUSES.len() - 1].binary_search(&status).unwrap_or(STATUSES.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_sorted_so_that_they_can_be_searched() {
        assert!(STATUSES[..STATUSES.len() - 1].is_sorted());
    }

    #[test]
    fn unknown_methods_and_statuses_are_other() {
        let cell = Cell::new("chat".into(), "free".into(), 1);
        let method = Method::from_bytes(b"BREW").expect("a token");
        cell.request(&method, StatusCode::from_u16(799).expect("three digits"));
        assert_eq!(cell.requests().collect::<Vec<_>>(), [("other", 0, 1)]);
    }
}
