//! The request path, on one screen.
//!
//! Each stage returns what the next one demands, so their order is proved by the
//! compiler: [`target`] says what kind of work it is, [`identify`] who asks,
//! [`admit`] reserves, [`validate`] looks at the request, [`forward`] sends it,
//! [`respond`] is the only exit. A [`Refusal`] goes straight there.
//!
//! ```text
//! Request ─ target ─ identify ─ admit ─ validate ─ forward ─┐
//!              │         │        │         │         │     │ Reply
//!              └─────────┴────────┴─ Refusal ┴────────┤     │
//!                                                   respond ┴─ Response
//! ```
//!
//! # Failure
//! Every problem is an answer. A panic in one request is counted and costs that
//! request alone.

mod admit;
mod certificate;
mod clean;
mod deliver;
mod discard;
mod download;
mod exchange;
mod farewell;
mod forward;
pub mod forwarded;
mod grpc;
mod headers;
pub mod identify;
mod introduce;
mod json;
mod limits;
mod media;
mod meter;
mod origins;
mod panic;
mod patience;
mod presence;
mod refusal;
mod respond;
mod settle;
mod switch;
pub mod target;
mod trace;
mod upgrade;
mod upload;
mod validate;
mod websocket;

use std::sync::{Arc, LazyLock};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, header::CONNECTION, request::Parts,
};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

pub use download::Download;
use exchange::Exchange;
use forward::Reply;
use panic::CatchPanic;
pub use refusal::{CODES, Code, Refusal};
use settle::{Open, Permit};
pub use upload::Upload;
#[cfg(fuzzing)]
pub use websocket::fuzz;

use crate::{
    clock::Clock,
    health::HealthState,
    ledger::Ledger,
    mishap,
    policy::{
        cors::Cors,
        handle::PolicyHandle,
        identity::Caller,
        snapshot::{Mode, Policy},
    },
    server::{Bounds, Fault, Handler, Overload, Peer, Pressure, Tunnel},
    settlements::Settlements,
    telemetry::Telemetry,
    units::NanoUsd,
    upstream::{Cluster, Pool},
};

/// A head may be this much larger as it is sent than as it is counted (method, version, line ends).
const HEAD_SLACK: usize = 1 << 10;

/// How a request that was not fit to be read appears in the record.
static UNREAD_METHOD: LazyLock<Method> =
    LazyLock::new(|| Method::from_bytes(b"-").unwrap_or(Method::GET));

/// What all workers share.
pub struct Shared {
    /// The policy in force.
    pub policy: Arc<PolicyHandle>,
    /// What callers may still use.
    pub ledger: Arc<Ledger>,
    /// Metrics and log.
    pub telemetry: Telemetry,
    /// Time.
    pub clock: Clock,
    /// What the health document says.
    pub health: Arc<HealthState>,
    /// Gives way when memory runs out.
    pub overload: Arc<Overload>,
    /// How the endpoints of the upstream do.
    pub cluster: Arc<Cluster>,
    /// Requests that wait for what an agent says they cost.
    pub settlements: Arc<Settlements>,
    /// Owns what outlives an exchange.
    pub tasks: TaskTracker,
}

/// The request path of one worker.
pub struct Proxy {
    shared: Arc<Shared>,
    pool: Arc<Pool<Upload>>,
}

impl Proxy {
    /// A path that forwards over `pool`.
    pub fn new(shared: Arc<Shared>, pool: Arc<Pool<Upload>>) -> Arc<Self> {
        Arc::new(Self { shared, pool })
    }

    async fn pass(
        &self,
        exchange: &mut Exchange,
        mut head: Box<Parts>,
    ) -> Result<(Box<Permit>, Reply), Box<Refusal>> {
        target::resolve(exchange, &head)?;
        upgrade::judge(exchange, &mut head)?;
        origins::check(exchange, &head)?;
        let caller = identify::caller(exchange, &mut head.headers).await;
        let mut permit = self.permit(exchange, caller).await?;
        let open = Open::new(exchange, &mut permit);
        let (exchange, permit_now) = (&mut *open.exchange, &mut *open.permit);
        mishap::at("admitted", exchange.path.as_bytes());
        let checked = validate::request(exchange, head).await?;
        let checked = meter::request(exchange, permit_now, checked).await?;
        let reply = forward::send(exchange, permit_now, checked, &self.pool).await;
        let reply = reply.map_err(|refusal| self.leaving(permit_now, refusal))?;
        mishap::at("answered", exchange.path.as_bytes());
        open.close();
        Ok((permit, reply))
    }

    /// At a stop the service behind us may be the first to go: then the caller may safely try
    /// another instance, and is told so.
    fn leaving(&self, permit: &Permit, refusal: Box<Refusal>) -> Box<Refusal> {
        let is_away = refusal.code == Code::UpstreamUnreachable && !permit.was_sent();
        if is_away && !self.shared.health.is_ready() {
            return Box::new(Refusal { detail: refusal.detail, ..*Refusal::new(Code::Draining) });
        }
        refusal
    }

    /// Admits the caller, as far as the policy's mode enforces it.
    async fn permit(
        &self,
        exchange: &mut Exchange,
        caller: Result<Caller, Box<Refusal>>,
    ) -> Result<Box<Permit>, Box<Refusal>> {
        let uncounted = || Permit::new(Arc::clone(&self.shared), None, NanoUsd(0));
        match caller {
            Ok(caller) if exchange.policy.mode != Mode::Off => {
                admit::reserve(exchange, &caller).await
            }
            Ok(_) => Ok(uncounted()),
            Err(refusal) => exchange.enforce(refusal).map(|()| uncounted()),
        }
    }

    async fn serve(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
    ) -> Response<Download> {
        let (head, body) = request.into_parts();
        // It goes from stage to stage: by its address, not by its content.
        let mut head = Box::new(head);
        let tunnel = Tunnel::take(&mut head.extensions, &peer);
        let upgrade = tunnel.map(|tunnel| upgrade::wish(&mut head, tunnel));
        let mut exchange = Exchange::begin(&self.shared, peer, &head, Some(body));
        exchange.closes = upgrade.as_ref().is_some_and(|upgrade| upgrade.is_meant());
        exchange.upgrade = upgrade;
        if let Err(refusal) = target::check_expectation(&head.headers) {
            return respond::refuse(exchange, refusal);
        }
        if Cors::is_preflight(&head.method, &head.headers) {
            return respond::preflight(exchange, &head.headers);
        }
        if is_health(&exchange.policy, &head) {
            let (status, body) = self.shared.health.document(self.shared.clock.now());
            let json = HeaderValue::from_static("application/json");
            return respond::local(exchange, status, json, body);
        }
        if exchange.peer.is_surplus || self.shared.overload.pressure() >= Pressure::NoRequests {
            return respond::refuse(exchange, Refusal::new(Code::Overloaded));
        }
        match self.pass(&mut exchange, head).await {
            Ok((permit, reply)) if reply.head.status == StatusCode::SWITCHING_PROTOCOLS => {
                switch::protocols(exchange, permit, reply)
            }
            Ok((permit, reply)) => respond::reply(exchange, permit, reply).await,
            Err(refusal) => respond::refuse(exchange, refusal),
        }
    }

    #[cold]
    fn panicked(&self, peer: Arc<Peer>) -> Response<Download> {
        panic::count(&self.shared);
        // What the request's own exchange knew is gone; it has left its record.
        let (head, ()) = Request::new(()).into_parts();
        let exchange = Exchange::begin(&self.shared, peer, &head, None);
        respond::refuse(exchange, Refusal::new(Code::InternalError))
    }
}

fn is_health(policy: &Policy, head: &Parts) -> bool {
    head.uri.path() == policy.health.path
        && (head.method == Method::GET || head.method == Method::HEAD)
}

impl Handler for Proxy {
    type Body = Download;

    fn handle(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Download>> + Send {
        let (this, connected) = (Arc::clone(&self), Arc::clone(&peer));
        let serving = CatchPanic::new(move || this.serve(connected, request));
        async move { serving.await.unwrap_or_else(|| self.panicked(peer)) }
    }

    fn refuse(self: Arc<Self>, peer: Arc<Peer>, fault: Fault) -> Response<Download> {
        let (mut head, ()) = Request::new(()).into_parts();
        // Nothing that such a head says is taken for granted, not even for the record.
        head.method = UNREAD_METHOD.clone();
        head.uri = Uri::from_static("*");
        let refusal = Refusal::new(match fault {
            Fault::HeadTooLarge => Code::HeadersTooLarge,
            Fault::TooSlow => Code::RequestTimeout,
            _ => Code::BadRequest,
        });
        peer.linger();
        let exchange = Exchange::begin(&self.shared, peer, &head, None);
        let mut answer = respond::refuse(exchange, refusal.detail(fault.reason()));
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        answer
    }

    fn bounds(&self) -> Bounds {
        let policy = self.shared.policy.load();
        let max_head = policy.head.max_bytes.saturating_add(HEAD_SLACK);
        Bounds { max_head, min_rate: policy.min_rate }
    }

    fn offers_tunnels(&self) -> bool {
        self.shared.policy.load().has_websockets()
    }
}
