//! What a caller is shown of a decision that was made here.
//!
//! Local accounts know what was used here and nothing else; what is known to be
//! used elsewhere is added, so that the figures are those of the whole limit as
//! far as anybody here can tell.

use std::time::Duration;

use crate::ledger::decision::{Exceeded, Excess, LimitState, Refused, Standing};
use crate::policy::limit::Limits;

/// The longest that a caller is told to wait for more than its allowance: the authority may
/// be back any moment.
const RETRY: Duration = Duration::from_secs(10);

/// Adds what is known to be used elsewhere; local limits are those of the policy, in its order.
pub(super) fn whole(mut shown: Standing, limits: &Limits, used: &[u64]) -> Standing {
    for ((state, limit), used) in shown.states.iter_mut().zip(limits.all()).zip(used) {
        state.used = state.used.saturating_add(*used);
        state.remaining = state.remaining.min(limit.amount.saturating_sub(state.used));
    }
    let excess = shown.excess.map(|excess| Excess {
        limit: exceeded(excess.limit, limits, &shown.states),
        retry_after: excess.retry_after,
    });
    Standing { excess, ..shown }
}

/// A refusal of local accounts, as a caller may be told.
pub(super) fn refused(refused: Refused, limits: &Limits, used: &[u64]) -> Refused {
    let standing = whole(refused.standing, limits, used);
    let limit = exceeded(refused.limit, limits, &standing.states);
    let retry_after = match limit {
        Exceeded::Allowance(_) => refused.retry_after.min(RETRY),
        Exceeded::Limit(_) | Exceeded::Never(_) | Exceeded::Concurrency => refused.retry_after,
    };
    Refused { standing, limit, retry_after }
}

/// Whether it is the limit itself that has no room, or what may be used of it now.
fn exceeded(local: Exceeded, limits: &Limits, states: &[LimitState]) -> Exceeded {
    match local {
        Exceeded::Limit(index) | Exceeded::Never(index) => {
            let (limit, state) = (limits.get(index), states.get(index));
            let is_spent =
                limit.zip(state).is_some_and(|(limit, state)| state.used >= limit.amount);
            if is_spent { Exceeded::Limit(index) } else { Exceeded::Allowance(index) }
        }
        Exceeded::Allowance(_) | Exceeded::Concurrency => local,
    }
}

/// The same for limits of which some are left out: those have the state that is known.
pub(super) fn part(shown: Standing, limits: &Limits, asked: &Limits, used: &[u64]) -> Standing {
    let mut states = shown.states.iter();
    let mut counted = asked.all().peekable();
    let all = limits.all().map(|limit| {
        let is_counted = counted.next_if(|c| c.counter.id() == limit.counter.id()).is_some();
        let state = is_counted.then(|| states.next().copied()).flatten();
        state.unwrap_or(LimitState { remaining: limit.amount, ..LimitState::default() })
    });
    let standing = Standing { states: all.collect(), excess: None };
    let excess = shown.excess.map(|excess| Excess {
        limit: placed(excess.limit, limits, asked),
        retry_after: excess.retry_after,
    });
    whole(Standing { excess, ..standing }, limits, used)
}

/// As [`part`], of a refusal.
pub(super) fn refused_part(
    told: Refused,
    limits: &Limits,
    asked: &Limits,
    used: &[u64],
) -> Refused {
    let excess = None;
    let states = part(told.standing, limits, asked, &[]).states;
    let limit = placed(told.limit, limits, asked);
    let standing = Standing { states, excess };
    refused(Refused { standing, limit, retry_after: told.retry_after }, limits, used)
}

/// The index in the policy's limits of one that was asked for.
fn placed(limit: Exceeded, limits: &Limits, asked: &Limits) -> Exceeded {
    let Some(index) = limit.index() else { return limit };
    let id = asked.get(index).map(|limit| limit.counter.id());
    let place = limits.all().position(|limit| Some(limit.counter.id()) == id);
    Exceeded::Limit(place.unwrap_or(index))
}
