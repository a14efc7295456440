//! What the requests of one operation and tier used of each model.
//!
//! Models are those of the price table and `other`, so the series are bounded. They
//! are made when a model is first used, once per request behind a short lock: a
//! request to a model takes a million times as long.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::Counter;
use crate::{meter::Usage, units::NanoUsd};

/// The values of the label `kind` of tokens.
pub(super) const TOKEN_KINDS: [&str; 4] = ["input", "cached_input", "output", "reasoning"];

/// Why a cost could not be taken from where the policy says: the values of the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeteringError {
    /// A cost header or trailer that is no amount of money.
    Header,
    /// An answer that is encoded, and so cannot be read.
    Encoded,
    /// An answer that was priced by usage and reported none.
    NoUsage,
    /// A model that no price is known of.
    UnknownModel,
    /// No room to wait for a callback.
    CallbackFull,
    /// A callback that did not come in time.
    CallbackLate,
}

impl MeteringError {
    /// All, in the order of the variants.
    pub(super) const ALL: [&'static str; 6] =
        ["header", "encoded", "no_usage", "unknown_model", "callback_full", "callback_late"];
}

/// What was used of each model.
#[derive(Debug, Default)]
pub(super) struct Models(Mutex<BTreeMap<Arc<str>, Spend>>);

/// What was used of one model.
#[derive(Debug, Default)]
pub(super) struct Spend {
    pub(super) cost: Counter,
    pub(super) tokens: [Counter; TOKEN_KINDS.len()],
}

impl Models {
    pub(super) fn add(&self, model: &Arc<str>, cost: NanoUsd, usage: &Usage) {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spend = models.entry(Arc::clone(model)).or_default();
        spend.cost.add(cost.0);
        let cached = usage.cache_read;
        let input = usage.all_input().saturating_sub(cached);
        let output = usage.all_output().saturating_sub(usage.reasoning);
        let amounts = [input, cached, output, usage.reasoning];
        spend.tokens.iter().zip(amounts).for_each(|(count, amount)| count.add(amount));
    }

    pub(super) fn each(
        &self,
        mut show: impl FnMut(&str, &Spend) -> std::fmt::Result,
    ) -> std::fmt::Result {
        let models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        models.iter().try_for_each(|(model, spend)| show(model, spend))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_of_one_kind() {
        let models = Models::default();
        let usage = Usage {
            input: 1,
            cache_read: 2,
            cache_write: 4,
            output: 8,
            reasoning: 16,
            ..Usage::default()
        };
        models.add(&"m".into(), NanoUsd(5), &usage);
        models.add(&"m".into(), NanoUsd(5), &usage);
        let mut seen = Vec::new();
        let show = |model: &str, spend: &Spend| {
            let tokens: Vec<_> = spend.tokens.iter().map(Counter::value).collect();
            seen.push((model.to_owned(), spend.cost.value(), tokens));
            Ok(())
        };
        models.each(show).expect("shown");
        assert_eq!(seen, [("m".to_owned(), 10, vec![10, 4, 16, 32])]);
    }
}
