//! What one request is charged, and how we know.

use std::sync::Arc;

use super::{Confidence, Source, Usage};
use crate::units::NanoUsd;

/// What one request is charged, and how we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// The amount.
    pub cost: NanoUsd,
    /// Who said so.
    pub source: Source,
    /// How sure it is.
    pub confidence: Confidence,
    /// The model, as the price table calls it, or `other`.
    pub model: Option<Arc<str>>,
    /// The tokens, if any are known.
    pub usage: Option<Usage>,
}

impl Bill {
    /// A charge that somebody named in dollars.
    pub fn named(cost: NanoUsd, source: Source) -> Self {
        Self { cost, source, confidence: Confidence::Exact, model: None, usage: None }
    }

    /// The flat cost of the operation.
    pub fn flat(cost: NanoUsd) -> Self {
        Self::named(cost, Source::Flat)
    }

    /// What a quota in tokens counts.
    pub fn tokens(&self) -> u64 {
        self.usage.as_ref().map_or(0, Usage::total)
    }
}
