//! The circuit breaker: an upstream that fails is left alone, and comes back by itself.

use crate::{
    client::Answer,
    faulty::{Faulty, Manner},
    harness::{run, until_async},
    plan::Plan,
    sidecar::Sidecar,
};

/// A circuit that opens after three failures, and a quota that shows what was refunded.
fn careful() -> Plan {
    Sidecar::with(
        r#"
        [operations.all]
        routes = ["* /**"]
        cost = "$0.01"
        [tiers.free]
        quotas = { all = "100/day" }
        budget = { day = "$1" }
        "#,
    )
    .upstream("circuit_breaker = { failures = 3, within = \"1m\", open_for = \"1s\" }")
}

async fn opened(sidecar: &Sidecar) -> Answer {
    until_async("the circuit opens", || async {
        let answer = sidecar.client.get("/x").send().await;
        (answer.refusal() == (503, "upstream_circuit_open".to_owned())).then_some(answer)
    })
    .await
}

async fn recovers(sidecar: &Sidecar) {
    until_async("it answers again", || async {
        (sidecar.client.get("/again").send().await.status == 200).then_some(())
    })
    .await;
    sidecar.metric_is("weir_circuit_state", 0.0).await;
}

#[test]
fn an_upstream_that_is_gone_opens_it_and_it_closes_by_itself() {
    run(async {
        let mut a = Faulty::start("a").await;
        let sidecar = careful().before_address(a.address).start().await;
        assert!(
            sidecar.operator("/metrics").send().await.text().contains("\nweir_circuit_state 0\n")
        );
        a.kill();

        let codes = async |times: usize| {
            let mut codes = Vec::new();
            for _ in 0..times {
                codes.push(sidecar.client.post("/x", "{}").send().await.refusal());
            }
            codes
        };
        let unreachable = (502, "upstream_unreachable".to_owned());
        assert_eq!(codes(3).await, vec![unreachable; 3]);
        let answer = opened(&sidecar).await;
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert_eq!(wait, 1, "it says honestly when to come back");
        assert_eq!(answer.json()["retry_after_seconds"], 1);
        let open = |line: &serde_json::Value| line["message"] == "the circuit is open";
        sidecar.logged("the change is logged", open).await;

        a.revive().await;
        recovers(&sidecar).await;
        let closed = |line: &serde_json::Value| line["message"] == "the circuit is closed again";
        sidecar.logged("the change back is logged", closed).await;
        assert_eq!(a.total("GET"), 1, "what was refused never arrived");
        let last = sidecar.client.get("/last").send().await;
        assert_eq!(last.header("x-ratelimit-remaining"), Some("98"), "and was refunded");
    });
}

#[test]
fn while_it_is_open_nothing_reaches_the_upstream_and_then_one_request_tries() {
    run(async {
        let a = Faulty::start("a").await;
        let breaker = "circuit_breaker = { failures = 3, within = \"1m\", open_for = \"2s\" }";
        let sidecar = careful().upstream(breaker).before_address(a.address).start().await;
        a.becomes(Manner::Answers(503, &[]));
        opened(&sidecar).await;
        assert_eq!(a.total("GET"), 3);
        a.becomes(Manner::Frozen);

        // One of them is the trial; the others are refused meanwhile.
        until_async("one tries", || async {
            let client = sidecar.client.clone();
            let trial = tokio::spawn(async move { client.get("/trial").send().await });
            let tries = crate::harness::eventually(std::time::Duration::from_millis(300), || {
                (a.count("GET /trial") > 0).then_some(())
            })
            .await;
            trial.abort();
            tries
        })
        .await;
        assert_eq!(a.count("GET /trial"), 1);

        // Its caller has left, so nobody knows: the next one may try.
        a.becomes(Manner::Well);
        recovers(&sidecar).await;
    });
}

#[test]
fn every_kind_of_failure_opens_it() {
    run(async {
        for manner in [
            Manner::Resets,
            Manner::Frozen,
            Manner::HalfHead,
            Manner::Answers(500, &[]),
            Manner::Answers(504, &[]),
        ] {
            let a = Faulty::start("a").await;
            let plan = careful().upstream(
                "response_timeout = \"200ms\"\n\
                 circuit_breaker = { failures = 3, within = \"1m\", open_for = \"1s\" }",
            );
            let sidecar = plan.before_address(a.address).start().await;
            a.becomes(manner.clone());
            opened(&sidecar).await;
            assert!(a.total("GET") >= 3, "{manner:?}");
            a.becomes(Manner::Well);
            recovers(&sidecar).await;
        }
    });
}

#[test]
fn rare_failures_and_the_callers_own_do_not_open_it() {
    run(async {
        let a = Faulty::start("a").await;
        let sidecar = careful().before_address(a.address).start().await;
        for _ in 0..5 {
            a.next(&[Manner::Resets, Manner::Answers(500, &[]), Manner::Well]);
            let mut statuses = Vec::new();
            for _ in 0..3 {
                statuses.push(sidecar.client.get("/x").send().await.status.as_u16());
            }
            assert_eq!(statuses, [502, 500, 200]);
        }
        a.becomes(Manner::Answers(404, &[]));
        for _ in 0..5 {
            assert_eq!(sidecar.client.get("/x").send().await.status, 404);
        }
    });
}

#[test]
fn in_shadow_an_open_circuit_is_only_noted() {
    run(async {
        let mut a = Faulty::start("a").await;
        let plan = careful();
        let plan = plan.with("[enforcement]\nmode = \"shadow\"\n");
        let sidecar = plan.before_address(a.address).start().await;
        a.kill();
        for _ in 0..3 {
            sidecar.client.get("/x").send().await;
        }
        a.revive().await;

        let answer = sidecar.client.get("/x").send().await;

        assert_eq!(answer.status, 200);
        let record = sidecar.record(&answer).await;
        assert_eq!(record["shadow_error_code"], "upstream_circuit_open");
    });
}
