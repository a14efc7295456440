//! Several addresses of one service: the load is spread, and one that fails is passed over.

use std::{collections::HashMap, time::Duration};

use crate::{
    faulty::{Faulty, Manner},
    harness::{run, until, until_async, weir_in},
    plan::Plan,
    sidecar::Sidecar,
};

async fn pair() -> (Faulty, Faulty) {
    (Faulty::start("a").await, Faulty::start("b").await)
}

/// Who answers each of `times` requests; statuses other than 200 as text.
async fn answers(sidecar: &Sidecar, times: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..times {
        let answer = sidecar.client.get("/x").send().await;
        let status = answer.status.as_u16();
        let who = if status == 200 { answer.text() } else { status.to_string() };
        *counts.entry(who).or_default() += 1;
    }
    counts
}

/// Waits until the next requests are all answered by one of these.
async fn only(sidecar: &Sidecar, names: &[&str]) {
    until_async(&format!("only {names:?} answer"), || async {
        let counts = answers(sidecar, 20).await;
        counts.keys().all(|name| names.contains(&&**name)).then_some(())
    })
    .await;
}

/// Two addresses, and a plan before both.
async fn before_pair(tables: &str) -> (Faulty, Faulty, Plan) {
    let (a, b) = pair().await;
    let plan = Sidecar::with(tables).before_all(&[a.address, b.address]);
    (a, b, plan)
}

/// Waits until an address that was passed over answers.
async fn used_again(sidecar: &Sidecar, name: &str) {
    until_async("it is used again", || async {
        answers(sidecar, 10).await.contains_key(name).then_some(())
    })
    .await;
}

#[test]
fn requests_are_spread_over_all_addresses() {
    run(async {
        let (a, b, plan) = before_pair("").await;
        let sidecar = plan.start().await;

        let counts = answers(&sidecar, 60).await;

        assert_eq!(counts.values().sum::<usize>(), 60);
        assert!(counts["a"] > 10 && counts["b"] > 10, "{counts:?}");
        let last = sidecar.client.get("/last").send().await;
        let record = sidecar.record(&last).await;
        let address = if last.text() == "a" { a.address } else { b.address };
        assert_eq!(record["endpoint"], format!("http://{address}"));
        assert_eq!(record["attempts"], 1);
    });
}

#[test]
fn the_address_with_the_fewest_requests_gets_the_next() {
    run(async {
        let (a, b, plan) = before_pair("").await;
        let sidecar = plan.start().await;
        a.becomes(Manner::Frozen);
        b.becomes(Manner::Frozen);
        let hang = || {
            let client = sidecar.client.clone();
            tokio::spawn(async move { drop(client.get("/hang").send().await) })
        };

        let mut hanging = Vec::new();
        for number in 1..=10 {
            hanging.push(hang());
            // One after the other: two that come at once may both see the same place empty.
            let there = || (a.total("GET") + b.total("GET") == number).then_some(());
            until("it has arrived", there).await;
        }
        assert_eq!((a.total("GET"), b.total("GET")), (5, 5), "each got every second one");
        let series =
            format!("weir_upstream_endpoint_in_flight{{endpoint=\"http://{}\"}}", a.address);
        sidecar.metric_is(&series, 5.0).await;

        hanging.iter().for_each(tokio::task::JoinHandle::abort);
        sidecar.metric_is(&series, 0.0).await;
    });
}

#[test]
fn an_address_that_is_gone_costs_no_request() {
    run(async {
        let (mut a, b) = pair().await;
        let plan = Sidecar::with("[health]\nevery = \"1s\"\ntimeout = \"500ms\"\n");
        let plan = plan.upstream("ejection = { eject_for = \"1s..2s\" }");
        let sidecar = plan.before_all(&[a.address, b.address]).start().await;
        only(&sidecar, &["a", "b"]).await;

        a.kill();

        // What finds nobody there goes to the other address, a POST as well.
        assert_eq!(answers(&sidecar, 30).await, HashMap::from([("b".to_owned(), 30)]));
        for number in 0..10 {
            let path = format!("/post/{number}");
            let answer = sidecar.client.post(&path, "{}").send().await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "b".to_owned()));
            assert_eq!(b.count(&format!("POST {path}")), 1);
        }
        let up = format!("weir_upstream_endpoint_up{{endpoint=\"http://{}\"}}", a.address);
        sidecar.metric_is(&up, 0.0).await;
        sidecar.metric_is("weir_upstream_up", 1.0).await;
        let change = |line: &serde_json::Value| {
            line["message"] == "upstream reachability changed" && line["well"] == false
        };
        sidecar.logged("the probe's finding is logged", change).await;

        a.revive().await;
        sidecar.metric_is(&up, 1.0).await;
        used_again(&sidecar, "a").await;
    });
}

#[test]
fn an_address_that_fails_in_a_row_is_ejected() {
    run(async {
        let (a, _b, plan) = before_pair("").await;
        let ejection = "ejection = { failures = 3, eject_for = \"1h..1h\" }";
        let sidecar = plan.upstream(ejection).start().await;
        a.becomes(Manner::Answers(500, &[]));

        only(&sidecar, &["b"]).await;

        assert_eq!(a.total("GET"), 3, "not one more than it takes");
        let series = format!("weir_upstream_ejections_total{{endpoint=\"http://{}\"}}", a.address);
        sidecar.metric_is(&series, 1.0).await;
        let ejected = |line: &serde_json::Value| line["message"] == "the endpoint is ejected";
        sidecar.logged("the ejection is logged", ejected).await;
    });
}

#[test]
fn an_address_that_was_ejected_is_tried_again() {
    run(async {
        let (a, _b, plan) = before_pair("").await;
        let ejection = "ejection = { failures = 3, eject_for = \"1s..2s\" }";
        let sidecar = plan.upstream(ejection).start().await;
        a.becomes(Manner::Answers(500, &[]));
        only(&sidecar, &["b"]).await;

        a.becomes(Manner::Well);

        used_again(&sidecar, "a").await;
    });
}

#[test]
fn a_frozen_address_ends_in_504_and_is_passed_over() {
    run(async {
        let (a, _b, plan) = before_pair("").await;
        let upstream = "response_timeout = \"1s\"\nejection = { failures = 2 }";
        let sidecar = plan.upstream(upstream).start().await;
        for manner in [Manner::Frozen, Manner::HalfHead] {
            a.becomes(manner);
            only(&sidecar, &["b", "504"]).await;
        }
        only(&sidecar, &["b"]).await;
        assert!(a.total("GET") >= 2);
    });
}

#[test]
fn when_every_address_fails_one_is_tried_all_the_same() {
    run(async {
        let (a, b, plan) = before_pair("").await;
        let sidecar =
            plan.upstream("ejection = { failures = 1, eject_for = \"1h..1h\" }").start().await;
        a.becomes(Manner::Answers(500, &[]));
        b.becomes(Manner::Answers(500, &[]));
        answers(&sidecar, 10).await;

        a.becomes(Manner::Well);
        b.becomes(Manner::Well);

        let counts = answers(&sidecar, 40).await;
        assert!(counts["a"] > 0 && counts["b"] > 0 && !counts.contains_key("500"), "{counts:?}");
    });
}

#[test]
fn a_health_path_that_fails_takes_an_address_out() {
    run(async {
        let (a, b) = pair().await;
        let plan = Sidecar::with("[upstream.health]\npath = \"/ready\"\nevery = \"1s\"\n");
        let plan = plan.upstream("headers = { X-From = \"weir\" }");
        let sidecar = plan.before_all(&[a.address, b.address]).start().await;
        only(&sidecar, &["a", "b"]).await;
        until("it is asked", || (a.count("GET /ready") > 0).then_some(())).await;

        // Answers, but not well: a look at the port alone would not notice.
        a.becomes(Manner::Answers(404, &[]));
        only(&sidecar, &["b"]).await;

        a.becomes(Manner::Well);
        used_again(&sidecar, "a").await;
    });
}

#[test]
fn a_reload_changes_the_addresses_and_forgets_nothing_else() {
    run(async {
        let (a, b) = pair().await;
        let plan = Sidecar::with("").before_address(a.address);
        let sidecar = plan.start().await;
        only(&sidecar, &["a"]).await;

        let both = sidecar.home.plan.clone().before_all(&[a.address, b.address]);
        sidecar.write_policy(&both.text());
        until_async("both are used", || async {
            (answers(&sidecar, 20).await.len() == 2).then_some(())
        })
        .await;

        sidecar.write_policy(&sidecar.home.plan.clone().before_address(b.address).text());
        only(&sidecar, &["b"]).await;
        let gone = format!("weir_upstream_endpoint_up{{endpoint=\"http://{}\"}}", a.address);
        until_async("the first one is no longer shown", || async {
            let page = sidecar.operator("/metrics").send().await.text();
            (!page.contains(&gone)).then_some(())
        })
        .await;
    });
}

#[test]
fn one_address_alone_is_asked_however_it_does() {
    run(async {
        let a = Faulty::start("a").await;
        let plan = Sidecar::with("[upstream.health]\npath = \"/ready\"\nevery = \"1s\"\n");
        let sidecar = plan.before_address(a.address).start().await;
        a.becomes(Manner::Answers(500, &[]));
        sidecar.metric_is("weir_upstream_up", 0.0).await;
        let answer = sidecar.client.get("/x").send().await;
        assert_eq!(answer.refusal(), (500, "internal_error".to_owned()));
        a.becomes(Manner::Slow(Duration::from_millis(1)));
        assert_eq!(sidecar.client.get("/x").send().await.text(), "a");
        sidecar.metric_is("weir_upstream_up", 1.0).await;
    });
}

#[test]
fn check_says_what_is_doubtful_and_explain_what_holds() {
    let home = Sidecar::with("")
        .upstream(
            "ejection = { failures = 3 }\nprovider_limits = \"observe\"\n\
             retry = { on = [\"refused\", \"reset\", \"503\"], budget = \"10%\" }\n\
             circuit_breaker = { failures = 2 }",
        )
        .furnish();
    let checked = weir_in(home.path(), &["check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.out.contains("warning: one address is never ejected"), "{}", checked.out);
    assert!(checked.out.contains("0 keys not yet effective"), "{}", checked.out);
    for (method, retry) in [
        ("GET", "retry      3 attempts, after refused, reset, 503; of all requests at most 10%"),
        ("POST", "retry      3 attempts, after refused; of all requests at most 10%"),
    ] {
        let explained = weir_in(home.path(), &["explain", method, "/x"]).out;
        for line in [
            "upstream   http://127.0.0.1:9",
            retry,
            "circuit    open for 15s after 2 failures in a row within 30s",
            "provider   its limits are shown, not kept",
        ] {
            assert!(explained.lines().any(|shown| shown == line), "{line}\n{explained}");
        }
    }

    let two = [([127, 0, 0, 1], 9).into(), ([127, 0, 0, 1], 10).into()];
    let home = Sidecar::with("").before_all(&two).furnish();
    let explained = weir_in(home.path(), &["explain", "POST", "/x"]).out;
    for line in [
        "upstream   http://127.0.0.1:10",
        "retry      2 attempts, after connect, refused; of all requests at most 20%",
        "ejection   for 30s to 5m after 5 failures in a row",
    ] {
        assert!(explained.lines().any(|shown| shown == line), "{line}\n{explained}");
    }
}

#[test]
fn a_probe_that_may_take_longer_than_its_pause_is_refused() {
    let probes = "[upstream.health]\nevery = \"1s\"\ntimeout = \"2s\"\n";
    let home = Sidecar::with(probes).furnish();
    let checked = weir_in(home.path(), &["check"]);
    assert_eq!(checked.code, Some(1));
    let problem = "a probe may take longer than the pause between two";
    assert!(checked.out.contains(problem), "{}", checked.out);
}
