//! Bedrock's Converse and ConverseStream.

use super::{Answer, Format, Framing, Read, Reading, Usage};
use crate::meter::frames;

const USAGE: &str = r#"{"inputTokens":30,"outputTokens":628,"totalTokens":1158,"cacheReadInputTokens":300,"cacheWriteInputTokens":200,"cacheDetails":[{"ttl":"1h","inputTokens":150},{"ttl":"5m","inputTokens":50}]}"#;

fn whole() -> Reading {
    let usage = Usage {
        input: 30,
        cache_read: 300,
        cache_write: 50,
        cache_write_1h: 150,
        output: 628,
        ..Usage::default()
    };
    assert_eq!(usage.total(), 1158);
    Reading {
        usage: Some(usage),
        service_tier: Some("flex".into()),
        complete: true,
        ..Reading::default()
    }
}

#[test]
fn a_plain_answer_is_taken_apart() {
    let body = format!(
        r#"{{"metrics":{{"latencyMs":1275}},"output":{{"message":{{"content":[{{"reasoningContent":{{"reasoningText":{{"text":"Hm.","signature":"s"}}}}}},{{"text":"Hi"}},{{"toolUse":{{"toolUseId":"t","name":"f","input":{{"a":1}}}}}}],"role":"assistant"}}}},"stopReason":"end_turn","serviceTier":{{"type":"flex"}},"usage":{USAGE}}}"#
    );
    for format in [Format::Bedrock, Format::Any] {
        let Read { reading, text, reasoning, tool } =
            Answer::plain(format, &body).read_at_every_split();
        assert_eq!(reading, whole(), "{format}");
        assert_eq!((text.as_str(), reasoning.as_str(), tool.as_str()), ("Hi", "Hm.", "f{\"a\":1}"));
    }
}

fn stream(events: &[(&str, &str)]) -> Answer {
    let mut body = Vec::new();
    for (name, payload) in events {
        let headers = [
            (":event-type", *name),
            (":content-type", "application/json"),
            (":message-type", "event"),
        ];
        frames::write(&mut body, &headers, payload.as_bytes());
    }
    Answer { format: Format::Bedrock, framing: Framing::Frames, body }
}

fn events() -> Vec<(&'static str, String)> {
    let plain = |name, text: &str| (name, text.to_owned());
    vec![
        plain("messageStart", r#"{"p":"abcdefgh","role":"assistant"}"#),
        plain("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hi"},"p":"abc"}"#),
        plain(
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"Hm."}}}"#,
        ),
        plain("contentBlockStop", r#"{"contentBlockIndex":0,"p":"ab"}"#),
        plain(
            "contentBlockStart",
            r#"{"contentBlockIndex":1,"start":{"toolUse":{"name":"f","toolUseId":"t"}}}"#,
        ),
        plain(
            "contentBlockDelta",
            r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{\"a\":1}"}}}"#,
        ),
        plain("contentBlockStop", r#"{"contentBlockIndex":1}"#),
        plain("messageStop", r#"{"p":"abcd","stopReason":"end_turn"}"#),
        (
            "metadata",
            format!(
                r#"{{"metrics":{{"latencyMs":1275}},"serviceTier":{{"type":"flex"}},"usage":{USAGE},"p":"a"}}"#
            ),
        ),
    ]
}

#[test]
fn a_stream_reports_in_its_metadata() {
    let events = events();
    let events: Vec<(&str, &str)> =
        events.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let Read { reading, text, reasoning, tool } = stream(&events).read_at_every_split();
    assert_eq!(reading, whole());
    assert_eq!((text.as_str(), reasoning.as_str(), tool.as_str()), ("Hi", "Hm.", "f{\"a\":1}"));
    for count in 0..events.len() {
        let read = stream(&events[..count]).read_at_every_split();
        assert_eq!(read.reading, Reading::default(), "cut behind {count}");
    }
}
