//! One request at one endpoint: where it goes, and how it went.
//!
//! An [`Attempt`] counts as a request in flight until it is dropped, which is
//! when the answer has ended. What is said of it moves the endpoint's circuit,
//! its ejection and what is known of its provider's limits. Dropped without a
//! word it counts neither way.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use http::Response;

use super::{
    breaker::Way,
    cluster::{Members, bit},
    holds::Whose,
    member::State,
    provider,
};
use crate::{
    clock::Timestamp,
    policy::{
        resilience::{ProviderLimits, Resilience},
        snapshot::Endpoint,
    },
};

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The endpoint answered, and not with a 5xx.
    Answered,
    /// It did not connect, broke off, was late, or answered with a 5xx.
    Failed,
    /// It is not to blame: the caller's own body failed.
    Unsure,
}

/// A request on its way to an endpoint, until its answer has ended.
#[must_use = "dropping an attempt ends it"]
pub struct Attempt {
    pub(super) members: Arc<Members>,
    pub(super) index: usize,
    /// The way through the circuit, until it is known how it went.
    pub(super) way: Option<Way>,
}

impl Attempt {
    /// Where it goes.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.members.list()[self.index].endpoint
    }

    /// Its bit in [`super::Ask::tried`].
    pub fn bit(&self) -> u64 {
        bit(self.index)
    }

    fn state(&self) -> &State {
        &self.members.list()[self.index].state
    }

    /// Says how it went, as far as the endpoint is concerned.
    pub fn went(&mut self, verdict: Verdict, rules: &Resilience, now: Timestamp, random: u64) {
        if verdict == Verdict::Unsure {
            return;
        }
        let name = &*self.endpoint().name;
        let (state, way) = (self.state(), self.way);
        let failed = verdict == Verdict::Failed;
        if let (Some(rule), Some(way)) = (&rules.breaker, way) {
            if failed && state.breaker.failed(rule, way, now) {
                tracing::warn!(endpoint = name, open_for = ?rule.open_for, "the circuit is open");
            } else if !failed && state.breaker.succeeded(way) {
                tracing::info!(endpoint = name, "the circuit is closed again");
            }
        }
        if let Some(rule) = &rules.ejection {
            if !failed {
                state.ejection.succeeded();
            } else if let Some(length) = state.ejection.failed(rule, now, random) {
                state.cell.ejections.add(1);
                state.cell.ejected_until.store(state.ejection.until().as_millis(), Relaxed);
                tracing::warn!(endpoint = name, ?length, "the endpoint is ejected");
            }
        }
        // Only a circuit that is not closed, or has just changed, is worth a write to a shared line.
        if failed || way == Some(Way::Trial) {
            state.show_circuit();
        }
        self.way = None;
    }

    /// Takes in what an answer says of the provider's limits; `whose` are they who must wait if
    /// it asks for that, if anybody must. Returns how long it asks to be left alone.
    pub fn note_limits(
        &self,
        limits: ProviderLimits,
        answer: &Response<impl Sized>,
        now: Timestamp,
        whose: impl FnOnce(bool) -> Option<Whose>,
    ) -> Option<Duration> {
        let quotas = provider::quotas(answer.headers(), now);
        let cell = &self.state().cell;
        for (cell, quota) in cell.quotas.iter().zip(quotas.iter().flatten()) {
            quota.limit.inspect(|limit| cell.limit.set(*limit));
            quota.remaining.inspect(|remaining| cell.remaining.set(*remaining));
            quota.reset.inspect(|reset| cell.resets_at.set(now.after(*reset).as_millis()));
        }
        let wait = provider::wait(answer.status(), answer.headers(), quotas.as_ref(), now)?;
        cell.limited.add(1);
        if let Some(whose) = whose(quotas.is_some()) {
            self.hold(limits, whose, wait, now);
        }
        Some(wait)
    }

    fn hold(&self, limits: ProviderLimits, whose: Whose, wait: Duration, now: Timestamp) {
        let (state, first) = (self.state(), !self.state().holds.any(now));
        state.holds.add(whose, wait, now);
        state.cell.held_until.store(state.holds.latest().as_millis(), Relaxed);
        if first {
            let endpoint = &*self.endpoint().name;
            let refused = limits == ProviderLimits::Refuse;
            tracing::warn!(endpoint, ?wait, refused, "the upstream asks to be left alone");
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let state = self.state();
        state.cell.in_flight.add(-1);
        if self.way == Some(Way::Trial) {
            state.breaker.abandoned();
            state.show_circuit();
        }
    }
}
