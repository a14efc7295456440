//! Answers that are silent on what they used, in whole or in part: never free, never more than known.

use serde_json::{Value, json};

use crate::{
    harness::run,
    metering::{CHAT, EVENTS, metered, question, used},
    origin::{Origin, blurts},
    sidecar::Sidecar,
};

const JSON: (&str, &str) = ("content-type", "application/json");

/// An answer with so much usage.
fn reporting(usage: &Value) -> String {
    let choices = json!([{"index": 0, "message": {"content": "I am fine, and how are you?"}}]);
    json!({"model": "gpt-4o-mini", "choices": choices, "usage": usage}).to_string()
}

async fn charged(sidecar: &Sidecar) -> Value {
    let answer = question(sidecar, 100, json!({})).send().await;
    sidecar.record(&answer).await
}

#[test]
fn an_answer_that_cannot_be_read_keeps_what_was_booked() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$1").before(&origin).start().await;
        origin.answers(CHAT, 200, &[JSON, ("content-encoding", "gzip")], "\u{1f}\u{8b}");

        let record = charged(&sidecar).await;

        // A hundred tokens of answer were booked, at two tenths of a cent each.
        assert_eq!((&record["status"], &record["cost_source"]), (&json!(200), &json!("counted")));
        assert!(record["cost_nano_usd"].as_u64().unwrap() > 200_000_000, "{record}");
        assert_ne!(used(&sidecar).await, "0.0000");
    });
}

#[test]
fn a_failure_costs_what_it_reports_or_else_the_flat_cost() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("cost = \"$0.02\"", "$1").before(&origin).start().await;
        let usage = json!({"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11});
        origin.answers(CHAT, 500, &[JSON], reporting(&usage));
        let record = charged(&sidecar).await;
        assert_eq!((&record["status"], &record["cost_source"]), (&json!(500), &json!("usage")));
        assert_eq!(record["cost_nano_usd"], 14_000_000);

        origin.answers(CHAT, 503, &[JSON], "{}");
        assert_eq!(charged(&sidecar).await["cost_nano_usd"], 20_000_000);
        assert_eq!(used(&sidecar).await, "0.0340");
    });
}

#[test]
fn a_failure_may_name_its_cost_in_a_trailer() {
    run(async {
        let answer: &'static [u8] = b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\
            Trailer: X-Agent-Cost-Usd\r\n\r\n4\r\nbad!\r\n0\r\nX-Agent-Cost-Usd: 0.0456\r\n\r\n";
        let upstream = blurts(answer).await;
        let sidecar = metered("cost = \"$0.02\"", "$1").before_address(upstream).start().await;
        let record = charged(&sidecar).await;
        assert_eq!(
            (&record["cost_source"], &record["cost_nano_usd"]),
            (&json!("header"), &json!(45_600_000))
        );
    });
}

#[test]
fn what_a_report_leaves_out_is_counted_here() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$1").before(&origin).start().await;
        for (usage, silent, told) in [
            (json!({"completion_tokens": 3}), "input_tokens", "output_tokens"),
            (json!({"prompt_tokens": 8}), "output_tokens", "input_tokens"),
        ] {
            origin.answers(CHAT, 200, &[JSON], reporting(&usage));
            let record = charged(&sidecar).await;
            assert!(record[silent].as_u64().unwrap() > 2, "{record}");
            assert!([3, 8].contains(&record[told].as_u64().unwrap()), "{record}");
            assert_eq!(record["cost_confidence"], "estimated", "{record}");
        }
    });
}

#[test]
fn a_stream_that_nobody_names_a_model_for_uses_the_budget_up_and_no_more() {
    run(async {
        let origin = Origin::start().await;
        // The dearest price known is two tenths of a cent for a token of output; a single piece is worth
        // more than the day's budget, again and again.
        let sidecar = metered("cost = \"$0.001\"", "$0.1").before(&origin).start().await;
        let piece =
            json!({"choices": [{"index": 0, "delta": {"content": "over and over and over "}}]});
        origin.answers(CHAT, 200, &[EVENTS], format!("data: {piece}\n\n").repeat(200));
        let nameless =
            json!({"stream": true, "messages": [{"role": "user", "content": "Hi"}]}).to_string();

        let answer = question(&sidecar, 1, json!({})).json(nameless.clone()).send().await;

        assert!(answer.text().contains("\"finish_reason\":\"length\""), "{}", answer.text());
        let record = sidecar.record(&answer).await;
        assert_eq!(record["error_code"], "budget_exceeded", "{record}");
        assert_eq!(record["cost_nano_usd"], 100_000_000, "{record}");
        let next = question(&sidecar, 1, json!({})).json(nameless).send().await;
        assert_eq!(next.status, 402, "{}", next.text());
    });
}
