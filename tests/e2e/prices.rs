//! What models cost, as operators see it: checked, explained and measured by the real binary.

use std::fs;

use crate::{
    harness::{Printed, run, weir_in},
    origin::Origin,
    plan::Home,
    sidecar::Sidecar,
};

const WORK: &str = "[[identity]]\nfrom = \"address\"\ntier = \"free\"\n\
     [operations.chat]\nroutes = [\"POST /v1/**\"]\nmeter = \"usage\"\nunknown_model = \"refuse\"\n\
     [operations.other]\nroutes = [\"POST /other/**\"]\nmeter = \"usage\"\n\
     [operations.rest]\nroutes = [\"* /**\"]\ncost = \"$0.05\"\n\
     [tiers.free]\nconcurrency = 9\n\
     [prices.\"gpt-4o-mini\"]\noutput = \"$0.70\"\n";

fn explain(home: &Home, path: &str, model: &str) -> String {
    let printed = weir_in(home.path(), &["explain", "POST", path, "--model", model]);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    printed.out
}

#[track_caller]
fn assert_has(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

#[test]
fn explain_shows_what_a_model_costs_and_who_says_so() {
    let home = Sidecar::with(WORK).furnish();

    let own = explain(&home, "/v1/chat/completions", "openai/gpt-4o-mini-2024-07-18");
    let wanted =
        ["gpt-4o-mini (the policy's own price)", "$0.15 input, $0.075 cached, $0.70 output"];
    assert_has(&own, &wanted);
    let built_in = explain(&home, "/v1/chat/completions", "us.anthropic.claude-sonnet-4-5");
    assert_has(
        &built_in,
        &["built-in prices of 20", "$3 input, $0.30 cached, $15 output", "batch"],
    );
    let unknown = explain(&home, "/v1/chat/completions", "mystery");
    assert_has(&unknown, &["model      unknown: refused"]);
    let dearest = explain(&home, "/other/x", "mystery");
    assert_has(
        &dearest,
        &["unknown: costs as much as the dearest known", "$33 input", "$198 output"],
    );
    // Where prices decide on nothing, none is shown.
    assert!(!explain(&home, "/rest", "gpt-4o").contains("price"), "no price is shown");
}

#[test]
fn check_tells_of_prices_that_are_missing_or_cannot_be_meant() {
    let home = Sidecar::with(WORK).furnish();
    let path = home.path().join("policy.toml");
    let text = fs::read_to_string(&path).expect("it is there");
    let check = |more: &str| -> Printed {
        fs::write(&path, format!("{text}\n{more}")).expect("written");
        weir_in(home.path(), &["check"])
    };

    let missing = check("[prices.own]\ninput = \"$1\"\n");
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert_has(&missing.out, &["this model has no price for output", "not in the built-in table"]);
    let doubtful = check("[prices.\"gpt-4o\"]\ncached_input = \"$9\"\n");
    assert_eq!(doubtful.code, Some(0), "{doubtful:?}");
    assert_has(&doubtful.out, &["cached input costs $9, more than the $2.50 of other input"]);
    let good = check("[prices.own]\ninput = \"$1\"\noutput = \"$0\"\n");
    assert_eq!(good.code, Some(0), "{good:?}");
    assert_has(&good.out, &["0 warnings, 0 keys not yet effective"]);
}

#[test]
fn the_age_of_the_built_in_prices_is_measured() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(WORK).before(&origin).start().await;

        let metrics = sidecar.operator("/metrics").send().await.text();
        let age = metrics
            .lines()
            .find_map(|line| line.strip_prefix("weir_price_table_age_seconds "))
            .expect("it is shown");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let day = weir::meter::price::table_day();
        let expected = i64::try_from(now.as_secs()).unwrap() - day;
        assert!((expected - 60..=expected).contains(&age.parse().unwrap()), "{age} {expected}");
    });
}
