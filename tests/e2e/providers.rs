//! A provider's own limits: shown, and not asked for in vain.

use crate::{
    client::{Answer, Ask},
    faulty::{Faulty, Manner},
    harness::run,
    plan::Plan,
    sidecar::Sidecar,
};

/// Two operations, subjects from the path.
fn plan() -> Plan {
    Sidecar::with(
        r#"
        [[identity]]
        from = "path"
        pattern = "/u/{id}/**"
        parameter = "id"
        tier = "free"
        [operations.chat]
        routes = ["POST /u/{id}/chat"]
        cost = "$0.01"
        [operations.other]
        routes = ["* /**"]
        [tiers.free]
        quotas = { chat = "100/day" }
        budget = { day = "$1" }
        "#,
    )
}

fn chat(sidecar: &Sidecar, who: &str) -> Ask {
    sidecar.client.post(&format!("/u/{who}/chat"), "").json("{}")
}

fn is_refused(answer: &Answer) -> bool {
    answer.refusal() == (503, "upstream_quota".to_owned())
}

const LIMITED: Manner = Manner::Answers(429, &[("retry-after", "30")]);
const OF_PROVIDER: Manner = Manner::Answers(
    429,
    &[
        ("retry-after-ms", "30000"),
        ("retry-after", "31"),
        ("x-ratelimit-limit-requests", "500"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "6m0s"),
    ],
);

#[test]
fn a_caller_that_was_told_to_wait_is_told_so_without_asking_again() {
    run(async {
        let a = Faulty::start("a").await;
        let sidecar = plan().before_address(a.address).start().await;
        a.becomes(LIMITED);

        let first = chat(&sidecar, "u1").send().await;
        let second = chat(&sidecar, "u1").send().await;

        assert_eq!((first.status.as_u16(), first.header("retry-after")), (429, Some("30")));
        assert!(is_refused(&second), "{second:?}");
        let wait: u64 = second.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=30).contains(&wait), "{wait}");
        assert_eq!(second.json()["retry_after_seconds"], wait);
        assert_eq!(a.total("POST"), 1);
        assert_eq!(
            second.header("x-ratelimit-remaining"),
            Some("98"),
            "the state at its reservation"
        );
        // What a stranger may make the service say to him is no reason to refuse others.
        a.becomes(Manner::Well);
        let third = chat(&sidecar, "u2").send().await;
        assert_eq!(third.status, 200);
        let other = sidecar.client.get("/u/u1/other").send().await;
        assert_eq!(other.status, 200, "another kind of work may have other limits");
        assert!(is_refused(&chat(&sidecar, "u1").send().await));
    });
}

#[test]
fn the_limits_of_a_shared_account_are_for_all_who_share_it() {
    run(async {
        let a = Faulty::start("a").await;
        let sidecar = plan().before_address(a.address).start().await;
        a.becomes(OF_PROVIDER);
        assert_eq!(chat(&sidecar, "u1").send().await.status, 429);
        a.becomes(Manner::Well);

        assert!(is_refused(&chat(&sidecar, "u2").send().await));
        assert!(is_refused(&chat(&sidecar, "u3").send().await));
        assert_eq!(a.total("POST"), 1);
        // One who brings an account of his own has limits of his own.
        let own = chat(&sidecar, "u4").header("authorization", "Bearer his-own").send().await;
        assert_eq!(own.status, 200);

        let quota = |what: &str| format!("weir_provider_{what}{{kind=\"requests\"}}");
        sidecar.metric_is(&quota("limit"), 500.0).await;
        sidecar.metric_is(&quota("remaining"), 0.0).await;
        assert!(sidecar.metric(&quota("reset_seconds")).await > 300.0);
        let held = sidecar.metric("weir_provider_held_seconds").await;
        assert!(held > 1.0 && held <= 30.0, "{held}");
        sidecar.metric_is("weir_provider_limited_total", 1.0).await;
    });
}

#[test]
fn an_account_of_the_policy_is_shared_by_all() {
    run(async {
        let a = Faulty::start("a").await;
        let plan = plan().environment("PROVIDER_KEY", "canary-provider-key");
        let plan = plan.upstream("headers = { Authorization = \"Bearer ${PROVIDER_KEY}\" }");
        let sidecar = plan.before_address(a.address).start().await;
        a.becomes(LIMITED);
        assert_eq!(chat(&sidecar, "u1").send().await.status, 429);
        a.becomes(Manner::Well);
        assert!(is_refused(&chat(&sidecar, "u2").send().await));
        assert!(!sidecar.running.lines().join("\n").contains("canary-provider-key"));
    });
}

#[test]
fn an_overloaded_provider_is_left_alone_and_asked_again_by_itself() {
    run(async {
        let a = Faulty::start("a").await;
        let sidecar = plan().before_address(a.address).start().await;
        a.becomes(Manner::Answers(529, &[("retry-after", "5")]));
        let first = chat(&sidecar, "u1").send().await;
        assert_eq!((first.status.as_u16(), first.header("retry-after")), (529, Some("5")));
        a.becomes(Manner::Well);
        assert!(is_refused(&chat(&sidecar, "u2").send().await));

        crate::harness::until_async("it is over by itself", || async {
            (chat(&sidecar, "u3").send().await.status == 200).then_some(())
        })
        .await;
    });
}

#[test]
fn a_503_of_one_resource_closes_the_service_to_nobody() {
    run(async {
        let a = Faulty::start("a").await;
        let sidecar = plan().before_address(a.address).start().await;
        a.next(&[Manner::Answers(503, &[("retry-after", "30")])]);
        let first = chat(&sidecar, "u1").send().await;
        assert_eq!((first.status.as_u16(), first.header("retry-after")), (503, Some("30")));
        assert_eq!(chat(&sidecar, "u1").send().await.status, 200);
    });
}

#[test]
fn a_429_of_a_model_provider_is_for_all_who_share_the_account() {
    run(async {
        let a = Faulty::start("a").await;
        let plan = plan().with(
            "[[identity]]\nfrom = \"path\"\npattern = \"/u/{id}/**\"\nparameter = \"id\"\ntier = \"free\"\n\
             [operations.chat]\nroutes = [\"* /**\"]\nmeter = \"usage\"\n\
             [tiers.free]\nquotas = { chat = \"100/day\" }\n",
        );
        let sidecar = plan.before_address(a.address).start().await;
        a.becomes(LIMITED);
        assert_eq!(chat(&sidecar, "u1").send().await.status, 429);
        let answer = chat(&sidecar, "u2").send().await;
        assert_eq!(answer.json()["error"]["code"], "upstream_quota");
        assert_eq!(a.total("POST"), 1);
    });
}

#[test]
fn with_several_addresses_the_one_that_asked_is_just_not_chosen() {
    run(async {
        let (a, b) = (Faulty::start("a").await, Faulty::start("b").await);
        let sidecar = plan().before_all(&[a.address, b.address]).start().await;
        a.becomes(OF_PROVIDER);
        for _ in 0..40 {
            let answer = chat(&sidecar, "u1").send().await;
            assert!([200, 429].contains(&answer.status.as_u16()), "{answer:?}");
        }
        assert_eq!(a.total("POST"), 1);
        b.becomes(OF_PROVIDER);
        assert_eq!(chat(&sidecar, "u1").send().await.status, 429);
        assert!(is_refused(&chat(&sidecar, "u1").send().await));
    });
}

#[test]
fn a_policy_that_only_observes_refuses_nobody() {
    run(async {
        let a = Faulty::start("a").await;
        for limits in ["observe", "off"] {
            let plan = plan().upstream(&format!("provider_limits = \"{limits}\""));
            let sidecar = plan.before_address(a.address).start().await;
            a.becomes(OF_PROVIDER);
            for _ in 0..3 {
                assert_eq!(chat(&sidecar, "u1").send().await.status, 429);
            }
            let page = sidecar.operator("/metrics").send().await.text();
            let series = "weir_provider_remaining{kind=\"requests\"} 0";
            assert_eq!(page.contains(series), limits == "observe", "{limits}");
        }
    });
}

#[test]
fn absurd_words_of_the_upstream_hold_nobody_for_long_and_break_nothing() {
    run(async {
        let a = Faulty::start("a").await;
        let sidecar = plan().before_address(a.address).start().await;
        for (number, value) in ["-1", "soon", "0", "1e9", "0x10", "99999999999999999999999", ""]
            .into_iter()
            .enumerate()
        {
            let headers: &'static [_] = vec![
                ("retry-after", value),
                ("x-ratelimit-reset-requests", value),
                ("anthropic-ratelimit-tokens-reset", value),
                ("anthropic-ratelimit-tokens-remaining", value),
            ]
            .leak();
            a.becomes(Manner::Answers(429, headers));
            let who = format!("absurd{number}");
            for _ in 0..2 {
                assert_eq!(chat(&sidecar, &who).send().await.status, 429, "{value:?}");
            }
        }
        a.becomes(Manner::Answers(429, &[("retry-after", "99999999")]));
        assert_eq!(chat(&sidecar, "long").send().await.status, 429);
        let answer = chat(&sidecar, "long").send().await;
        assert!(is_refused(&answer), "{answer:?}");
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(wait <= 3_600, "an hour at most: {wait}");
    });
}
