//! What the upstream itself says that a request cost: in a header, a trailer, or by a callback.

use bytes::Bytes;
use serde_json::json;

use crate::{harness::run, origin::Origin, plan::Plan, sidecar::Sidecar};

/// Everything costs two cents unless somebody says better.
fn two_cents(lines: &str) -> Plan {
    Sidecar::with(&format!(
        "[operations.agent]\nroutes = [\"* /**\"]\ncost = \"$0.02\"\n{lines}\n\
         [operations.probe]\nroutes = [\"GET /probe\"]\nmeter = \"flat\"\n\
         [tiers.free]\nbudget = {{ day = \"$1\" }}\n"
    ))
}

/// What is on the books, in dollars.
async fn used(sidecar: &Sidecar) -> String {
    let answer = sidecar.client.get("/probe").send().await;
    answer.header("x-cost-used-today").unwrap_or("none").to_owned()
}

#[test]
fn a_cost_that_a_header_names_is_the_charge_and_goes_no_further() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = two_cents("").before(&origin).start().await;
        origin.answers("/a", 200, &[("x-agent-cost-usd", "0.0123")], "done");
        origin.answers("/b", 200, &[("x-litellm-response-cost", "1.25e-02")], "");

        let first = sidecar.client.get("/a").send().await;
        let second = sidecar.client.get("/b").send_h2().await;

        assert_eq!(first.header("x-cost-used-today"), Some("0.0200"), "what was reserved");
        for answer in [&first, &second] {
            assert_eq!(answer.header("x-agent-cost-usd"), None);
            assert_eq!(answer.header("x-litellm-response-cost"), None);
        }
        assert_eq!(used(&sidecar).await, "0.0248");
        let record = sidecar.record(&first).await;
        assert_eq!(record["cost_nano_usd"], 12_300_000);
        assert_eq!(record["cost_source"], "header");
        assert_eq!(record["cost_confidence"], "exact");
        let series = r#"weir_cost_usd_total{operation="agent",tier="free",model="none"}"#;
        sidecar.metric_is(series, 0.0248).await;
    });
}

#[test]
fn a_named_header_and_its_exposure_are_the_policys_choice() {
    run(async {
        let origin = Origin::start().await;
        let lines = "cost_header = \"X-Price\"\nexpose_cost = true";
        let sidecar = two_cents(lines).before(&origin).start().await;
        let both = [("x-price", "0.05"), ("x-agent-cost-usd", "0.3")];
        origin.answers("/a", 200, &both, "done");

        let ask = sidecar.client.get("/a").header("x-price", "0").header("x-agent-cost-usd", "0");
        let answer = ask.send().await;

        assert_eq!(answer.header("x-price"), Some("0.05"));
        assert_eq!(answer.header("x-agent-cost-usd"), None);
        assert_eq!(used(&sidecar).await, "0.0500");
        let seen = &origin.seen()[0];
        assert_eq!((seen.header("x-price"), seen.header("x-agent-cost-usd")), (None, None));
    });
}

#[test]
fn a_trailer_may_name_the_cost() {
    run(async {
        let answer: &'static [u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
            Trailer: X-Agent-Cost-Usd, X-Sum\r\n\r\n4\r\ndone\r\n0\r\n\
            X-Agent-Cost-Usd: 0.0456\r\nX-Sum: 7\r\n\r\n";
        let upstream = crate::origin::blurts(answer).await;
        let sidecar = two_cents("").before_address(upstream).start().await;

        let mut connection = sidecar.client.h2().await;
        let answer = sidecar.client.get("/a").open(&mut connection).await;
        let (body, trailers) = answer.rest().await.unwrap();

        assert_eq!(&body[..], b"done");
        assert_eq!(trailers.get("x-agent-cost-usd"), None);
        assert_eq!(trailers.get("x-sum").unwrap(), "7");
        // The question is answered by the same service, and each answer costs the same.
        let again = sidecar.client.get("/b").send().await;
        assert_eq!(again.header("x-cost-used-today"), Some("0.0656"));
    });
}

#[test]
fn a_cost_that_cannot_be_believed_is_counted_and_the_flat_cost_stands() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = two_cents("").before(&origin).start().await;
        for (index, value) in ["-1", "free", "NaN", "99999999", "0.01, 0.02"].iter().enumerate() {
            origin.answers("/a", 200, &[("x-agent-cost-usd", value)], "done");
            assert_eq!(sidecar.client.get("/a").send().await.status, 200);
            assert_eq!(used(&sidecar).await, format!("{:.4}", 0.02 * (index + 1) as f64));
        }
        sidecar.metric_is(r#"weir_metering_errors_total{reason="header"}"#, 5.0).await;
        sidecar.logged("it is said", |line| line["error"] == "negative").await;
    });
}

#[test]
fn an_error_of_the_upstream_costs_what_it_says() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = two_cents("").before(&origin).start().await;
        origin.answers("/a", 500, &[("x-agent-cost-usd", "0.007")], "crash");
        origin.answers("/b", 500, &[("x-agent-cost-usd", "0")], "crash");

        let answer = sidecar.client.get("/a").send().await;

        assert_eq!(answer.refusal(), (500, "internal_error".to_owned()));
        assert_eq!(answer.header("x-agent-cost-usd"), None);
        assert_eq!(used(&sidecar).await, "0.0070");
        sidecar.client.get("/b").send().await;
        assert_eq!(used(&sidecar).await, "0.0070");
    });
}

#[test]
fn flat_means_flat() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = two_cents("meter = \"flat\"").before(&origin).start().await;
        origin.answers("/a", 200, &[("x-agent-cost-usd", "0.5")], "done");
        let answer = sidecar.client.get("/a").send().await;
        assert_eq!(answer.header("x-agent-cost-usd"), None);
        assert_eq!(used(&sidecar).await, "0.0200");
    });
}

#[test]
fn a_request_that_is_sent_again_costs_what_all_its_answers_say() {
    run(async {
        let origin = Origin::start().await;
        let retry = "retry = { attempts = 3, backoff = \"1ms..2ms\", on = [\"connect\", \"503\"] }";
        let mut turn = 0;
        origin.makes("/b", move |_| {
            turn += 1;
            let cost = ("x-agent-cost-usd".to_owned(), format!("0.0{turn}"));
            (if turn < 3 { 503 } else { 200 }, vec![cost], Bytes::from("x"))
        });
        let sidecar = two_cents("").upstream(retry).before(&origin).start().await;

        let answer = sidecar.client.get("/b").send().await;

        assert_eq!(answer.status, 200);
        assert_eq!(used(&sidecar).await, "0.0600", "1 + 2 + 3 cents");
    });
}

// Callbacks.

const TOKEN: &str = "operators-only";

async fn tell(sidecar: &Sidecar, id: &str, cost: &serde_json::Value) -> (u16, String) {
    let body = json!({"request_id": id, "cost_usd": cost}).to_string();
    post(sidecar, body).await
}

async fn post(sidecar: &Sidecar, body: String) -> (u16, String) {
    let client = crate::client::Client::plain(sidecar.admin);
    let ask = client.post("/admin/v1/settlements", body);
    let ask = ask.header("authorization", &format!("Bearer {TOKEN}"));
    let answer = ask.header("content-type", "application/json").send().await;
    let status = answer.json()["status"].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), status)
}

fn by_callback(lines: &str) -> Plan {
    let lines = format!("meter = [\"header\", \"callback\", \"flat\"]\n{lines}");
    two_cents(&lines).admin(&format!("token = \"{TOKEN}\""))
}

#[test]
fn an_agent_tells_the_cost_of_a_request_after_it_has_answered() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = by_callback("").before(&origin).start().await;
        let answer = sidecar.client.get("/a").send().await;
        let id = origin.last().header("x-request-id").unwrap().to_owned();
        assert_eq!(answer.header("x-request-id"), Some(&*id));
        assert_eq!(used(&sidecar).await, "0.0200", "the hold stays");

        assert_eq!(tell(&sidecar, &id, &json!("0.0123")).await, (200, "settled".to_owned()));
        assert_eq!(used(&sidecar).await, "0.0123");
        assert_eq!(tell(&sidecar, &id, &json!(0.0123)).await, (200, "settled".to_owned()));
        assert_eq!(tell(&sidecar, &id, &json!("0.5")).await.0, 409);
        assert_eq!(tell(&sidecar, &"0".repeat(32), &json!("0.5")).await.0, 404);
        assert_eq!(tell(&sidecar, "mine", &json!("0.5")).await.0, 404);
        assert_eq!(tell(&sidecar, &id, &json!("free")).await.0, 400);
        assert_eq!(tell(&sidecar, &id, &json!(-1)).await.0, 400);
        assert_eq!(post(&sidecar, "[".to_owned()).await.0, 400);
        assert_eq!(used(&sidecar).await, "0.0123");

        let series = r#"weir_cost_usd_total{operation="agent",tier="free",model="none"}"#;
        sidecar.metric_is(series, 0.0123).await;
        let record = sidecar.record(&answer).await;
        assert_eq!(
            (&record["cost_source"], &record["cost_nano_usd"]),
            (&json!("callback"), &json!(0))
        );
    });
}

#[test]
fn an_agent_tells_the_cost_of_a_request_before_it_answers() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = by_callback("").before(&origin).start().await;
        let feed = origin.paces("/a");
        let mut connection = sidecar.client.h1().await;
        let streamed = sidecar.client.get("/a").open(&mut connection).await;
        let id = origin.last().header("x-request-id").unwrap().to_owned();

        assert_eq!(tell(&sidecar, &id, &json!("0.3")).await, (200, "noted".to_owned()));
        assert_eq!(used(&sidecar).await, "0.0200");
        drop(feed);
        streamed.whole().await.unwrap();

        assert_eq!(used(&sidecar).await, "0.3000");
        assert_eq!(tell(&sidecar, &id, &json!("0.3")).await, (200, "settled".to_owned()));
    });
}

#[test]
fn without_a_callback_in_time_the_flat_cost_stands_and_a_header_waits_for_none() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = by_callback("callback_timeout = \"1s\"").before(&origin).start().await;
        origin.answers("/named", 200, &[("x-agent-cost-usd", "0.04")], "done");

        sidecar.client.get("/a").send().await;
        let silent = origin.last().header("x-request-id").unwrap().to_owned();
        sidecar.client.get("/named").send().await;
        let named = origin.last().header("x-request-id").unwrap().to_owned();

        // It is remembered for a while, or forgotten by now: it never changes anything.
        assert!([404, 409].contains(&tell(&sidecar, &named, &json!("0.9")).await.0));
        sidecar.metric_is(r#"weir_metering_errors_total{reason="callback_late"}"#, 1.0).await;
        assert_eq!(used(&sidecar).await, "0.0600");
        assert!([404, 409].contains(&tell(&sidecar, &silent, &json!("0.9")).await.0));
        assert_eq!(used(&sidecar).await, "0.0600");
    });
}

#[test]
fn callbacks_need_the_operators_token() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = by_callback("").before(&origin).start().await;
        let client = crate::client::Client::plain(sidecar.admin);
        let answer = client.post("/admin/v1/settlements", "{}").send().await;
        assert_eq!(answer.status, 401);

        let plan = two_cents("meter = [\"callback\"]");
        let sidecar = plan.before(&origin).start().await;
        let client = crate::client::Client::plain(sidecar.admin);
        let answer = client.post("/admin/v1/settlements", "{}").send().await;
        assert_eq!(answer.status, 403);
    });
}
