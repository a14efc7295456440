//! What answers of models cost: by the usage that they report, or by what has passed.

use std::{sync::Arc, sync::Mutex};

use serde_json::{Value, json};

use crate::{
    client::Ask,
    dialect::Dialect,
    harness::{run, soon},
    origin::{Made, Origin, blurts},
    plan::Plan,
    sidecar::Sidecar,
};

pub const CHAT: &str = "/v1/chat/completions";
pub const EVENTS: (&str, &str) = ("content-type", "text/event-stream");
/// Nano-dollars for one token of `gpt-4o-mini` in these tests.
const INPUT: u64 = 1_000_000;
const OUTPUT: u64 = 2_000_000;

/// A tenth of a cent for a token of the prompt, two for one of the answer, and this budget a day.
pub fn metered(lines: &str, budget: &str) -> Plan {
    Sidecar::with(&format!(
        "[operations.chat]\nroutes = [\"POST /v1/chat/completions\", \"POST /v1/messages\"]\n\
         meter = \"usage\"\n{lines}\n\
         [operations.probe]\nroutes = [\"GET /probe\"]\nmeter = \"flat\"\n\
         [tiers.free]\nbudget = {{ day = \"{budget}\" }}\n\
         [prices.\"gpt-4o-mini\"]\ninput = \"$1000\"\ncached_input = \"$500\"\noutput = \"$2000\"\n\
         [prices.\"claude-opus-4-8\"]\ninput = \"$1000\"\noutput = \"$2000\"\n"
    ))
}

pub async fn used(sidecar: &Sidecar) -> String {
    let answer = sidecar.client.get("/probe").send().await;
    answer.header("x-cost-used-today").unwrap_or("none").to_owned()
}

/// A question that allows so many tokens of answer.
pub fn question(sidecar: &Sidecar, max_tokens: u64, more: Value) -> Ask {
    let mut body = json!({"model": "gpt-4o-mini", "max_tokens": max_tokens,
                          "messages": [{"role": "user", "content": "How are you today?"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    sidecar.client.post(CHAT, "").json(body.to_string())
}

pub fn streamed() -> Value {
    json!({"stream": true})
}

/// What a record says must add up: tokens times prices.
fn adds_up(record: &Value) {
    let tokens = |name: &str| record[name].as_u64().unwrap();
    let cost = tokens("input_tokens") * INPUT + tokens("output_tokens") * OUTPUT;
    assert_eq!(record["cost_nano_usd"], cost, "{record}");
}

#[test]
fn reported_usage_is_charged_to_the_nano_dollar() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$1").before(&origin).start().await;
        Dialect::OpenAi.echoed(&origin);

        let answer = question(&sidecar, 100, json!({})).send().await;

        assert_eq!(answer.status, 200, "{}", answer.text());
        // What was booked: the prompt and a hundred tokens of answer.
        let booked: f64 = answer.header("x-cost-used-today").unwrap().parse().unwrap();
        assert!((0.202..0.23).contains(&booked), "{booked}");
        assert_eq!(used(&sidecar).await, "0.0140");
        let record = sidecar.record(&answer).await;
        assert_eq!(record["cost_nano_usd"], 8 * INPUT + 3 * OUTPUT);
        assert_eq!(record["cost_source"], "usage");
        assert_eq!(record["cost_confidence"], "exact");
        assert_eq!(record["model"], "gpt-4o-mini");
        assert_eq!((&record["input_tokens"], &record["output_tokens"]), (&json!(8), &json!(3)));
        let labels = r#"operation="chat",tier="free",model="gpt-4o-mini""#;
        sidecar.metric_is(&format!("weir_cost_usd_total{{{labels}}}"), 0.014).await;
        sidecar.metric_is(&format!("weir_tokens_total{{{labels},kind=\"input\"}}"), 8.0).await;
        sidecar.metric_is(&format!("weir_tokens_total{{{labels},kind=\"output\"}}"), 3.0).await;
    });
}

/// Answers with a stream, and keeps what was asked.
fn streams(origin: &Origin, dialect: Dialect) -> Arc<Mutex<Vec<Value>>> {
    let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
    let keep = Arc::clone(&asked);
    origin.makes(dialect.path(), move |body| {
        keep.lock().unwrap().push(serde_json::from_slice(body).unwrap_or_default());
        let body = dialect.opening() + &dialect.piece("Hello") + &dialect.closing();
        let made: Made = (200, vec![(EVENTS.0.to_owned(), EVENTS.1.to_owned())], body.into());
        made
    });
    asked
}

#[test]
fn a_stream_is_made_to_report_its_usage_and_the_caller_does_not_see_it() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$1").before(&origin).start().await;
        let asked = streams(&origin, Dialect::OpenAi);

        let unasked = question(&sidecar, 100, streamed()).send().await;
        let body = json!({"stream": true, "stream_options": {"include_usage": true}});
        let wanted = question(&sidecar, 100, body).send_h2().await;

        assert_eq!(asked.lock().unwrap()[0]["stream_options"]["include_usage"], true);
        assert!(!unasked.text().contains("prompt_tokens"), "{}", unasked.text());
        assert!(unasked.text().contains("Hello") && unasked.text().ends_with("data: [DONE]\n\n"));
        assert!(wanted.text().contains("\"prompt_tokens\":8"), "{}", wanted.text());
        assert_eq!(used(&sidecar).await, "0.0280");
        assert_eq!(sidecar.record(&unasked).await["cost_source"], "usage");
    });
}

#[test]
fn a_stream_of_anthropic_is_charged_by_its_last_word_on_usage() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$1").before(&origin).start().await;
        streams(&origin, Dialect::Anthropic);
        let body = json!({"model": "claude-opus-4-8", "max_tokens": 50, "stream": true,
                          "messages": [{"role": "user", "content": "Hi"}]});

        let answer = sidecar.client.post("/v1/messages", "").json(body.to_string()).send().await;

        assert!(answer.text().contains("message_stop"));
        assert_eq!(used(&sidecar).await, "0.0140");
    });
}

#[test]
fn a_stream_that_its_caller_leaves_is_charged_what_has_passed() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$1").before(&origin).start().await;
        let feed = origin.paces(CHAT);
        let mut connection = sidecar.client.h1().await;
        let mut answer = question(&sidecar, 100, streamed()).open(&mut connection).await;
        for _ in 0..5 {
            let word = Dialect::OpenAi.piece(" wonderful weather");
            feed.send(word.into()).await.unwrap();
            answer.text().await;
        }
        let id = answer.headers["x-request-id"].clone();

        drop((answer, connection));
        soon("the upstream's work ends", feed.closed()).await;

        let record =
            sidecar.logged("its record", |line| line["request_id"] == id.to_str().unwrap());
        let record = record.await;
        assert_eq!((&record["status"], &record["cost_source"]), (&json!(499), &json!("counted")));
        assert_eq!(record["cost_confidence"], "estimated");
        let output = record["output_tokens"].as_u64().unwrap();
        assert!((5..=30).contains(&output), "{record}");
        assert!((1..=20).contains(&record["input_tokens"].as_u64().unwrap()), "{record}");
        adds_up(&record);
        let dollars = record["cost_nano_usd"].as_u64().unwrap() / 100_000;
        assert_eq!(used(&sidecar).await, format!("0.{dollars:04}"));
    });
}

#[test]
fn a_stream_that_breaks_off_is_charged_what_has_passed() {
    run(async {
        let piece = Dialect::OpenAi.piece("one two three ");
        let cut = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
             transfer-encoding: chunked\r\n\r\n{:x}\r\n{piece}\r\n",
            piece.len()
        );
        let cut: &'static [u8] = cut.leak().as_bytes();
        let sidecar = metered("", "$1").before_address(blurts(cut).await).start().await;
        let mut connection = sidecar.client.h1().await;

        let answer = question(&sidecar, 100, streamed()).open(&mut connection).await;
        let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        assert!(answer.rest().await.is_err());

        let record = sidecar.logged("its record", |line| line["request_id"] == *id).await;
        assert_eq!(record["cost_source"], "counted", "{record}");
        assert_eq!(record["status"], 200, "the caller has not left: {record}");
        assert_eq!(record["detail"], "the upstream's answer broke off");
        assert!((3..=8).contains(&record["output_tokens"].as_u64().unwrap()), "{record}");
        adds_up(&record);
    });
}

#[test]
fn an_answer_without_usage_is_charged_what_has_passed() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$1").before(&origin).start().await;
        let body =
            json!({"model": "gpt-4o-mini", "choices": [{"message": {"content": "I am fine."}}]});
        origin.answers(CHAT, 200, &[("content-type", "application/json")], body.to_string());

        let answer = question(&sidecar, 100, json!({})).send().await;

        let record = sidecar.record(&answer).await;
        assert_eq!(record["cost_source"], "counted", "{record}");
        assert!((2..=5).contains(&record["output_tokens"].as_u64().unwrap()), "{record}");
        adds_up(&record);
        sidecar.metric_is(r#"weir_metering_errors_total{reason="no_usage"}"#, 1.0).await;
    });
}

#[test]
fn a_report_of_no_tokens_for_text_that_has_passed_is_not_believed() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$1").before(&origin).start().await;
        let nothing = json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0});
        for (text, outputs) in [("I am fine.", 2..=5), ("", 0..=0)] {
            let choices = json!([{"message": {"content": text}}]);
            let body = json!({"model": "gpt-4o-mini", "choices": choices, "usage": nothing});
            origin.answers(CHAT, 200, &[("content-type", "application/json")], body.to_string());
            let answer = question(&sidecar, 100, json!({})).send().await;
            let record = sidecar.record(&answer).await;
            assert!(outputs.contains(&record["output_tokens"].as_u64().unwrap()), "{record}");
            assert_eq!(record["input_tokens"].as_u64() > Some(0), !text.is_empty(), "{record}");
            let confidence = if text.is_empty() { "exact" } else { "estimated" };
            assert_eq!(record["cost_confidence"], confidence, "{record}");
            adds_up(&record);
        }
    });
}

#[test]
fn an_error_of_the_model_costs_the_flat_cost_and_silence_what_was_booked() {
    run(async {
        let origin = Origin::start().await;
        let plan = metered("cost = \"$0.02\"", "$1").upstream("response_timeout = \"1s\"");
        let sidecar = plan.before(&origin).start().await;
        origin.answers(CHAT, 429, &[("content-type", "application/json")], "{\"error\":{}}");

        question(&sidecar, 100, json!({})).send().await;
        assert_eq!(used(&sidecar).await, "0.0200");

        let _waiting = origin.keeps_silent(CHAT);
        let late = question(&sidecar, 100, json!({})).send().await;
        assert_eq!(late.status, 504);
        let kept: f64 = used(&sidecar).await.parse().unwrap();
        assert!(kept > 0.22, "{kept}");
    });
}

#[test]
fn a_request_that_may_cost_more_than_there_is_goes_no_further() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$1").before(&origin).start().await;
        Dialect::OpenAi.echoed(&origin);

        let refused = question(&sidecar, 1_000, json!({})).send().await;

        assert_eq!(refused.status, 402);
        assert_eq!(refused.json()["error"]["code"], "budget_exceeded");
        assert!(refused.header("retry-after").is_some());
        assert_eq!(origin.count(CHAT), 0);
        assert_eq!(used(&sidecar).await, "0.0000");
        // As many answers as asked for.
        let many = question(&sidecar, 100, json!({"n": 6})).send().await;
        assert_eq!(many.status, 402);
        let few = question(&sidecar, 100, json!({"n": 4})).send().await;
        assert_eq!(few.status, 200);
    });
}

#[test]
fn a_model_without_a_price_is_dear_or_refused_as_the_policy_wants() {
    run(async {
        let origin = Origin::start().await;
        let plan = metered("", "$100");
        let text = plan.text();
        let sidecar = plan.before(&origin).start().await;
        Dialect::OpenAi.echoed(&origin);
        let asked = || question(&sidecar, 10, json!({"model": "house-model-7"}));

        let answer = asked().send().await;
        assert_eq!(answer.status, 200);
        // The answer says that it was gpt-4o-mini after all.
        assert_eq!(sidecar.record(&answer).await["cost_nano_usd"], 8 * INPUT + 3 * OUTPUT);
        let body = json!({"model": "house-model-7", "usage": {"prompt_tokens": 8,
                          "completion_tokens": 3, "total_tokens": 11}, "choices": []});
        origin.answers(CHAT, 200, &[("content-type", "application/json")], body.to_string());
        let answer = asked().send().await;
        let record = sidecar.record(&answer).await;
        assert_eq!(
            (&record["model"], &record["cost_confidence"]),
            (&json!("other"), &json!("estimated"))
        );
        assert!(record["cost_nano_usd"].as_u64().unwrap() >= 8 * INPUT + 3 * OUTPUT, "{record}");

        let url = format!("http://{}", origin.address);
        let text = text.replace("http://127.0.0.1:9", &url);
        sidecar.write_policy(&format!("unknown_model = \"refuse\"\n{text}"));
        sidecar.metric_is(r#"weir_policy_reloads_total{result="applied"}"#, 1.0).await;
        let refused = asked().send().await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert_eq!(refused.json()["error"]["code"], "unknown_model");
    });
}

#[test]
fn a_place_in_the_answer_may_name_the_cost() {
    run(async {
        let origin = Origin::start().await;
        let lines = "[operations.agent]\nroutes = [\"POST /agent\"]\ncost = \"$0.02\"\n\
                     meter = [\"pointer:/usage/cost_usd\", \"flat\"]";
        let sidecar =
            metered("", "$1").replacing("[tiers.free]", &format!("{lines}\n[tiers.free]"));
        let sidecar = sidecar.before(&origin).start().await;
        let json = [("content-type", "application/json")];
        origin.answers("/agent", 200, &json, r#"{"result": [1], "usage": {"cost_usd": 0.0321}}"#);

        let answer = sidecar.client.post("/agent", "").json("{}").send().await;

        assert_eq!(used(&sidecar).await, "0.0321");
        assert_eq!(sidecar.record(&answer).await["cost_source"], "pointer");
        assert_eq!(origin.seen()[0].header("accept-encoding"), Some("identity"));
        origin.answers("/agent", 200, &json, r#"{"usage": {}}"#);
        sidecar.client.post("/agent", "").json("{}").send().await;
        assert_eq!(used(&sidecar).await, "0.0521");
    });
}

#[test]
fn an_answer_that_is_encoded_all_the_same_is_counted_as_unread() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("cost = \"$0.02\"", "$1").before(&origin).start().await;
        let fields = [("content-type", "application/json"), ("content-encoding", "gzip")];
        origin.answers(CHAT, 200, &fields, "\u{1f}\u{8b}");
        question(&sidecar, 100, json!({})).send().await;
        sidecar.metric_is(r#"weir_metering_errors_total{reason="encoded"}"#, 1.0).await;
    });
}

#[test]
fn quotas_in_tokens_and_bytes_run_out_by_what_was_used() {
    run(async {
        let origin = Origin::start().await;
        let quotas = "quotas = { chat = \"300 tokens/hour\", upload = \"1000B/hour\" }\nbudget";
        let upload = "[operations.upload]\nroutes = [\"POST /upload\"]\n[tiers.free]";
        let plan = metered("", "$9").replacing("[tiers.free]", upload).replacing("budget", quotas);
        let sidecar = plan.before(&origin).start().await;
        Dialect::OpenAi.echoed(&origin);

        // 11 tokens each in the end, but more than 200 are held before.
        for _ in 0..5 {
            assert_eq!(question(&sidecar, 200, json!({})).send().await.status, 200);
        }
        let refused = question(&sidecar, 290, json!({})).send().await;
        assert_eq!(refused.status, 429, "{}", refused.text());
        assert_eq!(refused.json()["error"]["code"], "quota_exceeded");

        for (size, status) in [(600, 200), (600, 429), (400, 200), (1, 429)] {
            let answer = sidecar.client.post("/upload", vec![b'x'; size]).send().await;
            assert_eq!(answer.status, status, "{size}");
        }
    });
}
