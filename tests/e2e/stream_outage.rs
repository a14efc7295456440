//! Streams whose hold must grow while the Redis that replicas share does not answer.

use serde_json::{Value, json};

use crate::{
    client::Streamed,
    dialect::Dialect,
    harness::{run, soon, until_async},
    keeper::Keeper,
    metering::{CHAT, metered, question, streamed},
    origin::Origin,
    sidecar::Sidecar,
};

async fn started(keeper: &Keeper, origin: &Origin, on_failure: &str) -> Sidecar {
    let store = format!(
        "[store]\nurl = \"redis://{}\"\non_failure = \"{on_failure}\"\ndeadline = \"300ms\"\n\
         share = \"0%\"\n[operations.probe]",
        keeper.address
    );
    let plan = metered("on_exhausted = \"cut\"", "$50").replacing("[operations.probe]", &store);
    plan.before(origin).start().await
}

/// What Redis says that is charged, once it knows everything and nothing is held.
async fn charged(sidecar: &Sidecar) -> u64 {
    sidecar.metric_is("weir_store_up{kind=\"redis\"}", 1.0).await;
    sidecar.metric_is("weir_store_journal_depth{kind=\"redis\"}", 0.0).await;
    until_async("nothing is held any more", || async {
        let usage = sidecar.operator("/admin/v1/usage").send().await;
        let usage = (usage.status == 200).then(|| usage.json())?;
        let counter = &usage["subjects"][0]["counters"][0];
        assert_eq!(counter["unit"], "nano_usd", "{usage}");
        (counter["held"] == 0).then(|| counter["used"].as_u64().unwrap())
    })
    .await
}

struct Scene {
    origin: Origin,
    keeper: Keeper,
    sidecar: Sidecar,
}

impl Scene {
    async fn start(on_failure: &str) -> Self {
        let (origin, keeper) = (Origin::start().await, Keeper::start().await);
        let sidecar = started(&keeper, &origin, on_failure).await;
        Self { origin, keeper, sidecar }
    }

    /// A stream that has begun, and whose Redis then stops in its tracks.
    async fn stopped(
        &self,
    ) -> (Streamed, crate::client::Connection, tokio::sync::mpsc::Sender<bytes::Bytes>) {
        let feed = self.origin.paces(CHAT);
        let mut connection = self.sidecar.client.h2().await;
        let mut answer = question(&self.sidecar, 10, streamed()).open(&mut connection).await;
        feed.send(Dialect::OpenAi.piece("Once").into()).await.unwrap();
        answer.text().await;
        self.keeper.pause();
        (answer, connection, feed)
    }

    /// The record of the stream, whose cost is what Redis has in the end.
    async fn settled(&self, answer_id: &str) -> Value {
        self.keeper.resume();
        let is = |line: &Value| line["request_id"] == *answer_id && line["message"] == "exchange";
        let record = self.sidecar.logged("its record", is).await;
        assert_eq!(charged(&self.sidecar).await, record["cost_nano_usd"], "{record}");
        record
    }
}

fn id(answer: &Streamed) -> String {
    answer.headers["x-request-id"].to_str().unwrap().to_owned()
}

#[test]
fn a_stream_goes_on_where_the_policy_counts_here_or_allows_and_is_charged_to_the_last_token() {
    run(async {
        for on_failure in ["local", "allow"] {
            let scene = Scene::start(on_failure).await;
            let (mut answer, _connection, feed) = scene.stopped().await;

            // Forty times what was held.
            for _ in 0..40 {
                let piece = Dialect::OpenAi.piece(" upon a time there was a stream of words");
                soon("the origin sends", feed.send(piece.into())).await.unwrap();
                answer.text().await;
            }
            let end = json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]);
            let usage = json!({"prompt_tokens": 8, "completion_tokens": 380, "total_tokens": 388});
            let chunk = |choices: &Value, usage: &Value| {
                let chunk = json!({"id": "c1", "object": "chat.completion.chunk", "created": 1,
                    "model": "gpt-4o-mini", "choices": choices, "usage": usage});
                format!("data: {chunk}\n\n")
            };
            let closing =
                chunk(&end, &Value::Null) + &chunk(&json!([]), &usage) + "data: [DONE]\n\n";
            feed.send(closing.into()).await.unwrap();
            drop(feed);
            let id = id(&answer);
            answer.whole().await.expect("a whole answer");

            let record = scene.settled(&id).await;
            assert_eq!(record["cost_source"], "usage", "{on_failure}: {record}");
            assert_eq!(record["cost_nano_usd"], 768_000_000, "{on_failure}: {record}");
        }
    });
}

#[test]
fn a_stream_ends_and_says_why_where_the_policy_refuses() {
    run(async {
        let scene = Scene::start("refuse").await;
        let (answer, _connection, feed) = scene.stopped().await;
        let id = id(&answer);
        let feeding = tokio::spawn(async move {
            let piece = Dialect::OpenAi.piece(" upon a time there was a stream of words");
            while feed.send(piece.clone().into()).await.is_ok() {}
        });

        let rest = soon("the stream ends", answer.whole()).await.expect("an end in order");

        soon("the upstream is closed", feeding).await.unwrap();
        assert!(rest.text().contains("\"code\":\"store_unavailable\""), "{}", rest.text());
        let record = scene.settled(&id).await;
        assert_eq!(record["error_code"], "store_unavailable", "{record}");
        assert!(record["cost_nano_usd"].as_u64().unwrap() > 0, "{record}");
    });
}

#[test]
fn a_stream_that_its_caller_leaves_while_its_hold_is_being_raised_is_settled_once() {
    run(async {
        let scene = Scene::start("local").await;
        let (answer, connection, feed) = scene.stopped().await;
        let id = id(&answer);
        let piece = Dialect::OpenAi.piece(&" upon a time".repeat(40));
        feed.send(piece.into()).await.unwrap();

        drop((answer, connection));

        soon("the upstream's work ends", feed.closed()).await;
        let record = scene.settled(&id).await;
        assert_eq!(record["status"], 499, "{record}");
    });
}
