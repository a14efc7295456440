//! Looks at every endpoint in the background, on the policy's schedule.
//!
//! Opens a connection, or asks for a path where the policy names one. Nobody
//! waits for a probe: requests, the health document and the metrics take the
//! last result. Endpoints are probed beside each other, so that one that does
//! not answer delays no other.
//!
//! # Failure
//! A probe that does not end in time has failed.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Empty;
use tokio::{task::JoinSet, time::Instant};

use super::{Cluster, Pool, cluster::Member, member::State, socket::dial};
use crate::{
    policy::{
        handle::PolicyHandle,
        resilience::Probes,
        snapshot::{Endpoint, Policy, Upstream},
    },
    telemetry::Metrics,
};

/// How soon an endpoint that is away is looked for again, at most.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked whether a probe is due or the policy another one.
const TICK: Duration = Duration::from_millis(250);

const UNKNOWN: u32 = 0;
const WELL: u32 = 1;
const AWAY: u32 = 2;

/// What probes found of one endpoint. Only the watcher writes.
#[derive(Debug, Default)]
pub(super) struct Probed {
    state: AtomicU32,
    /// Probes in a row that say otherwise.
    row: AtomicU32,
}

impl Probed {
    /// Whether the endpoint is well; `None` before the first probe.
    pub(super) fn is_well(&self) -> Option<bool> {
        match self.state.load(Relaxed) {
            WELL => Some(true),
            AWAY => Some(false),
            _ => None,
        }
    }

    /// Takes in one probe. Returns the state if that changed it.
    fn note(&self, well: bool, rules: &Probes) -> Option<bool> {
        let (before, found) = (self.state.load(Relaxed), if well { WELL } else { AWAY });
        if before == found {
            self.row.store(0, Relaxed);
            return None;
        }
        let row = self.row.load(Relaxed) + 1;
        let needed = if well { rules.healthy_after } else { rules.unhealthy_after };
        // The first probe decides at once: nothing speaks against it.
        if before != UNKNOWN && row < needed {
            self.row.store(row, Relaxed);
            return None;
        }
        self.row.store(0, Relaxed);
        self.state.store(found, Relaxed);
        Some(well)
    }
}

impl State {
    /// Takes in one probe. Returns whether the endpoint is well now, if that changed.
    fn note_probe(&self, well: bool, rules: &Probes) -> Option<bool> {
        let changed = self.probed.note(well, rules)?;
        self.cell.well.set(i64::from(changed));
        if changed {
            // Whatever requests met there while it was away says nothing of it now.
            self.readmit();
        }
        Some(changed)
    }
}

/// When each endpoint is due, by its name.
#[derive(Debug, Default)]
struct Schedule(HashMap<Arc<str>, Instant>);

impl Schedule {
    /// Whether the endpoint is to be probed now; if so, a probe is under way.
    fn begin(&mut self, name: &Arc<str>, rules: &Probes, now: Instant) -> bool {
        let due = self.0.get(name).is_none_or(|due| *due <= now);
        if due {
            // Should no result ever come, it is due again all the same.
            self.0.insert(Arc::clone(name), now + rules.timeout + rules.every);
        }
        due
    }

    /// A probe is over; the next one is due after a pause.
    fn end(&mut self, name: &Arc<str>, well: bool, rules: &Probes, now: Instant) {
        // A fresh failure is looked at again soon: an upstream that just started late should
        // not count as away for a whole round.
        let pause = if well { rules.every } else { rules.every.min(RETRY) };
        self.0.insert(Arc::clone(name), now + pause);
    }

    /// Forgets what the policy no longer names.
    fn keep(&mut self, policy: &Policy) {
        let endpoints = &policy.upstream.endpoints;
        self.0.retain(|name, _| endpoints.iter().any(|endpoint| endpoint.name == *name));
    }
}

/// Looks at every endpoint that the policy in force names.
pub struct Watcher {
    cluster: Arc<Cluster>,
    policy: Arc<PolicyHandle>,
    metrics: Arc<Metrics>,
    /// Where the connections of probes are counted, and nobody looks.
    uncounted: Arc<Metrics>,
    schedule: Schedule,
}

impl Watcher {
    /// A watcher that has not looked yet.
    pub fn new(cluster: Arc<Cluster>, policy: Arc<PolicyHandle>, metrics: Arc<Metrics>) -> Self {
        let (uncounted, schedule) = (Arc::default(), Schedule::default());
        Self { cluster, policy, metrics, uncounted, schedule }
    }

    /// Probes for ever. Dropping the future ends what is under way.
    pub async fn watch(mut self) {
        let mut probes = JoinSet::new();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = tick.tick() => self.begin(&mut probes),
                Some(ended) = probes.join_next() => {
                    if let Ok((endpoint, well)) = ended {
                        self.end(&endpoint, well);
                    }
                }
            }
        }
    }

    /// Begins the probes that are due.
    fn begin(&mut self, probes: &mut JoinSet<(Arc<Endpoint>, bool)>) {
        let (policy, now) = (self.policy.load(), Instant::now());
        let members = self.cluster.members(&policy);
        self.schedule.keep(&policy);
        for Member { endpoint, .. } in members.list() {
            if self.schedule.begin(&endpoint.name, &policy.upstream.resilience.probes, now) {
                let (endpoint, policy) = (Arc::clone(endpoint), Arc::clone(&policy));
                // Dropped with the answer, and its connection with it: the next probe opens
                // another, and an endpoint that accepts no more is noticed.
                let pool = Pool::new(Arc::clone(&self.uncounted));
                probes.spawn(async move {
                    let well = is_well(&pool, &policy.upstream, &endpoint).await;
                    (endpoint, well)
                });
            }
        }
    }

    /// Takes in a result.
    fn end(&mut self, endpoint: &Endpoint, well: bool) {
        let policy = self.policy.load();
        let rules = &policy.upstream.resilience.probes;
        self.schedule.end(&endpoint.name, well, rules, Instant::now());
        let members = self.cluster.members(&policy);
        let member = members.list().iter().find(|member| member.endpoint.name == endpoint.name);
        let Some(changed) = member.and_then(|member| member.state.note_probe(well, rules)) else {
            return;
        };
        let up = self.cluster.is_up();
        self.metrics.upstream_up.set(i64::from(up));
        tracing::info!(
            endpoint = &*endpoint.name,
            well = changed,
            up,
            "upstream reachability changed"
        );
    }
}

/// One probe.
async fn is_well(
    pool: &Arc<Pool<Empty<Bytes>>>,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
) -> bool {
    let rules = &upstream.resilience.probes;
    let look = async {
        match &rules.path {
            None => dial(endpoint).await.is_ok(),
            Some(path) => answers(pool, upstream, endpoint, path).await,
        }
    };
    tokio::time::timeout(rules.timeout, look).await.unwrap_or(false)
}

/// Whether the endpoint answers `path` with success or a redirect.
async fn answers(
    pool: &Arc<Pool<Empty<Bytes>>>,
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
    path: &str,
) -> bool {
    let mut request = Request::new(Empty::new());
    let (Ok(uri), Ok(host)) = (path.parse(), HeaderValue::from_str(endpoint.authority.as_str()))
    else {
        return false;
    };
    *request.uri_mut() = uri;
    let fields = request.headers_mut();
    fields.insert(header::HOST, host);
    fields.insert(header::USER_AGENT, HeaderValue::from_static("weir-probe"));
    fields.extend(upstream.headers.iter().cloned());
    match pool.send(upstream, endpoint, request).await {
        Ok((answer, _lease)) => answer.status().is_success() || answer.status().is_redirection(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(healthy_after: u32, unhealthy_after: u32) -> Probes {
        Probes {
            path: None,
            every: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            healthy_after,
            unhealthy_after,
        }
    }

    #[test]
    fn the_first_probe_decides_at_once() {
        for well in [true, false] {
            let probed = Probed::default();
            assert_eq!(probed.is_well(), None);
            assert_eq!(probed.note(well, &rules(3, 3)), Some(well));
            assert_eq!(probed.is_well(), Some(well));
        }
    }

    #[test]
    fn later_ones_decide_in_rows() {
        let (probed, rules) = (Probed::default(), rules(3, 2));
        probed.note(true, &rules);
        let notes = [false, true, false, false].map(|well| probed.note(well, &rules));
        assert_eq!(notes, [None, None, None, Some(false)]);
        let notes = [true, true, false, true, true, true].map(|well| probed.note(well, &rules));
        assert_eq!(notes, [None, None, None, None, None, Some(true)]);
    }

    #[test]
    fn an_endpoint_is_due_after_its_pause_and_soon_after_a_failure() {
        let (mut schedule, name, rules) = (Schedule::default(), Arc::from("http://a"), rules(1, 1));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(schedule.begin(&name, &rules, start));
        assert!(!schedule.begin(&name, &rules, start), "one is under way");
        schedule.end(&name, true, &rules, start);
        assert!(!schedule.begin(&name, &rules, after(9)));
        assert!(schedule.begin(&name, &rules, after(10)));
        schedule.end(&name, false, &rules, after(10));
        assert!(schedule.begin(&name, &rules, after(11)));
        assert!(schedule.begin(&name, &rules, after(23)), "a probe that was lost is begun again");
    }
}
