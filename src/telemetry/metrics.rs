//! Every metric of the process, as handles.
//!
//! Series whose labels the policy bounds are made when a policy is compiled, so
//! that they exist at 0 before the first request. They are found again by name
//! after a reload, and never removed: a counter that vanished would lie.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
};

use arc_swap::ArcSwap;

use super::{
    BudgetUse, Cell, Counter, EndpointCell, Gauge, Histogram,
    histogram::{OVERHEAD_BOUNDS, REQUEST_BOUNDS},
    spend::MeteringError,
    violation::{Violation, Violations},
};

/// The version of HTTP that a downstream connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// As in ALPN and in the label `protocol`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

type Named<T> = Mutex<BTreeMap<Arc<str>, Arc<T>>>;
type Cells = BTreeMap<(Arc<str>, Arc<str>), Arc<Cell>>;
type Budgets = BTreeMap<(Arc<str>, Arc<str>), Arc<BudgetUse>>;

/// The values of the label `reason`: how a tunnel may end.
pub const TUNNEL_ENDS: [&str; 10] = [
    "closed",
    "caller_gone",
    "upstream_gone",
    "caller_fault",
    "upstream_fault",
    "silent",
    "lifetime",
    "leaving",
    "refused",
    "panicked",
];
/// The values of the label `reason` of retries.
pub(super) const RETRY_REASONS: [&str; 6] = ["connect", "refused", "reset", "502", "503", "504"];

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    pub(super) codes: &'static [&'static str],
    pub(super) cells: Mutex<Cells>,
    pub(super) upstream_waits: Named<Histogram>,
    pub(super) redactions: Named<Counter>,
    pub(super) budgets: Mutex<Budgets>,
    pub(super) pools: Mutex<Budgets>,
    pub(super) endpoints: Named<EndpointCell>,
    pub(super) retries: [Counter; RETRY_REASONS.len()],
    /// Requests that were not sent again because the retry budget was spent.
    pub retries_denied: Counter,
    /// What Weir itself added to a request.
    pub overhead: Histogram,
    /// Reloads after which the new policy was in force.
    pub reloads_applied: Counter,
    /// Reloads after which the old policy stayed.
    pub reloads_rejected: Counter,
    /// Looks at an issuer's URL that brought keys.
    pub jwks_fetched: Counter,
    /// Looks at an issuer's URL that brought none.
    pub jwks_failed: Counter,
    /// SHA-256 of the policy in force, in hex.
    pub policy_sha256: ArcSwap<String>,
    /// 1 while the store answers.
    pub store_up: Gauge,
    /// `embedded` or `memory`.
    pub store_kind: ArcSwap<String>,
    /// Time that decisions took in the store.
    pub store_wait: Histogram,
    /// Commands that were sent to the store's server.
    pub store_commands: Gauge,
    /// Connections to it that were made.
    pub store_connections: Gauge,
    pub(super) stand_ins: [Counter; 3],
    /// Entries that the store has yet to hear.
    pub journal_depth: Gauge,
    /// Entries that the store heard after it had been away.
    pub reconciled: Counter,
    /// Settlements that could not be written down; their estimates stand.
    pub settlements_lost: Counter,
    /// Times that the store was restarted, replaced or emptied.
    pub books_changed: Counter,
    /// The dependencies of the policy in force, and whether each answers.
    pub dependencies: ArcSwap<Vec<(Arc<str>, bool)>>,
    /// 1 while the upstream accepts connections.
    pub upstream_up: Gauge,
    /// Pooled upstream connections without a request.
    pub upstream_idle: Gauge,
    /// Upstream connections that carry a request.
    pub upstream_busy: Gauge,
    pub(super) upstream_connects: [Counter; 5],
    /// Downstream connections that speak HTTP/1.
    pub http1_connections: Gauge,
    /// Downstream connections that speak HTTP/2.
    pub http2_connections: Gauge,
    pub(super) handshakes: [Counter; 4],
    pub(super) violations: Violations,
    pub(super) metering_errors: [Counter; MeteringError::ALL.len()],
    /// Requests whose handling panicked.
    pub panics: Counter,
    /// Connections turned away because there were too many.
    pub connections_shed: Counter,
    /// Open tunnels: connections that switched protocols.
    pub tunnels: Gauge,
    /// Tunnels that ended, in the order of [`TUNNEL_ENDS`].
    pub tunnel_ends: [Counter; TUNNEL_ENDS.len()],
    /// Answers 1xx of the upstream, which go no further.
    pub upstream_informational: Counter,
    /// Connections closed on arrival because their address had too many.
    pub addresses_shed: Counter,
    /// Connections closed because their PROXY header was missing, late or malformed.
    pub proxy_protocol_errors: Counter,
    /// How far work is cut down for want of memory: 0 not at all, 3 nothing is accepted.
    pub overload: Gauge,
    /// Memory at which nothing is accepted, in bytes; 0 when there is no limit.
    pub memory_limit: Gauge,
    /// The day of the built-in prices, in seconds since the Unix epoch.
    pub price_table: Gauge,
    /// When each certificate ends, in seconds since the Unix epoch.
    pub certificates: ArcSwap<Vec<(Arc<str>, i64)>>,
}

impl Default for Metrics {
    /// Metrics that nobody scrapes: no refusal is counted.
    fn default() -> Self {
        Self::new(&[])
    }
}

/// How a TLS handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
    /// The peer broke the protocol or left.
    Failed,
    /// It took too long.
    TimedOut,
}

impl Handshake {
    pub(super) const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::Tls12, "1.2", "ok"),
        (Self::Tls13, "1.3", "ok"),
        (Self::Failed, "none", "failed"),
        (Self::TimedOut, "none", "timed_out"),
    ];
}

/// How an attempt to connect to the upstream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    /// With a connection.
    Opened,
    /// The network said no.
    Refused,
    /// It took too long.
    TimedOut,
    /// There was no TLS, or none that is believed.
    NoTls,
    /// There was no HTTP of the wanted version.
    NoHttp,
}

impl Connected {
    /// The values of the label `result`, in the order of the variants.
    pub(super) const ALL: [&'static str; 5] = ["ok", "refused", "timed_out", "no_tls", "no_http"];
}

/// How a decision was made while the store was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// It was counted here, within the allowance.
    Local,
    /// The request was refused.
    Refuse,
    /// It passed uncounted.
    Allow,
}

impl StandIn {
    /// The values of the label `mode`, in the order of the variants.
    pub(super) const ALL: [&'static str; 3] = ["local", "refuse", "allow"];
}

impl Metrics {
    /// Metrics at zero; `codes` are all values of the label `error_code`.
    pub(super) fn new(codes: &'static [&'static str]) -> Self {
        Self {
            codes,
            cells: Mutex::default(),
            upstream_waits: Mutex::default(),
            redactions: Mutex::default(),
            budgets: Mutex::default(),
            pools: Mutex::default(),
            endpoints: Mutex::default(),
            retries: Default::default(),
            retries_denied: Counter::default(),
            overhead: Histogram::new(OVERHEAD_BOUNDS),
            reloads_applied: Counter::default(),
            reloads_rejected: Counter::default(),
            jwks_fetched: Counter::default(),
            jwks_failed: Counter::default(),
            policy_sha256: ArcSwap::default(),
            store_up: Gauge::default(),
            store_kind: ArcSwap::default(),
            store_wait: Histogram::new(OVERHEAD_BOUNDS),
            store_commands: Gauge::default(),
            store_connections: Gauge::default(),
            stand_ins: Default::default(),
            journal_depth: Gauge::default(),
            reconciled: Counter::default(),
            settlements_lost: Counter::default(),
            books_changed: Counter::default(),
            dependencies: ArcSwap::default(),
            upstream_up: Gauge::default(),
            upstream_idle: Gauge::default(),
            upstream_busy: Gauge::default(),
            upstream_connects: Default::default(),
            http1_connections: Gauge::default(),
            http2_connections: Gauge::default(),
            handshakes: Default::default(),
            violations: Violations::default(),
            metering_errors: Default::default(),
            panics: Counter::default(),
            connections_shed: Counter::default(),
            tunnels: Gauge::default(),
            tunnel_ends: Default::default(),
            upstream_informational: Counter::default(),
            addresses_shed: Counter::default(),
            proxy_protocol_errors: Counter::default(),
            overload: Gauge::default(),
            memory_limit: Gauge::default(),
            price_table: Gauge::default(),
            certificates: ArcSwap::default(),
        }
    }

    /// The cell of one operation and tier, made at zero when it is new.
    pub fn cell(&self, operation: &Arc<str>, tier: &Arc<str>) -> Arc<Cell> {
        let key = (Arc::clone(operation), Arc::clone(tier));
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let (operation, tier) = key.clone();
        let new = || Arc::new(Cell::new(operation, tier, self.codes.len()));
        Arc::clone(cells.entry(key).or_insert_with(new))
    }

    /// The same, of a pair that had other names before: each former operation in each former tier, the
    /// newest names first. What was learned of its requests goes on under the new name.
    pub fn renamed_cell(
        &self,
        operation: &Arc<str>,
        tier: &Arc<str>,
        former: impl Iterator<Item = (Arc<str>, Arc<str>)>,
    ) -> Arc<Cell> {
        let cell = self.cell(operation, tier);
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        former.filter_map(|key| cells.get(&key)).for_each(|former| cell.inherit(former));
        drop(cells);
        cell
    }

    /// The waits for the upstream's first byte of one operation.
    pub fn upstream_wait(&self, operation: &Arc<str>) -> Arc<Histogram> {
        named(&self.upstream_waits, operation, || Histogram::new(REQUEST_BOUNDS))
    }

    /// Matches of one redaction rule.
    pub fn redactions(&self, rule: &Arc<str>) -> Arc<Counter> {
        named(&self.redactions, rule, Counter::default)
    }

    /// What is shown of one endpoint.
    pub fn endpoint(&self, name: &Arc<str>) -> Arc<EndpointCell> {
        named(&self.endpoints, name, || EndpointCell::new(Arc::clone(name)))
    }

    /// Shows what these endpoints are doing, and of others only what they did.
    pub fn show_endpoints(&self, names: &[&str]) {
        let all = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, cell) in all.iter() {
            cell.named.store(names.contains(&&**name), Relaxed);
        }
    }

    /// Counts a request that is sent again, for one of [`RETRY_REASONS`].
    pub fn retry(&self, reason: &str) {
        let index = RETRY_REASONS.iter().position(|known| *known == reason);
        if let Some(count) = index.and_then(|index| self.retries.get(index)) {
            count.add(1);
        }
    }

    /// The use of one tier's budget; `period` is `day`, `week`, `month` or a window such as `24h`.
    pub fn budget_use(&self, tier: &Arc<str>, period: &Arc<str>) -> Arc<BudgetUse> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(budgets.entry((Arc::clone(tier), Arc::clone(period))).or_default())
    }

    /// The use of one limit that all callers share, as it is written.
    pub fn pool_use(&self, pool: &Arc<str>, limit: &str) -> Arc<BudgetUse> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pools.entry((Arc::clone(pool), limit.into())).or_default())
    }

    /// The open connections that speak `protocol`.
    pub fn connections(&self, protocol: Protocol) -> &Gauge {
        match protocol {
            Protocol::Http1 => &self.http1_connections,
            Protocol::Http2 => &self.http2_connections,
        }
    }

    /// Counts what a client must not do.
    pub fn violation(&self, violation: Violation) {
        self.violations.count(violation);
    }

    /// Counts a cost that could not be taken from where the policy says.
    pub fn metering_error(&self, error: MeteringError) {
        if let Some(count) = self.metering_errors.get(error as usize) {
            count.add(1);
        }
    }

    /// Counts one attempt to connect to the upstream.
    pub fn upstream_connected(&self, result: Connected) {
        if let Some(count) = self.upstream_connects.get(result as usize) {
            count.add(1);
        }
    }

    /// Counts one decision in the place of a store that is away.
    pub fn stood_in(&self, how: StandIn) {
        if let Some(count) = self.stand_ins.get(how as usize) {
            count.add(1);
        }
    }

    /// Counts one finished handshake.
    pub fn handshake(&self, result: Handshake) {
        let index = Handshake::ALL.iter().position(|(kind, ..)| *kind == result);
        if let Some(count) = index.and_then(|index| self.handshakes.get(index)) {
            count.add(1);
        }
    }
}

fn named<T>(family: &Named<T>, name: &Arc<str>, new: impl FnOnce() -> T) -> Arc<T> {
    let mut family = family.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(family.entry(Arc::clone(name)).or_insert_with(|| Arc::new(new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_found_again_by_its_names() {
        let metrics = Metrics::new(&["a"]);
        let (operation, tier): (Arc<str>, Arc<str>) = ("chat".into(), "free".into());
        metrics.cell(&operation, &tier).cost.add(7);
        assert_eq!(metrics.cell(&operation, &tier).cost.value(), 7);
    }
}
