//! What is served of the upstream and its endpoints.

use std::{
    fmt,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
};

use super::{
    Scrape,
    page::{Page, count_of, gauge_of},
};
use crate::{
    clock::Timestamp,
    telemetry::{
        endpoint::{EndpointCell, QUOTA_KINDS, QuotaCell},
        metrics::RETRY_REASONS,
    },
};
use prometheus_client::encoding::{EncodeGaugeValue, MetricEncoder, NoLabelSet};

impl Scrape {
    /// What endpoints are doing, and what was done because of it.
    pub(super) fn endpoints(&self, page: &mut Page<'_>) -> fmt::Result {
        let all: Vec<Arc<EndpointCell>> = {
            let all = self.metrics.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            all.values().cloned().collect()
        };
        let named: Vec<_> = all.iter().filter(|cell| cell.named.load(Relaxed)).collect();
        // One endpoint needs no name, and its address is nobody's business.
        let labels = if named.len() > 1 { Labels::Named } else { Labels::None };
        let worst = named.iter().map(|cell| cell.circuit.value()).max().unwrap_or_default();
        let help = "0 closed, 1 half-open, 2 open: the worst of all endpoints";
        page.gauge("weir_circuit_state", help)?.encode_gauge(&worst)?;
        for (name, help, value) in GAUGES {
            let mut family = page.gauge(name, help)?;
            for cell in &named {
                labels.gauge(&mut family, cell, None, &value(cell, self.now))?;
            }
        }
        let help = "Until the last hold ends that was asked for";
        let mut family = page.gauge("weir_provider_held_seconds", help)?;
        for cell in &named {
            labels.gauge(&mut family, cell, None, &cell.held(self.now))?;
        }
        for (name, help, value) in QUOTAS {
            let mut family = page.gauge(name, help)?;
            for cell in &named {
                for (kind, quota) in QUOTA_KINDS.iter().zip(&cell.quotas) {
                    let Some(value) = value(quota, self.now) else { continue };
                    labels.gauge(&mut family, cell, Some(kind), &value)?;
                }
            }
        }
        let counted: Vec<_> = match labels {
            // What an endpoint did counts also when it is no longer named.
            Labels::Named => all.iter().collect(),
            Labels::None => named,
        };
        for (name, help, value) in COUNTERS {
            let mut family = page.counter(name, help)?;
            for cell in &counted {
                labels.counter(&mut family, cell, value(cell))?;
            }
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

/// Whether series say which endpoint they are of.
#[derive(Clone, Copy)]
enum Labels {
    None,
    Named,
}

impl Labels {
    fn gauge(
        self,
        family: &mut MetricEncoder<'_>,
        cell: &EndpointCell,
        kind: Option<&str>,
        value: &impl EncodeGaugeValue,
    ) -> fmt::Result {
        let endpoint = ("endpoint", &*cell.name);
        match (self, kind) {
            (Self::None, None) => family.encode_gauge(value),
            (Self::None, Some(kind)) => gauge_of(family, &[("kind", kind)], value),
            (Self::Named, None) => gauge_of(family, &[endpoint], value),
            (Self::Named, Some(kind)) => gauge_of(family, &[endpoint, ("kind", kind)], value),
        }
    }

    fn counter(
        self,
        family: &mut MetricEncoder<'_>,
        cell: &EndpointCell,
        value: u64,
    ) -> fmt::Result {
        match self {
            Self::None => family.encode_counter::<NoLabelSet, _, f64>(&value, None),
            Self::Named => count_of(family, &[("endpoint", &*cell.name)], &value),
        }
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

type CountOf = (&'static str, &'static str, fn(&EndpointCell) -> u64);

const COUNTERS: [CountOf; 2] = [
    (
        "weir_upstream_ejections",
        "Times that an endpoint was passed over for its failures",
        |cell| cell.ejections.value(),
    ),
    ("weir_provider_limited", "Answers that asked to be left alone", |cell| cell.limited.value()),
];
