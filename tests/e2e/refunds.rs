//! What is charged, and what is given back.

use crate::{
    harness::run,
    origin::{Origin, blurts},
    plan::Plan,
    port::Port,
    sidecar::Sidecar,
};

/// Two requests a day for ten cents each, with rules that requests can fail.
fn two_a_day() -> Plan {
    Sidecar::with(
        r#"
        [request]
        max_body = "1KiB"
        [operations.strict]
        routes = ["* /**"]
        cost = "$0.10"
        request = { content_types = ["application/json"], max_depth = 3 }
        [tiers.free]
        quotas = { strict = "2/day" }
        budget = { day = "$1" }
        "#,
    )
}

async fn used(sidecar: &Sidecar) -> (String, String) {
    let answer = sidecar.client.get("/probe").send().await;
    let header = |name: &str| answer.header(name).unwrap_or("none").to_owned();
    (header("x-ratelimit-remaining"), header("x-cost-used-today"))
}

#[test]
fn what_weir_refuses_itself_costs_nothing() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = two_a_day().before(&origin).start().await;
        let client = &sidecar.client;

        for (ask, wanted) in [
            (
                client.post("/a", "x").header("content-type", "text/plain"),
                (415, "unsupported_media_type"),
            ),
            (client.post("/a", "").json("[[[[1]]]]"), (400, "invalid_body")),
            (client.post("/a", "").json("{\"a\":"), (400, "invalid_body")),
            (client.post("/a", "").json(vec![b' '; 2_000]), (413, "payload_too_large")),
        ] {
            let answer = ask.send().await;
            assert_eq!(answer.refusal(), (wanted.0, wanted.1.to_owned()));
        }

        assert_eq!(origin.seen().len(), 0);
        assert_eq!(used(&sidecar).await, ("1".to_owned(), "0.1000".to_owned()));
    });
}

#[test]
fn an_upstream_that_cannot_be_reached_costs_nothing() {
    run(async {
        let port = Port::free();
        let origin = Origin::at(port.address).await;
        let sidecar = two_a_day().before(&origin).start().await;
        drop(origin);

        for _ in 0..5 {
            let answer = sidecar.client.post("/a", "").json("{}").send().await;
            assert_eq!(answer.refusal(), (502, "upstream_unreachable".to_owned()));
        }

        let _origin = Origin::at(port.address).await;
        assert_eq!(used(&sidecar).await, ("1".to_owned(), "0.1000".to_owned()));
    });
}

#[test]
fn an_error_of_the_upstream_is_charged() {
    run(async {
        let origin = Origin::start().await;
        origin.answers("/crash", 500, &[], "broken");
        let sidecar = two_a_day().before(&origin).start().await;

        let answer = sidecar.client.get("/crash").send().await;

        assert_eq!(answer.refusal(), (500, "internal_error".to_owned()));
        assert_eq!(used(&sidecar).await, ("0".to_owned(), "0.2000".to_owned()));
    });
}

#[test]
fn an_answer_that_comes_too_late_or_makes_no_sense_is_charged() {
    run(async {
        let origin = Origin::start().await;
        let _waiting = origin.keeps_silent("/slow");
        let plan = two_a_day().upstream("response_timeout = \"1s\"");
        let sidecar = plan.before(&origin).start().await;

        let late = sidecar.client.get("/slow").send().await;

        assert_eq!(late.refusal(), (504, "upstream_timeout".to_owned()));
        assert_eq!(used(&sidecar).await, ("0".to_owned(), "0.2000".to_owned()));

        // The same for bytes that are no HTTP.
        let nonsense = blurts(b"this is not HTTP\r\n\r\n").await;
        let sidecar = two_a_day().before_address(nonsense).start().await;
        let answer = sidecar.client.get("/x").send().await;
        assert_eq!(answer.refusal(), (502, "upstream_invalid".to_owned()));
        assert_eq!(used(&sidecar).await, ("0".to_owned(), "0.2000".to_owned()));
    });
}
