//! Budgets as the official SDKs meet them: a stream that is ended, an estimate that does not fit.

use serde_json::{Value, json};

use crate::{
    dialect::Dialect,
    harness::{run, soon},
    metering::{metered, used},
    origin::Origin,
    sdk::Desk,
    tools::{Language, said, succeeded},
};

/// A budget in which one answer of the length fits that the SDK's script asks for, and little more.
fn budget(dialect: Dialect) -> f64 {
    match dialect {
        // It allows any length: 4096 tokens of two tenths of a cent.
        Dialect::OpenAi => 8.3,
        // It allows 100 tokens.
        Dialect::Anthropic => 0.3,
    }
}

type Sdk = (Dialect, Language);

/// What an SDK makes of a stream that is ended, and what was spent.
async fn ended(sdk: Sdk, style: &str) -> (Value, f64) {
    let dialect = sdk.0;
    let origin = Origin::start().await;
    let feed = origin.paces(dialect.path());
    let lines = format!("on_exhausted = \"{style}\"");
    let plan = metered(&lines, &format!("${}", budget(dialect))).before(&origin);
    let desk = Desk::of(plan, origin).await;
    let asks = json!([desk.asks(dialect, "", json!({"way": "end"}))]);
    let mut script = desk.spawn(sdk, asks);
    feed.send(dialect.opening().into()).await.unwrap();
    let long = dialect.piece(&" sunny".repeat(20));
    let short = dialect.piece(" sunny");
    let piece = if dialect == Dialect::OpenAi { long } else { short };
    // Were it never ended, the test would be: its deadline is the harness's.
    while feed.send(piece.clone().into()).await.is_ok() {}
    soon("the upstream is closed", feed.closed()).await;
    succeeded(&mut script).await;
    (said(&script)[0].clone(), used(&desk.sidecar).await.parse().unwrap())
}

async fn finished(language: Language) {
    for (dialect, finish) in [(Dialect::OpenAi, "length"), (Dialect::Anthropic, "max_tokens")] {
        let (said, spent) = ended((dialect, language), "finish").await;
        assert_eq!(said["finish"], finish, "{dialect:?}: {said}");
        assert!(said["pieces"].as_u64().unwrap() > 20, "{dialect:?}: {said}");
        assert!(spent <= budget(dialect) && spent > 0.2, "{dialect:?}: {spent}");
    }
}

#[test]
fn python_sdks_read_a_stream_that_is_finished_for_want_of_money_as_one_that_reached_its_length() {
    run(finished(Language::Python));
}

#[test]
fn node_sdks_read_a_stream_that_is_finished_for_want_of_money_as_one_that_reached_its_length() {
    run(finished(Language::Node));
}

async fn cut(language: Language) {
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        let (said, spent) = ended((dialect, language), "cut").await;
        assert!(said["error"].as_str().unwrap().starts_with("API"), "{dialect:?}: {said}");
        let named = [&said["code"], &said["type"]];
        assert!(named.contains(&&json!("budget_exceeded")), "{dialect:?}: {said}");
        assert!(spent <= budget(dialect) && spent > 0.2, "{dialect:?}: {spent}");
    }
}

#[test]
fn python_sdks_raise_the_error_of_a_stream_that_is_cut_for_want_of_money() {
    run(cut(Language::Python));
}

#[test]
fn node_sdks_raise_the_error_of_a_stream_that_is_cut_for_want_of_money() {
    run(cut(Language::Node));
}

/// An estimate that fits neither into what is left of a budget nor into a quota in tokens.
async fn refused(language: Language) {
    for (dialect, error) in
        [(Dialect::OpenAi, "APIStatusError"), (Dialect::Anthropic, "PaymentRequiredError")]
    {
        // OpenAI's SDK for Node has one class for all that it has no name for.
        let plain = language == Language::Node && dialect == Dialect::OpenAi;
        let error = if plain { "APIError" } else { error };
        let tokens = "quotas = { chat = \"20 tokens/hour\" }\nbudget";
        for (plan, error, status, code) in [
            (metered("", "$0.1"), error, 402, "budget_exceeded"),
            (
                metered("", "$99").replacing("budget", tokens),
                "RateLimitError",
                429,
                "quota_exceeded",
            ),
        ] {
            let origin = Origin::start().await;
            let desk = Desk::of(plan.before(&origin), origin).await;
            let asks = json!([desk.asks(dialect, "", json!({"way": "ask"}))]);
            let said = desk.said((dialect, language), asks).await;
            assert_eq!(said[0]["error"], error, "{said:?}");
            assert_eq!(said[0]["status"], status);
            let named = [&said[0]["code"], &said[0]["type"]];
            assert!(named.contains(&&json!(code)), "{said:?}");
            assert!(said[0]["retry_after"].is_string());
            assert_eq!(desk.origin.seen().len(), 0);
        }
    }
}

#[test]
fn python_sdks_raise_their_error_for_an_estimate_that_does_not_fit() {
    run(refused(Language::Python));
}

#[test]
fn node_sdks_raise_their_error_for_an_estimate_that_does_not_fit() {
    run(refused(Language::Node));
}
