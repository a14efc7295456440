//! What all callers share: totals of tiers and of operations, beside what each has of its own.

use crate::{client::Answer, harness::run, origin::Origin, plan::Plan, sidecar::Sidecar};

fn plan(tables: &str) -> Plan {
    Sidecar::with(&format!(
        r#"
        [[identity]]
        from = "path"
        pattern = "/u/{{id}}/**"
        parameter = "id"
        tier = "free"
        {tables}
        "#
    ))
}

async fn ask(sidecar: &Sidecar, path: &str) -> Answer {
    sidecar.client.get(path).send().await
}

#[test]
fn a_tiers_budget_is_spent_by_all_its_callers_together() {
    run(async {
        let origin = Origin::start().await;
        let tables = r#"
            [operations.dear]
            routes = ["* /u/{id}/dear"]
            cost = "$0.04"
            [tiers.free]
            budget = { day = "$1" }
            quotas = { dear = "20/hour" }
            total = { budget = { day = "$0.10" } }
        "#;
        let sidecar = plan(tables).before(&origin).start().await;

        assert_eq!(ask(&sidecar, "/u/ada/dear").await.status, 200);
        let second = ask(&sidecar, "/u/eve/dear").await;
        assert_eq!(second.status, 200);
        assert_eq!(second.header("x-cost-used-today"), Some("0.0400"), "her own");
        assert_eq!(second.header("x-ratelimit-remaining"), Some("19"), "her own");

        let third = ask(&sidecar, "/u/bob/dear").await;
        assert_eq!(third.status, 402);
        let json = third.json();
        assert_eq!(json["error_code"], "budget_exceeded");
        let message = json["message"].as_str().unwrap();
        let wanted = "The free tier has used its budget of $0.10 for today. Try again in ";
        assert!(message.starts_with(wanted), "{message}");
        assert!(third.header("retry-after").unwrap().parse::<u64>().unwrap() <= 86_400);
        assert_eq!(third.header("x-cost-used-today"), Some("0.0000"), "he spent nothing");
        assert_eq!(origin.count("/u/bob/dear"), 0);
        let series = r#"weir_pool_used_ratio{pool="tier:free",limit="$0.10/day"}"#;
        sidecar.metric_is(series, 0.8).await;
    });
}

#[test]
fn an_operations_total_admits_exactly_its_amount_of_a_rush_of_many_callers() {
    run(async {
        let origin = Origin::start().await;
        let tables = r#"
            [operations.few]
            routes = ["* /u/{id}/few"]
            total = { quotas = ["7/hour", "100000/day"] }
            [operations.other]
            routes = ["* /**"]
            [tiers.free]
            quotas = { "*" = "1000/hour" }
            total = { quotas = { few = "50/minute" } }
        "#;
        let sidecar = plan(tables).before(&origin).start().await;

        let mut rush = tokio::task::JoinSet::new();
        let shared = sidecar.client.h2().await;
        for caller in 0..60 {
            let ask = sidecar.client.get(&format!("/u/{caller}/few"));
            let mut forked = shared.fork();
            rush.spawn(async move { ask.on(&mut forked).await });
        }
        let answers = rush.join_all().await;

        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 7);
        let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        let wanted = "The few operation has used all 7 requests of this hour. Try again in ";
        assert!(message.starts_with(wanted), "{message}");
        assert_eq!(refused.header("x-ratelimit-limit"), Some("7"), "that is what binds");
        assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
        let other = ask(&sidecar, "/u/0/other").await;
        assert_eq!(other.status, 200);
        assert_eq!(other.header("x-ratelimit-limit"), Some("1000"));
    });
}

#[test]
fn requests_in_flight_are_bounded_over_all_callers_and_come_back() {
    run(async {
        let origin = Origin::start().await;
        let tables = r#"
            [operations.all]
            routes = ["* /**"]
            [tiers.free]
            total = { concurrency = 1 }
        "#;
        let sidecar = plan(tables).before(&origin).start().await;
        let pieces = origin.paces("/u/ada/stream");
        let mut connection = sidecar.client.h1().await;
        let held = sidecar.client.get("/u/ada/stream").open(&mut connection).await;

        let refused = ask(&sidecar, "/u/eve/x").await;
        assert_eq!(refused.status, 429);
        assert_eq!(refused.json()["error_code"], "too_many_concurrent");

        drop(pieces);
        held.whole().await.unwrap();
        crate::harness::until_async("the place of the caller that left", || async {
            (ask(&sidecar, "/u/eve/x").await.status == 200).then_some(())
        })
        .await;
    });
}
