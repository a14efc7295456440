//! What one request truly costs, as far as it is known while it is on its way.
//!
//! A [`Meter`] belongs to the permit of a request whose operation reads answers or
//! waits for callbacks; all others have none. It is told of the answer's head, reads
//! its body while it passes, and closes the books when the permit does: the sources
//! are asked in the policy's order, and the first that speaks decides.
//!
//! # Failure
//! A source that cannot be read is silent. The flat cost always speaks.

mod named;

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};

pub use named::{head, show, trailers};

use super::{Shared, exchange::Exchange};
use crate::{
    id::RequestId,
    ledger::{Hold, Outcome, Store},
    meter::{Bill, Confidence, Format, Framing, Reader, Reading, Source},
    policy::metering::{CostSource, Metering},
    settlements::Ended,
    telemetry::{Cell, MeteringError},
    units::NanoUsd,
};

/// What is known so far of the cost of one request.
pub struct Meter {
    rules: Arc<Metering>,
    id: RequestId,
    cell: Arc<Cell>,
    format: Format,
    reader: Option<Reader>,
}

impl Meter {
    /// Begins with an admitted request; `None` where there is nothing to find out from its answer.
    pub fn begin(exchange: &Exchange) -> Option<Box<Self>> {
        let operation = exchange.policy.operation(exchange.operation?);
        let rules = operation.metering.as_ref()?;
        if !rules.reads_body() && rules.callback.is_none() {
            return None;
        }
        let id = exchange.trace.request_id;
        if rules.callback.is_some() {
            exchange.shared.settlements.begin(id, exchange.began);
        }
        Some(Box::new(Self {
            rules: Arc::clone(rules),
            id,
            cell: Arc::clone(&exchange.terms().cell),
            format: Format::of_path(&exchange.path),
            reader: None,
        }))
    }

    /// Looks at the head of the answer: how its body is to be read.
    pub fn answer(&mut self, exchange: &Exchange, status: StatusCode, fields: &HeaderMap) {
        if !self.rules.reads_body() || status.is_informational() {
            return;
        }
        if is_encoded(fields) {
            exchange.shared.telemetry.metrics.metering_error(MeteringError::Encoded);
            return;
        }
        let media = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let reader = Reader::new(self.format, Framing::of(media));
        self.reader = Some(match &self.rules.pointer {
            Some(pointer) => reader.pointed_at(Arc::clone(pointer)),
            None => reader,
        });
    }

    /// Reads a piece of the answer's body.
    pub fn push(&mut self, piece: &[u8]) {
        if let Some(reader) = &mut self.reader {
            reader.push(piece, &mut |_| {});
        }
    }

    /// Says that the request came to nothing.
    pub fn forget(&self, shared: &Shared) {
        if self.rules.callback.is_some() {
            shared.settlements.forget(self.id);
        }
    }

    /// Ends the hold with what is known, or leaves it to a callback; returns the charge so far.
    pub fn close(
        self: Box<Self>,
        shared: &Shared,
        hold: Hold,
        named: Option<NanoUsd>,
        flat: NanoUsd,
    ) -> Bill {
        let now = shared.clock.now();
        let (rules, id, cell) = (Arc::clone(&self.rules), self.id, Arc::clone(&self.cell));
        let (bill, is_certain) = self.bill(named, flat);
        let Some(timeout) = rules.callback else {
            shared.ledger.settle(hold, outcome(&bill), now);
            return bill;
        };
        let ended = Ended { hold, bill, is_certain, timeout, cell, bytes: 0 };
        let pending = || Bill {
            confidence: Confidence::Estimated,
            ..Bill::named(NanoUsd(0), Source::Callback)
        };
        shared.settlements.end(id, ended, now).unwrap_or_else(pending)
    }

    /// What the first source says that speaks, and whether it stands before any callback.
    fn bill(self, named: Option<NanoUsd>, flat: NanoUsd) -> (Bill, bool) {
        let reading = self.reader.map(Reader::finish).unwrap_or_default();
        let mut is_certain = true;
        for source in &self.rules.sources {
            let bill = match source {
                CostSource::Header => named.map(|cost| Bill::named(cost, Source::Header)),
                CostSource::Pointer => reading.pointed.map(|cost| Bill::named(cost, Source::Pointer)),
                CostSource::Usage => by_usage(&reading),
                CostSource::Callback => {
                    is_certain = false;
                    None
                }
            };
            if let Some(bill) = bill {
                return (bill, is_certain);
            }
        }
        (Bill::flat(flat), is_certain)
    }
}

fn by_usage(reading: &Reading) -> Option<Bill> {
    let cost = reading.cost?;
    Some(Bill { usage: reading.usage, ..Bill::named(cost, Source::Usage) })
}

fn outcome(bill: &Bill) -> Outcome {
    Outcome::Actual { cost: bill.cost, tokens: bill.tokens(), bytes: 0 }
}

/// Whether a body cannot be read as it is.
fn is_encoded(fields: &HeaderMap) -> bool {
    let codings = fields.get_all(header::CONTENT_ENCODING);
    codings.iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}
