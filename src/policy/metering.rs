//! How the true cost of a request is found, as run.

use std::{sync::Arc, time::Duration};

use http::HeaderName;

use crate::meter::{Pointer, Style, price::UnknownModel};

/// How the true cost of the requests of one operation is found.
///
/// There is none for an operation that always costs the same: it pays nothing for this.
#[derive(Debug)]
pub struct Metering {
    /// Who is asked, in this order; the flat cost is behind them.
    pub sources: Vec<CostSource>,
    /// Headers and trailers that name dollars; empty when nobody looks at them.
    pub headers: Vec<HeaderName>,
    /// Whether the caller sees those headers.
    pub exposes_cost: bool,
    /// The place in the answer that names dollars.
    pub pointer: Option<Arc<Pointer>>,
    /// Whether reported usage is priced: then the request is read before it is sent.
    pub by_usage: bool,
    /// What a model without a price costs.
    pub unknown_model: UnknownModel,
    /// How long a callback is waited for after the answer; `None` when there is none.
    pub callback: Option<Duration>,
    /// How a stream ends that outgrows the budget.
    pub on_exhausted: Style,
    /// How far a stream is read on that its caller left; `None` when it ends at once.
    pub drain: Option<DrainRules>,
}

/// Who says what a request cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostSource {
    /// A header or trailer of the upstream.
    Header,
    /// A place in the answer.
    Pointer,
    /// The usage that the answer reports, times the price.
    Usage,
    /// The agent, by a callback.
    Callback,
}

/// How far a stream is read on that its caller left.
#[derive(Clone, Copy, Debug)]
pub struct DrainRules {
    /// How long.
    pub timeout: Duration,
    /// How many bytes.
    pub bytes: u64,
}

impl Metering {
    /// Whether the answer's body is read for the cost.
    pub fn reads_body(&self) -> bool {
        self.by_usage || self.pointer.is_some()
    }
}
