//! The official OpenAI and Anthropic SDKs for Python and Node, unchanged, through the sidecar.

use serde_json::{Value, json};

use crate::{
    dialect::{Dialect, made, named},
    harness::{run, until},
    origin::Origin,
    plan::Plan,
    sidecar::{Running, Sidecar},
    tools::{Language, trust, values},
};

/// A sidecar with one key, before an origin.
pub struct Desk {
    pub origin: Origin,
    pub sidecar: Sidecar,
    pub key: String,
}

impl Desk {
    pub async fn open(tables: &str) -> Self {
        let origin = Origin::start().await;
        let plan = Sidecar::with(tables).before(&origin);
        Self::of(plan, origin).await
    }

    pub async fn of(plan: Plan, origin: Origin) -> Self {
        let home = plan.furnish();
        let new = ["keys", "new", "--subject", "alice", "--tier", "free"];
        let key = crate::harness::weir_in(home.path(), &new).out.trim().to_owned();
        Self { origin, sidecar: home.start().await, key }
    }

    /// One thing for an SDK to do: `way` and options of its script, on routes that begin so.
    pub fn asks(&self, dialect: Dialect, prefix: &str, options: Value) -> Value {
        let port = self.sidecar.address.port();
        let base = format!("https://localhost:{port}{prefix}{}", dialect.base());
        let mut asks = json!({"base": base, "key": self.key});
        asks.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        asks
    }

    /// The SDK's script, about to do these things in turn.
    pub fn script(
        &self,
        (dialect, language): (Dialect, Language),
        asks: Value,
    ) -> std::process::Command {
        let mut command = language.script(dialect.script());
        command.arg(asks.to_string());
        trust(&mut command, &self.sidecar);
        command
    }

    /// What the SDK's script prints when it does these things in turn.
    pub async fn said(&self, sdk: (Dialect, Language), asks: Value) -> Vec<Value> {
        values(self.script(sdk, asks)).await
    }

    /// A script that goes on while the test looks.
    pub fn spawn(&self, sdk: (Dialect, Language), asks: Value) -> Running {
        Running::of(self.script(sdk, asks))
    }

    /// The access records of those exchanges, as soon as there are so many.
    pub async fn records(&self, count: usize, of: impl Fn(&Value) -> bool) -> Vec<Value> {
        let look = || {
            let log = self.sidecar.log();
            let records = log.into_iter().filter(|line| line["message"] == "exchange" && of(line));
            let records: Vec<Value> = records.collect();
            (records.len() >= count).then_some(records)
        };
        until(&format!("{count} exchanges are recorded"), look).await
    }
}

/// How many questions are asked at once.
const MANY: usize = 12;

const TABLES: &str = r#"
    [[identity]]
    from = "api_key"
    [operations.chat]
    routes = ["POST /v1/chat/completions", "POST /v1/responses", "POST /v1/messages"]
    meter = "usage"
    [operations.rest]
    routes = ["* /v1/**"]
"#;

#[test]
fn every_sdk_gets_its_answers_one_by_one_and_many_at_once() {
    run(async {
        let desk = Desk::open(TABLES).await;
        serve_the_rest(&desk.origin);
        for sdk @ (dialect, _) in Dialect::SDKS {
            dialect.echoed(&desk.origin);
            let asks = |options| desk.asks(dialect, "", options);
            let mut list = vec![
                asks(json!({"way": "together", "times": MANY})),
                asks(json!({"way": "together", "times": MANY, "http2": true})),
            ];
            let ways =
                rest(dialect).into_iter().map(|(way, _)| asks(json!({"way": way, "pad": 50_000})));
            list.extend(ways);
            list.push(asks(json!({"way": "ask"})));

            let said = desk.said(sdk, json!(list)).await;

            let many: Vec<String> = (0..MANY).map(|index| index.to_string()).collect();
            assert_eq!(said[..2], [json!(many), json!(many)], "{sdk:?}");
            let wanted: Vec<Value> = rest(dialect).into_iter().flat_map(|(_, said)| said).collect();
            assert_eq!(said[2..said.len() - 1], wanted, "{sdk:?}");
            assert_answered(&desk, sdk, said.last().unwrap());
        }

        let chats = Dialect::SDKS.len() * (2 * MANY + 1);
        let others = 2 * (rest(Dialect::OpenAi).len() + rest(Dialect::Anthropic).len());
        let records = desk.records(chats + others, |_| true).await;
        let h2 = records.iter().filter(|record| record["protocol"] == "h2").count();
        assert_eq!(h2, Dialect::SDKS.len() * MANY, "the questions that were to use HTTP/2");
    });
}

fn assert_answered(desk: &Desk, sdk: (Dialect, Language), said: &Value) {
    assert_eq!(said["text"], "Say hello.", "{sdk:?}");
    let seen = desk.origin.last();
    assert_eq!(seen.header("authorization"), None, "{sdk:?}: the key ends at the sidecar");
    assert_eq!(seen.header("x-api-key"), None, "{sdk:?}: the key ends at the sidecar");
    match sdk.0 {
        Dialect::OpenAi => {
            assert_eq!(said["request_id"], seen.header("x-request-id").unwrap(), "{sdk:?}");
        }
        Dialect::Anthropic => assert!(seen.header("anthropic-version").is_some(), "{sdk:?}"),
    }
}

/// What else an SDK can do: its script's way, and what that prints.
fn rest(dialect: Dialect) -> Vec<(&'static str, Vec<Value>)> {
    let event = "response.output_text.delta";
    match dialect {
        Dialect::OpenAi => vec![
            ("respond", vec![json!([event, "Hello"]), json!([event, " there."])]),
            ("upload", vec![json!({"id": "file-1"})]),
            ("models", vec![json!(["gpt-4o-mini"])]),
        ],
        Dialect::Anthropic => vec![("count", vec![json!({"tokens": 8})])],
    }
}

fn serve_the_rest(origin: &Origin) {
    let delta = |text: &str| {
        named(json!({"type": "response.output_text.delta", "item_id": "i", "output_index": 0,
                     "content_index": 0, "sequence_number": 1, "delta": text, "logprobs": []}))
    };
    let media = [("content-type", "text/event-stream")];
    origin.answers("/v1/responses", 200, &media, delta("Hello") + &delta(" there."));
    let file = json!({"id": "file-1", "object": "file", "bytes": 50_000, "created_at": 1,
                      "filename": "notes.txt", "purpose": "assistants", "status": "processed"});
    let list = json!({"object": "list", "data": [
        {"id": "gpt-4o-mini", "object": "model", "created": 1, "owned_by": "us"}]});
    let count = json!({"input_tokens": 8});
    for (path, answer) in
        [("/v1/files", file), ("/v1/models", list), ("/v1/messages/count_tokens", count)]
    {
        origin.makes(path, move |_| made(200, &answer));
    }
}
