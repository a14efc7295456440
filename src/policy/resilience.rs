//! How an upstream that fails is treated, as run.
//!
//! Plain numbers without state: what has happened to an endpoint lives in
//! `upstream::Cluster`, which outlives policies and takes these as arguments, so
//! that an edit is in force with the next request and forgets nothing.

use std::time::Duration;

use http::Method;

pub use super::file::{ProviderLimits, RetryOn};
use crate::units::Percent;

/// How an upstream that fails is treated.
#[derive(Clone, Debug)]
pub struct Resilience {
    /// When a request is sent again.
    pub retry: Retry,
    /// When an endpoint gets no requests at all; `None` for never.
    pub breaker: Option<Breaker>,
    /// When an endpoint is passed over; `None` with one endpoint, where there is no other.
    pub ejection: Option<Ejection>,
    /// How endpoints are looked at in the background.
    pub probes: Probes,
    /// What is done with a provider's own limits.
    pub limits: ProviderLimits,
    /// Whether the policy sets the credential that the provider counts by, so that all callers share its limits.
    pub own_account: bool,
}

/// When a request is sent again. Only what is safe to repeat ever is.
#[derive(Clone, Debug)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Upper bound of the first pause.
    pub shortest: Duration,
    /// Upper bound of every pause.
    pub longest: Duration,
    /// What is tried again.
    pub on: Vec<RetryOn>,
    /// Methods that are sent again although the upstream may have begun; all are idempotent.
    pub methods: Vec<Method>,
    /// Repeats for each request, at most, beside a small floor.
    pub budget: Percent,
}

/// When an endpoint gets no requests at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row that open the circuit.
    pub failures: u32,
    /// The span in which they count.
    pub within: Duration,
    /// How long it stays open.
    pub open_for: Duration,
}

/// When an endpoint is passed over in favour of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row that eject an endpoint.
    pub failures: u32,
    /// Length of the first ejection; the next ones are multiples.
    pub shortest: Duration,
    /// Longest ejection.
    pub longest: Duration,
    /// With a smaller share of usable endpoints than this, ejections and probes are ignored.
    pub panic: Percent,
}

/// How endpoints are looked at in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probes {
    /// What is asked for, base included; `None` only opens a connection.
    pub path: Option<String>,
    /// Pause between two probes of an endpoint.
    pub every: Duration,
    /// Longest probe.
    pub timeout: Duration,
    /// Good probes in a row after which an endpoint counts as well.
    pub healthy_after: u32,
    /// Bad probes in a row after which it does not.
    pub unhealthy_after: u32,
}
