//! What a request holds before it is sent, how that grows, and what ends a stream for which it does not.

use serde_json::{Value, json};

use crate::{
    client::{Answer, Ask},
    dialect::{Dialect, made, named},
    harness::{run, soon},
    metering::{CHAT, metered, question, streamed, used},
    origin::Origin,
    sidecar::Sidecar,
};

/// What is held when the answer begins, in dollars.
fn held(answer: &Answer) -> f64 {
    answer.header("x-cost-used-today").expect("a budget").parse().unwrap()
}

fn message(sidecar: &Sidecar, more: &Value) -> Ask {
    let mut body = json!({"model": "claude-opus-4-8", "max_tokens": 1, "messages": [{"role": "user",
        "content": "How are you today? ".repeat(20)}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    sidecar.client.post("/v1/messages", "").json(body.to_string())
}

#[test]
fn a_prompt_that_a_cache_is_to_keep_is_held_at_the_price_of_writing_it() {
    run(async {
        let origin = Origin::start().await;
        let write = "cache_write = \"$4000\"\ncache_write_1h = \"$8000\"\noutput";
        let plan = metered("", "$100").replacing(
            "[prices.\"claude-opus-4-8\"]\ninput = \"$1000\"\noutput",
            &format!("[prices.\"claude-opus-4-8\"]\ninput = \"$1000\"\n{write}"),
        );
        let sidecar = plan.before(&origin).start().await;
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            dialect.echoed(&origin);
        }
        let hold = async |more: Value| {
            let before: f64 = used(&sidecar).await.parse().unwrap();
            held(&message(&sidecar, &more).send().await) - before
        };

        let plain = hold(json!({})).await;
        let mark = |ttl: &str| json!({"cache_control": {"type": "ephemeral", "ttl": ttl}});
        let (usual, hour) = (hold(mark("5m")).await, hold(mark("1h")).await);
        let tool = hold(json!({"tools": [{"cache_control": {"type": "ephemeral"}}]})).await;

        assert!(plain > 0.05, "{plain}");
        for (found, times) in [(usual, 4.0), (hour, 8.0)] {
            let ratio = found / plain;
            assert!((times * 0.9..times * 1.1).contains(&ratio), "{ratio}, not {times}");
        }
        assert!(tool > usual, "{tool}: a tool's mark counts as much");
    });
}

#[test]
fn every_answer_all_thinking_and_the_largest_picture_are_held() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$1000").before(&origin).start().await;
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            dialect.echoed(&origin);
        }
        let hold = async |ask: Ask| {
            let before: f64 = used(&sidecar).await.parse().unwrap();
            held(&ask.send().await) - before
        };

        let one = hold(question(&sidecar, 100, json!({}))).await;
        let five = hold(question(&sidecar, 100, json!({"n": 5}))).await;
        let thought = json!({"thinking": {"type": "enabled", "budget_tokens": 2_000}});
        let thinking = hold(message(&sidecar, &thought)).await;
        let bound_of_others = hold(question(
            &sidecar,
            100,
            json!({
            "max_tokens": null, "max_output_tokens": 1}),
        ))
        .await;
        let url = json!([{"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}]);
        let messages = json!({"messages": [{"role": "user", "content": url}]});
        let picture = hold(question(&sidecar, 1, messages)).await;

        // Output costs two tenths of a cent a token.
        assert!((five - one - 0.8).abs() < 0.001, "{one} {five}");
        assert!((4.0..4.3).contains(&thinking), "{thinking}");
        assert!(bound_of_others > 8.0, "a name that the service does not read: {bound_of_others}");
        assert!(picture > 40.0, "{picture}");
    });
}

#[test]
fn what_is_usual_lowers_the_hold_of_streams_and_of_nothing_else() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$100").before(&origin).start().await;
        Dialect::OpenAi.echoed(&origin);
        let mut connection = sidecar.client.h1().await;
        for _ in 0..60 {
            let answer = question(&sidecar, 1, json!({})).on(&mut connection).await;
            assert_eq!(answer.status, 200);
        }
        let before: f64 = used(&sidecar).await.parse().unwrap();
        let any =
            |stream: bool| question(&sidecar, 1, json!({"max_tokens": null, "stream": stream}));

        let stream = held(&any(true).send().await) - before;
        assert!((0.01..0.1).contains(&stream), "{stream}");
        let before: f64 = used(&sidecar).await.parse().unwrap();
        let whole = held(&any(false).send().await) - before;
        assert!(whole > 8.0, "nobody could end it: {whole}");
    });
}

/// Sends pieces until the stream is ended; who waits for that has a deadline. Much may have been sent by then.
async fn feed(feed: tokio::sync::mpsc::Sender<bytes::Bytes>, opening: String, piece: String) {
    if !opening.is_empty() {
        soon("the origin begins", feed.send(opening.into())).await.unwrap();
    }
    while feed.send(piece.clone().into()).await.is_ok() {}
}

#[test]
fn a_stream_that_outgrows_a_quota_in_tokens_says_so() {
    run(async {
        for style in ["cut", "finish"] {
            let origin = Origin::start().await;
            let quota = "quotas = { chat = \"300 tokens/hour\" }\nbudget";
            let plan = metered(&format!("on_exhausted = \"{style}\""), "$99");
            let sidecar = plan.replacing("budget", quota).before(&origin).start().await;
            let piece = Dialect::OpenAi.piece(" and so on and on");
            let feeding = tokio::spawn(feed(origin.paces(CHAT), String::new(), piece));

            let answer = question(&sidecar, 50, streamed()).send().await;

            soon("the upstream is closed", feeding).await.unwrap();
            let text = answer.text();
            match style {
                "cut" => {
                    assert!(text.contains("\"code\":\"quota_exceeded\""), "{text}");
                    assert!(text.contains("You have used all 300"), "{text}");
                }
                _ => assert!(text.contains("\"finish_reason\":\"length\""), "{text}"),
            }
            let record = sidecar.record(&answer).await;
            assert_eq!(record["error_code"], "quota_exceeded", "{record}");
            let tokens = record["input_tokens"].as_u64().unwrap()
                + record["output_tokens"].as_u64().unwrap();
            // It is ahead of its hold by what one read brings, a lot of small pieces on a busy machine.
            assert!((150..=300 + 4_096).contains(&tokens), "{record}");
        }
    });
}

#[test]
fn a_stream_that_outgrows_what_all_callers_share_says_so() {
    run(async {
        let origin = Origin::start().await;
        let plan = metered("on_exhausted = \"cut\"", "$99");
        let shared = "[tiers.free.total]\nbudget = { day = \"$0.40\" }\n[prices.\"gpt";
        let sidecar = plan.replacing("[prices.\"gpt", shared).before(&origin).start().await;
        let piece = Dialect::OpenAi.piece(" and so on and on");
        let feeding = tokio::spawn(feed(origin.paces(CHAT), String::new(), piece));

        let answer = question(&sidecar, 50, streamed()).send().await;

        soon("the upstream is closed", feeding).await.unwrap();
        let text = answer.text();
        assert!(text.contains("\"code\":\"budget_exceeded\""), "{text}");
        let record = sidecar.record(&answer).await;
        assert!(record["detail"].to_string().contains("$0.40"), "{record}");
        let spent: f64 = used(&sidecar).await.parse().unwrap();
        assert!((0.2..=0.4).contains(&spent), "{spent}");
    });
}

#[test]
fn a_prompt_that_the_service_counts_as_longer_raises_the_hold_or_ends_the_stream() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$0.5").before(&origin).start().await;
        let start = |tokens: u64| {
            let mut message = Dialect::Anthropic.answer("");
            (message["content"], message["stop_reason"]) = (json!([]), Value::Null);
            message["usage"] = json!({"input_tokens": tokens, "output_tokens": 1});
            named(json!({"type": "message_start", "message": message}))
        };
        let stream = json!({"stream": true, "messages": [{"role": "user", "content": "Hi"}]});

        for (tokens, fits) in [(300, true), (600, false)] {
            let feed = origin.paces("/v1/messages");
            let mut connection = sidecar.client.h2().await;
            let mut answer = message(&sidecar, &stream).open(&mut connection).await;
            feed.send(start(tokens).into()).await.unwrap();
            let first = answer.text().await;
            assert!(first.contains("message_start") || !fits, "{first}");
            if fits {
                // The service has told more than was held: that is held now.
                let raised: f64 = used(&sidecar).await.parse().unwrap();
                assert!((0.3..=0.5).contains(&raised), "{raised}");
                drop(feed);
                drop((answer, connection));
                let record = sidecar.logged("its record", |l| l["operation"] == "chat").await;
                assert_eq!(record["input_tokens"], 300, "{record}");
                continue;
            }
            soon("the upstream is closed", feed.closed()).await;
        }
        let spent: f64 = used(&sidecar).await.parse().unwrap();
        assert!(spent <= 0.5, "{spent}");
    });
}

#[test]
fn a_request_that_names_no_model_is_held_for_the_one_that_answers() {
    run(async {
        let origin = Origin::start().await;
        let lines = "cost = \"$0.01\"\non_exhausted = \"cut\"";
        let sidecar = metered(lines, "$0.5").before(&origin).start().await;
        let piece = Dialect::OpenAi.piece(" and so on and on");
        let feeding = tokio::spawn(feed(origin.paces(CHAT), String::new(), piece));
        let body = json!({"stream": true, "messages": [{"role": "user", "content": "Hi"}]});

        let answer = sidecar.client.post(CHAT, "").json(body.to_string()).send().await;

        soon("the upstream is closed", feeding).await.unwrap();
        assert!(answer.text().contains("budget_exceeded"), "{}", answer.text());
        let spent: f64 = used(&sidecar).await.parse().unwrap();
        assert!((0.4..=0.5).contains(&spent), "{spent}");
    });
}

fn agent(budget: &str) -> crate::plan::Plan {
    metered("", budget).replacing(
        "[operations.probe]",
        "[operations.agent]\nroutes = [\"POST /agent\"]\nmeter = \"usage\"\n[operations.probe]",
    )
}

#[test]
fn a_stream_whose_dialect_has_no_words_for_it_is_told_in_ours() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = agent("$0.5").before(&origin).start().await;
        let sender = origin.paces("/agent");
        let feeding = tokio::spawn(async move {
            for output in 0_u64.. {
                let usage = json!({"model": "gpt-4o-mini",
                    "usage": {"input_tokens": 1, "output_tokens": output * 10}});
                if sender.send(format!("data: {usage}\n\n").into()).await.is_err() {
                    return;
                }
            }
        });

        let answer = sidecar.client.post("/agent", "").json("{}").send().await;

        soon("the upstream is closed", feeding).await.unwrap();
        let text = answer.text();
        let told = text.rsplit_once("event: error\ndata: ").expect("one event more").1;
        let told: Value = serde_json::from_str(told.trim_end()).unwrap();
        assert_eq!(told["error"]["code"], "budget_exceeded", "{told}");
        assert_eq!(sidecar.record(&answer).await["error_code"], "budget_exceeded");
        let spent: f64 = used(&sidecar).await.parse().unwrap();
        assert!(spent <= 0.5, "{spent}");
    });
}

#[test]
fn an_event_without_an_end_is_cut() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$0.5").before(&origin).start().await;
        let opening = Dialect::OpenAi.piece(" and");
        let endless = "data: {\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"";
        let piece = " and so on and on".repeat(100);
        let feeding = tokio::spawn(feed(origin.paces(CHAT), opening + endless, piece));
        let mut connection = sidecar.client.h1().await;

        let answer = question(&sidecar, 50, streamed()).open(&mut connection).await;

        assert!(answer.whole().await.is_err(), "a cut answer never looks whole");
        soon("the upstream is closed", feeding).await.unwrap();
        let spent: f64 = used(&sidecar).await.parse().unwrap();
        assert!(spent <= 0.5, "{spent}");
    });
}

#[test]
fn an_answer_that_cannot_be_read_costs_what_was_held() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = metered("", "$1").before(&origin).start().await;
        let fields = [("content-type", "application/json"), ("content-encoding", "gzip")];
        origin.answers(CHAT, 200, &fields, "\u{1f}\u{8b}");
        let answer = question(&sidecar, 100, json!({})).send().await;
        let spent: f64 = used(&sidecar).await.parse().unwrap();
        assert!((held(&answer) - spent).abs() < 0.0001 && spent > 0.2, "{spent}");
    });
}

#[test]
fn a_service_that_keeps_prompts_unasked_is_held_at_the_price_of_that() {
    run(async {
        let origin = Origin::start().await;
        let price = "[prices.\"gpt-4o-mini\"]\ncache_write = \"$4000\"\n";
        let plan = metered("", "$100").replacing("[prices.\"gpt-4o-mini\"]\n", price);
        let sidecar = plan.before(&origin).start().await;
        origin.makes(CHAT, |_| made(200, &Dialect::OpenAi.answer("Fine.")));
        let long = json!({"messages": [{"role": "user", "content": "How are you? ".repeat(50)}]});
        let held = held(&question(&sidecar, 1, long).send().await);
        // Some 200 tokens at 4 tenths of a cent.
        assert!((0.6..1.5).contains(&held), "{held}");
    });
}

#[test]
fn a_stream_of_a_blocked_caller_ends_in_its_dialect() {
    run(async {
        let origin = Origin::start().await;
        let plan = metered("", "$9").before(&origin);
        let sidecar = plan.clone().start().await;
        for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
            let feed = origin.paces(dialect.path());
            let mut connection = sidecar.client.h2().await;
            let ask = match dialect {
                Dialect::OpenAi => question(&sidecar, 50, streamed()),
                Dialect::Anthropic => message(&sidecar, &streamed()),
            };
            let mut answer = ask.open(&mut connection).await;
            feed.send((dialect.opening() + &dialect.piece("Once")).into()).await.unwrap();
            assert!(answer.text().await.contains("Once"));

            let blocked = "[enforcement]\nblocked = [\"address:127.0.0.1\"]\n";
            sidecar.write_policy(&(plan.text() + blocked));

            let rest = soon("the stream ends", answer.whole()).await.expect("an end in order");
            let text = rest.text();
            match dialect {
                Dialect::OpenAi => {
                    assert!(text.contains("\"code\":\"blocked\""), "{text}");
                    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
                }
                Dialect::Anthropic => {
                    let told = text.strip_prefix("event: error\ndata: ").expect("an event");
                    let told: Value = serde_json::from_str(told.trim_end()).unwrap();
                    assert_eq!(
                        (&told["type"], &told["error"]["type"]),
                        (&json!("error"), &json!("blocked"))
                    );
                }
            }
            soon("the upstream is closed", feed.closed()).await;
            sidecar.write_policy(&plan.text());
            crate::harness::until_async("it is free again", || async {
                (sidecar.client.get("/probe").send().await.status == 200).then_some(())
            })
            .await;
        }
    });
}

#[test]
fn what_is_usual_is_kept_for_each_operation_and_tier_through_reloads_and_renamings() {
    run(async {
        let origin = Origin::start().await;
        let plan = metered("", "$100").before(&origin);
        let sidecar = plan.clone().start().await;
        Dialect::OpenAi.echoed(&origin);
        let mut connection = sidecar.client.h1().await;
        for _ in 0..60 {
            let answer = question(&sidecar, 1, json!({})).on(&mut connection).await;
            assert_eq!(answer.status, 200);
        }
        let text = plan.text();
        let renamed = |operation: &str, tier: &str| {
            let former = |name: &str| format!("renamed_from = \"{name}\"\n");
            let names = text
                .replace("[operations.chat]\n", &format!("[operations.talk]\n{operation}"))
                .replace("tier = \"free\"", "tier = \"basic\"")
                .replace("[tiers.free]\n", &format!("[tiers.basic]\n{tier}"));
            names.replace("OPERATION", &former("chat")).replace("TIER", &former("free"))
        };
        let series = r#"weir_policy_reloads_total{result="applied"}"#;

        for (reload, text, is_known) in [
            (1.0, renamed("OPERATION", "TIER"), true),
            (2.0, renamed("OPERATION", "TIER") + "\n# the same once more\n", true),
            // Other kinds of requests, of which nothing is known.
            (3.0, text.replace("[operations.chat]", "[operations.other]"), false),
            (4.0, renamed("OPERATION", "").replace("basic", "third"), false),
        ] {
            sidecar.write_policy(&text);
            sidecar.metric_is(series, reload).await;
            let before: f64 = used(&sidecar).await.parse().unwrap();
            let any = json!({"max_tokens": null, "stream": true});
            let hold = held(&question(&sidecar, 1, any).send().await) - before;
            assert_eq!(hold < 0.1, is_known, "{reload}: {hold}");
        }
    });
}
