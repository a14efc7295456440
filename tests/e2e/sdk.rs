//! The official OpenAI SDK for Python, unchanged, through the sidecar.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::{
    harness::{run, until},
    origin::Origin,
    plan::Plan,
    sidecar::{Running, Sidecar},
};

/// The interpreter with the SDK: `make test` makes it.
fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let usual = root.join("tests/python/.venv/bin/python");
    let python = std::env::var_os("WEIR_TEST_PYTHON").map_or(usual, PathBuf::from);
    assert!(python.exists(), "{} is not there: run `make test`, which makes it", python.display());
    python
}

fn plan() -> Plan {
    Sidecar::with(
        r#"
        [[identity]]
        from = "api_key"
        [operations.chat]
        routes = ["POST /v1/chat/completions", "POST /paced/chat/completions"]
        meter = "usage"
        [operations.once]
        routes = ["POST /once/chat/completions"]
        meter = "usage"
        [tiers.free]
        quotas = { once = "1/hour" }
        [sanitize]
        "#,
    )
}

/// The script in one of its ways, against this sidecar.
fn script(sidecar: &Sidecar, way: &str, base: &str, key: &str) -> Running {
    let mut command = Command::new(python());
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/openai_sdk.py"))
        .args([way, &format!("https://localhost:{}/{base}", sidecar.address.port()), key])
        .arg(sidecar.file("certs/ca.crt"))
        .env_remove("OPENAI_API_KEY");
    Running::of(command)
}

async fn output(mut script: Running) -> Vec<String> {
    let code = script.ended().await;
    assert_eq!(code, Some(0), "{:#?}", script.lines());
    script.printed()
}

async fn start(origin: &Origin) -> (Sidecar, String) {
    let answer = json!({
        "id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": "Hello there."}}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11},
    });
    for base in ["v1", "once"] {
        let path = format!("/{base}/chat/completions");
        origin.answers(&path, 200, &[("content-type", "application/json")], answer.to_string());
    }
    let home = plan().before(origin).furnish();
    let new = ["keys", "new", "--subject", "alice", "--tier", "free"];
    let key = crate::harness::weir_in(home.path(), &new).out.trim().to_owned();
    (home.start().await, key)
}

#[test]
fn the_openai_sdk_gets_whole_answers() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, key) = start(&origin).await;

        let out = output(script(&sidecar, "plain", "v1", &key)).await;

        assert_eq!(out, ["Hello there.", "11"]);
        assert_eq!(origin.last().header("authorization"), None, "the key ends at the sidecar");
    });
}

#[test]
fn the_openai_sdk_gets_every_piece_of_a_stream_as_it_comes() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, key) = start(&origin).await;
        let feed = origin.paces("/paced/chat/completions");
        let mut script = script(&sidecar, "stream", "paced", &key);

        for (index, word) in ["Hello", " there", "."].iter().enumerate() {
            let chunk = json!({
                "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini",
                "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": null}],
            });
            feed.send(format!("data: {chunk}\n\n").into()).await.unwrap();
            let printed = || (script.printed().len() > index).then(|| script.printed());
            let printed = until("the SDK has the piece", printed).await;
            assert_eq!(printed[index], format!("{word:?}"));
        }
        feed.send("data: [DONE]\n\n".into()).await.unwrap();
        drop(feed);

        assert_eq!(script.ended().await, Some(0), "{:#?}", script.lines());
    });
}

#[test]
fn the_openai_sdk_raises_its_own_errors() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, key) = start(&origin).await;

        let wrong = output(script(&sidecar, "errors", "v1", "weir_wrong")).await;
        let used_up = output(script(&sidecar, "errors", "once", &key)).await;

        assert_eq!(wrong, ["AuthenticationError 401 unauthenticated -"; 2]);
        assert_eq!(used_up[0], "no error");
        let (error, wait) = used_up[1].rsplit_once(' ').unwrap();
        assert_eq!(error, "RateLimitError 429 quota_exceeded");
        assert!((3_000..=3_600).contains(&wait.parse::<u32>().unwrap()), "{used_up:?}");
    });
}
