//! Shadow and off: deciding without refusing, and not deciding at all.

use crate::{harness::run, origin::Origin, plan::Plan, sidecar::Sidecar};

fn in_mode(mode: &str) -> Plan {
    Sidecar::with(&format!(
        r#"
        [enforcement]
        mode = "{mode}"
        [[identity]]
        from = "api_key"
        [[identity]]
        from = "address"
        tier = "free"
        [operations.paid]
        routes = ["* /paid"]
        cost = "$0.60"
        [operations.staff]
        routes = ["* /staff"]
        tiers = ["staff"]
        [operations.general]
        routes = ["* /**"]
        [tiers.free]
        quotas = {{ general = "1/hour" }}
        budget = {{ day = "$1" }}
        [tiers.staff]
        quotas = {{ "*" = "1/hour" }}
        "#
    ))
}

#[test]
fn shadow_counts_and_logs_what_it_would_refuse_and_refuses_nothing() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = in_mode("shadow").before(&origin).start().await;
        let client = &sidecar.client;

        for (ask, shadowed) in [
            (client.get("/x"), None),
            (client.get("/x"), Some("quota_exceeded")),
            (client.get("/paid"), None),
            (client.get("/paid"), Some("budget_exceeded")),
            (client.get("/staff"), Some("forbidden")),
            (client.get("/y").header("x-api-key", "wrong"), Some("unauthenticated")),
        ] {
            let answer = ask.send().await;
            assert_eq!(answer.status, 200, "{shadowed:?}");
            let record = sidecar.record(&answer).await;
            assert_eq!(record["shadow_error_code"].as_str(), shadowed, "{record}");
            assert!(record.get("error_code").is_none());
        }
        assert_eq!(origin.seen().len(), 6);
        assert_eq!(origin.last().header("x-api-key"), None, "the credential still ends here");
        let health = sidecar.operator("/api/health").send().await.json();
        assert_eq!(health["services"]["rate_limiting"], "shadow");
    });
}

#[test]
fn off_decides_nothing_and_counts_nothing() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = in_mode("off").before(&origin).start().await;

        for _ in 0..3 {
            for path in ["/x", "/paid", "/staff"] {
                let answer = sidecar.client.get(path).send().await;
                assert_eq!(answer.status, 200);
                assert_eq!(answer.header("x-ratelimit-remaining"), None);
            }
        }
        let health = sidecar.operator("/api/health").send().await.json();
        assert_eq!(health["services"]["rate_limiting"], "disabled");

        // Back to enforcing, without a restart: nothing was counted.
        sidecar.write_policy(&sidecar.home.plan.text().replace("\"off\"", "\"enforce\""));
        sidecar.metric_is(r#"weir_policy_reloads_total{result="applied"}"#, 1.0).await;
        assert_eq!(sidecar.client.get("/x").send().await.status, 200);
        assert_eq!(sidecar.client.get("/x").send().await.status, 429);
        assert_eq!(sidecar.client.get("/staff").send().await.status, 403);
    });
}

#[test]
fn rules_of_the_request_hold_in_shadow_too_where_they_protect_the_proxy() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = in_mode("shadow").before(&origin).start().await;

        let answer = sidecar.client.get("/a%2fb").send().await;

        assert_eq!(answer.status, 400, "a path that can be read in two ways is never forwarded");
        assert_eq!(origin.seen().len(), 0);
    });
}
