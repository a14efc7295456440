//! The proof that a caller may go on, and the settling of what it booked.

use std::sync::Arc;

use super::{Shared, exchange::Exchange};
use crate::{
    ledger::{Hold, Outcome, Store},
    units::NanoUsd,
};

/// The proof that a caller may go on. Dropped before the request was sent, it
/// gives everything back; dropped later, the estimate stands.
#[must_use = "dropping a permit refunds it"]
pub struct Permit {
    shared: Arc<Shared>,
    hold: Option<Hold>,
    cost: NanoUsd,
    sent: bool,
}

impl Permit {
    /// A permit for what `hold` booked; without a hold nothing is counted.
    pub(super) fn new(shared: Arc<Shared>, hold: Option<Hold>, cost: NanoUsd) -> Self {
        Self { shared, hold, cost, sent: false }
    }

    /// Says that the first byte is about to leave: from here on the estimate is kept.
    pub fn mark_sent(&mut self) {
        self.sent = true;
    }

    /// Says that nothing left after all, so that the request may be refunded.
    pub fn mark_unsent(&mut self) {
        self.sent = false;
    }

    /// Whether the request may have reached the upstream.
    pub fn was_sent(&self) -> bool {
        self.sent
    }

    /// What is charged as things stand.
    pub fn charged(&self) -> NanoUsd {
        if self.sent && self.hold.is_some() { self.cost } else { NanoUsd(0) }
    }

    /// Settles, and notes the charge in the exchange's facts.
    pub fn settle(self, exchange: &mut Exchange) {
        exchange.facts.cost = self.charged();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        let outcome = if self.sent { Outcome::Keep } else { Outcome::Refund };
        self.shared.ledger.settle(hold, outcome, self.shared.clock.now());
    }
}
