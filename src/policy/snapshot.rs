//! The policy as run: immutable, indexed, with nothing left to parse.
//!
//! Made by `compile` from what an operator wrote, swapped as a whole, and taken
//! once by each exchange. Names have become indices; header values, limits and
//! metric handles are made for every pair of operation and tier, so the request
//! path looks things up and allocates nothing that could have been made here.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, uri::Authority};
use regex_automata::meta::Regex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use super::{
    blocked::Blocked,
    cors::Cors,
    dependency::Dependency,
    identity::Identity,
    limit::{Limits, Unit},
    metering::Metering,
    resilience::Resilience,
    route::Router,
    trusted::Trusted,
};
use crate::{
    meter::price::Prices,
    sanitize::Redactor,
    telemetry::{BudgetUse, Cell, Counter, Histogram},
    units::NanoUsd,
};

/// Index of an operation in [`Policy::operations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationId(pub usize);

/// Index of a tier in [`Policy::tiers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierId(pub usize);

/// Whether refusals are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Refuse what the policy refuses.
    #[default]
    Enforce,
    /// Count and log, but refuse nothing.
    Shadow,
    /// Neither identify, count nor validate; answers are still cleaned.
    Off,
}

/// One compiled policy.
pub struct Policy {
    /// Running number, 1 for the first.
    pub generation: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// Who may not come in.
    pub blocked: Blocked,
    /// Bounds of a request's head.
    pub head: HeadRules,
    /// Longest time that a request's body may take to arrive.
    pub body_timeout: Duration,
    /// Bytes a second that a client must take and send, measured while it is waited for; 0 is any.
    pub min_rate: u64,
    /// Cross-origin rules.
    pub cors: Cors,
    /// Who is calling.
    pub identity: Identity,
    /// Whose word on the caller's address counts.
    pub trusted: Trusted,
    /// What kind of work it is.
    pub router: Router,
    /// Kinds of work, in the order of the file.
    pub operations: Vec<Operation>,
    /// What models cost.
    pub prices: Prices,
    /// Tiers, in the order of the file.
    pub tiers: Vec<Tier>,
    /// One per pair of operation and tier, and for the absence of either; see [`Policy::terms`].
    pub(super) terms: Vec<Terms>,
    /// Where requests go.
    pub upstream: Upstream,
    /// What answers lose and gain.
    pub cleaning: Cleaning,
    /// The health document and its probe.
    pub health: Health,
}

impl Policy {
    /// What applies to `operation` in `tier`; `None` stands for "not known".
    pub fn terms(&self, operation: Option<OperationId>, tier: Option<TierId>) -> &Terms {
        let row = operation.map_or(self.operations.len(), |id| id.0);
        let column = tier.map_or(self.tiers.len(), |id| id.0);
        &self.terms[row * (self.tiers.len() + 1) + column]
    }

    /// Whether any operation has WebSockets.
    pub fn has_websockets(&self) -> bool {
        self.operations.iter().any(|operation| operation.websocket.is_some())
    }

    /// The operation's description.
    pub fn operation(&self, id: OperationId) -> &Operation {
        &self.operations[id.0]
    }

    /// The tier's description.
    pub fn tier(&self, id: TierId) -> &Tier {
        &self.tiers[id.0]
    }
}

/// Bounds of a request's head.
#[derive(Clone, Copy, Debug)]
pub struct HeadRules {
    /// Octets of names, values and the target together.
    pub max_bytes: usize,
    /// Header fields.
    pub max_fields: usize,
}

/// A kind of work.
pub struct Operation {
    /// As in the policy.
    pub name: Arc<str>,
    /// What a request costs when nothing says better.
    pub cost: NanoUsd,
    /// Whether refusals speak the dialect of model SDKs.
    pub dialect: Dialect,
    /// How the true cost is found; `None` for those that always cost the same.
    pub metering: Option<Arc<Metering>>,
    /// What a request must look like.
    pub rules: RequestRules,
    /// Waits for the upstream's first byte.
    pub upstream_wait: Arc<Histogram>,
    /// What may be said on a WebSocket; `None` refuses them.
    pub websocket: Option<MessageRules>,
    /// How long an answer or a WebSocket may last.
    pub max_lifetime: Option<Duration>,
    /// Whether a request from an origin that the policy does not name is refused.
    pub refuses_foreign: bool,
}

/// What may be said on a WebSocket. All but `max_size` bound what the caller says.
#[derive(Clone, Copy, Debug)]
pub struct MessageRules {
    /// Largest message in either direction, in bytes.
    pub max_size: usize,
    /// Most messages in any 60 s.
    pub per_minute: Option<u32>,
    /// Most messages on one connection.
    pub max_count: Option<u32>,
    /// Whether each message is charged like a request.
    pub charged: bool,
}

/// The shape of a refusal's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Weir's own.
    #[default]
    Weir,
    /// `error` is an object, where OpenAI's and Anthropic's SDKs look.
    ModelSdk,
}

/// What a request must look like.
#[derive(Debug, Default)]
pub struct RequestRules {
    /// Largest body, in bytes.
    pub max_body: u64,
    /// Media types, lower case, without parameters; empty allows all.
    pub content_types: Vec<String>,
    /// Whether the body is read before it is sent, because its price depends on it.
    pub is_priced: bool,
    /// Deepest nesting of a JSON body; `None` leaves bodies unread.
    pub max_depth: Option<u32>,
    /// Path parameters and the whole text that each must match.
    pub parameters: Vec<(String, Regex)>,
}

/// A named bundle of limits.
#[derive(Debug)]
pub struct Tier {
    /// As in the policy.
    pub name: Arc<str>,
    /// The name as a header value.
    pub header: HeaderValue,
}

/// What one operation meets in one tier.
pub struct Terms {
    /// Whether the tier may use the operation at all.
    pub allowed: bool,
    /// All limits, in policy order.
    pub limits: Arc<Limits>,
    /// The same limits for a message inside a request that is in flight already, and so
    /// without a bound on how many are.
    pub message_limits: Arc<Limits>,
    /// What is shown of each limit, in the order of [`Limits::all`].
    pub shown: Vec<ShownLimit>,
    /// `RateLimit-Policy`, if there is any quota.
    pub policy_header: Option<HeaderValue>,
    /// Counters of this pair.
    pub cell: Arc<Cell>,
}

/// What is shown of one limit.
pub struct ShownLimit {
    /// As written: `3/hour`, `$0.50/day`.
    pub written: String,
    /// Said when it is used up: `You have used all 3 behavior_analysis requests of this hour`.
    pub phrase: String,
    /// Said when one request asks for more than the whole of it.
    pub excessive: String,
    /// What is counted.
    pub unit: Unit,
    /// Upper bound, in `unit`.
    pub amount: u64,
    /// How it appears to the caller.
    pub kind: ShownKind,
}

/// How a limit appears to the caller.
pub enum ShownKind {
    /// In `RateLimit` and `X-RateLimit-*`.
    Quota {
        /// `"name";r=`, to be followed by what remains.
        item: String,
        /// The amount as a header value.
        amount: HeaderValue,
    },
    /// In `X-Cost-*` when it is the day's.
    Budget {
        /// Whether it is the day's.
        daily: bool,
        /// The amount in dollars with 4 decimals.
        dollars: HeaderValue,
        /// Where the highest use is noted.
        highest: Arc<BudgetUse>,
    },
    /// Nowhere, unless it leaves the caller less than all others do.
    Shared {
        /// Whether it bounds requests in flight.
        crowd: bool,
        /// The amount as a header value.
        amount: HeaderValue,
        /// Where its use is noted.
        used: Arc<BudgetUse>,
    },
}

/// Where requests go.
#[derive(Clone)]
pub struct Upstream {
    /// Where requests may go: at least one, no name twice, in the order of the file.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Put before every path; empty or `/…` without a slash at its end.
    pub base: String,
    /// Longest time to connect.
    pub connect_timeout: Duration,
    /// Longest time to the response's first byte.
    pub response_timeout: Duration,
    /// Longest silence inside a response.
    pub idle_timeout: Duration,
    /// Set on every request; values are marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How its endpoints are spoken with.
    pub transport: Arc<Transport>,
    /// Open connections to one endpoint over all workers.
    pub max_connections: usize,
    /// Idle connections to each endpoint that every worker sees to.
    pub min_idle: usize,
    /// Idle connections kept per worker.
    pub max_idle: usize,
    /// Longest time that an idle connection is kept.
    pub pool_idle_timeout: Duration,
    /// How endpoints that fail are treated.
    pub resilience: Resilience,
    /// The same for switches of protocols, where `transport` might agree on an HTTP that knows none.
    pub tunnels: Option<Box<Upstream>>,
}

/// How the endpoints of an upstream are spoken with.
pub struct Transport {
    /// Which HTTP.
    pub protocol: UpstreamProtocol,
    /// For endpoints behind TLS; its ALPN fits `protocol`.
    pub tls: Option<UpstreamTls>,
    /// SHA-256 over all that the above was made of, files included: connections made for another one are not used.
    pub digest: [u8; 32],
}

/// Which HTTP is spoken with the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// What ALPN agrees on over TLS, HTTP/1.1 without TLS.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS with prior knowledge.
    Http2,
}

/// TLS towards the upstream.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Whom to believe, what to show, what to resume.
    pub config: Arc<ClientConfig>,
    /// The name to ask for and to verify; the endpoint's host when unset.
    pub server_name: Option<ServerName<'static>>,
}

/// One address of the upstream service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme and place, `http://127.0.0.1:8000`: what pools, health and metrics know it by, also across reloads.
    pub name: Arc<str>,
    /// Host and port: what `Host` says when the caller named none.
    pub authority: Authority,
    /// How it is reached.
    pub target: Target,
    /// Whether it is behind TLS.
    pub secure: bool,
}

/// How an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its address.
    Address(SocketAddr),
    /// By a name that is looked up for each connection.
    Name {
        /// As the resolver wants it.
        host: String,
        /// The port.
        port: u16,
    },
    /// By the path of a unix socket.
    Socket(PathBuf),
}

impl Upstream {
    /// The upstream as it is spoken with for a switch of protocols.
    pub fn for_tunnels(&self) -> &Self {
        self.tunnels.as_deref().unwrap_or(self)
    }

    /// What `Host` says when the caller named none.
    pub fn authority(&self) -> Option<&Authority> {
        self.endpoints.first().map(|endpoint| &endpoint.authority)
    }
}

/// What answers lose and gain.
pub struct Cleaning {
    /// Whether a 5xx body is replaced.
    pub replace_errors: bool,
    /// Headers taken off.
    pub remove: Vec<HeaderName>,
    /// Headers put on.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// What is replaced in bodies; `None` when there is no rule.
    pub redactor: Option<Arc<Redactor>>,
    /// One counter per rule of the redactor.
    pub redactions: Vec<Arc<Counter>>,
}

/// The health document and its probe.
#[derive(Clone, Debug)]
pub struct Health {
    /// Where it is served, on both listeners.
    pub path: String,
    /// Longest time of a probe.
    pub timeout: Duration,
    /// Time between probes.
    pub every: Duration,
    /// What is probed besides the upstream, in the order of the file.
    pub dependencies: Arc<[Dependency]>,
}
