//! One row of the table as text: `in=0.15 read=0.075 >200000.priority.out=27 max_out=16384`.
//!
//! Read when the table is, once; a row that cannot be read is none, so that its model is
//! unknown rather than free. `tools/prices.py` writes the rows and says what the keys mean.

use super::{Class, Price, Rate, ServiceTier};
use crate::units::NanoUsd;

/// Reads a row; `None` when there is anything in it that has no meaning, or no input price.
pub(super) fn price(row: &str) -> Option<Price> {
    let mut price = Price::default();
    let mut rates = Vec::with_capacity(row.split(' ').count());
    for field in row.split(' ') {
        let (key, value) = field.split_once('=')?;
        match key {
            "search" => price.web_search = Some(dollars(value)?),
            "max_in" => price.max_input = Some(value.parse().ok()?),
            "max_out" => price.max_output = Some(value.parse().ok()?),
            _ => rates.push(rate(key, value)?),
        }
    }
    price.rates = rates.into();
    (price.has(Class::Input) && price.has(Class::Output)).then_some(price)
}

fn rate(key: &str, value: &str) -> Option<Rate> {
    let (above, key) = match key.strip_prefix('>') {
        Some(rest) => {
            rest.split_once('.').and_then(|(above, key)| Some((above.parse().ok()?, key)))?
        }
        None => (0, key),
    };
    let (tier, class) = key.split_once('.').unwrap_or(("", key));
    let tier = match ServiceTier::named(tier) {
        ServiceTier::Unknown => return None,
        tier => tier,
    };
    Some(Rate { class: class_of(class)?, tier, above, per_million: dollars(value)?.0 })
}

fn class_of(word: &str) -> Option<Class> {
    Some(match word {
        "in" => Class::Input,
        "read" => Class::CacheRead,
        "write" => Class::CacheWrite,
        "write1h" => Class::CacheWrite1h,
        "audio" => Class::InputAudio,
        "image" => Class::InputImage,
        "out" => Class::Output,
        "think" => Class::Reasoning,
        "speech" => Class::OutputAudio,
        "picture" => Class::OutputImage,
        _ => return None,
    })
}

fn dollars(text: &str) -> Option<NanoUsd> {
    NanoUsd::from_dollars(text).ok()
}
