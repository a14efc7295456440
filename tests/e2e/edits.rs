//! Edits of limits while they are in use: what was used is neither lost nor held against anyone twice.

use crate::{
    client::Answer,
    harness::{run, until_async},
    origin::Origin,
    sidecar::Sidecar,
};

async fn ask(sidecar: &Sidecar, path: &str) -> Answer {
    sidecar.client.get(path).send().await
}

/// Puts other tables in force and waits until they are.
async fn edit(sidecar: &Sidecar, tables: &str) {
    let series = r#"weir_policy_reloads_total{result="applied"}"#;
    let before = sidecar.metric(series).await;
    sidecar.edit(tables);
    until_async("the edited policy", || async {
        (sidecar.metric(series).await > before).then_some(())
    })
    .await;
}

fn left(answer: &Answer) -> Option<&str> {
    answer.header("x-ratelimit-remaining")
}

fn operation(name: &str, former: &str, quota: &str) -> String {
    format!(
        "[operations.{name}]\nroutes = [\"* /**\"]\n{former}\n\
         total = {{ quotas = \"9/hour\" }}\n\
         [tiers.free]\nquotas = {{ {name} = {quota} }}\n"
    )
}

#[test]
fn a_renamed_operation_keeps_what_was_used_over_a_chain_of_names_and_a_restart() {
    run(async {
        let origin = Origin::start().await;
        let sidecar =
            Sidecar::with(&operation("first", "", "\"5/hour\"")).before(&origin).start().await;
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("4"));
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("3"));

        edit(&sidecar, &operation("second", "renamed_from = \"first\"", "\"5/hour\"")).await;
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("2"));

        let third = operation("third", "renamed_from = [\"second\", \"first\"]", "\"5/hour\"");
        edit(&sidecar, &third).await;
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("1"));
        let sidecar = sidecar.restart().await;
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("0"));
        assert_eq!(ask(&sidecar, "/x").await.status, 429);
        let series = r#"weir_pool_used_ratio{pool="operation:third",limit="9/hour"}"#;
        sidecar.metric_is(series, 0.555_555).await;

        // The old name comes back to life, and goes again: its new use counts once more, and only once.
        edit(&sidecar, &operation("first", "", "\"5/hour\"")).await;
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("4"));
        edit(&sidecar, &operation("third", "renamed_from = \"first\"", "\"9/hour\"")).await;
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("2"), "5 and 1 before, and this one");
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("1"));
    });
}

#[test]
fn an_operation_that_is_renamed_without_saying_so_begins_anew() {
    run(async {
        let origin = Origin::start().await;
        let sidecar =
            Sidecar::with(&operation("first", "", "\"5/hour\"")).before(&origin).start().await;
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("4"));
        edit(&sidecar, &operation("second", "", "\"5/hour\"")).await;
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("4"));
    });
}

#[test]
fn a_renamed_tier_and_another_zone_keep_what_was_used_and_the_total() {
    run(async {
        let origin = Origin::start().await;
        let tier = |name: &str, former: &str, zone: &str| {
            format!(
                "[[identity]]\nfrom = \"address\"\ntier = \"{name}\"\n\
                 [operations.all]\nroutes = [\"* /**\"]\ncost = \"$0.10\"\n\
                 [tiers.{name}]\n{former}\nquotas = {{ \"*\" = \"9/hour\" }}\n\
                 budget = {{ month = \"$9\", week = \"$5\", zone = \"{zone}\" }}\n\
                 total = {{ budget = {{ month = \"$0.40\" }} }}\n"
            )
        };
        let sidecar = Sidecar::with(&tier("basic", "", "UTC")).before(&origin).start().await;
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("8"));
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("7"));

        edit(&sidecar, &tier("plus", "renamed_from = \"basic\"", "Pacific/Kiritimati")).await;
        assert_eq!(left(&ask(&sidecar, "/x").await), Some("6"));
        sidecar
            .metric_is(r#"weir_pool_used_ratio{pool="tier:plus",limit="$0.40/month"}"#, 0.75)
            .await;
        let sidecar = sidecar.restart().await;
        assert_eq!(ask(&sidecar, "/x").await.status, 200);
        let refused = ask(&sidecar, "/x").await;
        assert_eq!(refused.status, 402);
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("The plus tier has used its budget of $0.40 for this month."));
    });
}

#[test]
fn a_new_window_counts_from_the_edit_and_a_refusal_is_forgotten_with_the_limit_that_made_it() {
    run(async {
        let origin = Origin::start().await;
        let sidecar =
            Sidecar::with(&operation("all", "", "\"2/hour\"")).before(&origin).start().await;
        for _ in 0..2 {
            assert_eq!(ask(&sidecar, "/x").await.status, 200);
        }
        for _ in 0..5 {
            assert_eq!(ask(&sidecar, "/x").await.status, 429);
        }
        edit(&sidecar, &operation("all", "", "[\"3/hour\", \"6/day\"]")).await;
        let next = ask(&sidecar, "/x").await;
        assert_eq!((next.status.as_u16(), left(&next)), (200, Some("0")), "refusals never counted");
        assert!(next.header("ratelimit").unwrap().contains("\"all-day\";r=5;"), "{next:?}");
        edit(&sidecar, &operation("all", "", "[\"9/hour\", \"6/day\"]")).await;
        let next = ask(&sidecar, "/x").await;
        assert!(next.header("ratelimit").unwrap().contains("\"all-hour\";r=5;"), "{next:?}");
    });
}

#[test]
fn a_request_that_a_limit_can_never_admit_is_told_so() {
    run(async {
        let origin = Origin::start().await;
        let tables = "[operations.all]\nroutes = [\"* /**\"]\ncost = \"$0.20\"\n\
                      [tiers.free]\nbudget = { rolling = \"$0.10/5h\" }\n";
        let sidecar = Sidecar::with(tables).before(&origin).start().await;
        let refused = ask(&sidecar, "/x").await;
        assert_eq!(refused.status, 402);
        let wanted =
            "This request may cost more than your budget of $0.10 for any 5h. Ask for less.";
        assert_eq!(refused.json()["message"], wanted);
    });
}
