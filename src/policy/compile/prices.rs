//! Prices: the policy's own over the built-in table, complete before anything is metered.

use std::collections::HashMap;

use super::Compiler;
use crate::{
    meter::price::{Class, OwnPrice, Prices, ServiceTier},
    policy::{
        diagnostic::Diagnostic,
        file::{CostSource, OperationFile, PriceFile, UnknownModel},
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
        let word = operation.metering.unknown_model.as_ref().unwrap_or(&self.file.unknown_model);
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        meter::price,
        policy::{diagnostic::Color, load::Loader, snapshot::Policy},
        telemetry::Metrics,
    };

    const REST: &str = "
[listen]
address = \"127.0.0.1:0\"
plaintext = true
[upstream]
url = \"http://127.0.0.1:8000\"
[[identity]]
from = \"address\"
tier = \"free\"
[tiers.free]
concurrency = 3
";
    const CHAT: &str = "[operations.chat]\nroutes = [\"* /**\"]\nmeter = \"usage\"\n";

    /// The policy of `text`, if it has one, and all that is said of it.
    fn load(text: &str) -> (Option<Policy>, String) {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("policy.toml");
        fs::write(&path, format!("{text}{REST}")).expect("written");
        let loaded = Loader::new(&path).load(&Metrics::default());
        (loaded.compiled.map(|compiled| compiled.policy), loaded.report.render(Color::Never))
    }

    fn policy(text: &str) -> Policy {
        let (policy, report) = load(text);
        assert_eq!(report, "");
        policy.expect("it is valid")
    }

    /// Nano-dollars per million tokens of input, cached input and output.
    fn rates(policy: &Policy, model: &str) -> Option<[u64; 3]> {
        let (_, price) = policy.prices.find(model)?;
        let rate = |class| price.rate(class, ServiceTier::Standard, 0).0;
        Some([Class::Input, Class::CacheRead, Class::Output].map(rate))
    }

    #[test]
    fn a_price_that_is_not_written_is_the_built_in_one() {
        let policy = policy(&format!(
            "{CHAT}[prices.\"gpt-4o-mini\"]\noutput = \"$0.70\"\nmax_output = 99\n"
        ));

        let expected = Some([150_000_000, 75_000_000, 700_000_000]);
        assert_eq!(rates(&policy, "gpt-4o-mini"), expected);
        // Answers name the dated model.
        assert_eq!(rates(&policy, "openai/GPT-4o-mini-2024-07-18"), expected);
        let (id, price) = policy.prices.find("gpt-4o-mini").expect("known");
        assert_eq!((policy.prices.label(id), price.max_output()), ("gpt-4o-mini", Some(99)));
        assert!(policy.prices.is_own(id));
        // A written price holds in every tier, the others keep theirs.
        let soon = |class| price.rate(class, ServiceTier::Priority, 0).0;
        assert_eq!([soon(Class::Input), soon(Class::Output)], [250_000_000, 700_000_000]);
        assert_eq!(rates(&policy, "gpt-4o"), Some([2_500_000_000, 1_250_000_000, 10_000_000_000]));
    }

    #[test]
    fn a_model_of_the_operators_own_has_what_is_written_and_what_follows_from_it() {
        let policy =
            policy(&format!("{CHAT}[prices.\"Acme/Own-7B\"]\ninput = \"$1\"\noutput = \"$0\"\n"));

        assert_eq!(rates(&policy, "acme/own-7b"), Some([1_000_000_000, 1_000_000_000, 0]));
        let (_, price) = policy.prices.find("acme/own-7b").expect("known");
        assert_eq!(price.rate(Class::CacheWrite, ServiceTier::Standard, 0), NanoUsd(1_250_000_000));
        assert_eq!(rates(&policy, "own-7b"), None);
    }

    #[test]
    fn the_ceiling_is_at_least_the_dearest_own_price() {
        let text = format!("{CHAT}[prices.own]\ninput = \"$900\"\noutput = \"$1\"\n");
        let policy = policy(&text);

        let rate = |class| policy.prices.ceiling().rate(class, ServiceTier::Standard, 0);
        assert_eq!(rate(Class::Input), NanoUsd::dollars_whole(900));
        assert!(rate(Class::Output) > NanoUsd::dollars_whole(100));
        assert!(rate(Class::Reasoning) >= rate(Class::Output));
    }

    #[test]
    fn an_operation_may_treat_unknown_models_in_its_own_way() {
        let text = format!(
            "unknown_model = \"refuse\"\n{CHAT}[operations.other]\nroutes = [\"GET /o\"]\nmeter = \"usage\"\n\
             unknown_model = \"flat\"\ncost = \"$1\"\n"
        );
        let policy = policy(&text);

        let words: Vec<_> = policy
            .operations
            .iter()
            .filter_map(|operation| operation.metering.as_ref())
            .map(|metering| metering.unknown_model)
            .collect();
        assert_eq!(words, [price::UnknownModel::Refuse, price::UnknownModel::Flat]);
        let unknown = |word| policy.prices.price_of("mystery", word);
        assert_eq!(unknown(words[0]), price::Priced::Refused);
        assert_eq!(unknown(words[1]), price::Priced::Flat);
    }

    #[test]
    fn labels_are_the_models_with_prices_and_one_for_all_others() {
        let policy = policy(&format!("{CHAT}[prices.own]\ninput = \"$1\"\noutput = \"$1\"\n"));
        let label =
            |name| policy.prices.find(name).map(|(id, _)| policy.prices.label(id).to_owned());

        assert_eq!(label("OWN").as_deref(), Some("own"));
        assert_eq!(label("openai/gpt-4o-2099-01-01").as_deref(), Some("gpt-4o"));
        assert_eq!(label("gpt-4o\n# forged"), None);
        assert_eq!(policy.prices.label(price::ModelId::OTHER), "other");
    }

    #[test]
    fn a_model_must_not_be_free_by_omission() {
        let (policy, report) = load(&format!("{CHAT}[prices.own]\noutput = \"$1\"\n"));
        assert!(policy.is_none());
        assert!(report.contains("this model has no price for input\n"), "{report}");
        assert!(report.contains("policy.toml:4:9"), "{report}");

        let (policy, report) = load(&format!("{CHAT}[prices.own]\ncached_input = \"$1\"\n"));
        assert!(policy.is_none() && report.contains("no price for input and output"), "{report}");
    }

    #[test]
    fn a_model_has_its_price_once() {
        let one = "\"]\ninput = \"$1\"\noutput = \"$1\"\n";
        let (policy, report) = load(&format!("{CHAT}[prices.\"own{one}[prices.\"Own{one}"));
        assert!(policy.is_none() && report.contains("this model has its price twice"), "{report}");
    }

    #[test]
    fn prices_that_cannot_be_meant_are_warned_of() {
        for (text, told) in [
            (
                "[prices.own]\ninput = \"$1\"\noutput = \"$1\"\ncached_input = \"$2\"\n",
                "cached input costs $2, more than the $1 of other input",
            ),
            ("[prices.\"gpt-4o\"]\ninput = \"$1\"\n", "cached input costs $1.25, more than"),
            ("[prices.\"gpt-4o\"]\noutput = \"$0.00001\"\n", "far from the built-in price of $10"),
        ] {
            let (policy, report) = load(&format!("{CHAT}{text}"));
            assert!(policy.is_some() && report.contains(told), "{report}");
            assert!(report.contains("warning"), "{report}");
        }
    }

    #[test]
    fn charging_unknown_models_nothing_is_warned_of() {
        let (policy, report) = load(&format!("unknown_model = \"flat\"\n{CHAT}"));
        assert!(policy.is_some());
        assert!(
            report.contains("models without a price cost nothing in operation `chat`"),
            "{report}"
        );
        // Where nothing is metered, nothing is said.
        let flat = "unknown_model = \"flat\"\n[operations.all]\nroutes = [\"* /**\"]\n";
        assert_eq!(load(flat).1, "");
    }
}
