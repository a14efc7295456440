//! One request and its answer in flight, and the facts that its record will show.
//!
//! Begun before anything is decided and dropped after everything is over, so
//! that however an exchange ends, it leaves exactly one record.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, request::Parts};
use http_body::Body;
use hyper::body::Incoming;

use super::{
    Shared,
    forwarded::{CallerAddress, Connected},
    grpc, headers,
    identify::Presented,
    limits,
    refusal::{Code, Refusal},
    trace::Trace,
    upgrade::Upgrade,
    upload::Progress,
};
use crate::{
    clock::Timestamp,
    ledger::Standing,
    meter::Bill,
    policy::{
        cors::Verdict,
        snapshot::{Dialect, Mode, OperationId, Policy, Terms, TierId},
    },
    server::{Fault, Peer},
    telemetry::{Cost, Metered, Record},
    units::NanoUsd,
    upstream::Attempt,
};

/// The header that carries the id of a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest client id that is logged, in bytes.
const MAX_CLIENT_ID: usize = 128;

/// Status of an exchange whose caller left first, as nginx writes it.
const CLIENT_GONE: u16 = 499;

/// A request and its answer in flight.
pub struct Exchange {
    /// The policy that decides, from beginning to end.
    pub policy: Arc<Policy>,
    /// What every exchange of this process shares.
    pub shared: Arc<Shared>,
    /// Who is connected.
    pub peer: Arc<Peer>,
    /// Where the request comes from, as far as trusted proxies say.
    pub address: CallerAddress,
    /// Method as received.
    pub method: Method,
    /// Canonical path; as received until it is known to be sound.
    pub path: String,
    /// The request's id, as a header value.
    pub id: HeaderValue,
    /// Whether its answer teaches the caller the names of fields that change each time.
    pub teaches: bool,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// What the `Origin` means for the answer.
    pub origin: Verdict,
    /// The kind of work, once matched.
    pub operation: Option<OperationId>,
    /// The caller's tier, once identified.
    pub tier: Option<TierId>,
    /// The caller's subject, once identified.
    pub subject: Option<Arc<str>>,
    /// The state of every limit, once asked.
    pub standing: Option<Standing>,
    /// When the request began, on the wall clock.
    pub began: Timestamp,
    /// When the request began, for durations.
    pub started: Instant,
    /// What is known of the answer so far.
    pub facts: Facts,
    /// The caller's body, until somebody reads it.
    pub body: Option<Incoming>,
    /// What the caller wants the connection to become, until that is decided.
    pub upgrade: Option<Box<Upgrade>>,
    /// Whether the connection ends with the answer.
    pub closes: bool,
    /// Whether it is a gRPC call, which reads its status from fields of its own.
    pub grpc: bool,
    /// Where the answer comes from; it counts there until the exchange is over.
    pub attempt: Option<Attempt>,
    /// The credentials that the request came with, to be judged again while it lasts.
    pub presented: Presented,
    client_id: Option<HeaderValue>,
}

/// What is known of the answer so far.
#[derive(Debug, Default)]
pub struct Facts {
    /// Status of the answer, once there is one.
    pub status: Option<u16>,
    /// Why we refused.
    pub refused: Option<Code>,
    /// Why we would have refused, in shadow mode.
    pub shadowed: Option<Code>,
    /// What went wrong, for operators.
    pub detail: Option<std::borrow::Cow<'static, str>>,
    /// Wait for the upstream's first byte.
    pub upstream_wait: Option<Duration>,
    /// Wait for the caller's body, which is not our doing.
    pub body_wait: Duration,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// Matches replaced.
    pub redactions: u64,
    /// Charged.
    pub cost: NanoUsd,
    /// How the charge came about, when it is not the flat cost.
    pub bill: Option<Box<Bill>>,
    /// Whether the answer went out whole.
    pub complete: bool,
    /// Attempts at the upstream.
    pub attempts: u32,
    /// Where the last attempt went, when there was a choice.
    pub endpoint: Option<Arc<str>>,
    /// How far a body that is sent on as it comes has come.
    pub upload: Option<Arc<Progress>>,
}

impl Exchange {
    /// Begins an exchange on the policy in force.
    pub fn begin(
        shared: &Arc<Shared>,
        peer: Arc<Peer>,
        head: &Parts,
        body: Option<Incoming>,
    ) -> Box<Self> {
        let policy = shared.policy.load();
        let trace = Trace::begin(&head.headers);
        let id = HeaderValue::from_bytes(&trace.request_id.hex());
        let started = Instant::now();
        let teaches = peer.teaches_names(started);
        let id = limits::fleeting(id.unwrap_or(HeaderValue::from_static("unknown")), teaches);
        let origin = policy.cors.judge(&head.headers);
        let address = caller_address(&policy, &peer, &head.headers);
        // For the record, should nothing get as far as the canonical path.
        let path = head.uri.path().to_owned();
        let body = body.filter(|body| !body.is_end_stream());
        let (grpc, client_id) = (grpc::is_call(head), client_id(&head.headers));
        let (method, shared) = (head.method.clone(), Arc::clone(shared));
        let began = shared.clock.now();
        // All that may fail is done, and there is a place for it: so it is made there, not made and copied.
        let place = Box::new_uninit();
        Box::write(
            place,
            Self {
                policy,
                shared,
                peer,
                address,
                method,
                path,
                id,
                teaches,
                trace,
                origin,
                operation: None,
                tier: None,
                subject: None,
                standing: None,
                began,
                started,
                facts: Facts::default(),
                body,
                upgrade: None,
                closes: false,
                grpc,
                attempt: None,
                presented: Presented::default(),
                client_id,
            },
        )
    }

    /// What applies to this exchange as far as it is known.
    pub fn terms(&self) -> &Terms {
        self.policy.terms(self.operation, self.tier)
    }

    /// The shape of a refusal's body.
    pub fn dialect(&self) -> Dialect {
        self.operation.map_or(Dialect::Weir, |id| self.policy.operation(id).dialect)
    }

    /// The id as text.
    pub fn id_text(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// Carries a refusal out as far as the policy's mode does: in shadow it is only noted.
    ///
    /// # Errors
    /// The refusal, when the policy is enforced.
    pub fn enforce(&mut self, refusal: Box<Refusal>) -> Result<(), Box<Refusal>> {
        match self.policy.mode {
            Mode::Enforce => return Err(refusal),
            Mode::Shadow => self.facts.shadowed = Some(refusal.code),
            Mode::Off => {}
        }
        Ok(())
    }

    /// Whether the caller may still be sending a body that nobody reads.
    pub fn owes_body(&self) -> bool {
        let upload = self.facts.upload.as_ref();
        self.body.is_some() || upload.is_some_and(|upload| upload.finished_ms().is_none())
    }

    /// Notes what Weir itself added, when the head of the answer is ready.
    pub fn note_overhead(&self) {
        let waited = self.facts.upstream_wait.unwrap_or_default() + self.facts.body_wait;
        let added = self.started.elapsed().saturating_sub(waited);
        self.shared.telemetry.metrics.overhead.observe(added);
    }

    fn record(&self, status: u16, duration: Duration) {
        let (policy, facts) = (&self.policy, &self.facts);
        self.shared.telemetry.record(&Record {
            began: self.began,
            request_id: self.id_text(),
            client_request_id: self.client_id.as_ref().and_then(|id| id.to_str().ok()),
            trace_id: self.trace.id_text(),
            method: &self.method,
            path: &self.path,
            operation: self.operation.map_or("none", |id| &policy.operation(id).name),
            tier: self.tier.map_or("none", |id| &policy.tier(id).name),
            subject: self.subject.as_deref(),
            peer: self.peer.ip_text(),
            address: self.address.text(),
            protocol: self.peer.protocol.name(),
            status,
            error_code: facts.refused.map(Code::name),
            shadow_code: facts.shadowed.map(Code::name),
            detail: facts.detail.as_deref().or_else(|| self.peer.fault().map(Fault::reason)),
            duration,
            upstream: facts.upstream_wait,
            attempts: facts.attempts,
            endpoint: facts.endpoint.as_deref(),
            request_bytes: facts.request_bytes,
            response_bytes: facts.response_bytes,
            redactions: facts.redactions,
            cost: Cost { amount: facts.cost, metered: facts.bill.as_deref().map(metered) },
            generation: policy.generation,
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let gone = !self.facts.complete;
        let status = if gone { CLIENT_GONE } else { self.facts.status.unwrap_or(CLIENT_GONE) };
        let duration = self.started.elapsed();
        let cell = &self.terms().cell;
        if let Ok(code) = http::StatusCode::from_u16(status) {
            cell.request(&self.method, code);
        }
        cell.duration.observe(duration);
        let bill = self.facts.bill.as_deref();
        match bill.and_then(|bill| Some((bill.model.as_ref()?, bill.usage.unwrap_or_default()))) {
            Some((model, usage)) => cell.spent(model, self.facts.cost, &usage),
            None => cell.cost.add(self.facts.cost.0),
        }
        if let Some(code) = self.facts.refused {
            cell.refusal(code as usize);
        }
        self.record(status, duration);
    }
}

fn metered(bill: &Bill) -> Metered<'_> {
    Metered {
        source: bill.source,
        confidence: bill.confidence,
        model: bill.model.as_deref(),
        usage: bill.usage.as_ref(),
    }
}

fn caller_address(policy: &Policy, peer: &Peer, headers: &HeaderMap) -> CallerAddress {
    let connected = Connected { ip: peer.ip(), text: &peer.ip, is_unix: peer.is_unix() };
    CallerAddress::of(&policy.trusted, connected, headers)
}

/// The caller's own id for the request: logged, never used.
fn client_id(headers: &HeaderMap) -> Option<HeaderValue> {
    if !headers::has(headers, &REQUEST_ID) {
        return None;
    }
    headers.get(REQUEST_ID).filter(|id| id.len() <= MAX_CLIENT_ID).cloned()
}
