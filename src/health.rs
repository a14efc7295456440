//! What the health document says, and the probes of the dependencies in it.
//!
//! They are probed in the background, on the policy's schedule, and so is the
//! upstream, see [`crate::upstream::Watcher`]; whoever asks for the document gets
//! the last results and never waits. No address, version or error text appears
//! in it.

mod dependencies;
mod speak;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use dependencies::{Dependencies, Found};
use http::StatusCode;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::{
    clock::{Clock, Timestamp},
    ledger::{Ledger, Store},
    policy::{handle::PolicyHandle, snapshot::Mode},
    telemetry::Metrics,
    upstream::Cluster,
};

/// What is known of the parts.
pub struct HealthState {
    began: Timestamp,
    draining: AtomicBool,
    policy: Arc<PolicyHandle>,
    ledger: Arc<Ledger>,
    cluster: Arc<Cluster>,
    dependencies: Arc<Dependencies>,
}

#[derive(Serialize)]
struct Document {
    status: &'static str,
    uptime_seconds: f64,
    services: Services,
}

/// Weir's own parts, then the dependencies in the order of the policy.
struct Services {
    own: [(&'static str, &'static str); 5],
    dependencies: Arc<Vec<Found>>,
}

impl Serialize for Services {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, state) in self.own {
            map.serialize_entry(name, state)?;
        }
        for found in self.dependencies.iter() {
            map.serialize_entry(&*found.name, word(found.up))?;
        }
        map.end()
    }
}

fn word(well: bool) -> &'static str {
    if well { "operational" } else { "unavailable" }
}

impl HealthState {
    /// The state of a process that has just begun.
    pub fn new(
        clock: &Clock,
        policy: Arc<PolicyHandle>,
        ledger: Arc<Ledger>,
        cluster: Arc<Cluster>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            began: clock.now(),
            draining: AtomicBool::new(false),
            policy,
            ledger,
            cluster,
            dependencies: Dependencies::new(metrics),
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
        let upstream = self.cluster.is_up();
        let (store, stale) = (self.ledger.is_up(), self.policy.problem().is_some());
        let dependencies = self.dependencies.found();
        let whole = store && !stale && dependencies.iter().all(|found| found.up);
        let (status, code) = match (upstream, whole) {
            (false, _) => ("unhealthy", StatusCode::SERVICE_UNAVAILABLE),
            (true, false) => ("degraded", StatusCode::OK),
            (true, true) => ("healthy", StatusCode::OK),
        };
        let limiting = match self.policy.load().mode {
            Mode::Enforce => "enabled",
            Mode::Shadow => "shadow",
            Mode::Off => "disabled",
        };
        let own = [
            ("api_gateway", word(upstream)),
            ("policy", if stale { "rejected" } else { "operational" }),
            ("rate_limiting", limiting),
            ("monitoring", "enabled"),
            ("store", word(store)),
        ];
        let uptime_seconds = now.since(self.began).as_secs_f64();
        let services = Services { own, dependencies };
        let document = Document { status, uptime_seconds, services };
        // Plain words and numbers always serialise.
        (code, Bytes::from(serde_json::to_vec(&document).unwrap_or_default()))
    }

    /// Probes the dependencies for ever, on the schedule of the policy in force.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let policy = self.policy.load();
            let health = &policy.health;
            self.dependencies.round(&health.dependencies, health.timeout).await;
            // A fresh failure is looked at again soon.
            let well = self.dependencies.found().iter().all(|found| found.up);
            let pause = if well { health.every } else { health.every.min(RETRY) };
            self.pause(pause, policy.generation).await;
        }
    }

    /// Waits for `pause`, or until another policy is in force: it may name other dependencies.
    async fn pause(&self, pause: Duration, generation: u64) {
        let end = tokio::time::Instant::now() + pause;
        while tokio::time::Instant::now() < end && self.policy.load().generation == generation {
            tokio::time::sleep_until(end.min(tokio::time::Instant::now() + LOOK)).await;
        }
    }
}

/// How soon a dependency that is away is looked for again, at most.
const RETRY: Duration = Duration::from_secs(1);
/// How often a pause looks for another policy.
const LOOK: Duration = Duration::from_millis(200);
