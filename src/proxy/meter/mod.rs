//! What one request truly costs, as far as it is known while it is on its way.
//!
//! A [`Meter`] belongs to the permit of a request whose operation reads answers or
//! waits for callbacks; all others have none. [`ask`] looks at the request and books
//! what it may cost, [`room`] compares what has passed with what is booked, and when
//! the permit closes, [`bill`] asks the sources in the policy's order: the first that
//! speaks decides.
//!
//! # Failure
//! A source that cannot be read is silent. The flat cost always speaks.
//!
//! # Limits
//! What has passed is compared with what is booked once for each piece of the answer,
//! before it goes on: so much is what a stream can outgrow its hold by.

mod ask;
mod bill;
mod named;
mod room;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

pub use ask::request;
pub use named::{head, lost, show, trailers};
pub use room::{Raised, Raising, Room};

use super::{Shared, exchange::Exchange, panic, refusal::Refusal};
use crate::{
    id::RequestId,
    ledger::{Hold, Outcome, Store},
    meter::{
        Asked, Bill, Confidence, Format, Framing, Reader, Source, Style, Trimmer,
        price::ServiceTier,
        tokens::{Counter, Family},
    },
    policy::{
        limit::{Limits, Unit},
        metering::Metering,
        snapshot::{OperationId, Policy, TierId},
    },
    settlements::Ended,
    telemetry::{Cell, MeteringError},
    units::NanoUsd,
};

/// What is known so far of the cost of one request.
pub struct Meter {
    policy: Arc<Policy>,
    rules: Arc<Metering>,
    limits: Arc<Limits>,
    id: RequestId,
    cell: Arc<Cell>,
    format: Format,
    /// What the request asks for, once it was read.
    asked: Option<Box<Asked>>,
    /// The prompt, in tokens, as counted here.
    prompt: u64,
    /// What each token of the answer costs and what the prompt did.
    rates: room::Rates,
    operation: OperationId,
    tier: Option<TierId>,
    /// What is booked.
    held: Booked,
    /// The status of the answer, once there is one.
    status: Option<StatusCode>,
    framing: Framing,
    reader: Option<Reader>,
    /// Whether the answer is encoded, and so cannot be read.
    is_unread: bool,
    /// The output, in tokens, as counted here.
    output: Counter,
    /// What had passed when it was last looked at, and the largest step since.
    seen: room::Seen,
    /// Whether any limit counts tokens.
    counts_tokens: bool,
    /// Why there was no room for the rest of the stream.
    spent: Option<Box<Refusal>>,
    /// Whether the stream was ended for that.
    is_cut: bool,
    trims: bool,
}

/// What is booked of a request.
#[derive(Clone, Copy, Debug, Default)]
struct Booked {
    cost: NanoUsd,
    tokens: u64,
    bytes: u64,
}

/// Where a stream that has no room for more can be ended.
pub enum Cut {
    /// Behind so many bytes of the last piece, with these words in its dialect.
    Here(usize, Bytes),
    /// Behind so many bytes, but its dialect has no words.
    Bare(usize),
    /// Nowhere in the last piece: one event is longer than it.
    NotYet,
    /// It has come to its end by itself.
    Over,
}

/// What the permit has heard of the cost besides.
pub struct Heard {
    /// What a header or trailer named.
    pub named: Option<NanoUsd>,
    /// What answers named that were given up for another attempt.
    pub lost: NanoUsd,
    /// What the operation costs when nothing says better.
    pub flat: NanoUsd,
    /// The bytes of the request's body.
    pub bytes: u64,
}

impl Meter {
    /// Begins with an admitted request; `None` where there is nothing to find out from its answer.
    pub fn begin(exchange: &Exchange) -> Option<Box<Self>> {
        let operation = exchange.policy.operation(exchange.operation?);
        let rules = operation.metering.as_ref()?;
        if !rules.reads_body() && rules.callback.is_none() {
            return None;
        }
        let (id, terms) = (exchange.trace.request_id, exchange.terms());
        if rules.callback.is_some() {
            exchange.shared.settlements.begin(id, exchange.began);
        }
        Some(Box::new(Self {
            policy: Arc::clone(&exchange.policy),
            rules: Arc::clone(rules),
            limits: Arc::clone(&terms.limits),
            id,
            cell: Arc::clone(&terms.cell),
            format: Format::of_path(&exchange.path),
            asked: None,
            prompt: 0,
            rates: room::Rates::default(),
            operation: exchange.operation?,
            tier: exchange.tier,
            held: Booked { cost: operation.cost, ..Booked::default() },
            status: None,
            framing: Framing::Json,
            reader: None,
            is_unread: false,
            output: Counter::new(Family::Other),
            seen: room::Seen::default(),
            counts_tokens: terms.limits.all().any(|limit| limit.counter.unit() == Unit::Tokens),
            spent: None,
            is_cut: false,
            trims: false,
        }))
    }

    /// Looks at the head of the answer: how its body is to be read.
    pub fn answer(&mut self, exchange: &Exchange, status: StatusCode, fields: &HeaderMap) {
        self.status = Some(status);
        if !self.rules.reads_body() || status.is_informational() {
            return;
        }
        if is_encoded(fields) {
            exchange.shared.telemetry.metrics.metering_error(MeteringError::Encoded);
            self.is_unread = true;
            return;
        }
        let media = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        self.framing = Framing::of(media);
        let reader = Reader::new(self.format, self.framing);
        self.reader = Some(match &self.rules.pointer {
            Some(pointer) => reader.pointed_at(Arc::clone(pointer)),
            None => reader,
        });
    }

    /// Whether the answer's body is read.
    pub fn reads(&self) -> bool {
        self.reader.is_some()
    }

    /// Whether the answer is a stream that is read, and so may be ended before its time.
    pub fn streams(&self) -> bool {
        self.framing.is_stream() && self.reader.is_some()
    }

    /// What takes the usage out of the stream that only we asked for.
    pub fn trimmer(&self) -> Option<Trimmer> {
        (self.trims && self.streams()).then(Trimmer::default)
    }

    /// How far the answer is read on when its caller leaves, if at all.
    pub fn drain(&self) -> Option<crate::policy::metering::DrainRules> {
        self.rules.drain.filter(|_| self.reader.is_some() && !self.is_cut)
    }

    /// Reads a piece of the answer's body.
    pub fn push(&mut self, piece: &[u8]) {
        let output = &mut self.output;
        if let Some(reader) = &mut self.reader {
            reader.push(piece, &mut |delta| output.push(delta.text));
        }
    }

    /// Where a stream that has no room is ended, the last piece being its last.
    pub fn cut(&mut self) -> Cut {
        let (Some(reader), Some(spent)) = (&self.reader, &self.spent) else { return Cut::Over };
        if reader.has_ended() {
            return Cut::Over;
        }
        let Some(at) = reader.cut_at() else { return Cut::NotYet };
        self.is_cut = true;
        let (style, notice) = (self.rules.on_exhausted, room::notice(spent));
        match reader.ending(style, &notice, self.output.tokens()) {
            Some(ending) => Cut::Here(at, ending),
            None => Cut::Bare(at),
        }
    }

    /// What ends the stream at its last border for `refusal`, in its own dialect.
    pub fn farewell(&self, refusal: &Refusal) -> Option<Bytes> {
        let reader = self.reader.as_ref().filter(|_| !self.is_cut)?;
        reader.ending(Style::Error, &room::notice(refusal), self.output.tokens())
    }

    /// Why the stream must end, once there was no room for the rest of it.
    pub fn spent(&self) -> Option<&Refusal> {
        self.spent.as_deref()
    }

    /// Says that the request came to nothing.
    pub fn forget(&self, shared: &Shared) {
        if self.rules.callback.is_some() {
            shared.settlements.forget(self.id);
        }
    }

    /// Ends the hold with what is known, or leaves it to a callback; returns the charge so far.
    pub fn close(self: Box<Self>, shared: &Shared, hold: Box<Hold>, heard: &Heard) -> Bill {
        let now = shared.clock.now();
        let (callback, id, cell) = (self.rules.callback, self.id, Arc::clone(&self.cell));
        let held = self.held.cost;
        let billed = panic::caught(|| self.bill(shared, heard));
        let (mut bill, is_certain) = billed.unwrap_or_else(|| {
            panic::count(shared);
            // Nobody can say any more what it was.
            let bill = Bill::named(held, Source::Counted);
            (Bill { confidence: Confidence::Estimated, ..bill }, true)
        });
        bill.cost = NanoUsd(bill.cost.0.saturating_add(heard.lost.0));
        let Some(timeout) = callback else {
            let outcome =
                Outcome::Actual { cost: bill.cost, tokens: bill.tokens(), bytes: heard.bytes };
            shared.ledger.settle(hold, outcome, now);
            return bill;
        };
        let ended = Ended { hold, bill, is_certain, timeout, cell, bytes: heard.bytes };
        let pending = || Bill {
            confidence: Confidence::Estimated,
            ..Bill::named(NanoUsd(0), Source::Callback)
        };
        shared.settlements.end(id, ended, now).unwrap_or_else(pending)
    }

    /// The service tier that the request asks for.
    fn service_tier(&self) -> ServiceTier {
        let word = self.asked.as_ref().and_then(|asked| asked.service_tier.as_deref());
        ServiceTier::named(word.unwrap_or_default())
    }
}

/// Whether a body cannot be read as it is.
fn is_encoded(fields: &HeaderMap) -> bool {
    let codings = fields.get_all(header::CONTENT_ENCODING);
    codings.iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}
