//! The proof that a caller may go on, and the settling of what it booked.
//!
//! A [`Permit`] is settled exactly once: by [`Permit::settle`] when its exchange is
//! over, or by being dropped on any other way out (a refusal, a caller that leaves,
//! a timeout, a panic), then with what is known by that time. Settling never waits.

use std::sync::{Arc, OnceLock};

use super::{
    Shared,
    exchange::Exchange,
    meter::{Heard, Meter},
};
use crate::{
    ledger::{Hold, Outcome, Store},
    meter::{Bill, Source},
    units::NanoUsd,
};

/// The proof that a caller may go on. Dropped before the request was sent, it
/// gives everything back; dropped later, what is known of the cost is charged.
#[must_use = "dropping a permit refunds it"]
pub struct Permit {
    shared: Arc<Shared>,
    hold: Option<Box<Hold>>,
    /// What the operation costs when nothing says better.
    flat: NanoUsd,
    sent: bool,
    /// What a header or trailer of the upstream named.
    named: Option<NanoUsd>,
    /// What answers named that were given up for another attempt.
    lost: NanoUsd,
    /// The request's body, as it was announced and booked.
    booked_bytes: u64,
    /// The same as it came.
    bytes: u64,
    meter: Option<Box<Meter>>,
    /// Who learns what was charged, when the permit is dropped.
    witness: Option<Witness>,
}

/// What a permit charged that was dropped.
pub(super) type Witness = Arc<OnceLock<Bill>>;

impl Permit {
    /// A permit for what `hold` booked; without a hold nothing is counted.
    // Boxed: it goes from stage to stage with its exchange.
    pub(super) fn new(shared: Arc<Shared>, hold: Option<Box<Hold>>, flat: NanoUsd) -> Box<Self> {
        Box::new(Self {
            shared,
            hold,
            flat,
            sent: false,
            named: None,
            lost: NanoUsd(0),
            booked_bytes: 0,
            bytes: 0,
            meter: None,
            witness: None,
        })
    }

    /// Says how large a body is booked.
    pub(super) fn carrying(mut self: Box<Self>, bytes: u64) -> Box<Self> {
        (self.booked_bytes, self.bytes) = (bytes, bytes);
        self
    }

    /// Lets `meter` find out what the request costs.
    pub(super) fn metered(mut self: Box<Self>, meter: Option<Box<Meter>>) -> Box<Self> {
        self.meter = meter;
        self
    }

    /// What finds out the cost, if anything does.
    pub(super) fn meter(&mut self) -> Option<&mut Meter> {
        self.meter.as_deref_mut()
    }

    /// What raises the hold, the hold, and what knows how far.
    pub(super) fn parts(&mut self) -> (&Arc<Shared>, Option<&mut Hold>, Option<&mut Meter>) {
        (&self.shared, self.hold.as_deref_mut(), self.meter.as_deref_mut())
    }

    /// Says that the first byte is about to leave: from here on something is charged.
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

    /// Says what the upstream names as the cost; the last word counts.
    pub(super) fn name_cost(&mut self, cost: NanoUsd) {
        self.named = Some(cost);
    }

    /// Adds what an answer cost that the caller does not get.
    pub(super) fn add_lost(&mut self, cost: NanoUsd) {
        self.lost = NanoUsd(self.lost.0.saturating_add(cost.0));
    }

    /// Lets somebody know what was charged, should the permit be dropped with what holds it.
    pub(super) fn watched(&mut self, exchange: &Exchange) -> Witness {
        self.bytes = self.bytes.max(exchange.facts.request_bytes);
        Arc::clone(self.witness.get_or_insert_default())
    }

    /// Settles, and notes the charge in the exchange's facts.
    #[allow(clippy::boxed_local, reason = "it would be copied out of its box to be dropped")]
    pub fn settle(mut self: Box<Self>, exchange: &mut Exchange) {
        self.note(exchange);
    }

    fn note(&mut self, exchange: &mut Exchange) {
        self.bytes = self.bytes.max(exchange.facts.request_bytes);
        if let Some(bill) = self.close() {
            show(bill, exchange);
        }
    }

    /// Ends the hold with what is known; `None` when nothing is charged.
    fn close(&mut self) -> Option<Bill> {
        let hold = self.hold.take()?;
        let (ledger, now) = (&self.shared.ledger, self.shared.clock.now());
        let meter = self.meter.take();
        if !self.sent {
            ledger.settle(hold, Outcome::Refund, now);
            meter.inspect(|meter| meter.forget(&self.shared));
            return None;
        }
        if let Some(meter) = meter {
            let Self { named, lost, flat, bytes, .. } = *self;
            let heard = Heard { named, lost, flat, bytes };
            return Some(meter.close(&self.shared, hold, &heard));
        }
        let is_named = self.named.is_some() || self.lost > NanoUsd(0);
        let (bytes, cost) = (self.bytes, self.named.unwrap_or(self.flat));
        let cost = NanoUsd(cost.0.saturating_add(self.lost.0));
        let outcome = match is_named || bytes > self.booked_bytes {
            true => Outcome::Actual { cost, tokens: 0, bytes },
            false => Outcome::Keep,
        };
        ledger.settle(hold, outcome, now);
        let source = if is_named { Source::Header } else { Source::Flat };
        Some(Bill::named(cost, source))
    }
}

/// Notes a charge in the facts of its exchange.
fn show(bill: Bill, exchange: &mut Exchange) {
    exchange.facts.cost = bill.cost;
    let is_plain = bill.source == Source::Flat && bill.usage.is_none();
    exchange.facts.bill = (!is_plain).then(|| Box::new(bill));
}

/// Notes what a permit charged that was dropped, if it charged anything.
pub(super) fn recount(witness: &Witness, exchange: &mut Exchange) {
    if let Some(bill) = witness.get() {
        show(bill.clone(), exchange);
    }
}

/// An exchange and what it booked, while it waits for something: whichever way it ends (a refusal, a
/// caller that leaves, a panic), its record says what was charged.
pub struct Open<'e> {
    /// The exchange.
    pub exchange: &'e mut Exchange,
    /// What it booked.
    pub permit: &'e mut Permit,
    is_over: bool,
}

impl<'e> Open<'e> {
    /// Holds both.
    pub fn new(exchange: &'e mut Exchange, permit: &'e mut Permit) -> Self {
        Self { exchange, permit, is_over: false }
    }

    /// Says that the wait is over and the permit goes on.
    pub fn close(mut self) {
        self.is_over = true;
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.permit.note(self.exchange);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Whoever else wanted to know what was charged has settled.
        if let (Some(bill), Some(witness)) = (self.close(), &self.witness) {
            // Set once: a permit is closed once.
            let _ = witness.set(bill);
        }
    }
}
