//! What models cost, exactly.
//!
//! A [`Price`] is a short list of rates in nano-dollars per million tokens, by class of
//! token, service tier and length of the input. [`Price::cost`] adds up all classes of a
//! [`Usage`] in whole numbers and rounds up once, to a nano-dollar, at the very end.
//! [`Prices`] finds the price of a model by the name that an answer gives it.
//!
//! # Failure
//! None: sums that do not fit become the largest amount. A class without a rate of its
//! own costs what its nearest relative does, never nothing; see [`Price::rate`].
//!
//! # Limits
//! Charges by time of day, by the second of sound and by the finished picture are not
//! known here; nor are discounts that a provider grants after the fact.

mod built_in;
mod estimate;
mod learned;
mod names;
mod prices;
mod row;

pub use built_in::{table_date, table_day};
pub use estimate::{Asked, DEFAULT_MAX_OUTPUT, estimate};
pub use learned::Learned;
pub use prices::{ModelId, OwnPrice, Priced, Prices, UnknownModel};

use super::Usage;
use crate::units::NanoUsd;

/// Tokens that a rate is given for.
const MILLION: u128 = 1_000_000;

/// What is charged for a search of the web where the model's own charge is not known: the dearest that any
/// provider in the built-in table asks, because a search is never free.
pub const WEB_SEARCH: NanoUsd = NanoUsd(35_000_000);

/// A class of tokens that may have a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Input that no cache had.
    Input,
    /// Input that was read from a cache.
    CacheRead,
    /// Input that was written to a cache for the usual time.
    CacheWrite,
    /// Input that was written to a cache for an hour.
    CacheWrite1h,
    /// Input of sound.
    InputAudio,
    /// Input of pictures.
    InputImage,
    /// Output that is neither reasoning, nor sound, nor pictures.
    Output,
    /// Reasoning.
    Reasoning,
    /// Output of sound.
    OutputAudio,
    /// Output of pictures.
    OutputImage,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Input,
        Self::CacheRead,
        Self::CacheWrite,
        Self::CacheWrite1h,
        Self::InputAudio,
        Self::InputImage,
        Self::Output,
        Self::Reasoning,
        Self::OutputAudio,
        Self::OutputImage,
    ];
}

/// How soon and how surely an answer was asked for, which some providers charge for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceTier {
    /// The usual.
    #[default]
    Standard,
    /// Later, and cheaper.
    Flex,
    /// Sooner, and dearer.
    Priority,
    /// Within a day, and cheaper.
    Batch,
    /// At once, and dearest.
    Ultrafast,
    /// One that is not known here: it costs what the model's dearest does.
    Unknown,
}

impl ServiceTier {
    /// Reads what an answer says: `service_tier` of OpenAI, Anthropic and Bedrock, `trafficType` of Gemini.
    ///
    /// What was paid for in advance (`scale`, `reserved`, provisioned throughput) counts as standard.
    pub fn named(word: &str) -> Self {
        let is = |known: &[&str]| known.iter().any(|known| known.eq_ignore_ascii_case(word));
        match () {
            () if is(&["", "default", "auto", "standard", "standard_only", "on_demand"]) => {
                Self::Standard
            }
            () if is(&["scale", "reserved", "provisioned_throughput"]) => Self::Standard,
            () if is(&["flex", "on_demand_flex"]) => Self::Flex,
            () if is(&["priority", "on_demand_priority"]) => Self::Priority,
            () if is(&["batch"]) => Self::Batch,
            () if is(&["ultrafast"]) => Self::Ultrafast,
            () => Self::Unknown,
        }
    }
}

/// One rate of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    class: Class,
    tier: ServiceTier,
    /// Holds for requests whose whole input is longer than so many tokens.
    above: u32,
    /// Nano-dollars per million tokens.
    per_million: u64,
}

/// What one model costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    rates: Box<[Rate]>,
    web_search: Option<NanoUsd>,
    max_input: Option<u32>,
    max_output: Option<u32>,
}

impl Price {
    /// What `usage` costs when it was served in `tier`; rounded up to a nano-dollar.
    ///
    /// The length that decides on a long-context rate is all input together, cached or not, as every
    /// provider that has such rates counts it; the rate then holds for the whole request.
    pub fn cost(&self, usage: &Usage, tier: ServiceTier) -> NanoUsd {
        let length = usage.all_input();
        let classes = [
            (Class::Input, usage.input),
            (Class::CacheRead, usage.cache_read),
            (Class::CacheWrite, usage.cache_write),
            (Class::CacheWrite1h, usage.cache_write_1h),
            (Class::InputAudio, usage.input_audio),
            (Class::InputImage, usage.input_image),
            (Class::Output, usage.output),
            (Class::Reasoning, usage.reasoning),
            (Class::OutputAudio, usage.output_audio),
            (Class::OutputImage, usage.output_image),
        ];
        let searches = u128::from(usage.web_searches) * u128::from(self.web_search().0);
        let sum = classes.into_iter().filter(|(_, tokens)| *tokens > 0).fold(
            searches.saturating_mul(MILLION),
            |sum, (class, tokens)| {
                let rate = self.rate(class, tier, length);
                sum.saturating_add(u128::from(tokens) * u128::from(rate.0))
            },
        );
        NanoUsd(u64::try_from(sum.div_ceil(MILLION)).unwrap_or(u64::MAX))
    }

    /// Nano-dollars per million tokens of `class` for a request of `length` tokens of input in `tier`.
    ///
    /// The rate that is known for exactly this; else the dearer of what is known for the tier and what is
    /// known for the length, so that nothing is charged too low for want of a line in a table. A class
    /// without any rate follows its relative: read from a cache, sound and pictures cost what input
    /// does, a write to a cache five quarters of it, one for an hour twice as much, reasoning,
    /// sound and pictures put out what output does. A model that has no rate for a tier costs the standard there.
    pub fn rate(&self, class: Class, tier: ServiceTier, length: u64) -> NanoUsd {
        if !self.has(class) {
            return NanoUsd(self.relative(class, tier, length));
        }
        let (rate, is_exact) = self.own(class, tier, length);
        // A cache is cheaper than input, and stays so where a tier's table forgets it.
        let forgotten =
            !is_exact && !matches!(class, Class::Input | Class::Output | Class::CacheRead);
        NanoUsd(if forgotten { rate.max(self.relative(class, tier, length)) } else { rate })
    }

    /// The charge for one search of the web.
    pub fn web_search(&self) -> NanoUsd {
        self.web_search.unwrap_or(WEB_SEARCH)
    }

    /// The longest output that the model gives, in tokens.
    pub fn max_output(&self) -> Option<u64> {
        self.max_output.map(u64::from)
    }

    /// The longest input that the model takes, in tokens.
    pub fn max_input(&self) -> Option<u64> {
        self.max_input.map(u64::from)
    }

    /// Whether the price has a rate of its own for writing to a cache: some services then write without being asked.
    pub fn has_cache_write(&self) -> bool {
        self.has(Class::CacheWrite)
    }

    /// Whether the price has a rate for this tier: if not, the standard is charged, which may be wrong.
    pub fn knows(&self, tier: ServiceTier) -> bool {
        tier == ServiceTier::Standard || self.rates.iter().any(|rate| rate.tier == tier)
    }

    fn has(&self, class: Class) -> bool {
        self.rates.iter().any(|rate| rate.class == class)
    }

    /// What a class costs that is nowhere named: a multiple of its relative, rounded up.
    fn relative(&self, class: Class, tier: ServiceTier, length: u64) -> u64 {
        let of = |class| self.rate(class, tier, length).0;
        match class {
            Class::Input | Class::Output => 0,
            Class::CacheRead | Class::InputAudio | Class::InputImage => of(Class::Input),
            Class::CacheWrite => {
                let input = of(Class::Input);
                input.saturating_add(input.div_ceil(4))
            }
            Class::CacheWrite1h => of(Class::Input).saturating_mul(2).max(of(Class::CacheWrite)),
            Class::Reasoning | Class::OutputAudio | Class::OutputImage => of(Class::Output),
        }
    }

    /// The rate of a class that has some, and whether it is for this tier at this length.
    fn own(&self, class: Class, tier: ServiceTier, length: u64) -> (u64, bool) {
        let (usual, level) = self.at(class, ServiceTier::Standard, length).unwrap_or((0, 0));
        if tier == ServiceTier::Standard {
            let input = self.at(Class::Input, tier, length).map_or(0, |(_, level)| level);
            return (usual, level >= input);
        }
        let found = match tier {
            ServiceTier::Unknown => self.dearest(class, length),
            _ => self.at(class, tier, length),
        };
        match found {
            Some((rate, known)) if known >= level => (rate, true),
            Some((rate, _)) => (rate.max(usual), false),
            None => (usual, !self.knows(tier)),
        }
    }

    /// The rate of the highest level that `length` is above, and that level.
    fn at(&self, class: Class, tier: ServiceTier, length: u64) -> Option<(u64, u32)> {
        let fits = |rate: &&Rate| {
            rate.class == class
                && rate.tier == tier
                && (rate.above == 0 || u64::from(rate.above) < length)
        };
        let rate = self.rates.iter().filter(fits).max_by_key(|rate| rate.above)?;
        Some((rate.per_million, rate.above))
    }

    /// The dearest rate of any tier.
    fn dearest(&self, class: Class, length: u64) -> Option<(u64, u32)> {
        let fits = |rate: &&Rate| {
            rate.class == class && (rate.above == 0 || u64::from(rate.above) < length)
        };
        let rate = self.rates.iter().filter(fits).max_by_key(|rate| rate.per_million)?;
        Some((rate.per_million, u32::MAX))
    }

    /// Makes a class cost the same in every tier at every length.
    fn fix(&mut self, class: Class, per_million: NanoUsd) {
        let mut rates: Vec<_> =
            self.rates.iter().copied().filter(|rate| rate.class != class).collect();
        rates.push(Rate {
            class,
            tier: ServiceTier::Standard,
            above: 0,
            per_million: per_million.0,
        });
        self.rates = rates.into();
    }
}

#[cfg(test)]
mod tests;
