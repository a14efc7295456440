//! What a request may cost, before it is forwarded.
//!
//! The longest answer that was asked for, as many times as it was asked for, at the dearer
//! of the prices of output and reasoning; plus the prompt. Rounded up like every cost.

use super::{Class, Price, ServiceTier};
use crate::{meter::Usage, units::NanoUsd};

/// The output that is assumed where neither the request nor the model bounds it, in tokens: about the longest
/// that models write when nobody asks them for length.
pub const DEFAULT_MAX_OUTPUT: u64 = 4_096;

/// What a request asks for, as far as it decides on the cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The prompt, in tokens.
    pub input: u64,
    /// The class that the prompt is charged as: [`Class::CacheWrite`] or [`Class::CacheWrite1h`] where the
    /// request asks for a cache to be written, else [`Class::Input`].
    pub class: Class,
    /// The longest output asked for, in tokens.
    pub max_output: Option<u64>,
    /// What is taken in its place where it is not asked for; the model's own bound cuts it. Default
    /// [`DEFAULT_MAX_OUTPUT`], because a hold can grow while an answer streams; `u64::MAX` takes the model's bound.
    pub assumed_output: u64,
    /// How many answers are asked for (`n`), 1 at least.
    pub answers: u64,
    /// How soon and how surely.
    pub tier: ServiceTier,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            input: 0,
            class: Class::Input,
            max_output: None,
            assumed_output: DEFAULT_MAX_OUTPUT,
            answers: 1,
            tier: ServiceTier::Standard,
        }
    }
}

impl Asked {
    /// The longest output that a model of this price may give to the request, all answers together.
    pub fn output(&self, price: &Price) -> u64 {
        let longest = match (self.max_output, price.max_output()) {
            (Some(asked), Some(bound)) => asked.min(bound),
            (Some(asked), None) => asked,
            (None, Some(bound)) => self.assumed_output.min(bound),
            (None, None) => self.assumed_output.min(DEFAULT_MAX_OUTPUT),
        };
        longest.saturating_mul(self.answers.max(1))
    }
}

/// What a request costs at most, as far as it can be told: searches of the web and a prompt that the provider
/// counts in another way are not foreseen.
pub fn estimate(asked: &Asked, price: &Price) -> NanoUsd {
    let output = asked.output(price);
    let rate = |class| price.rate(class, asked.tier, asked.input);
    let mut usage = match asked.class {
        Class::CacheWrite => Usage { cache_write: asked.input, ..Usage::default() },
        Class::CacheWrite1h => Usage { cache_write_1h: asked.input, ..Usage::default() },
        _ => Usage { input: asked.input, ..Usage::default() },
    };
    match rate(Class::Reasoning) > rate(Class::Output) {
        true => usage.reasoning = output,
        false => usage.output = output,
    }
    price.cost(&usage, asked.tier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::price::Prices;

    fn price(model: &str) -> &'static Price {
        Prices::built_in(model).expect("it is in the table").1
    }

    #[test]
    fn an_estimate_is_the_prompt_and_the_longest_answer_as_often_as_asked() {
        let asked = Asked { input: 1_000, max_output: Some(500), answers: 3, ..Asked::default() };
        // 1000 × $0.15/M + 1500 × $0.60/M.
        assert_eq!(estimate(&asked, price("gpt-4o-mini")), NanoUsd(150_000 + 900_000));
    }

    #[test]
    fn the_model_bounds_what_is_asked_and_the_default_what_is_not() {
        let mini = price("gpt-4o-mini");
        let asked = |max_output| Asked { max_output, ..Asked::default() };
        assert_eq!(asked(Some(1_000_000)).output(mini), 16_384);
        assert_eq!(asked(None).output(mini), DEFAULT_MAX_OUTPUT);
        assert_eq!(Asked { assumed_output: u64::MAX, ..asked(None) }.output(mini), 16_384);
        let unbounded = Price::default();
        assert_eq!(asked(Some(1_000_000)).output(&unbounded), 1_000_000);
        assert_eq!(Asked { assumed_output: u64::MAX, ..asked(None) }.output(&unbounded), 4_096);
        assert_eq!(Asked { answers: u64::MAX, ..asked(Some(9)) }.output(mini), u64::MAX);
    }

    #[test]
    fn a_prompt_that_fills_a_cache_is_estimated_at_the_price_of_that() {
        let sonnet = price("claude-sonnet-4-5");
        let asked = |class| Asked { input: 1_000, class, max_output: Some(0), ..Asked::default() };
        assert_eq!(estimate(&asked(Class::Input), sonnet), NanoUsd(3_000_000));
        assert_eq!(estimate(&asked(Class::CacheWrite), sonnet), NanoUsd(3_750_000));
        assert_eq!(estimate(&asked(Class::CacheWrite1h), sonnet), NanoUsd(6_000_000));
    }

    #[test]
    fn no_request_asks_for_more_than_the_type_holds() {
        let asked = Asked {
            input: u64::MAX,
            max_output: Some(u64::MAX),
            answers: u64::MAX,
            ..Asked::default()
        };
        assert_eq!(estimate(&asked, Prices::default().ceiling()), NanoUsd(u64::MAX));
    }
}
