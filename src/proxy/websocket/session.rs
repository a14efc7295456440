//! Who is on a WebSocket, what it may still do, and the record of it.
//!
//! A WebSocket outlives the policy that admitted it. So it takes the policy in
//! force again whenever that has changed: the same credential must still name the
//! same subject, and the subject's tier must still be allowed. The limits on
//! messages and on the lifetime stay those of the handshake.
//!
//! # Failure
//! A [`Refusal`] ends the WebSocket, as far as the policy's mode enforces it.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use http::Method;
use smallvec::SmallVec;

use super::{Tally, end::End};
use crate::{
    ledger::{CounterUsage, Exceeded, Excess, Store as _},
    policy::{
        limit::{CounterId, Limit, POOLS, Unit},
        snapshot::{MessageRules, Mode, OperationId, Policy},
    },
    proxy::{
        admit,
        exchange::Exchange,
        identify, panic,
        presence::{self, Due, Looks},
        refusal::{Code, Refusal},
        settle::Permit,
        upload::Upload,
    },
    units::NanoUsd,
    upstream::Lease,
};

/// The span of `per_minute`.
const MINUTE: Duration = Duration::from_secs(60);

/// One WebSocket, as the policy sees it.
pub struct Session {
    exchange: Box<Exchange>,
    permit: Option<Box<Permit>>,
    _lease: Lease<Upload>,
    rules: MessageRules,
    tally: Arc<Tally>,
    count: u32,
    minute: VecDeque<Instant>,
    /// Charged for messages.
    spent: NanoUsd,
    /// What budgets had been used when the last charge of this WebSocket was booked.
    paid: SmallVec<[(CounterId, u64); 4]>,
    looks: Looks,
    begun: bool,
}

impl Session {
    /// A session for an exchange that was admitted and answered with a switch of protocols.
    pub fn new(
        exchange: Box<Exchange>,
        permit: Box<Permit>,
        lease: Lease<Upload>,
        rules: MessageRules,
    ) -> Self {
        let mut session = Self {
            looks: Looks::new(&exchange),
            exchange,
            permit: Some(permit),
            _lease: lease,
            rules,
            tally: Arc::default(),
            count: 0,
            minute: VecDeque::new(),
            spent: NanoUsd(0),
            paid: SmallVec::new(),
            begun: false,
        };
        session.note_paid();
        session
    }

    /// Says that bytes may flow from here on.
    pub fn begin(&mut self) {
        self.begun = true;
        self.exchange.facts.complete = true;
        self.exchange.shared.telemetry.metrics.tunnels.add(1);
    }

    /// Asks leave for one message of the caller.
    ///
    /// # Errors
    /// A limit is reached.
    pub async fn message(&mut self) -> Result<(), Box<Refusal>> {
        self.count = self.count.saturating_add(1);
        if let Some(max) = self.rules.max_count.filter(|max| self.count > *max) {
            let message = format!("You have sent all {max} messages of this connection.");
            self.exchange.enforce(limit("max_count", message))?;
        }
        if let Some(max) = self.rules.per_minute {
            self.count_minute(max, Instant::now())?;
        }
        if self.rules.charged && self.exchange.policy.mode != Mode::Off {
            let cost = admit::message(&mut self.exchange).await?;
            self.spent = NanoUsd(self.spent.0.saturating_add(cost.0));
            self.note_paid();
        }
        Ok(())
    }

    fn count_minute(&mut self, max: u32, now: Instant) -> Result<(), Box<Refusal>> {
        while self.minute.front().is_some_and(|sent| now.duration_since(*sent) >= MINUTE) {
            self.minute.pop_front();
        }
        if self.minute.len() >= max as usize {
            let message = format!("You have sent all {max} messages of this minute.");
            return self.exchange.enforce(limit("per_minute", message));
        }
        self.minute.push_back(now);
        Ok(())
    }

    /// Looks whether the caller may still be here.
    ///
    /// # Errors
    /// The policy in force has no place for it any more, or its budget is spent.
    pub async fn look(&mut self) -> Result<(), Box<Refusal>> {
        let policy = self.exchange.shared.policy.load();
        if policy.mode == Mode::Off {
            return Ok(());
        }
        let mut judged = Ok(());
        if let Due::Identity(policy) = self.looks.begin(&mut self.exchange)? {
            judged = self.identify_again(&policy).await;
        }
        if judged.is_ok() {
            judged = self.look_at_budgets().await;
        }
        presence::carried_out(judged, &mut self.exchange, &policy)
    }

    async fn identify_again(&mut self, policy: &Arc<Policy>) -> Result<(), Box<Refusal>> {
        let exchange = &mut self.exchange;
        let found = policy.router.find(&Method::GET, &exchange.path);
        let operation = found.map(|found| OperationId(found.operation));
        let operation = operation.filter(|id| policy.operation(*id).websocket.is_some());
        let Some(operation) = operation else {
            return Err(Refusal::new(Code::UpgradeNotAllowed).detail("no longer allowed"));
        };
        let seen = presence::seen(exchange);
        let found = identify::again(&policy.identity, seen, &exchange.presented).await;
        let Some(caller) = presence::same_caller(exchange, found)? else { return Ok(()) };
        if !policy.terms(Some(operation), Some(caller.tier)).allowed {
            return Err(Refusal::new(Code::Forbidden).detail("no longer allowed"));
        }
        exchange.policy = Arc::clone(policy);
        (exchange.operation, exchange.tier) = (Some(operation), Some(caller.tier));
        exchange.subject = Some(caller.subject);
        Ok(())
    }

    /// A budget that others have spent since leaves no room for this one either, its own or one
    /// that all callers share. What the WebSocket itself has paid for is not taken away from it.
    async fn look_at_budgets(&mut self) -> Result<(), Box<Refusal>> {
        let (shared, policy) = (&self.exchange.shared, &self.exchange.policy);
        let Some(subject) = &self.exchange.subject else { return Ok(()) };
        let terms = self.exchange.terms();
        let (own, pools) = (&terms.limits.limits, &terms.limits.pools);
        let (ledger, now) = (&shared.ledger, shared.clock.now());
        let mut usage = Vec::new();
        for (limits, account) in [(own, &**subject), (pools, POOLS)] {
            if limits.iter().any(is_budget) {
                // A store that cannot say is no reason to end what was admitted.
                let Ok(more) = ledger.usage(account, now).await else { return Ok(()) };
                usage.extend(more);
            }
        }
        let cost = self.exchange.operation.map_or(NanoUsd(0), |id| policy.operation(id).cost);
        for (index, limit) in terms.limits.all().enumerate().filter(|(_, l)| is_budget(l)) {
            let id = limit.counter.id();
            let Some(CounterUsage { used, resets_in, .. }) = usage.iter().find(|u| u.id == id)
            else {
                continue;
            };
            let Some((_, paid)) = self.paid.iter_mut().find(|(paid, _)| *paid == id) else {
                continue;
            };
            // A new period begins at nothing.
            *paid = (*paid).min(*used);
            if *used > *paid && used.saturating_add(cost.0.max(1)) > limit.amount {
                let excess = Excess { limit: Exceeded::Limit(index), retry_after: *resets_in };
                return Err(admit::refusal(&excess, &terms.shown));
            }
        }
        Ok(())
    }

    fn note_paid(&mut self) {
        let Some(standing) = &self.exchange.standing else { return };
        let limits = self.exchange.terms().limits.all().zip(&standing.states);
        let budgets = limits.filter(|(limit, _)| is_budget(limit));
        self.paid = budgets.map(|(limit, state)| (limit.counter.id(), state.used)).collect();
    }

    /// Notes for the record how it ended.
    pub fn note(&mut self, end: &End) {
        if matches!(end, End::Panicked) {
            panic::count(&self.exchange.shared);
        }
        let facts = &mut self.exchange.facts;
        facts.refused = end.code();
        facts.detail = end.detail().map(Into::into);
        let metrics = &self.exchange.shared.telemetry.metrics;
        if let Some(count) = metrics.tunnel_ends.get(end.reason()) {
            count.add(1);
        }
    }

    /// Bounds of what may be said.
    pub fn rules(&self) -> &MessageRules {
        &self.rules
    }

    /// Whether each message of the caller needs leave.
    pub fn asks(&self) -> bool {
        self.rules.charged || self.rules.max_count.is_some() || self.rules.per_minute.is_some()
    }

    /// When it must end.
    pub fn ends_at(&self) -> Option<Instant> {
        let operation = self.exchange.policy.operation(self.exchange.operation?);
        Some(self.exchange.started + operation.max_lifetime?)
    }

    /// The policy that decides now.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.exchange.policy
    }

    /// Where bytes are counted.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.begun {
            self.exchange.shared.telemetry.metrics.tunnels.add(-1);
        }
        if let Some(permit) = self.permit.take() {
            permit.settle(&mut self.exchange);
        }
        let facts = &mut self.exchange.facts;
        facts.cost = NanoUsd(facts.cost.0.saturating_add(self.spent.0));
        facts.request_bytes = self.tally.up.load(Relaxed);
        facts.response_bytes = self.tally.down.load(Relaxed);
        facts.redactions += self.tally.redactions.load(Relaxed);
    }
}

fn is_budget(limit: &Limit) -> bool {
    limit.counter.unit() == Unit::NanoUsd
}

fn limit(name: &'static str, message: String) -> Box<Refusal> {
    Refusal::new(Code::QuotaExceeded).message(message).detail(name)
}
