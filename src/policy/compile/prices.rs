//! Prices: the policy's own over the built-in table, complete before anything is metered.

use std::collections::HashMap;

use super::Compiler;
use crate::{
    meter::price::{self, Class, OwnPrice, Prices, ServiceTier},
    policy::{
        diagnostic::Diagnostic,
        file::{CostSource, OperationFile, PolicyFile, PriceFile, UnknownModel},
        read::At,
    },
    units::NanoUsd,
};

/// A price so many times the built-in one, or so many times less, was probably meant for other units.
const IMPLAUSIBLE: u64 = 100;

impl Compiler<'_> {
    /// The prices as run. The built-in table is read when an operation meters usage, or a price refers to it.
    pub(super) fn prices(&mut self) -> Prices {
        let file = self.file;
        let mut names = HashMap::new();
        for written in &file.prices {
            if let Some(first) =
                names.insert(written.model.to_ascii_lowercase(), written.model.span)
            {
                let error = Diagnostic::error("this model has its price twice");
                let error = error.at(written.model.span, "again here").at(first, "first here");
                self.error(error.help("names of models count the same in either case: keep one"));
            }
            self.check_price(written);
        }
        for operation in file.operations.iter().filter(|operation| is_metered(operation)) {
            self.warn_of_free(operation);
        }
        let own: Vec<_> = file.prices.iter().map(own).collect();
        let prices = Prices::new(&own);
        if file.operations.iter().any(is_metered) {
            prices.warm();
        }
        prices
    }

    fn check_price(&mut self, written: &PriceFile) {
        let Some(price) = own(written).price() else {
            let missing = match (&written.input, &written.output) {
                (None, None) => "input and output",
                (None, _) => "input",
                _ => "output",
            };
            let message = format!("this model has no price for {missing}");
            let error =
                Diagnostic::error(message).at(written.model.span, "not in the built-in table");
            return self
                .error(error.help("write input and output, per million tokens; \"$0\" is free"));
        };
        let rate = |class| price.rate(class, ServiceTier::Standard, 0);
        let cached = written.cached_input.as_ref().or(written.input.as_ref());
        if let Some(cached) = cached.filter(|_| rate(Class::CacheRead) > rate(Class::Input)) {
            let (read, input) = (rate(Class::CacheRead), rate(Class::Input));
            let message =
                format!("cached input costs {read}, more than the {input} of other input");
            let warning = Diagnostic::warning(message).at(cached.span, "");
            self.report.push(warning.help("write both `input` and `cached_input` of this model"));
        }
        self.warn_of_units(written);
    }

    /// Prices per token or per thousand tokens are what other tools want.
    fn warn_of_units(&mut self, written: &PriceFile) {
        let Some((_, built_in)) = Prices::built_in(&written.model) else {
            return;
        };
        for (price, class) in [(&written.input, Class::Input), (&written.output, Class::Output)] {
            let usual = built_in.rate(class, ServiceTier::Standard, 0);
            if let Some(price) = price.as_ref().filter(|price| is_far(price.value, usual)) {
                let message = format!("this is far from the built-in price of {usual}");
                let warning = Diagnostic::warning(message).at(price.span, "per million tokens");
                self.report.push(warning.help("look at the decimal point"));
            }
        }
    }

    /// `flat` charges the operation's cost, which must not be nothing by omission.
    fn warn_of_free(&mut self, operation: &OperationFile) {
        let word = operation.unknown_model.as_ref().unwrap_or(&self.file.unknown_model);
        if word.value == UnknownModel::Flat && operation.cost.is_none() {
            let name = operation.name.value.as_str();
            let message = format!("models without a price cost nothing in operation `{name}`");
            let warning = Diagnostic::warning(message).at(operation.name.span, "has no cost");
            let help = "write cost = \"$0.01\" here, or unknown_model = \"ceiling\"";
            self.report.push(warning.at(word.span, "charges the operation's cost").help(help));
        }
    }
}

/// Whether prices decide on what the operation costs.
fn is_metered(operation: &OperationFile) -> bool {
    operation.metering.sources.iter().any(|source| source.value == CostSource::Usage)
}

fn is_far(price: NanoUsd, usual: NanoUsd) -> bool {
    let (low, high) = (price.min(usual).0, price.max(usual).0);
    low > 0 && high / low >= IMPLAUSIBLE
}

fn own(written: &PriceFile) -> OwnPrice {
    let value = |price: &Option<At<NanoUsd>>| price.as_ref().map(|price| price.value);
    OwnPrice {
        model: written.model.value.clone(),
        input: value(&written.input),
        cached_input: value(&written.cached_input),
        cache_write: value(&written.cache_write),
        cache_write_1h: value(&written.cache_write_1h),
        output: value(&written.output),
        reasoning: value(&written.reasoning),
        max_output: written.max_output.map(|bound| bound.value),
    }
}

/// What a model without a price costs in an operation.
pub(super) fn unknown_model(file: &PolicyFile, operation: &OperationFile) -> price::UnknownModel {
    match operation.unknown_model.as_ref().unwrap_or(&file.unknown_model).value {
        UnknownModel::Ceiling => price::UnknownModel::Ceiling,
        UnknownModel::Refuse => price::UnknownModel::Refuse,
        UnknownModel::Flat => price::UnknownModel::Flat,
    }
}
