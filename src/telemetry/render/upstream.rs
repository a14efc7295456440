//! What is served of the upstream and its endpoints.

use std::{
    fmt,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
};

use super::{Page, Scrape, count_of, gauge_of};
use crate::{
    clock::Timestamp,
    telemetry::{
        endpoint::{EndpointCell, QUOTA_KINDS, QuotaCell},
        metrics::RETRY_REASONS,
    },
};
use prometheus_client::encoding::NoLabelSet;

impl Scrape {
    /// What endpoints are doing, and what was done because of it.
    pub(super) fn endpoints(&self, page: &mut Page<'_>) -> fmt::Result {
        let all: Vec<Arc<EndpointCell>> = {
            let all = self.metrics.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            all.values().cloned().collect()
        };
        let named: Vec<_> = all.iter().filter(|cell| cell.named.load(Relaxed)).collect();
        let worst = named.iter().map(|cell| cell.circuit.value()).max().unwrap_or_default();
        let help = "0 closed, 1 half-open, 2 open: the worst of all endpoints";
        page.gauge("weir_circuit_state", help)?.encode_gauge(&worst)?;
        for (name, help, value) in GAUGES {
            let mut family = page.gauge(name, help)?;
            for cell in &named {
                gauge_of(&mut family, &[("endpoint", &*cell.name)], &value(cell, self.now))?;
            }
        }
        let help = "Until the last hold ends that was asked for";
        let mut family = page.gauge("weir_provider_held_seconds", help)?;
        for cell in &named {
            gauge_of(&mut family, &[("endpoint", &*cell.name)], &cell.held(self.now))?;
        }
        for (name, help, value) in QUOTAS {
            let mut family = page.gauge(name, help)?;
            for cell in &named {
                for (kind, quota) in QUOTA_KINDS.iter().zip(&cell.quotas) {
                    let Some(value) = value(quota, self.now) else { continue };
                    gauge_of(&mut family, &[("endpoint", &*cell.name), ("kind", *kind)], &value)?;
                }
            }
        }
        let help = "Times that an endpoint was passed over because of failures";
        let mut family = page.counter("weir_upstream_ejections", help)?;
        for cell in &all {
            count_of(&mut family, &[("endpoint", &*cell.name)], &cell.ejections.value())?;
        }
        let help = "Answers that asked to be left alone";
        let mut family = page.counter("weir_provider_limited", help)?;
        for cell in &all {
            count_of(&mut family, &[("endpoint", &*cell.name)], &cell.limited.value())?;
        }
        self.retries(page)
    }

    fn retries(&self, page: &mut Page<'_>) -> fmt::Result {
        let help = "Requests that were sent again";
        let mut family = page.counter("weir_upstream_retries", help)?;
        for (reason, count) in RETRY_REASONS.iter().zip(&self.metrics.retries) {
            count_of(&mut family, &[("reason", *reason)], &count.value())?;
        }
        let help = "Requests that were not sent again because too many were";
        let mut denied = page.counter("weir_upstream_retries_denied", help)?;
        let value = self.metrics.retries_denied.value();
        denied.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }
}

type OfEndpoint = (&'static str, &'static str, fn(&EndpointCell, Timestamp) -> i64);
type OfQuota = (&'static str, &'static str, fn(&QuotaCell, Timestamp) -> Option<u64>);

const GAUGES: [OfEndpoint; 3] = [
    (
        "weir_upstream_endpoint_up",
        "1 while probes find the endpoint well and it is not ejected",
        |cell, now| cell.up(now),
    ),
    ("weir_upstream_endpoint_in_flight", "Requests on their way there or back", |cell, _| {
        cell.in_flight.value()
    }),
    ("weir_upstream_endpoint_circuit_state", "0 closed, 1 half-open, 2 open", |cell, _| {
        cell.circuit.value()
    }),
];

const QUOTAS: [OfQuota; 3] = [
    ("weir_provider_limit", "The provider's limit, as its last answer said", |quota, _| {
        quota.limit.value()
    }),
    ("weir_provider_remaining", "What is left of it", |quota, _| quota.remaining.value()),
    ("weir_provider_reset_seconds", "Until it is whole again", |quota, now| {
        Some(Timestamp(quota.resets_at.value()?).since(now).as_secs())
    }),
];
