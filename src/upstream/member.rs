//! What has happened to one endpoint, and what follows for the next request.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{
    breaker::Breaker,
    cluster::{Ask, Closed, Why},
    ejection::Ejection,
    health::Probed,
    holds::Holds,
};
use crate::{
    clock::Timestamp,
    policy::resilience::{ProviderLimits, Resilience},
    telemetry::EndpointCell,
};

/// What has happened to one endpoint.
pub(super) struct State {
    pub(super) cell: Arc<EndpointCell>,
    pub(super) probed: Probed,
    pub(super) breaker: Breaker,
    pub(super) ejection: Ejection,
    pub(super) holds: Holds,
}

impl State {
    pub(super) fn new(cell: Arc<EndpointCell>) -> Arc<Self> {
        Arc::new(Self {
            cell,
            probed: Probed::default(),
            breaker: Breaker::default(),
            ejection: Ejection::default(),
            holds: Holds::default(),
        })
    }

    /// Forgets what the policy no longer asks for.
    pub(super) fn adapt(&self, rules: &Resilience) {
        if rules.breaker.is_none() {
            self.breaker.reset();
            self.show_circuit();
        }
        if rules.ejection.is_none() {
            self.readmit();
        }
    }

    /// Ends an ejection.
    pub(super) fn readmit(&self) {
        self.ejection.reset();
        self.cell.ejected_until.store(0, Relaxed);
    }

    pub(super) fn is_well(&self, rules: &Resilience, now: Timestamp) -> bool {
        let ejected = rules.ejection.is_some_and(|rule| self.ejection.holds(&rule, now));
        !ejected && self.probed.is_well() != Some(false)
    }

    pub(super) fn wait(&self, ask: &Ask<'_>) -> Option<Closed> {
        let rules = &ask.upstream.resilience;
        let circuit = rules.breaker.and_then(|rule| self.breaker.wait(&rule, ask.now));
        let circuit = circuit.map(|wait| Closed { wait, why: Why::Circuit });
        if rules.limits != ProviderLimits::Refuse || !self.holds.any(ask.now) {
            return circuit;
        }
        let held = self.holds.left(ask.among, ask.now);
        circuit.max(held.map(|wait| Closed { wait, why: Why::Held }))
    }

    pub(super) fn show_circuit(&self) {
        self.cell.circuit.set(self.breaker.circuit().number());
    }
}
