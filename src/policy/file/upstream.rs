//! `[upstream]`: the service behind us.

use std::time::Duration;

use http::Uri;

use super::super::read::{At, Table};
use super::{
    endpoints::{self, EjectionFile, ProbesFile, ProviderLimits},
    header::{self, HeaderFile},
    retry::{self, CircuitBreakerFile, RetryFile},
};
use crate::secret::Secret;

/// The service behind us.
#[derive(Debug, Clone)]
pub struct UpstreamFile {
    /// `http` or `https`, host, port and at most a path. Required.
    pub url: At<Uri>,
    /// The other addresses of the same service, when there are several (`urls`). Default: none.
    pub more_urls: Vec<At<Uri>>,
    /// How long a connection may take to open, TLS included, 10 ms to 1 min. Default 2 s: it is near.
    pub connect_timeout: At<Duration>,
    /// How long the response's first byte may take, 100 ms to 1 h. Default 120 s, because agents are slow.
    pub response_timeout: At<Duration>,
    /// The longest silence inside a response, 100 ms to 1 h. Default 60 s.
    pub idle_timeout: At<Duration>,
    /// Headers that the upstream needs from us, in file order, no name twice. Values are never shown. Default: none.
    pub headers: Vec<HeaderFile<Secret>>,
    /// When a request is sent again. Default: never with one address; with several, another one is tried after
    /// `connect` and `refused`.
    pub retry: Option<At<RetryFile>>,
    /// When the upstream is left alone for a while. Default: never.
    pub circuit_breaker: Option<At<CircuitBreakerFile>>,
    /// How endpoints are looked at in the background. Default: by opening a connection, on the schedule of `[health]`.
    pub probes: ProbesFile,
    /// When an endpoint is passed over. Default, with several addresses: after 5 failures in a row.
    pub ejection: EjectionFile,
    /// What is done with a provider's own limits. Default `refuse`: asking in vain makes them last longer.
    pub provider_limits: At<ProviderLimits>,
    /// Idle connections that are kept, per worker, 0 to 65 536. Default 256; 0 opens one per request.
    pub max_idle: At<u32>,
    /// How long an idle connection is kept, 1 s to 1 h. Default 60 s, below the usual 75 s of servers.
    pub pool_idle_timeout: At<Duration>,
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const MINUTE: Duration = millis(60_000);
const HOUR: Duration = millis(3_600_000);

pub(super) fn read(table: &mut Table<'_, '_>) -> Option<UpstreamFile> {
    let urls = endpoints::urls(table);
    let connect_timeout = table.within("connect_timeout", millis(2_000), millis(10)..=MINUTE);
    let response_timeout = table.within("response_timeout", millis(120_000), millis(100)..=HOUR);
    let idle_timeout = table.within("idle_timeout", MINUTE, millis(100)..=HOUR);
    let headers = table.table("headers", header::secrets).unwrap_or_default();
    let retry =
        table.value("retry").and_then(|value| Some(value.placed(value.table(retry::retry)?)));
    let breaker = table.value("circuit_breaker");
    let breaker = breaker.and_then(|value| Some(value.placed(value.table(retry::breaker)?)));
    let probes = table.table_or_empty("health", endpoints::probes);
    let ejection = table.table_or_empty("ejection", endpoints::ejection);
    let provider_limits = table.or("provider_limits", ProviderLimits::Refuse);
    let max_idle = table.within("max_idle", 256, 0..=65_536);
    let pool_idle_timeout = table.within("pool_idle_timeout", MINUTE, millis(1_000)..=HOUR);
    let (url, more_urls) = urls?;
    Some(UpstreamFile {
        url,
        more_urls,
        connect_timeout,
        response_timeout,
        idle_timeout,
        headers,
        retry,
        circuit_breaker: breaker,
        probes,
        ejection,
        provider_limits,
        max_idle,
        pool_idle_timeout,
    })
}
