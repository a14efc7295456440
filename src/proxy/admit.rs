//! May the caller go on: [`Caller`] → [`Permit`].
//!
//! One atomic reservation over every limit that applies, before the body is
//! read, so that a stranger cannot buy work.

use std::{borrow::Cow, time::Instant};

use http_body::Body as _;

use super::{
    exchange::Exchange,
    meter::Meter,
    presence,
    refusal::{Code, Refusal},
    settle::Permit,
};
use crate::{
    clock::Timestamp,
    ledger::{
        Decision, Demand, Exceeded, Excess, LimitState, Outcome, Standing, Store, StoreError,
    },
    policy::{
        identity::Caller,
        limit::{Limit, Span, Unit},
        snapshot::{Mode, ShownKind, ShownLimit},
    },
    units::NanoUsd,
};

/// Reserves what the request may use.
///
/// # Errors
/// 403 when the subject is blocked or the tier may not do this at all, 429 or 402 when a limit is reached,
/// 503 when the store cannot say.
pub async fn reserve(
    exchange: &mut Exchange,
    caller: &Caller,
) -> Result<Box<Permit>, Box<Refusal>> {
    let (policy, shared) = (exchange.policy.clone(), exchange.shared.clone());
    let terms = policy.terms(exchange.operation, exchange.tier);
    let shadow = policy.mode == Mode::Shadow;
    if let Err(refusal) = presence::allowed(&policy, &caller.subject) {
        exchange.enforce(refusal)?;
    }
    if !terms.allowed {
        exchange.enforce(Refusal::new(Code::Forbidden))?;
    }
    let cost = exchange.operation.map(|id| policy.operation(id).cost).unwrap_or_default();
    // What is not announced is counted when the request is over.
    let bytes = exchange.body.as_ref().map_or(0, |body| body.size_hint().lower());
    let demand = Demand {
        subject: &caller.subject,
        limits: &terms.limits,
        cost,
        tokens: 0,
        bytes,
        now: exchange.began,
        enforce: !shadow,
    };
    let asked = Instant::now();
    let decision = shared.ledger.reserve(demand).await;
    shared.telemetry.metrics.store_wait.observe(asked.elapsed());
    let decision = match decision {
        Ok(decision) => decision,
        Err(error) => {
            exchange.enforce(unavailable(&error))?;
            return Ok(Permit::new(shared, None, cost));
        }
    };
    let permit = match decision {
        Decision::Admitted(hold, standing) => {
            if let Some(excess) = &standing.excess {
                exchange.facts.shadowed = Some(code_of(excess, &terms.shown));
            }
            exchange.standing = Some(standing);
            Permit::new(shared, Some(hold), cost).carrying(bytes).metered(Meter::begin(exchange))
        }
        Decision::Refused(refused) => {
            let excess = Excess { limit: refused.limit, retry_after: refused.retry_after };
            exchange.standing = Some(refused.standing);
            note_highest(exchange);
            return Err(refusal(&excess, &terms.shown));
        }
    };
    note_highest(exchange);
    Ok(permit)
}

/// Charges one message inside an exchange that was admitted before; returns its cost.
///
/// # Errors
/// As [`reserve`], but never for too many requests in flight: the exchange is one of them.
pub async fn message(exchange: &mut Exchange) -> Result<NanoUsd, Box<Refusal>> {
    let (policy, shared) = (exchange.policy.clone(), exchange.shared.clone());
    let Some(subject) = exchange.subject.clone() else { return Ok(NanoUsd(0)) };
    let terms = policy.terms(exchange.operation, exchange.tier);
    let cost = exchange.operation.map(|id| policy.operation(id).cost).unwrap_or_default();
    let now = shared.clock.now();
    let demand = Demand {
        subject: &subject,
        limits: &terms.message_limits,
        cost,
        tokens: 0,
        bytes: 0,
        now,
        enforce: policy.mode != Mode::Shadow,
    };
    match shared.ledger.reserve(demand).await {
        Ok(Decision::Admitted(hold, standing)) => {
            // It is on its way: nothing can be refunded.
            shared.ledger.settle(hold, Outcome::Keep, now);
            if let Some(excess) = &standing.excess {
                exchange.facts.shadowed = Some(code_of(excess, &terms.shown));
            }
            exchange.standing = Some(standing);
            note_highest(exchange);
            Ok(cost)
        }
        Ok(Decision::Refused(refused)) => {
            let excess = Excess { limit: refused.limit, retry_after: refused.retry_after };
            Err(refusal(&excess, &terms.shown))
        }
        Err(error) => exchange.enforce(unavailable(&error)).map(|()| NanoUsd(0)),
    }
}

pub fn unavailable(error: &StoreError) -> Box<Refusal> {
    let code = match error {
        StoreError::Full { .. } => Code::Overloaded,
        _ => Code::StoreUnavailable,
    };
    Refusal::new(code).detail(error.to_string())
}

pub fn code_of(excess: &Excess, shown: &[ShownLimit]) -> Code {
    let Some(index) = excess.limit.index() else { return Code::TooManyConcurrent };
    match shown.get(index).map(|limit| &limit.kind) {
        Some(ShownKind::Budget { .. }) => Code::BudgetExceeded,
        Some(ShownKind::Shared { crowd: true, .. }) => Code::TooManyConcurrent,
        Some(ShownKind::Shared { .. }) if shown[index].unit == Unit::NanoUsd => {
            Code::BudgetExceeded
        }
        _ => Code::QuotaExceeded,
    }
}

/// What a caller is told of the limit that it met.
pub fn refusal(excess: &Excess, shown: &[ShownLimit]) -> Box<Refusal> {
    let refusal = Refusal::new(code_of(excess, shown)).retry_after(excess.retry_after);
    let Some(index) = excess.limit.index() else { return refusal };
    let Some(limit) = shown.get(index) else { return refusal };
    let phrase = phrase(limit, excess);
    refusal.message(phrase).detail(limit.written.clone())
}

/// Made of the policy's own names and numbers only.
fn phrase(limit: &ShownLimit, excess: &Excess) -> Cow<'static, str> {
    if let Exceeded::Never(_) = excess.limit {
        return Cow::Owned(format!("{}. Ask for less.", limit.excessive));
    }
    let wait = excess.retry_after;
    let seconds = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
    let plural = if seconds == 1 { "" } else { "s" };
    let written = &limit.written;
    let used = match (excess.limit, &limit.kind) {
        // The rest is not spent; it just cannot be given out while nobody knows the whole count.
        (Exceeded::Allowance(_), ShownKind::Shared { .. }) => Cow::Owned(format!(
            "What all callers may share of {written} until the counts can be reached is used"
        )),
        (Exceeded::Allowance(_), _) => Cow::Owned(format!(
            "You have used your share of {written} until the counts can be reached"
        )),
        _ => Cow::Borrowed(limit.phrase.as_str()),
    };
    Cow::Owned(format!("{used}. Try again in {seconds} second{plural}."))
}

/// Keeps the gauge of the highest use of each budget.
pub fn note_highest(exchange: &Exchange) {
    let Some(Standing { states, .. }) = &exchange.standing else { return };
    let terms = exchange.terms();
    for ((limit, state), counted) in terms.shown.iter().zip(states).zip(terms.limits.all()) {
        let ratio = u128::from(state.used) * 1_000_000 / u128::from(limit.amount.max(1));
        let ratio = u64::try_from(ratio).unwrap_or(u64::MAX);
        match &limit.kind {
            ShownKind::Budget { highest, .. } => {
                highest.note(ratio, end(counted, state, exchange.began));
            }
            // There is one count only: what it is now is what it is.
            ShownKind::Shared { used, .. } => {
                used.set(ratio, end(counted, state, exchange.began));
            }
            ShownKind::Quota { .. } => {}
        }
    }
}

/// Until when a use is worth showing if nobody asks again: to the end of its period, or to the next
/// whole number of windows.
fn end(limit: &Limit, state: &LimitState, now: Timestamp) -> u64 {
    match limit.counter.span() {
        Span::Window(length) => {
            let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1);
            (now.as_millis() / length).saturating_add(2).saturating_mul(length)
        }
        Span::Period(_) => now.after(state.resets_in).as_millis() / 1_000 * 1_000,
        // Once a request has ended, the next one tells.
        Span::InFlight => u64::MAX,
    }
}
