//! What a model costs, and who says so.

use std::fmt::{self, Write as _};

use crate::{
    meter::price::{Class, ModelId, Price, Priced, Prices, ServiceTier, table_date},
    policy::metering::Metering,
    units::NanoUsd,
};

/// Service tiers and what they are called here.
const TIERS: [(ServiceTier, &str); 4] = [
    (ServiceTier::Flex, "flex"),
    (ServiceTier::Priority, "priority"),
    (ServiceTier::Batch, "batch"),
    (ServiceTier::Ultrafast, "ultrafast"),
];

/// Writes the price of `model`, where prices decide on the cost.
pub(super) fn lines(
    prices: &Prices,
    metering: &Metering,
    model: &str,
    page: &mut String,
) -> fmt::Result {
    if !metering.by_usage {
        return Ok(());
    }
    match prices.price_of(model, metering.unknown_model) {
        Priced::Known(id, price) => {
            writeln!(page, "model      {} ({})", prices.label(id), source(prices, id))?;
            rates(price, page)
        }
        Priced::Ceiling(price) => {
            writeln!(page, "model      unknown: costs as much as the dearest known")?;
            rates(price, page)
        }
        Priced::Refused => writeln!(page, "model      unknown: refused"),
        Priced::Flat => writeln!(page, "model      unknown: the operation's cost is charged"),
    }
}

fn source(prices: &Prices, id: ModelId) -> String {
    match prices.is_own(id) {
        true => "the policy's own price".to_owned(),
        false => format!("built-in prices of {}", table_date()),
    }
}

fn rates(price: &Price, page: &mut String) -> fmt::Result {
    let standard = |class| price.rate(class, ServiceTier::Standard, 0);
    let (input, read, output) =
        (standard(Class::Input), standard(Class::CacheRead), standard(Class::Output));
    writeln!(page, "price      {input} input, {read} cached, {output} output per million tokens")?;
    let (write, hour) = (standard(Class::CacheWrite), standard(Class::CacheWrite1h));
    writeln!(
        page,
        "price      {write} cache write, {hour} for an hour; {} a search",
        price.web_search()
    )?;
    for (tier, name) in TIERS.iter().filter(|(tier, _)| price.knows(*tier)) {
        let rate = |class| -> NanoUsd { price.rate(class, *tier, 0) };
        let (input, output) = (rate(Class::Input), rate(Class::Output));
        writeln!(page, "price      {input} input, {output} output in the service tier {name}")?;
    }
    let long = price.rate(Class::Input, ServiceTier::Standard, u64::MAX);
    if long != input {
        let output = price.rate(Class::Output, ServiceTier::Standard, u64::MAX);
        writeln!(page, "price      {long} input, {output} output for the longest prompts")?;
    }
    Ok(())
}
