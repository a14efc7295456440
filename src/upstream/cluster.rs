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
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{
    attempt::Attempt,
    balance::{self, Candidate},
    breaker::Way,
    budget::Budget,
    holds::{Names, Whose},
    member::State,
};
use crate::{
    clock::Timestamp,
    policy::snapshot::{Endpoint, Policy, Upstream},
    telemetry::Metrics,
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
pub(super) fn bit(index: usize) -> u64 {
    1 << (index & 63)
}

#[cfg(test)]
mod tests;
