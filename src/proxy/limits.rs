//! What a caller is told of its limits.
//!
//! Every figure comes from the verdict of this request's reservation, so headers
//! and decisions cannot disagree. `RateLimit` follows
//! draft-ietf-httpapi-ratelimit-headers-10; budgets, for which it has no unit,
//! have fields of their own.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::exchange::Exchange;
use crate::{
    ledger::LimitState,
    policy::{
        limit::Unit,
        snapshot::{ShownKind, ShownLimit},
    },
    units::{Dollars, NanoUsd},
};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const USER_TIER: HeaderName = HeaderName::from_static("x-user-tier");
const COST_USED: HeaderName = HeaderName::from_static("x-cost-used-today");
const COST_LIMIT: HeaderName = HeaderName::from_static("x-cost-limit-daily");
const COST_REMAINING: HeaderName = HeaderName::from_static("x-cost-remaining-today");

/// Puts the caller's tier and the state of its limits on an answer.
pub fn show(exchange: &Exchange, fields: &mut HeaderMap) {
    if let Some(tier) = exchange.tier {
        fields.insert(USER_TIER, exchange.policy.tier(tier).header.clone());
    }
    let Some(standing) = &exchange.standing else { return };
    let terms = exchange.terms();
    if let Some(policy) = &terms.policy_header {
        fields.insert(RATELIMIT_POLICY, policy.clone());
    }
    let mut items = String::with_capacity(64);
    let mut tightest: Option<(&HeaderValue, u64, LimitState)> = None;
    for (limit, state) in terms.shown.iter().zip(&standing.states) {
        match &limit.kind {
            ShownKind::Quota { item, amount } => {
                push_item(&mut items, item, state);
                if limit.unit == Unit::Requests && is_tighter(limit, state, tightest.as_ref()) {
                    tightest = Some((amount, limit.amount, *state));
                }
            }
            ShownKind::Budget { daily: true, dollars, .. } => {
                insert_dollars(fields, COST_USED, state.used, exchange.teaches);
                insert_dollars(fields, COST_REMAINING, state.remaining, exchange.teaches);
                fields.insert(COST_LIMIT, dollars.clone());
            }
            ShownKind::Budget { .. } => {}
            // Less is left to all of them than to this caller alone: that is what binds it.
            ShownKind::Shared { crowd: false, amount, .. } if limit.unit == Unit::Requests => {
                let left = tightest.as_ref().map_or(1, |(_, _, own)| own.remaining);
                if state.remaining < left {
                    tightest = Some((amount, limit.amount, *state));
                }
            }
            ShownKind::Shared { .. } => {}
        }
    }
    if let Some((amount, _, state)) = tightest {
        fields.insert(LIMIT, amount.clone());
        fields.insert(REMAINING, fleeting(HeaderValue::from(state.remaining), exchange.teaches));
        fields
            .insert(RESET, fleeting(HeaderValue::from(seconds(state.resets_in)), exchange.teaches));
    }
    if let Some(items) = HeaderValue::try_from(items).ok().filter(|items| !items.is_empty()) {
        fields.insert(RATELIMIT, fleeting(items, exchange.teaches));
    }
}

/// Keeps a value that is never sent again out of HPACK's dynamic table (RFC 7541, 6.2.3): there it
/// would only push out those that each answer repeats, and they would be spelled out anew. But its
/// name is only there if some answer `teaches` it with a value: else each one spells it out.
pub fn fleeting(mut value: HeaderValue, teaches: bool) -> HeaderValue {
    value.set_sensitive(!teaches);
    value
}

/// Less remains of it, as a share of the whole, than of the tightest so far.
fn is_tighter(
    limit: &ShownLimit,
    state: &LimitState,
    tightest: Option<&(&HeaderValue, u64, LimitState)>,
) -> bool {
    tightest.is_none_or(|(_, amount, other)| {
        let (own, others) = (u128::from(limit.amount), u128::from(*amount));
        u128::from(state.remaining) * others < u128::from(other.remaining) * own
    })
}

fn push_item(items: &mut String, item: &str, state: &LimitState) {
    if !items.is_empty() {
        items.push_str(", ");
    }
    let mut number = itoa::Buffer::new();
    items.push_str(item);
    items.push_str(number.format(state.remaining));
    items.push_str(";t=");
    items.push_str(number.format(seconds(state.resets_in)));
}

/// Whole seconds, rounded up: never earlier than the truth.
fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

fn insert_dollars(fields: &mut HeaderMap, name: HeaderName, nano: u64, teaches: bool) {
    let mut text = [0; Dollars::MAX_LEN];
    if let Ok(value) = HeaderValue::from_bytes(NanoUsd(nano).dollars(4).write(&mut text)) {
        fields.insert(name, fleeting(value, teaches));
    }
}
