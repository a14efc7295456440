//! Whatever ends a request, its books close exactly once: what is charged is what its record says,
//! nothing stays held, and its place among the requests in flight is free again.

use serde_json::{Value, json};

use crate::{
    client::Ask,
    dialect::Dialect,
    harness::{run, soon, until, until_async},
    metering::{CHAT, metered, question, streamed},
    origin::{Origin, blurts},
    plan::Plan,
    sidecar::Sidecar,
};

/// A token of the prompt costs a tenth of a cent, one of the answer two; one request at a time.
fn plan() -> Plan {
    metered("", "$50").replacing("[tiers.free]", "[tiers.free]\nconcurrency = 1")
}

/// What is charged and what is held, in nano-dollars.
async fn books(sidecar: &Sidecar) -> (u64, u64) {
    let usage = sidecar.operator("/admin/v1/usage").send().await.json();
    let subjects = usage["subjects"].as_array().unwrap().iter();
    let counters = subjects.flat_map(|subject| subject["counters"].as_array().unwrap());
    let money = counters.filter(|counter| counter["unit"] == "nano_usd");
    money.fold((0, 0), |(used, held), counter| {
        let number = |name: &str| counter[name].as_u64().unwrap();
        (used + number("used") - number("held"), held + number("held"))
    })
}

/// Records of metered requests.
fn records(sidecar: &Sidecar) -> Vec<Value> {
    let is = |line: &Value| line["message"] == "exchange" && line["operation"] == "chat";
    sidecar.log().into_iter().filter(is).collect()
}

/// The same as [`agreed`], and another request has room.
async fn balanced(sidecar: &Sidecar, count: usize) -> Vec<Value> {
    let all = agreed(sidecar, count).await;
    // With another one in flight this would be a 429.
    assert_eq!(sidecar.client.get("/probe").send().await.status, 200);
    all
}

/// Waits until `count` requests are recorded; then the books must agree with the records and the metrics.
async fn agreed(sidecar: &Sidecar, count: usize) -> Vec<Value> {
    let all = until("every request is recorded", || {
        let all = records(sidecar);
        (all.len() >= count).then_some(all)
    });
    let all = all.await;
    assert_eq!(all.len(), count, "{all:#?}");
    let sum: u64 = all.iter().map(|record| record["cost_nano_usd"].as_u64().unwrap()).sum();
    until_async("nothing is held any more", || async {
        (books(sidecar).await.1 == 0).then_some(())
    })
    .await;
    assert_eq!(books(sidecar).await.0, sum, "{all:#?}");
    let page = sidecar.operator("/metrics").send().await.text();
    let costs = page.lines().filter(|line| line.starts_with("weir_cost_usd_total{"));
    let shown: f64 =
        costs.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
    assert!((shown - sum as f64 / 1e9).abs() < 1e-6, "{shown}: {all:#?}");
    all
}

fn cost(record: &Value) -> f64 {
    record["cost_nano_usd"].as_u64().unwrap() as f64 / 1e9
}

fn with_mishap(at: &str) -> Plan {
    plan().environment("WEIR_MISHAP", at)
}

#[test]
fn a_panic_before_anything_was_sent_costs_nothing() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = with_mishap("admitted:/v1/messages").before(&origin).start().await;
        Dialect::OpenAi.echoed(&origin);
        let body = json!({"model": "claude-opus-4-8", "max_tokens": 9, "messages": []}).to_string();
        for h2 in [false, true] {
            let ask = sidecar.client.post("/v1/messages", "").json(body.clone());
            let answer = if h2 { ask.send_h2().await } else { ask.send().await };
            assert_eq!(answer.status, 500);
        }
        assert_eq!(question(&sidecar, 9, json!({})).send().await.status, 200, "others go on");
        assert_eq!(origin.count("/v1/messages"), 0);
        sidecar.metric_is("weir_panics_total", 2.0).await;
        let all = balanced(&sidecar, 3).await;
        assert_eq!((cost(&all[0]), cost(&all[1])), (0.0, 0.0));
    });
}

#[test]
fn a_panic_after_the_service_has_answered_is_charged_what_was_held() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = with_mishap("answered:/v1/chat").before(&origin).start().await;
        Dialect::OpenAi.echoed(&origin);
        assert_eq!(question(&sidecar, 100, json!({})).send().await.status, 500);
        let all = balanced(&sidecar, 1).await;
        assert!((0.2..0.23).contains(&cost(&all[0])), "{all:?}");
    });
}

#[test]
fn a_panic_in_the_middle_of_a_stream_ends_that_stream_alone_and_charges_what_has_passed() {
    run(async {
        let origin = Origin::start().await;
        let plan = metered("", "$50").environment("WEIR_MISHAP", "streamed:BOOM");
        let sidecar = plan.before(&origin).start().await;
        for h2 in [false, true] {
            let connect = async || match h2 {
                true => sidecar.client.h2().await,
                false => sidecar.client.h1().await,
            };
            let mut connection = connect().await;
            let mut neighbour = if h2 { connection.fork() } else { connect().await };
            let (feed, other) = (origin.paces(CHAT), origin.paces("/v1/messages"));
            let mut answer = question(&sidecar, 100, streamed()).open(&mut connection).await;
            let body = json!({"model": "claude-opus-4-8", "max_tokens": 99, "stream": true, "messages": []});
            let ask = sidecar.client.post("/v1/messages", "").json(body.to_string());
            let mut beside = ask.open(&mut neighbour).await;
            feed.send(Dialect::OpenAi.piece(" wonderful weather").into()).await.unwrap();
            answer.text().await;

            feed.send(Dialect::OpenAi.piece("BOOM").into()).await.unwrap();

            assert!(answer.whole().await.is_err(), "a cut answer never looks whole, h2: {h2}");
            soon("the upstream's work ends", feed.closed()).await;
            other.send(Dialect::Anthropic.opening().into()).await.unwrap();
            assert!(beside.text().await.contains("message_start"), "others go on, h2: {h2}");
            other.send(Dialect::Anthropic.closing().into()).await.unwrap();
            drop(other);
            beside.whole().await.expect("a whole answer");
        }
        sidecar.metric_is("weir_panics_total", 2.0).await;
        let all = balanced(&sidecar, 4).await;
        let cut: Vec<_> = all.iter().filter(|record| record["cost_source"] == "counted").collect();
        assert_eq!(cut.len(), 2, "{all:#?}");
        for record in cut {
            assert_eq!(record["detail"], "passing the answer on panicked");
            assert!(record["output_tokens"].as_u64().unwrap() >= 2, "{record}");
        }
    });
}

#[test]
fn a_panic_while_the_books_are_closed_charges_what_was_held() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = with_mishap("settled:gpt-4o-mini").before(&origin).start().await;
        Dialect::OpenAi.echoed(&origin);
        assert_eq!(question(&sidecar, 100, json!({})).send().await.status, 200);
        let all = balanced(&sidecar, 1).await;
        assert!((0.2..0.23).contains(&cost(&all[0])), "{all:?}");
        sidecar.metric_is("weir_panics_total", 1.0).await;
    });
}

#[test]
fn a_caller_that_leaves_before_the_head_is_charged_what_was_held() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan().before(&origin).start().await;
        for (count, h2) in [(1, false), (2, true)] {
            let mut silence = origin.keeps_silent(CHAT);
            let mut connection =
                if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await };
            let ask = question(&sidecar, 100, json!({}));
            let asking = tokio::spawn(async move { drop(ask.try_open(&mut connection).await) });
            until("it is asked", || (origin.count(CHAT) == count).then_some(())).await;

            asking.abort();

            soon("the upstream's work ends", silence.recv()).await;
            let all = balanced(&sidecar, count).await;
            let last = all.last().unwrap();
            assert_eq!(last["status"], 499, "{last}");
            assert!((0.2..0.23).contains(&cost(last)), "{last}");
        }
    });
}

#[test]
fn a_caller_that_leaves_in_the_middle_is_charged_what_has_passed() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan().before(&origin).start().await;
        for (count, h2) in [(1, false), (2, true)] {
            let feed = origin.paces(CHAT);
            let mut connection =
                if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await };
            let mut answer = question(&sidecar, 100, streamed()).open(&mut connection).await;
            feed.send(Dialect::OpenAi.piece(" wonderful weather").into()).await.unwrap();
            answer.text().await;
            drop((answer, connection));
            soon("the upstream's work ends", feed.closed()).await;
            let all = balanced(&sidecar, count).await;
            assert!((0.005..0.05).contains(&cost(all.last().unwrap())), "{all:?}");
        }
    });
}

#[test]
fn a_caller_that_leaves_while_a_short_answer_is_read_whole_is_charged() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 400\r\n\r\n{\"model\":";
        let (address, seen) = stalls(head).await;
        let plan = plan().replacing("redact = []", "redact = [\"credentials\"]");
        let sidecar = plan.before_address(address).start().await;
        let mut connection = sidecar.client.h2().await;
        let ask = question(&sidecar, 100, json!({}));
        let asking = tokio::spawn(async move { drop(ask.try_open(&mut connection).await) });
        soon("the service has begun its answer", seen).await.unwrap();
        asking.abort();
        agreed(&sidecar, 1).await;
    });
}

/// A service that begins an answer and then says nothing more; tells when it has begun.
async fn stalls(head: &'static str) -> (std::net::SocketAddr, tokio::sync::oneshot::Receiver<()>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (begun, seen) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut begun = Some(begun);
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = [0; 4096];
            // A probe opens a connection and says nothing.
            if stream.read(&mut first).await.unwrap_or(0) == 0 {
                continue;
            }
            stream.write_all(head.as_bytes()).await.unwrap();
            if let Some(begun) = begun.take() {
                begun.send(()).expect("the test waits");
            }
            open.push(stream);
        }
    });
    (address, seen)
}

#[test]
fn a_service_that_resets_is_slow_or_breaks_off_is_charged_once() {
    run(async {
        let origin = Origin::start().await;
        let times = "response_timeout = \"300ms\"\nidle_timeout = \"300ms\"";
        let sidecar = plan().upstream(times).before(&origin).start().await;

        origin.hangs_up(CHAT);
        assert_eq!(question(&sidecar, 100, json!({})).send().await.status, 502);
        let _silence = origin.keeps_silent(CHAT);
        assert_eq!(question(&sidecar, 100, json!({})).send().await.status, 504);
        let feed = origin.paces(CHAT);
        let mut connection = sidecar.client.h2().await;
        let mut answer = question(&sidecar, 100, streamed()).open(&mut connection).await;
        feed.send(Dialect::OpenAi.piece(" wonderful weather").into()).await.unwrap();
        answer.text().await;
        assert!(answer.whole().await.is_err(), "it fell silent");

        let all = balanced(&sidecar, 3).await;
        assert!((0.2..0.23).contains(&cost(&all[1])), "no answer costs what was held: {all:?}");
        assert!((0.005..0.05).contains(&cost(&all[2])), "what has passed: {all:?}");

        let broken = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
            transfer-encoding: chunked\r\n\r\n30\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"ab\"}}]}";
        let sidecar = plan().before_address(blurts(broken).await).start().await;
        let mut connection = sidecar.client.h1().await;
        let answer = question(&sidecar, 100, streamed()).try_open(&mut connection).await;
        if let Ok(answer) = answer {
            assert!(answer.whole().await.is_err());
        }
        agreed(&sidecar, 1).await;
    });
}

#[test]
fn a_request_that_is_sent_again_is_charged_once() {
    run(async {
        let origin = Origin::start().await;
        let retry = "retry = { attempts = 3, backoff = \"1ms..2ms\", on = [\"connect\", \"503\"] }";
        let sidecar = plan().upstream(retry).before(&origin).start().await;
        let mut turn = 0;
        origin.makes(CHAT, move |_| {
            turn += 1;
            let status = if turn < 3 { 503 } else { 200 };
            crate::dialect::made(status, &Dialect::OpenAi.answer("Fine."))
        });
        let answer = question(&sidecar, 100, json!({})).send().await;
        let all = balanced(&sidecar, 1).await;
        // A POST of unknown fate is never sent again; a 503 of the service is charged as it is.
        assert_eq!((answer.status.as_u16(), origin.count(CHAT)), (503, 1), "{all:?}");
    });
}

fn blocking(blocked: &str, plan: &Plan) -> String {
    plan.text() + &format!("[enforcement]\nblocked = [{blocked}]\n")
}

#[test]
fn a_caller_that_is_blocked_while_it_waits_is_refused_and_its_request_given_up() {
    run(async {
        let origin = Origin::start().await;
        let plan = plan().before(&origin);
        let sidecar = plan.clone().start().await;
        for (count, h2) in [(1, false), (2, true)] {
            let mut silence = origin.keeps_silent(CHAT);
            let ask: Ask = question(&sidecar, 100, json!({}));
            let asking =
                tokio::spawn(
                    async move { if h2 { ask.send_h2().await } else { ask.send().await } },
                );
            until("it is asked", || (origin.count(CHAT) == count).then_some(())).await;

            sidecar.write_policy(&blocking("\"address:127.0.0.1\"", &plan));

            let answer = soon("the answer comes", asking).await.unwrap();
            assert_eq!(answer.status, 403, "{}", answer.text());
            assert_eq!(answer.json()["error"]["code"], "blocked");
            soon("the upstream's work ends", silence.recv()).await;
            sidecar.write_policy(&plan.text());
            until_async("it is free again", || async {
                (sidecar.client.get("/probe").send().await.status == 200).then_some(())
            })
            .await;
            let all = balanced(&sidecar, count).await;
            let last = all.last().unwrap();
            assert_eq!((&last["status"], &last["error_code"]), (&json!(403), &json!("blocked")));
            assert!((0.2..0.23).contains(&cost(last)), "it was sent: {last}");
        }
    });
}
