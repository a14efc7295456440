//! Which price a model has: the policy's own first, then the built-in.
//!
//! [`Prices`] is made when a policy is compiled and never changes. Looking a model up
//! allocates nothing: it folds the name on the stack and searches two sorted lists with it
//! and with its shorter forms (`names.rs` has their order). All forms are tried
//! on the policy's own prices before any is on the built-in table, so that a price for
//! `gpt-4o-mini` also holds for the `gpt-4o-mini-2024-07-18` that answers name.
//!
//! # Limits
//! An answer's word for its model never becomes a label of a metric by itself: what no
//! table has is [`ModelId::OTHER`], so there are as many labels as models with prices.

use super::{Class, Price, ServiceTier, built_in::Table, names};
use crate::units::NanoUsd;

/// The bit that tells a model of the policy from one of the built-in table.
const OWN: u32 = 1 << 31;

/// A model that has a price, as a small number that holds as long as the policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelId(u32);

impl ModelId {
    /// All models without a price.
    pub const OTHER: Self = Self(u32::MAX);
}

/// What a model costs that has no price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownModel {
    /// As much as the dearest model known.
    #[default]
    Ceiling,
    /// The request is refused.
    Refuse,
    /// The operation's cost.
    Flat,
}

/// What came of looking a model up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Priced<'p> {
    /// The model has a price.
    Known(ModelId, &'p Price),
    /// It has none and costs as much as the dearest.
    Ceiling(&'p Price),
    /// It has none, so its requests are refused.
    Refused,
    /// It has none, so the operation's cost is charged.
    Flat,
}

/// One `[prices.<model>]` of a policy: what is written there. Prices are per million tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnPrice {
    /// The model, in any spelling that answers use.
    pub model: String,
    /// Input that no cache had.
    pub input: Option<NanoUsd>,
    /// Input that was read from a cache.
    pub cached_input: Option<NanoUsd>,
    /// Input that was written to a cache.
    pub cache_write: Option<NanoUsd>,
    /// Input that was written to a cache for an hour.
    pub cache_write_1h: Option<NanoUsd>,
    /// Output.
    pub output: Option<NanoUsd>,
    /// Reasoning.
    pub reasoning: Option<NanoUsd>,
    /// The longest output, in tokens.
    pub max_output: Option<u32>,
}

impl OwnPrice {
    /// The whole price: what is not written is that of the built-in table.
    ///
    /// A written price holds for its class in every service tier and at every length. `None` when input or
    /// output has a price neither here nor there: the model would be free by omission.
    pub fn price(&self) -> Option<Price> {
        let mut price =
            Prices::built_in(&self.model).map(|(_, price)| price.clone()).unwrap_or_default();
        let written = [
            (Class::Input, self.input),
            (Class::CacheRead, self.cached_input),
            (Class::CacheWrite, self.cache_write),
            (Class::CacheWrite1h, self.cache_write_1h),
            (Class::Output, self.output),
            (Class::Reasoning, self.reasoning),
        ];
        for (class, rate) in written {
            if let Some(rate) = rate {
                price.fix(class, rate);
            }
        }
        price.max_output = self.max_output.or(price.max_output);
        (price.has(Class::Input) && price.has(Class::Output)).then_some(price)
    }
}

/// All prices of one policy.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// The policy's own, by name in lower case, sorted.
    own: Box<[(Box<str>, Price)]>,
    /// The dearest, if that is one of the policy's own: else the built-in table has it.
    ceiling: Option<Price>,
}

impl Prices {
    /// Puts a policy's own prices over the built-in ones. What has no whole price is left out.
    pub fn new(own: &[OwnPrice]) -> Self {
        let named = |own: &OwnPrice| Some((own.model.to_ascii_lowercase().into(), own.price()?));
        let mut own: Box<[(Box<str>, Price)]> = own.iter().filter_map(named).collect();
        own.sort_by(|a, b| a.0.cmp(&b.0));
        let ceiling = (!own.is_empty()).then(|| ceiling(&own));
        Self { own, ceiling }
    }

    /// Reads the built-in table now, if that has not been done: at a policy's load, so that no request waits for it.
    pub fn warm(&self) {
        Table::built_in();
    }

    /// The price of a model that answers call `name`.
    pub fn find(&self, name: &str) -> Option<(ModelId, &Price)> {
        let own = |name: &str| self.own.binary_search_by(|(known, _)| (**known).cmp(name)).ok();
        if let Some(place) = names::find(name, Table::built_in().hosts(), own) {
            let id = ModelId(OWN | u32::try_from(place).ok()?);
            return self.own.get(place).map(|(_, price)| (id, price));
        }
        Self::built_in(name)
    }

    /// The price of a model, or what to do without one.
    pub fn price_of(&self, name: &str, unknown: UnknownModel) -> Priced<'_> {
        match (self.find(name), unknown) {
            (Some((id, price)), _) => Priced::Known(id, price),
            (None, UnknownModel::Ceiling) => Priced::Ceiling(self.ceiling()),
            (None, UnknownModel::Refuse) => Priced::Refused,
            (None, UnknownModel::Flat) => Priced::Flat,
        }
    }

    /// Class by class the dearest standard price: of text models that were still offered when the built-in
    /// table was made, and of the policy's own.
    pub fn ceiling(&self) -> &Price {
        self.ceiling.as_ref().unwrap_or_else(|| Table::built_in().ceiling())
    }

    /// The model's name for a metric or a log: as the table or the policy writes it, `other` for one without a price.
    pub fn label(&self, id: ModelId) -> &str {
        let place = (id.0 & !OWN) as usize;
        let name = match id.0 & OWN {
            0 => Table::built_in().name(place),
            _ => self.own.get(place).map(|(name, _)| &**name),
        };
        name.unwrap_or("other")
    }

    /// Whether a price of the policy's own stands at `id`.
    pub fn is_own(&self, id: ModelId) -> bool {
        id != ModelId::OTHER && id.0 & OWN != 0
    }

    /// The built-in price of a model that answers call `name`.
    pub fn built_in(name: &str) -> Option<(ModelId, &'static Price)> {
        let place = Table::built_in().find(name)?;
        Some((ModelId(u32::try_from(place).ok()?), Table::built_in().price(place)?))
    }
}

/// The dearest of the built-in ceiling and of `own`, class by class.
fn ceiling(own: &[(Box<str>, Price)]) -> Price {
    let mut ceiling = Table::built_in().ceiling().clone();
    for class in Class::ALL {
        let rate = |price: &Price| price.rate(class, ServiceTier::Standard, 0);
        let dearest = own.iter().map(|(_, price)| rate(price)).max().unwrap_or_default();
        if dearest > rate(&ceiling) {
            ceiling.fix(class, dearest);
        }
    }
    ceiling
}
