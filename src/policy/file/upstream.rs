//! `[upstream]`: the service behind us.

use std::time::Duration;

use super::super::read::{At, Table, words};
use super::{
    endpoints::{self, EjectionFile, ProbesFile, ProviderLimits},
    header::{self, HeaderFile},
    retry::{self, CircuitBreakerFile, RetryFile},
    upstream_tls::{self, UpstreamTlsFile},
    url::UpstreamUrl,
};
use crate::secret::Secret;

/// The service behind us.
#[derive(Debug, Clone)]
pub struct UpstreamFile {
    /// `http` or `https`, host, port and at most a path, or `unix:` and a socket's path. Required.
    pub url: At<UpstreamUrl>,
    /// The other addresses of the same service, when there are several (`urls`). Default: none.
    pub more_urls: Vec<At<UpstreamUrl>>,
    /// Which HTTP is spoken. Default `auto`.
    pub protocol: At<UpstreamProtocol>,
    /// Whom to believe and what to show over TLS.
    pub tls: UpstreamTlsFile,
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
    /// Open connections to one address, over all workers, 1 to 1 000 000. Default 10 000, as many as downstream may
    /// have. Past it requests wait, as long as a connection may take to open.
    pub max_connections: At<u32>,
    /// Connections to each address that every worker opens before they are needed and keeps idle, 0 to 1 024. Default 0.
    pub min_idle: At<u32>,
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

impl UpstreamFile {
    /// Every address, in the order of the file.
    pub fn urls(&self) -> impl Iterator<Item = &At<UpstreamUrl>> {
        std::iter::once(&self.url).chain(&self.more_urls)
    }
}

words! {
    /// Which HTTP is spoken with the upstream.
    "a protocol such as \"http2\""
    pub enum UpstreamProtocol {
        /// What ALPN agrees on over TLS, HTTP/1.1 without TLS.
        Auto = "auto",
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2; without TLS with prior knowledge.
        Http2 = "http2",
    }
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const MINUTE: Duration = millis(60_000);
const HOUR: Duration = millis(3_600_000);

pub(super) fn read(table: &mut Table<'_, '_>) -> Option<UpstreamFile> {
    let urls = endpoints::urls(table);
    let protocol = table.or("protocol", UpstreamProtocol::Auto);
    let tls = table.table_or_empty("tls", upstream_tls::read);
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
    let max_connections = table.within("max_connections", 10_000, 1..=1_000_000);
    let min_idle = table.within("min_idle", 0, 0..=1_024);
    let max_idle = table.within("max_idle", 256, 0..=65_536);
    let pool_idle_timeout = table.within("pool_idle_timeout", MINUTE, millis(1_000)..=HOUR);
    let (url, more_urls) = urls?;
    Some(UpstreamFile {
        url,
        more_urls,
        protocol,
        tls,
        connect_timeout,
        response_timeout,
        idle_timeout,
        headers,
        retry,
        circuit_breaker: breaker,
        max_connections,
        min_idle,
        probes,
        ejection,
        provider_limits,
        max_idle,
        pool_idle_timeout,
    })
}
