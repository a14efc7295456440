//! Known prices, exact sums, and what hostile numbers do.

use proptest::prelude::*;

use super::{built_in::Table, *};

fn price(model: &str) -> &'static Price {
    Prices::built_in(model).unwrap_or_else(|| panic!("{model} is not in the table")).1
}

fn used(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

/// Nano-dollars per million tokens from dollars.
fn per_million(text: &str) -> NanoUsd {
    NanoUsd::from_dollars(text).expect("a price")
}

#[test]
fn known_models_cost_what_their_providers_say() {
    for (model, input, cached, output) in [
        ("gpt-4o-mini", "0.15", "0.075", "0.6"),
        ("gpt-4o", "2.5", "1.25", "10"),
        ("gpt-4.1-nano", "0.1", "0.025", "0.4"),
        ("gpt-5", "1.25", "0.125", "10"),
        ("o3-pro", "20", "20", "80"),
        ("claude-sonnet-4-5", "3", "0.3", "15"),
        ("claude-opus-4-5", "5", "0.5", "25"),
        ("claude-haiku-4-5", "1", "0.1", "5"),
        ("gemini-2.5-pro", "1.25", "0.125", "10"),
        ("gemini-2.5-flash", "0.3", "0.03", "2.5"),
        ("text-embedding-3-small", "0.02", "0.02", "0"),
    ] {
        let rate = |class| price(model).rate(class, ServiceTier::Standard, 1_000);
        let found = [rate(Class::Input), rate(Class::CacheRead), rate(Class::Output)];
        assert_eq!(found, [input, cached, output].map(per_million), "{model}");
    }
    assert_eq!(price("gpt-4o-mini").max_output(), Some(16_384));
    assert_eq!(price("gpt-4o-mini").max_input(), Some(128_000));
}

#[test]
fn a_cost_is_the_sum_of_its_classes() {
    let usage = Usage {
        input: 1_000,
        cache_read: 2_000,
        cache_write: 3_000,
        cache_write_1h: 4_000,
        output: 5_000,
        reasoning: 6_000,
        web_searches: 2,
        ..Usage::default()
    };
    // $3, $0.30, $3.75, $6, $15 and $15 per million, and a cent for each search.
    let tokens = 3_000_000 + 600_000 + 11_250_000 + 24_000_000 + 75_000_000 + 90_000_000;
    let cost = price("claude-sonnet-4-5").cost(&usage, ServiceTier::Standard);
    assert_eq!(cost, NanoUsd(tokens + 20_000_000));
}

#[test]
fn a_cost_is_rounded_up_once_and_at_the_end() {
    let nano = row::price("in=0.0005 out=0.0005").expect("a row");
    let cost = |input, output| nano.cost(&used(input, output), ServiceTier::Standard).0;
    // Half a nano-dollar for each token.
    assert_eq!([cost(0, 0), cost(1, 0), cost(1, 1), cost(3, 0), cost(3, 1)], [0, 1, 1, 2, 2]);
}

#[test]
fn a_service_tier_has_its_own_prices() {
    let cost = |tier| price("gpt-5").cost(&used(1_000_000, 0), tier);
    assert_eq!(cost(ServiceTier::Standard), per_million("1.25"));
    assert_eq!(cost(ServiceTier::Flex), per_million("0.625"));
    assert_eq!(cost(ServiceTier::Batch), per_million("0.625"));
    assert_eq!(
        price("gpt-4o-mini").cost(&used(1_000_000, 0), ServiceTier::Priority),
        per_million("0.25")
    );
    assert_eq!(
        price("gpt-4o-mini").cost(&used(1_000_000, 0), ServiceTier::Unknown),
        per_million("0.25")
    );
}

#[test]
fn a_tier_without_prices_costs_the_standard_and_says_so() {
    let haiku = price("claude-haiku-4-5");
    assert_eq!(haiku.cost(&used(1_000, 0), ServiceTier::Priority), NanoUsd(1_000_000));
    assert!(!haiku.knows(ServiceTier::Priority));
    assert!(haiku.knows(ServiceTier::Batch) && haiku.knows(ServiceTier::Standard));
}

#[test]
fn a_long_input_makes_the_whole_request_dearer() {
    let pro = price("gemini-2.5-pro");
    let cost = |input, output| pro.cost(&used(input, output), ServiceTier::Standard).0;
    assert_eq!(cost(200_000, 1_000), 200_000 * 1_250 + 1_000 * 10_000);
    assert_eq!(cost(200_001, 1_000), 200_001 * 2_500 + 1_000 * 15_000);
    // What the cache had counts for the length.
    let cached = Usage { cache_read: 200_000, ..used(1, 0) };
    assert_eq!(pro.cost(&cached, ServiceTier::Standard).0, 200_000 * 250 + 2_500);
}

#[test]
fn several_lengths_are_several_prices() {
    let qwen = price("qwen3-max");
    let rate = |length| qwen.rate(Class::Input, ServiceTier::Standard, length);
    let found = [0, 32_000, 32_001, 128_000, 128_001, u64::MAX].map(rate);
    assert_eq!(found, ["1.2", "1.2", "2.4", "2.4", "3", "3"].map(per_million));
}

#[test]
fn what_a_table_forgets_is_never_cheaper() {
    let found = row::price(
        "in=2 read=0.2 audio=4 out=8 priority.in=6 priority.out=16 >100.in=3 >100.out=9",
    );
    let found = found.expect("a row");
    let rate = |class, tier, length| found.rate(class, tier, length);
    let (usual, soon) = (ServiceTier::Standard, ServiceTier::Priority);
    // The tier is known, the length is known, both together are not.
    assert_eq!(rate(Class::Input, soon, 101), per_million("6"));
    assert_eq!(rate(Class::Input, ServiceTier::Flex, 101), per_million("3"));
    assert_eq!(rate(Class::InputAudio, soon, 1), per_million("6"));
    assert_eq!(rate(Class::CacheRead, soon, 1), per_million("0.2"));
    assert_eq!(rate(Class::CacheWrite, usual, 1), per_million("2.5"));
    assert_eq!(rate(Class::CacheWrite1h, usual, 1), per_million("4"));
    assert_eq!(rate(Class::Reasoning, soon, 1), per_million("16"));
    assert_eq!(rate(Class::OutputImage, usual, 101), per_million("9"));
    assert_eq!(rate(Class::InputImage, usual, 101), per_million("3"));
}

#[test]
fn the_words_of_all_providers_are_understood() {
    use ServiceTier::{Batch, Flex, Priority, Standard, Ultrafast, Unknown};
    for (word, tier) in [
        ("default", Standard),
        ("standard", Standard),
        ("ON_DEMAND", Standard),
        ("scale", Standard),
        ("flex", Flex),
        ("ON_DEMAND_FLEX", Flex),
        ("Priority", Priority),
        ("batch", Batch),
        ("ultrafast", Ultrafast),
        ("premium\u{0}", Unknown),
    ] {
        assert_eq!(ServiceTier::named(word), tier, "{word}");
    }
}

#[test]
fn a_search_is_never_free() {
    assert_eq!(price("gpt-4o-mini").web_search(), NanoUsd(25_000_000));
    let usage = Usage { web_searches: 1, ..Usage::default() };
    assert_eq!(Price::default().cost(&usage, ServiceTier::Standard), WEB_SEARCH);
}

#[test]
fn every_row_of_the_table_is_read_and_nothing_in_it_is_free() {
    let text = include_str!("built_in.tsv");
    let rows: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(rows.len() > 1_000 && rows.is_sorted_by_key(|row| row.split('\t').next()));
    for row in rows {
        let (name, text) = row.split_once('\t').expect("a name and a price");
        let found = match text.strip_prefix('=') {
            Some(other) => {
                assert_eq!(price(name), price(other), "{name}");
                continue;
            }
            None => row::price(text).unwrap_or_else(|| panic!("{row}")),
        };
        let zero = found.rates.iter().find(|rate| rate.per_million == 0);
        assert!(zero.is_none_or(|rate| rate.class == Class::Output), "{row}");
        if name != "*" {
            assert_eq!(price(name), &found, "{name} is found by its own name");
        }
    }
}

#[test]
fn the_ceiling_is_above_every_model_that_is_still_sold() {
    let ceiling = Table::built_in().ceiling();
    for model in ["gpt-5.5-pro", "gpt-4o", "claude-opus-4-5", "gemini-2.5-pro", "grok-4.7"] {
        for class in Class::ALL {
            let rate = |price: &Price| price.rate(class, ServiceTier::Standard, 0);
            // Rates that a model does not name are not asked for it: gpt-5.5-pro has no cache to write to.
            let is_named = price(model).has(class);
            assert!(!is_named || rate(price(model)) <= rate(ceiling), "{model} {class:?}");
        }
    }
    assert!(ceiling.rate(Class::Output, ServiceTier::Standard, 0) < per_million("500"));
}

#[test]
fn the_table_has_a_date() {
    let day: jiff::civil::Date = table_date().parse().expect("a date");
    assert!(day >= jiff::civil::date(2026, 11, 22));
    assert_eq!(table_day() % 86_400, 0);
    assert!(table_day() >= 1_795_305_600);
}

/// Rates, tokens and searches of any size.
fn anything() -> impl Strategy<Value = (Vec<(usize, u64)>, [u64; 10], u64)> {
    let rates = prop::collection::vec(
        (0_usize..10, prop_oneof![0..100_000_000_000_u64, any::<u64>()]),
        2..12,
    );
    let tokens = prop::array::uniform10(prop_oneof![0..2_000_000_u64, any::<u64>()]);
    (rates, tokens, prop_oneof![Just(0), 0..9_u64, any::<u64>()])
}

proptest! {
    /// Against sums that cannot overflow: pairs of high and low parts in base 10⁶.
    #[test]
    fn costs_are_exact_and_saturate((rates, tokens, searches) in anything()) {
        let mut price = Price { web_search: Some(NanoUsd(10_000_000)), ..Price::default() };
        price.fix(Class::Input, NanoUsd(7));
        price.fix(Class::Output, NanoUsd(11));
        for (class, rate) in rates {
            price.fix(Class::ALL[class], NanoUsd(rate));
        }
        let [input, cache_read, cache_write, cache_write_1h, input_audio, input_image, output, reasoning, output_audio, output_image] = tokens;
        let usage = Usage { input, cache_read, cache_write, cache_write_1h, input_audio, input_image, output,
            reasoning, output_audio, output_image, web_searches: searches, web_fetches: 3 };
        let (mut whole, mut parts) = (u128::from(searches) * 10_000_000, 0_u128);
        for (class, tokens) in Class::ALL.into_iter().zip(tokens) {
            let product = u128::from(tokens) * u128::from(price.rate(class, ServiceTier::Standard, 0).0);
            whole += product / 1_000_000;
            parts += product % 1_000_000;
        }
        let exact = whole + parts.div_ceil(1_000_000);
        let expected = u64::try_from(exact).unwrap_or(u64::MAX);
        prop_assert_eq!(price.cost(&usage, ServiceTier::Standard).0, expected);
    }

    /// More of anything is never cheaper, in any tier, for any model of the table.
    #[test]
    fn more_tokens_never_cost_less(place in 0_usize..1_300, input in 0_u64..1_000_000, output in 0_u64..200_000, more in 0_u64..1_000) {
        let Some(price) = Table::built_in().price(place) else { return Ok(()) };
        for tier in [ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Priority, ServiceTier::Unknown] {
            let less = price.cost(&used(input, output), tier);
            prop_assert!(less <= price.cost(&used(input + more, output + more), tier));
        }
    }

    #[test]
    fn any_text_is_a_name_of_some_model_or_of_none(name in ".{0,220}") {
        let prices = Prices::default();
        match prices.price_of(&name, UnknownModel::Ceiling) {
            Priced::Known(id, _) => prop_assert_ne!(prices.label(id), "other"),
            priced => prop_assert!(matches!(priced, Priced::Ceiling(_))),
        }
    }

    #[test]
    fn any_text_is_a_row_or_none(row in "[a-z0-9.=> ]{0,60}") {
        let _ = row::price(&row);
    }
}
