//! What the health document says, and the probe behind it.
//!
//! The upstream is probed in the background, on the policy's schedule; whoever
//! asks for the document gets the last result and never waits. No address,
//! version or error text appears in it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use crate::{
    clock::{Clock, Timestamp},
    ledger::{Ledger, Store},
    policy::{
        handle::PolicyHandle,
        snapshot::{Mode, Policy},
    },
    telemetry::Metrics,
    upstream,
};

/// What is known of the parts.
pub struct HealthState {
    began: Timestamp,
    upstream_up: AtomicBool,
    draining: AtomicBool,
    policy: Arc<PolicyHandle>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
}

#[derive(Serialize)]
struct Document {
    status: &'static str,
    uptime_seconds: f64,
    services: Services,
}

#[derive(Serialize)]
struct Services {
    api_gateway: &'static str,
    policy: &'static str,
    rate_limiting: &'static str,
    monitoring: &'static str,
    store: &'static str,
}

impl HealthState {
    /// A state that has not probed yet.
    pub fn new(
        clock: &Clock,
        policy: Arc<PolicyHandle>,
        ledger: Arc<Ledger>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            began: clock.now(),
            upstream_up: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            policy,
            ledger,
            metrics,
        })
    }

    /// Says that this process is on its way out.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether new requests are welcome. Does not mirror the upstream's health: a
    /// replica that refuses well is better than none.
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Relaxed)
    }

    /// Status and JSON of the health document.
    pub fn document(&self, now: Timestamp) -> (StatusCode, Bytes) {
        let upstream = self.upstream_up.load(Relaxed);
        let (store, stale) = (self.ledger.is_up(), self.policy.problem().is_some());
        let (status, code) = match (upstream, store && !stale) {
            (false, _) => ("unhealthy", StatusCode::SERVICE_UNAVAILABLE),
            (true, false) => ("degraded", StatusCode::OK),
            (true, true) => ("healthy", StatusCode::OK),
        };
        let word = |well: bool| if well { "operational" } else { "unavailable" };
        let document = Document {
            status,
            uptime_seconds: now.since(self.began).as_secs_f64(),
            services: Services {
                api_gateway: word(upstream),
                policy: if stale { "rejected" } else { "operational" },
                rate_limiting: match self.policy.load().mode {
                    Mode::Enforce => "enabled",
                    Mode::Shadow => "shadow",
                    Mode::Off => "disabled",
                },
                monitoring: "enabled",
                store: word(store),
            },
        };
        // Plain words and numbers always serialise.
        (code, Bytes::from(serde_json::to_vec(&document).unwrap_or_default()))
    }

    /// Probes for ever, on the schedule of the policy in force.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let policy = self.policy.load();
            let up = reaches(&policy).await;
            self.note(up);
            // A fresh failure is looked at again soon: an upstream that just started late
            // should not count as away for a whole round.
            let pause = if up { policy.health.every } else { policy.health.every.min(RETRY) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Takes in whether the upstream could be reached.
    fn note(&self, up: bool) {
        let was = self.upstream_up.swap(up, Relaxed);
        self.metrics.upstream_up.set(i64::from(up));
        if was != up {
            tracing::info!(up, "upstream reachability changed");
        }
    }
}

/// How soon an upstream that is away is looked for again, at most.
const RETRY: Duration = Duration::from_secs(1);

/// Whether any endpoint takes a connection in time.
async fn reaches(policy: &Policy) -> bool {
    for endpoint in &policy.upstream.endpoints {
        let connected = tokio::time::timeout(policy.health.timeout, upstream::dial(endpoint)).await;
        if matches!(connected, Ok(Ok(_))) {
            return true;
        }
    }
    false
}
