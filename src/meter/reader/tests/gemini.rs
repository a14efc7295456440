//! Gemini.

use super::{Answer, Format, Framing, Read, Reading, Usage, reading};

const PLAIN: &str = r#"{
  "candidates": [{"content": {"parts": [
      {"text": "I think.", "thought": false}, {"thought": true, "text": "Hm."},
      {"functionCall": {"name": "f", "args": {"a": "b"}}}], "role": "model"},
    "finishReason": "STOP", "index": 0, "avgLogprobs": -0.1}],
  "usageMetadata": {
    "promptTokenCount": 1000, "cachedContentTokenCount": 400, "candidatesTokenCount": 30, "thoughtsTokenCount": 200,
    "toolUsePromptTokenCount": 50, "totalTokenCount": 1280,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 500}, {"modality": "AUDIO", "tokenCount": 300}, {"tokenCount": 200, "modality": "IMAGE"}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 250}, {"modality": "AUDIO", "tokenCount": 100}, {"modality": "IMAGE", "tokenCount": 50}],
    "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 10}, {"modality": "IMAGE", "tokenCount": 20}],
    "trafficType": "ON_DEMAND_PRIORITY"
  },
  "modelVersion": "gemini-2.5-flash", "responseId": "r1"
}"#;

fn usage() -> Usage {
    Usage {
        input: 250 + 50,
        cache_read: 400,
        input_audio: 200,
        input_image: 150,
        output: 10,
        output_image: 20,
        reasoning: 200,
        ..Usage::default()
    }
}

fn whole() -> Reading {
    Reading {
        service_tier: Some("ON_DEMAND_PRIORITY".into()),
        ..reading("gemini-2.5-flash", usage())
    }
}

#[test]
fn a_plain_answer_is_taken_apart() {
    let Read { reading, text, reasoning, tool } =
        Answer::plain(Format::Gemini, PLAIN).read_at_every_split();
    assert_eq!(usage().total(), 1280);
    assert_eq!(reading, whole());
    assert_eq!((text.as_str(), reasoning.as_str()), ("I think.", "Hm."));
    assert_eq!(tool, r#"{"name": "f", "args": {"a": "b"}}"#);
}

#[test]
fn an_envelope_changes_nothing() {
    let body = format!(r#"{{"response": {PLAIN}, "traceId": "x"}}"#);
    for format in [Format::Gemini, Format::Any] {
        assert_eq!(Answer::plain(format, &body).read_at_every_split().reading, whole(), "{format}");
    }
}

const CHUNKS: [&str; 3] = [
    r#"{"candidates":[{"content":{"parts":[{"text":"Th","thought":true}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":11,"totalTokenCount":11,"cachedContentTokenCount":3},"modelVersion":"gemini-2.5-pro","responseId":"r"}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"Hi"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":1,"totalTokenCount":52,"thoughtsTokenCount":40,"cachedContentTokenCount":3},"modelVersion":"gemini-2.5-pro","responseId":"r"}"#,
    r#"{"candidates":[{"content":{"parts":[{"text":"!"}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":2,"totalTokenCount":53,"thoughtsTokenCount":40},"modelVersion":"gemini-2.5-pro","responseId":"r"}"#,
];

#[test]
fn a_stream_repeats_itself_and_the_last_report_counts() {
    let stream = Answer::events(Format::Gemini, &CHUNKS);
    let read = stream.read_at_every_split();
    let usage = |input, cache_read, output, reasoning| {
        Some(Usage { input, cache_read, output, reasoning, ..Usage::default() })
    };
    assert_eq!(read.reading.usage, usage(11, 0, 2, 40), "a part that is gone is gone");
    assert!(read.text.ends_with("Hi!"));
    assert_eq!(
        stream.cut_behind_every_event(),
        [(usage(8, 3, 0, 0), false), (usage(8, 3, 1, 40), false), (usage(11, 0, 2, 40), true)]
    );
}

#[test]
fn a_stream_may_be_one_array() {
    let body = format!("[{}]", CHUNKS.join(",\r\n"));
    let read = Answer::plain(Format::Gemini, &body).read_at_every_split();
    let stream = Answer::events(Format::Gemini, &CHUNKS).read_at_every_split();
    assert_eq!(read, stream);
    let cut = Answer {
        format: Format::Gemini,
        framing: Framing::Json,
        body: body[..body.len() - 1].into(),
    };
    assert!(!cut.read_at_every_split().reading.complete);
}
