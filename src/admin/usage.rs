//! `GET /admin/v1/usage`: what each subject has used, and the limits that are in force.
//!
//! `?prefix=` asks for the subjects that begin with it, `?limit=` for so many of them, the first by
//! name. [`Row`] is made of a policy, so that whoever has another policy can compare: `weir check
//! --against` does.
//!
//! # Failure
//! 503 when the store cannot be asked.
//!
//! # Limits
//! At most [`MOST`] subjects in one answer.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::Admin;
use crate::{
    ledger::{CounterUsage, Store},
    policy::{
        limit::{Limit, POOLS, Span, Unit},
        snapshot::{Dialect, Operation, OperationId, Policy, TierId},
    },
};

/// Most subjects in one answer.
pub const MOST: usize = 10_000;
/// As many unless another number is asked for.
const USUAL: usize = 1_000;

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    prefix: String,
    limit: Option<usize>,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Usage {
    /// Running number of the policy in force.
    pub generation: u64,
    /// Every limit of that policy, one row per tier and operation that meets it.
    pub limits: Vec<Row>,
    /// Sorted by name.
    pub subjects: Vec<Subject>,
    /// What all callers share.
    pub pools: Vec<Counted>,
    /// Whether there are subjects beyond these.
    pub more: bool,
}

/// One limit as one operation meets it in one tier.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// The tier.
    pub tier: String,
    /// The operation.
    pub operation: String,
    /// As written: `3/hour`, `$0.50/day`.
    pub limit: String,
    /// Whether all callers share it.
    pub shared: bool,
    /// The key of its counter, and those that it had under former names.
    pub counters: Vec<String>,
    /// Upper bound, in the counter's unit.
    pub amount: u64,
    /// The least that one more request asks of it.
    pub least: u64,
}

/// One subject.
#[derive(Debug, Serialize, Deserialize)]
pub struct Subject {
    /// Its name.
    pub subject: String,
    /// In the order of first use.
    pub counters: Vec<Counted>,
}

/// One counter.
#[derive(Debug, Serialize, Deserialize)]
pub struct Counted {
    /// Its key, 16 hex digits.
    pub counter: String,
    /// The operation's name, or `*`; of a pool `tier:NAME`, `tier:NAME/OPERATION` or `operation:NAME`.
    pub scope: String,
    /// `requests`, `tokens`, `bytes` or `nano_usd`.
    pub unit: String,
    /// `3600000ms`, `day`, `week`, `month` or `in_flight`.
    pub span: String,
    /// Committed and held together, in the unit.
    pub used: u64,
    /// The part that requests in flight hold, where it is known.
    pub held: u64,
    /// Whole seconds, rounded up, until something of it ends.
    pub resets_in_seconds: u64,
}

/// Answers with what is used.
pub(super) async fn usage(State(admin): State<Arc<Admin>>, Query(asked): Query<Asked>) -> Response {
    match collect(&admin, &asked).await {
        Some(usage) => Json(usage).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the store cannot be asked\n").into_response(),
    }
}

async fn collect(admin: &Admin, asked: &Asked) -> Option<Usage> {
    let (policy, now) = (admin.policy.load(), admin.clock.now());
    let limit = asked.limit.unwrap_or(USUAL).clamp(1, MOST);
    let mut names = admin.ledger.subjects(&asked.prefix, limit + 1).await.ok()?;
    let more = names.len() > limit;
    names.truncate(limit);
    let mut subjects = Vec::with_capacity(names.len());
    for name in names {
        let counters = admin.ledger.usage(&name, now).await.ok()?;
        let counters = counters.iter().map(Counted::from).collect();
        subjects.push(Subject { subject: name.to_string(), counters });
    }
    let pools = admin.ledger.usage(POOLS, now).await.ok()?;
    let pools = pools.iter().map(Counted::from).collect();
    Some(Usage { generation: policy.generation, limits: rows(&policy), subjects, pools, more })
}

/// Every limit of a policy, tier by tier and operation by operation.
pub fn rows(policy: &Policy) -> Vec<Row> {
    let mut rows = Vec::new();
    for (column, tier) in policy.tiers.iter().enumerate() {
        for (row, operation) in policy.operations.iter().enumerate() {
            let terms = policy.terms(Some(OperationId(row)), Some(TierId(column)));
            let own = terms.limits.limits.len();
            let met = terms.limits.all().zip(&terms.shown).enumerate().filter(|_| terms.allowed);
            for (index, (limit, shown)) in met {
                let least = least(limit, operation);
                // Who is in flight is another matter a moment later, and what is free is never refused.
                if matches!(limit.counter.span(), Span::InFlight) || least == 0 {
                    continue;
                }
                rows.push(Row {
                    tier: tier.name.to_string(),
                    operation: operation.name.to_string(),
                    limit: shown.written.clone(),
                    shared: index >= own,
                    counters: keys(limit),
                    amount: limit.amount,
                    least,
                });
            }
        }
    }
    rows
}

/// The least that one request asks: what is priced by its usage costs something, what has no price nothing.
fn least(limit: &Limit, operation: &Operation) -> u64 {
    match limit.counter.unit() {
        Unit::NanoUsd => operation.cost.0.max(u64::from(operation.dialect == Dialect::ModelSdk)),
        Unit::Requests | Unit::Tokens | Unit::Bytes => 1,
    }
}

fn keys(limit: &Limit) -> Vec<String> {
    let all = std::iter::once(limit.counter.id()).chain(limit.counter.former().iter().copied());
    all.map(|id| format!("{:016x}", id.to_u64())).collect()
}

impl From<&CounterUsage> for Counted {
    fn from(usage: &CounterUsage) -> Self {
        let wait = usage.resets_in;
        Self {
            counter: format!("{:016x}", usage.id.to_u64()),
            scope: usage.scope.to_string(),
            unit: usage.unit.to_string(),
            span: usage.span.to_string(),
            used: usage.used,
            held: usage.held,
            resets_in_seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
        }
    }
}
