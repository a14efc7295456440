//! Quotas and budgets: exact under a rush, and told to the caller.

use std::collections::BTreeMap;

use crate::{
    client::{Answer, Client},
    harness::run,
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
};

const RUSH: usize = 200;

fn three_an_hour() -> Plan {
    Sidecar::with(
        r#"
        [operations.analysis]
        routes = ["POST /analyze"]
        [operations.other]
        routes = ["* /**"]
        [tiers.free]
        quotas = { analysis = "3/hour" }
        "#,
    )
}

/// Many requests at once, spread over several connections of the protocol.
async fn rush(client: &Client, path: &str, h2: bool) -> Vec<Answer> {
    let mut all = tokio::task::JoinSet::new();
    let shared = client.h2().await;
    for _ in 0..RUSH {
        let ask = client.post(path, "{}");
        let mut forked = h2.then(|| shared.fork());
        all.spawn(async move {
            match &mut forked {
                Some(connection) => ask.on(connection).await,
                None => ask.send().await,
            }
        });
    }
    all.join_all().await
}

fn by_status(answers: &[Answer]) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.status.as_u16()).or_default() += 1;
    }
    counts
}

fn assert_refused_by_quota(answer: &Answer) {
    let json = answer.json();
    let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["error", "error_code", "message", "request_id", "retry_after_seconds"]);
    assert_eq!(json["error"], "QuotaExceeded");
    assert_eq!(json["error_code"], "quota_exceeded");
    assert_eq!(json["request_id"], answer.header("x-request-id").unwrap());
    let seconds = json["retry_after_seconds"].as_u64().unwrap();
    assert!((3_500..=3_600).contains(&seconds), "{json}");
    let wanted = format!(
        "You have used all 3 analysis requests of this hour. Try again in {seconds} seconds."
    );
    assert_eq!(json["message"], wanted);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("retry-after"), Some(seconds.to_string().as_str()));
    assert_eq!(answer.header("x-ratelimit-limit"), Some("3"));
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
    assert!(answer.header("x-ratelimit-reset").unwrap().parse::<u64>().unwrap() <= 3_600);
    assert!(answer.header("ratelimit").unwrap().contains(";r=0;t="), "{answer:?}");
    assert!(answer.header("ratelimit-policy").unwrap().contains(";q=3;w=3600"), "{answer:?}");
    assert_eq!(answer.header("x-user-tier"), Some("free"));
}

#[test]
fn a_quota_of_three_lets_exactly_three_of_two_hundred_pass_over_http1() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = three_an_hour().before(&origin).start().await;

        let answers = rush(&sidecar.client, "/analyze", false).await;

        assert_eq!(by_status(&answers), BTreeMap::from([(200, 3), (429, RUSH - 3)]));
        assert_eq!(origin.count("/analyze"), 3);
        answers.iter().filter(|a| a.status == 429).for_each(assert_refused_by_quota);
        // What the tier does not name has no quota of its own.
        assert_eq!(sidecar.client.get("/elsewhere").send().await.status, 200);
    });
}

#[test]
fn a_quota_of_three_lets_exactly_three_of_two_hundred_pass_over_http2() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = three_an_hour().before(&origin).start().await;

        let answers = rush(&sidecar.client, "/analyze", true).await;

        assert_eq!(by_status(&answers), BTreeMap::from([(200, 3), (429, RUSH - 3)]));
        assert_eq!(origin.count("/analyze"), 3);
        answers.iter().filter(|a| a.status == 429).for_each(assert_refused_by_quota);
    });
}

fn half_a_dollar_a_day() -> Plan {
    Sidecar::with(
        r#"
        [operations.plan]
        routes = ["* /**"]
        cost = "$0.02"
        [tiers.free]
        budget = { day = "$0.50" }
        "#,
    )
}

async fn spend_a_budget(h2: bool) {
    let origin = Origin::start().await;
    let sidecar = half_a_dollar_a_day().before(&origin).start().await;

    let answers = rush(&sidecar.client, "/plan", h2).await;

    assert_eq!(by_status(&answers), BTreeMap::from([(200, 25), (402, RUSH - 25)]));
    assert_eq!(origin.count("/plan"), 25);
    for refused in answers.iter().filter(|answer| answer.status == 402) {
        let json = refused.json();
        assert_eq!(
            (&json["error"], &json["error_code"]),
            (&"BudgetExceeded".into(), &"budget_exceeded".into())
        );
        assert_eq!(refused.header("x-cost-used-today"), Some("0.5000"), "{refused:?}");
        assert_eq!(refused.header("x-cost-limit-daily"), Some("0.5000"));
        assert_eq!(refused.header("x-cost-remaining-today"), Some("0.0000"));
        assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() <= 86_400);
        assert!(refused.header("x-ratelimit-limit").is_none(), "budgets are no rate limits");
    }
    sidecar
        .metric_is(r#"weir_cost_usd_total{operation="plan",tier="free",model="none"}"#, 0.5)
        .await;
}

#[test]
fn a_budget_is_spent_to_the_cent_and_no_further_over_http1() {
    run(spend_a_budget(false));
}

#[test]
fn a_budget_is_spent_to_the_cent_and_no_further_over_http2() {
    run(spend_a_budget(true));
}

#[test]
fn the_tightest_quota_is_told_and_every_quota_is_listed() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with(
            r#"
            [operations.chat]
            routes = ["* /**"]
            [tiers.free]
            quotas = { chat = ["10/minute", "4/hour"], "*" = "100/day" }
            "#,
        );
        let sidecar = plan.before(&origin).start().await;

        let answer = sidecar.client.get("/").send().await;

        assert_eq!(answer.header("x-ratelimit-limit"), Some("4"));
        assert_eq!(answer.header("x-ratelimit-remaining"), Some("3"));
        let policy = answer.header("ratelimit-policy").unwrap();
        for item in [";q=10;w=60", ";q=4;w=3600", ";q=100;w=86400"] {
            assert!(policy.contains(item), "{item} is not in {policy}");
        }
        let limits = answer.header("ratelimit").unwrap();
        for item in [";r=9;t=", ";r=3;t=", ";r=99;t="] {
            assert!(limits.contains(item), "{item} is not in {limits}");
        }
    });
}

#[test]
fn more_at_once_than_the_tier_allows_are_refused_until_one_ends() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("[tiers.free]\nconcurrency = 2\n");
        let sidecar = plan.before(&origin).start().await;
        let (mut first, mut second) = (sidecar.client.h1().await, sidecar.client.h1().await);
        let (one, two) = (origin.paces("/one"), origin.paces("/two"));
        let one_answer = sidecar.client.get("/one").open(&mut first).await;
        let _two_answer = sidecar.client.get("/two").open(&mut second).await;

        let third = sidecar.client.get("/three").send().await;
        drop(one);
        one_answer.whole().await.unwrap();
        crate::harness::until_async("a place is free again", || async {
            let fourth = sidecar.client.get("/four").send().await;
            (fourth.status == 200).then_some(())
        })
        .await;

        assert_eq!(third.refusal(), (429, "too_many_concurrent".to_owned()));
        assert!(third.header("retry-after").is_some());
        assert_eq!(origin.count("/three"), 0);
        drop(two);
    });
}
