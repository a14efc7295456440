//! What is sent again, and what never is.

use std::time::{Duration, Instant};

use crate::{
    faulty::{Faulty, Manner},
    harness::{run, until},
    sidecar::Sidecar,
};

const ALL: &str = "retry = { attempts = 4, backoff = \"1ms..20ms\", \
                   on = [\"connect\", \"refused\", \"reset\", \"502\", \"503\", \"504\"] }";

#[test]
fn a_get_that_broke_is_sent_again_and_the_caller_sees_nothing_of_it() {
    run(async {
        let a = Faulty::start("a").await;
        let sidecar = Sidecar::with("").upstream(ALL).before_address(a.address).start().await;
        a.next(&[Manner::Resets, Manner::Answers(503, &[]), Manner::Answers(502, &[])]);

        let answer = sidecar.client.get("/x").send().await;

        assert_eq!((answer.status.as_u16(), answer.text()), (200, "a".to_owned()));
        assert_eq!(a.count("GET /x"), 4);
        assert_eq!(sidecar.record(&answer).await["attempts"], 4);
        for reason in ["reset", "502", "503"] {
            sidecar
                .metric_is(&format!("weir_upstream_retries_total{{reason=\"{reason}\"}}"), 1.0)
                .await;
        }
    });
}

#[test]
fn it_is_sent_three_more_times_at_most_and_the_last_answer_counts() {
    run(async {
        let a = Faulty::start("a").await;
        let retry = ALL.replace("attempts = 4", "attempts = 10");
        let sidecar = Sidecar::with("").upstream(&retry).before_address(a.address).start().await;
        a.becomes(Manner::Resets);
        let answer = sidecar.client.get("/x").send().await;
        assert_eq!(answer.refusal(), (502, "upstream_unreachable".to_owned()));
        assert_eq!(a.count("GET /x"), 4);
        a.becomes(Manner::Answers(503, &[("x-should-retry", "true")]));
        let answer = sidecar.client.get("/y").send().await;
        assert_eq!(answer.refusal(), (503, "internal_error".to_owned()));
        assert_eq!(answer.header("x-should-retry"), Some("true"));
        assert_eq!(a.count("GET /y"), 4);
    });
}

#[test]
fn a_post_whose_fate_is_unknown_is_never_sent_again() {
    run(async {
        let a = Faulty::start("a").await;
        let sidecar = Sidecar::with("").upstream(ALL).before_address(a.address).start().await;
        for (path, manner, status) in [
            ("/reset", Manner::Resets, 502),
            ("/503", Manner::Answers(503, &[]), 503),
            ("/504", Manner::Answers(504, &[]), 504),
        ] {
            a.next(&[manner]);
            let answer = sidecar.client.post(path, "{}").send().await;
            assert_eq!(answer.status, status);
            assert_eq!(a.count(&format!("POST {path}")), 1);
            assert_eq!(sidecar.record(&answer).await["attempts"], 1);
        }
        // Nor is a PUT, unless the policy lists it.
        a.next(&[Manner::Resets]);
        let put = sidecar.client.ask(http::Method::PUT, "/put").body("x");
        assert_eq!(put.send().await.status, 502);
        assert_eq!(a.count("PUT /put"), 1);
    });
}

#[test]
fn what_the_policy_lists_is_sent_again_with_its_body() {
    run(async {
        let a = Faulty::start("a").await;
        let retry = ALL.replace("attempts", "methods = [\"PUT\"], attempts");
        let sidecar = Sidecar::with("").upstream(&retry).before_address(a.address).start().await;
        a.next(&[Manner::Resets]);
        let put = sidecar.client.ask(http::Method::PUT, "/put").body("whole");
        assert_eq!(put.send().await.status, 200);
        assert_eq!(a.count("PUT /put"), 2);
        a.next(&[Manner::Resets]);
        assert_eq!(sidecar.client.get("/get").send().await.status, 502, "GET is not listed");
    });
}

#[test]
fn a_post_that_found_nobody_is_sent_when_somebody_is_there() {
    run(async {
        let mut a = Faulty::start("a").await;
        let retry =
            "retry = { attempts = 10, backoff = \"500ms..2s\" }\nresponse_timeout = \"60s\"";
        let sidecar = Sidecar::with("").upstream(retry).before_address(a.address).start().await;
        a.kill();
        let (ask, body) = sidecar.client.post("/late", "").fed();
        let mut connection = sidecar.client.h1().await;
        let answer = tokio::spawn(async move { ask.on(&mut connection).await });
        body.send("first ".into()).await.unwrap();
        let retried = "weir_upstream_retries_total{reason=\"refused\"}";
        crate::harness::until_async("it was tried in vain", || async {
            (sidecar.metric(retried).await > 0.0).then_some(())
        })
        .await;

        a.revive().await;
        until("it arrives", || (a.connections() > 0).then_some(())).await;
        body.send("second".into()).await.unwrap();
        drop(body);

        let answer = answer.await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "a".to_owned()));
        assert_eq!(a.count("POST /late"), 1);
        assert!(sidecar.record(&answer).await["attempts"].as_u64().unwrap() > 1);
    });
}

#[test]
fn another_attempt_goes_to_another_address() {
    run(async {
        let (a, b) = (Faulty::start("a").await, Faulty::start("b").await);
        let plan = Sidecar::with("").upstream(ALL).before_all(&[a.address, b.address]);
        let sidecar = plan.start().await;
        a.becomes(Manner::Resets);
        for number in 0..20 {
            let answer = sidecar.client.get(&format!("/{number}")).send().await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "b".to_owned()));
            assert!(a.count(&format!("GET /{number}")) <= 1);
        }
    });
}

#[test]
fn the_upstreams_word_on_when_to_come_back_is_kept() {
    run(async {
        let a = Faulty::start("a").await;
        let retry = ALL.replace("1ms..20ms", "1ms..1s");
        let plan = Sidecar::with("").upstream(&format!("{retry}\nprovider_limits = \"observe\""));
        let sidecar = plan.before_address(a.address).start().await;
        a.next(&[Manner::Answers(503, &[("retry-after", "1")])]);
        let began = Instant::now();
        assert_eq!(sidecar.client.get("/short").send().await.status, 200);
        assert!(began.elapsed() >= Duration::from_secs(1));
        // Longer than the longest pause: the answer is passed on instead.
        a.next(&[Manner::Answers(503, &[("retry-after", "2")])]);
        let answer = sidecar.client.get("/long").send().await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("2")));
        assert_eq!(a.count("GET /long"), 1);
    });
}

#[test]
fn all_attempts_share_one_time() {
    run(async {
        let a = Faulty::start("a").await;
        let retry = ALL.replace("1ms..20ms", "200ms..2s");
        let upstream = format!("{retry}\nresponse_timeout = \"1s\"");
        let sidecar = Sidecar::with("").upstream(&upstream).before_address(a.address).start().await;
        a.becomes(Manner::Frozen);
        let answer = sidecar.client.get("/frozen").send().await;
        assert_eq!(answer.refusal(), (504, "upstream_timeout".to_owned()));
        assert_eq!(a.count("GET /frozen"), 1, "there was no time for another");
    });
}

#[test]
fn an_upstream_where_everything_fails_is_not_buried_under_repeats() {
    run(async {
        let a = Faulty::start("a").await;
        let sidecar = Sidecar::with("").upstream(ALL).before_address(a.address).start().await;
        a.becomes(Manner::Resets);
        let mut connection = sidecar.client.h1().await;
        let began = Instant::now();
        for number in 0..200 {
            sidecar.client.get(&format!("/{number}")).on(&mut connection).await;
        }
        let (sent, repeats) = (a.total("GET"), a.total("GET") - 200);
        // 30 are free each 10 s, and a fifth of 200; three for each are what nobody denies.
        let spans = usize::try_from(began.elapsed().as_secs() / 10).unwrap() + 2;
        let most = (30 * spans + 40 + 10).min(500);
        assert!((30..=most).contains(&repeats), "{sent} arrived for 200");
        assert!(sidecar.metric("weir_upstream_retries_denied_total").await > 30.0);
    });
}
