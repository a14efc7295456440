//! Brings a request to an endpoint: to which, whether at all, and whether again.
//!
//! From the moment the request is handed to a connection the permit counts as
//! used, unless it turns out that nothing left. An attempt that was in vain is
//! repeated when that is safe (see `upstream::retry`), the policy wants it, the
//! retry budget allows it and the body is still whole; at another endpoint at
//! once if one is well, else after a pause. All attempts share one
//! `response_timeout`.
//!
//! Who waits for an answer is looked at as who gets one is: a caller that is blocked
//! meanwhile, or whose credential ends, is refused, and the upstream's work with it.
//!
//! # Failure
//! The refusal of the last attempt; without one, why none was made.

mod vain;

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use rand::Rng as _;

use vain::{Lost, Vain, judge};

use super::{
    exchange::Exchange,
    headers, meter,
    presence::{LOOK, Looks},
    refusal::{Code, Refusal},
    settle::Permit,
    upload::{Progress, Upload},
};
use crate::{
    clock::Timestamp,
    policy::{
        resilience::{ProviderLimits, RetryOn},
        snapshot::{Dialect, Policy},
    },
    upstream::{
        self, Ask, Attempt, Closed, Lease, Members, Pool, Whose, Why,
        retry::{self, Made},
    },
};

/// Headers by which a provider knows whose limits to count.
const ACCOUNTS: [HeaderName; 3] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
];

/// What Anthropic answers when it is overloaded.
const OVERLOADED: u16 = 529;

/// An answer's head, and the connection that its body comes on.
type Answer = (Response<Incoming>, Lease<Upload>);

/// What is to be sent, and since when its answer is waited for.
pub struct Order {
    /// The request.
    pub request: Request<Upload>,
    /// When it was ready.
    pub asked: Instant,
}

/// Sends the request until there is an answer, or no more sense in asking.
///
/// # Errors
/// 502, 503 or 504, or what the caller's own body did wrong on the way.
///
/// # Cancellation
/// Dropping the future ends the request at the upstream.
pub async fn request(
    exchange: &mut Exchange,
    permit: &mut Permit,
    order: Order,
    progress: &Progress,
    pool: &Arc<Pool<Upload>>,
) -> Result<Answer, Box<Refusal>> {
    let policy = Arc::clone(&exchange.policy);
    let mut delivery = Delivery::begin(exchange, &policy, &order);
    let mut attempt = delivery.attempt(exchange)?;
    let upstream = match exchange.upgrade {
        None => &policy.upstream,
        Some(_) => policy.upstream.for_tunnels(),
    };
    let mut request = order.request;
    loop {
        permit.mark_sent();
        let answer = {
            let answer = pin!(pool.send(upstream, attempt.endpoint(), request));
            // A caller that may not be here any more leaves as if by itself: what was begun is given up.
            delivery.wait(exchange, answer).await?
        };
        let answer = judge(answer, progress);
        delivery.learn(exchange, &mut attempt, &answer);
        if !delivery.begun {
            permit.mark_unsent();
        }
        let vain = match answer {
            Ok(answer) => {
                exchange.attempt = Some(attempt);
                return Ok(answer);
            }
            Err(vain) => vain,
        };
        let Some(pause) = delivery.pause(exchange, &vain) else {
            return vain.give_up(exchange, attempt);
        };
        if let Some((answer, _)) = &vain.answer {
            meter::lost(exchange, permit, answer.headers());
        }
        // What is given up makes room before the pause, not after it.
        drop(attempt);
        let Lost { reason, request: returned, refusal } = vain.lost();
        if !pause.is_zero() {
            // Boxed because it is rare: every request's future would carry its room.
            Box::pin(tokio::time::sleep(pause)).await;
        }
        let again = returned.or_else(|| delivery.again());
        let (Some(again), Ok(next)) = (again, delivery.attempt(exchange)) else {
            return Err(refusal);
        };
        exchange.shared.telemetry.metrics.retry(reason.map_or("", RetryOn::as_str));
        (request, attempt) = (again, next);
    }
}

/// One request on its way to an answer.
struct Delivery<'p> {
    policy: &'p Policy,
    members: Arc<Members>,
    asked: Instant,
    /// The members where it was.
    tried: u64,
    made: Made,
    /// Whether the upstream may have begun with it.
    begun: bool,
    /// The request once more, should it be sent again after the upstream may have begun with it.
    spare: Option<Request<Upload>>,
    /// The caller's own credential at the provider.
    account: Option<HeaderValue>,
    looks: Looks,
    /// When it is looked again whether the caller may still be here.
    look_at: Instant,
}

impl<'p> Delivery<'p> {
    fn begin(exchange: &Exchange, policy: &'p Policy, order: &Order) -> Self {
        let request = &order.request;
        let (cluster, rules) = (&exchange.shared.cluster, &policy.upstream.resilience);
        let repeats = rules.retry.attempts > 1;
        if repeats {
            cluster.deposit(exchange.began);
        }
        let own = !rules.own_account && rules.limits != ProviderLimits::Off;
        let credential = || {
            let name = ACCOUNTS.into_iter().find(|name| headers::has(request.headers(), name))?;
            request.headers().get(name).cloned()
        };
        Self {
            policy,
            members: cluster.members(policy),
            asked: order.asked,
            tried: 0,
            made: Made::default(),
            begun: false,
            account: own.then(credential).flatten(),
            spare: is_repeatable(exchange, policy).then(|| upstream::repeat(request)).flatten(),
            looks: Looks::new(exchange),
            look_at: order.asked + LOOK,
        }
    }

    /// Begins an attempt at the best endpoint.
    fn attempt(&mut self, exchange: &mut Exchange) -> Result<Attempt, Box<Refusal>> {
        let now = exchange.shared.clock.now();
        let among = self.among(exchange, now);
        let ask = self.ask(&among, now);
        let attempt = match self.members.begin(&ask) {
            Ok(attempt) => attempt,
            Err(closed) => {
                exchange.enforce(refused(closed))?;
                let forced = self.members.force(&ask);
                forced.ok_or_else(|| Refusal::new(Code::UpstreamUnreachable))?
            }
        };
        self.tried |= attempt.bit();
        self.made.attempts += 1;
        self.made.repeats += u32::from(self.begun);
        exchange.facts.attempts = self.made.attempts;
        if self.members.are_several() {
            exchange.facts.endpoint = Some(Arc::clone(&attempt.endpoint().name));
        }
        Ok(attempt)
    }

    fn ask<'a>(&self, among: &'a [Whose], now: Timestamp) -> Ask<'a>
    where
        'p: 'a,
    {
        let random = if self.members.are_several() { rand::rng().next_u64() } else { 0 };
        Ask { upstream: &self.policy.upstream, among, tried: self.tried, now, random }
    }

    /// Until when there must be an answer.
    fn deadline(&self) -> Instant {
        self.asked + self.policy.upstream.response_timeout
    }

    /// Waits for an answer until its deadline, or as long after the request has gone out whole; `None` when it
    /// is over. A body on its way has a deadline of its own, so this ends.
    ///
    /// # Errors
    /// The caller may not be here any more.
    async fn wait<F: Future>(
        &mut self,
        exchange: &mut Exchange,
        mut answer: Pin<&mut F>,
    ) -> Result<Option<F::Output>, Box<Refusal>> {
        let upload = exchange.facts.upload.clone();
        let (started, mut deadline) = (exchange.started, self.deadline());
        let patience = || deadline.saturating_duration_since(Instant::now());
        let patience = upload.as_ref().map(|_| patience()).unwrap_or_default();
        loop {
            let pause = deadline.min(self.look_at);
            if let Ok(answer) = tokio::time::timeout_at(pause.into(), answer.as_mut()).await {
                return Ok(Some(answer));
            }
            let now = Instant::now();
            if now >= self.look_at {
                self.look_at = now + LOOK;
                self.looks.look(exchange)?;
            }
            if now < deadline {
                continue;
            }
            let next = match upload.as_ref().map(|upload| upload.finished_ms()) {
                Some(Some(ms)) => started + Duration::from_millis(ms) + patience,
                Some(None) => now + patience,
                None => deadline,
            };
            if next <= now {
                return Ok(None);
            }
            deadline = next;
        }
    }

    /// Those among whom the request is, should they be held: empty as long as nobody is.
    fn among(&self, exchange: &Exchange, now: Timestamp) -> Vec<Whose> {
        if !self.members.any_held(now) {
            return Vec::new();
        }
        let (cluster, operation) = (&exchange.shared.cluster, operation(exchange));
        let account = cluster.account(operation, self.credential());
        let caller = exchange.subject.as_deref();
        let caller = caller.map(|subject| cluster.caller(operation, subject));
        [account].into_iter().chain(caller).collect()
    }

    fn credential(&self) -> Option<&[u8]> {
        self.account.as_ref().map(HeaderValue::as_bytes)
    }

    /// Takes in how an attempt went.
    fn learn(
        &mut self,
        exchange: &Exchange,
        attempt: &mut Attempt,
        answer: &Result<Answer, Box<Vain>>,
    ) {
        let rules = &self.policy.upstream.resilience;
        let now = exchange.shared.clock.now();
        let (verdict, answer, reason) = match answer {
            Ok(answer) => (vain::verdict_on(answer), Some(answer), None),
            Err(vain) => (vain.verdict, vain.answer.as_ref(), vain.reason),
        };
        self.begun |= !reason.is_some_and(retry::is_unsent);
        // A length is drawn only for those that fail.
        let random = if reason.is_some() { rand::rng().next_u64() } else { 0 };
        attempt.went(verdict, rules, now, random);
        let answer = answer.filter(|_| rules.limits != ProviderLimits::Off);
        let Some((response, _)) = answer else { return };
        attempt.note_limits(rules.limits, response, now, |of_provider| {
            self.whose(exchange, response.status(), of_provider)
        });
    }

    /// Who has to wait when an answer asks for it.
    ///
    /// Where it is clear that an account is counted, all who share it. Else a 429 speaks of "the
    /// user" (RFC 6585, 4): the caller alone waits, so that nobody's greed closes the service to
    /// others; and a 503 of one resource says nothing of the next.
    fn whose(&self, exchange: &Exchange, status: StatusCode, of_provider: bool) -> Option<Whose> {
        let (cluster, operation) = (&exchange.shared.cluster, operation(exchange));
        let own = self.policy.upstream.resilience.own_account;
        let limited = status == StatusCode::TOO_MANY_REQUESTS;
        let model = limited && exchange.dialect() == Dialect::ModelSdk;
        if of_provider || own || model || status.as_u16() == OVERLOADED {
            return Some(cluster.account(operation, self.credential()));
        }
        let subject = exchange.subject.as_deref().filter(|_| limited)?;
        Some(cluster.caller(operation, subject))
    }

    /// How long to wait before the next attempt; `None` when there is none.
    fn pause(&self, exchange: &Exchange, vain: &Vain) -> Option<Duration> {
        let (retry, reason) = (&self.policy.upstream.resilience.retry, vain.reason?);
        let is_whole = vain.request.is_some() || self.spare.is_some();
        if !is_whole || !retry::is_allowed(retry, &exchange.method, reason, self.made) {
            return None;
        }
        let (shared, now) = (&exchange.shared, exchange.shared.clock.now());
        let among = self.among(exchange, now);
        let elsewhere = self.members.has_other(&self.ask(&among, now));
        let asked = vain.answer.as_ref();
        let asked = asked.and_then(|(answer, _)| upstream::retry_after(answer.headers(), now));
        // Another endpoint need not be spared for what this one did.
        let pause = match elsewhere {
            true => Duration::ZERO,
            false => retry::pause(retry, self.made.attempts, asked, rand::rng().next_u64())?,
        };
        let in_time = Instant::now() + pause < self.deadline();
        (in_time && shared.cluster.withdraw(retry.budget, now)).then_some(pause)
    }

    /// The request once more, where it did not come back.
    fn again(&self) -> Option<Request<Upload>> {
        upstream::repeat(self.spare.as_ref()?)
    }
}

/// Whether the policy ever repeats such a request after the upstream may have begun with it: only
/// then is it worth a copy.
fn is_repeatable(exchange: &Exchange, policy: &Policy) -> bool {
    let retry = &policy.upstream.resilience.retry;
    retry.attempts > 1
        && retry.on.iter().any(|on| !retry::is_unsent(*on))
        && retry.methods.contains(&exchange.method)
}

fn operation(exchange: &Exchange) -> &str {
    exchange.operation.map_or("none", |id| &exchange.policy.operation(id).name)
}

/// Why the request is not even sent.
fn refused(closed: Closed) -> Box<Refusal> {
    let code = match closed.why {
        Why::Circuit => Code::UpstreamCircuitOpen,
        Why::Held => Code::UpstreamQuota,
    };
    Refusal::new(code).retry_after(closed.wait)
}
