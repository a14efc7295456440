//! What a request may cost, before it is forwarded.
//!
//! The longest answer that was asked for, as many times as it was asked for, at the dearest
//! of the prices of output; plus the prompt. Rounded up like every cost.

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
    /// What is attached to the prompt, in tokens: charged as the dearest class of input that it may be.
    pub attached: u64,
    /// The longest output asked for, in tokens.
    pub max_output: Option<u64>,
    /// What is taken in its place where it is not asked for; the model's own bound cuts it. Default
    /// [`DEFAULT_MAX_OUTPUT`], because a hold can grow while an answer streams; `u64::MAX` takes the model's bound.
    pub assumed_output: u64,
    /// The most thinking asked for, in tokens. A service counts it within the longest output or beside it.
    pub thinking: u64,
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
            attached: 0,
            max_output: None,
            assumed_output: DEFAULT_MAX_OUTPUT,
            thinking: 0,
            answers: 1,
            tier: ServiceTier::Standard,
        }
    }
}

impl Asked {
    /// The longest output that a model of this price may give to the request, all answers together.
    pub fn output(&self, price: &Price) -> u64 {
        let (bound, thinking) = (price.max_output(), self.thinking);
        let longest = match self.max_output {
            Some(asked) => asked.max(thinking),
            None if bound.is_some() => self.assumed_output.saturating_add(thinking),
            None => self.assumed_output.min(DEFAULT_MAX_OUTPUT).saturating_add(thinking),
        };
        longest.min(bound.unwrap_or(u64::MAX)).saturating_mul(self.answers.max(1))
    }
}

/// What a request costs at most, as far as it can be told: searches of the web and a prompt that the provider
/// counts in another way are not foreseen.
pub fn estimate(asked: &Asked, price: &Price) -> NanoUsd {
    let length = asked.input.saturating_add(asked.attached);
    let dearest = |classes: &[Class]| {
        let rate = |class: &Class| price.rate(*class, asked.tier, length);
        classes.iter().copied().max_by_key(rate).unwrap_or(Class::Input)
    };
    let mut usage = Usage::default();
    add(&mut usage, asked.class, asked.input);
    let attached = dearest(&[asked.class, Class::InputAudio, Class::InputImage]);
    add(&mut usage, attached, asked.attached);
    let output =
        dearest(&[Class::Output, Class::Reasoning, Class::OutputAudio, Class::OutputImage]);
    add(&mut usage, output, asked.output(price));
    price.cost(&usage, asked.tier)
}

fn add(usage: &mut Usage, class: Class, more: u64) {
    let tokens = match class {
        Class::Input => &mut usage.input,
        Class::CacheRead => &mut usage.cache_read,
        Class::CacheWrite => &mut usage.cache_write,
        Class::CacheWrite1h => &mut usage.cache_write_1h,
        Class::InputAudio => &mut usage.input_audio,
        Class::InputImage => &mut usage.input_image,
        Class::Output => &mut usage.output,
        Class::Reasoning => &mut usage.reasoning,
        Class::OutputAudio => &mut usage.output_audio,
        Class::OutputImage => &mut usage.output_image,
    };
    *tokens = tokens.saturating_add(more);
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
    fn attachments_and_answers_are_estimated_at_the_dearest_that_they_may_be() {
        let audio = price("gpt-audio");
        let asked = Asked { input: 100, attached: 100, max_output: Some(10), ..Asked::default() };
        let rate = |class| u128::from(audio.rate(class, ServiceTier::Standard, 200).0);
        assert!(rate(Class::InputAudio) > rate(Class::Input));
        let sum = 100 * rate(Class::Input)
            + 100 * rate(Class::InputAudio)
            + 10 * rate(Class::OutputAudio);
        assert_eq!(u128::from(estimate(&asked, audio).0), sum.div_ceil(1_000_000));
    }

    #[test]
    fn thinking_counts_within_the_longest_answer_or_beside_a_usual_one() {
        let sonnet = price("claude-sonnet-4-5");
        let asked = |max_output| Asked { max_output, thinking: 8_000, ..Asked::default() };
        assert_eq!(asked(Some(10_000)).output(sonnet), 10_000);
        assert_eq!(asked(Some(1_000)).output(sonnet), 8_000);
        assert_eq!(asked(None).output(sonnet), 8_000 + DEFAULT_MAX_OUTPUT);
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
