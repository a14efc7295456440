//! The endpoints of the upstream, and what has happened to each.
//!
//! A [`Cluster`] lives as long as the process. What it knows of an endpoint is
//! found again by the endpoint's name, so an edit of the policy forgets nothing;
//! what the policy no longer names is dropped. Every request begins an
//! [`Attempt`] at one of the [`Members`], and says how it went.
//!
//! # Failure
//! [`Closed`] when no endpoint may be asked. An attempt that is dropped without
//! a word counts neither way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::Response;

use super::{
    balance::{self, Candidate},
    breaker::{Breaker, Way},
    budget::Budget,
    ejection::Ejection,
    health::Probed,
    holds::{Holds, Names, Whose},
    provider,
};
use crate::{
    clock::Timestamp,
    policy::{
        resilience::{ProviderLimits, Resilience},
        snapshot::{Endpoint, Policy, Upstream},
    },
    telemetry::{EndpointCell, Metrics},
    units::Percent,
};

/// What is known of all endpoints.
pub struct Cluster {
    /// Taken when another policy comes into force.
    known: Mutex<HashMap<Arc<str>, Arc<State>>>,
    current: ArcSwap<Members>,
    budget: Budget,
    names: Names,
    metrics: Arc<Metrics>,
}

/// The endpoints of one policy.
#[derive(Default)]
pub struct Members {
    generation: u64,
    list: Vec<Member>,
}

pub(super) struct Member {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) state: Arc<State>,
}

/// What has happened to one endpoint.
pub(super) struct State {
    pub(super) cell: Arc<EndpointCell>,
    pub(super) probed: Probed,
    breaker: Breaker,
    ejection: Ejection,
    holds: Holds,
}

/// Why no endpoint may be asked, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Closed {
    /// How long.
    pub wait: Duration,
    /// Why.
    pub why: Why,
}

/// Why an endpoint may not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its circuit is open.
    Circuit,
    /// It asked to be left alone.
    Held,
}

/// What a request looks for a place with.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Where it may go.
    pub upstream: &'a Upstream,
    /// Those among whom it is held, should there be holds.
    pub among: &'a [Whose],
    /// The members where it was already, one bit each.
    pub tried: u64,
    /// The time.
    pub now: Timestamp,
    /// Decides ties.
    pub random: u64,
}

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

impl Cluster {
    /// A cluster that knows no endpoint yet.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::default(),
            current: ArcSwap::default(),
            budget: Budget::default(),
            names: Names::default(),
            metrics,
        })
    }

    /// The endpoints that `policy` names.
    pub fn members(&self, policy: &Policy) -> Arc<Members> {
        let current = self.current.load();
        if current.generation == policy.generation {
            return Arc::clone(&current);
        }
        self.follow(policy.generation, &policy.upstream)
    }

    /// Takes over what a policy names. An older policy than the newest changes nothing that lasts.
    fn follow(&self, generation: u64, upstream: &Upstream) -> Arc<Members> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let member = |endpoint: &Arc<Endpoint>| {
            let fresh = || State::new(self.metrics.endpoint(&endpoint.name));
            let state = known.entry(Arc::clone(&endpoint.name)).or_insert_with(fresh);
            Member { endpoint: Arc::clone(endpoint), state: Arc::clone(state) }
        };
        let list: Vec<Member> = upstream.endpoints.iter().map(member).collect();
        let members = Arc::new(Members { generation, list });
        if generation > self.current.load().generation {
            let names: Vec<&str> = upstream.endpoints.iter().map(|kept| &*kept.name).collect();
            known.retain(|name, _| names.contains(&&**name));
            self.metrics.show_endpoints(&names);
            members.list.iter().for_each(|member| member.state.adapt(&upstream.resilience));
            self.current.store(Arc::clone(&members));
        }
        members
    }

    /// Whether probes reach any endpoint of the policy in force.
    pub fn is_up(&self) -> bool {
        self.current.load().list.iter().any(|member| member.state.probed.is_well() == Some(true))
    }

    /// A request begins that may be repeated.
    pub fn deposit(&self, now: Timestamp) {
        self.budget.deposit(now);
    }

    /// Whether one more request may be repeated; if so, it is booked.
    pub fn withdraw(&self, share: Percent, now: Timestamp) -> bool {
        let within = self.budget.withdraw(share, now);
        if !within {
            self.metrics.retries_denied.add(1);
        }
        within
    }

    /// Those who use `credential` for `operation`; without one, all who bring none of their own.
    pub fn account(&self, operation: &str, credential: Option<&[u8]>) -> Whose {
        self.names.account(operation, credential)
    }

    /// One caller's requests for `operation`.
    pub fn caller(&self, operation: &str, subject: &str) -> Whose {
        self.names.caller(operation, subject)
    }
}

impl Members {
    /// All of them, in the order of the policy.
    pub(super) fn list(&self) -> &[Member] {
        &self.list
    }

    /// Whether there is a choice.
    pub fn are_several(&self) -> bool {
        self.list.len() > 1
    }

    /// Whether anybody is held anywhere: only then it matters who asks.
    pub fn any_held(&self, now: Timestamp) -> bool {
        self.list.iter().any(|member| member.state.holds.any(now))
    }

    /// Whether there is a member that is well and where the request was not yet.
    pub fn has_other(&self, ask: &Ask<'_>) -> bool {
        (0..self.list.len()).any(|index| {
            let seen = self.look(index, ask);
            seen.well && !seen.tried && seen.wait.is_none()
        })
    }

    /// Begins an attempt at the best member.
    ///
    /// # Errors
    /// When none may be asked: why, and for how long.
    pub fn begin(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Attempt, Closed> {
        let mut ask = *ask;
        loop {
            let index = self.choose(&ask)?;
            let state = &self.list[index].state;
            let way = match &ask.upstream.resilience.breaker {
                None => None,
                Some(rule) => match state.breaker.pass(rule, ask.now) {
                    Ok(way) => Some(way),
                    // Somebody else was faster; now it says that it waits, so this ends.
                    Err(wait) if !self.are_several() => {
                        return Err(Closed { wait, why: Why::Circuit });
                    }
                    Err(_) => {
                        ask.random = ask.random.rotate_right(7);
                        continue;
                    }
                },
            };
            if way == Some(Way::Trial) {
                state.show_circuit();
            }
            return Ok(self.attempt(index, way));
        }
    }

    /// Begins an attempt although none may be asked.
    pub fn force(self: &Arc<Self>, ask: &Ask<'_>) -> Option<Attempt> {
        let open = |index| Candidate { wait: None, ..self.look(index, ask) };
        let index = balance::choose(self.list.len(), Percent::default(), ask.random, open);
        index.ok().map(|index| self.attempt(index, None))
    }

    fn attempt(self: &Arc<Self>, index: usize, way: Option<Way>) -> Attempt {
        self.list[index].state.cell.in_flight.add(1);
        Attempt { members: Arc::clone(self), index, way }
    }

    fn choose(&self, ask: &Ask<'_>) -> Result<usize, Closed> {
        if let [member] = &*self.list {
            return member.state.wait(ask).map_or(Ok(0), Err);
        }
        let panic = ask.upstream.resilience.ejection.map(|rule| rule.panic).unwrap_or_default();
        let chosen =
            balance::choose(self.list.len(), panic, ask.random, |index| self.look(index, ask));
        let none = Closed { wait: Duration::from_secs(1), why: Why::Circuit };
        chosen.map_err(|closed| closed.unwrap_or(none))
    }

    fn look(&self, index: usize, ask: &Ask<'_>) -> Candidate<Closed> {
        let state = &self.list[index].state;
        Candidate {
            load: state.cell.in_flight.value(),
            well: state.is_well(&ask.upstream.resilience, ask.now),
            tried: ask.tried & bit(index) != 0,
            wait: state.wait(ask),
        }
    }
}

/// The bit of a member in [`Ask::tried`]; a policy has at most 64 addresses.
fn bit(index: usize) -> u64 {
    1 << (index & 63)
}

impl State {
    fn new(cell: Arc<EndpointCell>) -> Arc<Self> {
        Arc::new(Self {
            cell,
            probed: Probed::default(),
            breaker: Breaker::default(),
            ejection: Ejection::default(),
            holds: Holds::default(),
        })
    }

    /// Forgets what the policy no longer asks for.
    fn adapt(&self, rules: &Resilience) {
        if rules.breaker.is_none() {
            self.breaker.reset();
            self.show_circuit();
        }
        if rules.ejection.is_none() {
            self.ejection.reset();
            self.cell.ejected_until.store(0, Relaxed);
        }
    }

    fn is_well(&self, rules: &Resilience, now: Timestamp) -> bool {
        let ejected = rules.ejection.is_some_and(|rule| self.ejection.holds(&rule, now));
        !ejected && self.probed.is_well() != Some(false)
    }

    fn wait(&self, ask: &Ask<'_>) -> Option<Closed> {
        let rules = &ask.upstream.resilience;
        let circuit = rules.breaker.and_then(|rule| self.breaker.wait(&rule, ask.now));
        let circuit = circuit.map(|wait| Closed { wait, why: Why::Circuit });
        if rules.limits != ProviderLimits::Refuse || !self.holds.any(ask.now) {
            return circuit;
        }
        let held = self.holds.left(ask.among, ask.now);
        circuit.max(held.map(|wait| Closed { wait, why: Why::Held }))
    }

    fn show_circuit(&self) {
        self.cell.circuit.set(self.breaker.circuit().number());
    }
}

/// A request on its way to an endpoint, until its answer has ended.
#[must_use = "dropping an attempt ends it"]
pub struct Attempt {
    members: Arc<Members>,
    index: usize,
    /// The way through the circuit, until it is known how it went.
    way: Option<Way>,
}

impl Attempt {
    /// Where it goes.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.members.list[self.index].endpoint
    }

    /// Its bit in [`Ask::tried`].
    pub fn bit(&self) -> u64 {
        bit(self.index)
    }

    fn state(&self) -> &State {
        &self.members.list[self.index].state
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
    /// it asks for that. Returns how long it asks to be left alone.
    pub fn note_limits(
        &self,
        limits: ProviderLimits,
        answer: &Response<impl Sized>,
        now: Timestamp,
        whose: impl FnOnce(bool) -> Whose,
    ) -> Option<Duration> {
        let quotas = provider::quotas(answer.headers(), now);
        let cell = &self.state().cell;
        for (cell, quota) in cell.quotas.iter().zip(quotas.iter().flatten()) {
            quota.limit.inspect(|limit| cell.limit.set(*limit));
            quota.remaining.inspect(|remaining| cell.remaining.set(*remaining));
            quota.reset.inspect(|reset| cell.resets_at.set(now.after(*reset).as_millis()));
        }
        let wait = provider::wait(answer.status(), answer.headers(), quotas.as_ref(), now)?;
        self.hold(limits, whose(quotas.is_some()), wait, now);
        Some(wait)
    }

    fn hold(&self, limits: ProviderLimits, whose: Whose, wait: Duration, now: Timestamp) {
        let (state, first) = (self.state(), !self.state().holds.any(now));
        state.cell.limited.add(1);
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

#[cfg(test)]
mod tests;
