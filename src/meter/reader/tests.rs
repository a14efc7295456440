//! Answers as the services document them, plain and streamed: the exact classes, at every
//! split, cut behind every event, and what wants to hurt.

mod anthropic;
mod any;
mod bedrock;
mod chat;
mod gemini;
mod hostile;
mod ollama;
mod responses;

use super::{Delta, Format, Framing, Kind, Reader, Reading, Usage};
use crate::units::NanoUsd;

/// What was read, and the text of each kind that was generated.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    reading: Reading,
    text: String,
    reasoning: String,
    tool: String,
}

/// An answer and its expected reading.
struct Answer {
    format: Format,
    framing: Framing,
    body: Vec<u8>,
}

impl Answer {
    fn plain(format: Format, body: &str) -> Self {
        Self { format, framing: Framing::Json, body: body.into() }
    }

    /// A stream with each document as the data of an event, named by its `type` if it has one.
    fn events(format: Format, documents: &[&str]) -> Self {
        let event = |document: &&str| {
            let parsed: serde_json::Value = serde_json::from_str(document).unwrap_or_default();
            match parsed["type"].as_str() {
                Some(name) => format!("event: {name}\ndata: {document}\n\n"),
                None => format!("data: {document}\n\n"),
            }
        };
        let body: String = documents.iter().map(event).collect();
        Self { format, framing: Framing::Events, body: body.into() }
    }

    fn read(&self, pieces: &[&[u8]]) -> Read {
        let mut reader = Reader::new(self.format, self.framing);
        let (mut text, mut reasoning, mut tool) = Default::default();
        for piece in pieces {
            reader.push(piece, &mut |Delta { kind, text: delta }| {
                assert!(!delta.is_empty());
                let into: &mut String = match kind {
                    Kind::Text => &mut text,
                    Kind::Reasoning => &mut reasoning,
                    Kind::Tool => &mut tool,
                };
                into.push_str(delta);
            });
        }
        Read { reading: reader.finish(), text, reasoning, tool }
    }

    /// Reads it whole, in two parts at every offset, and byte by byte; all must agree.
    fn read_at_every_split(&self) -> Read {
        let whole = self.read(&[&self.body]);
        for at in 0..=self.body.len() {
            let (left, right) = self.body.split_at(at);
            assert_eq!(self.read(&[left, right]), whole, "cut at {at}");
        }
        let single: Vec<&[u8]> = self.body.chunks(1).collect();
        assert_eq!(self.read(&single), whole, "byte by byte");
        whole
    }

    /// What has been reported, and whether that is all, when the stream breaks off behind each event.
    fn cut_behind_every_event(&self) -> Vec<(Option<Usage>, bool)> {
        let ends = (1..=self.body.len()).filter(|at| self.body[..*at].ends_with(b"\n\n"));
        ends.map(|at| {
            let read = self.read(&[&self.body[..at]]).reading;
            (read.usage, read.complete)
        })
        .collect()
    }
}

/// A complete reading of a model with its usage.
fn reading(model: &str, usage: Usage) -> Reading {
    Reading { model: Some(model.into()), usage: Some(usage), complete: true, ..Reading::default() }
}

#[test]
fn a_pointer_finds_a_cost_in_plain_answers_and_in_streams() {
    let pointer = || std::sync::Arc::new("/usage/cost_usd".parse().expect("a pointer"));
    let expected = [
        (r#"{"result":"x","usage":{"cost_usd":1.25e-05}}"#, Some(NanoUsd(12_500))),
        (r#"{"usage":{"cost_usd":"0.0300000001"}}"#, Some(NanoUsd(30_000_001))),
        (r#"{"usage":{"cost_usd":0.30000000000000004}}"#, Some(NanoUsd(300_000_001))),
        (r#"{"usage":{"cost_usd":-1}}"#, None),
        (r#"{"usage":{"cost_usd":99999}}"#, None),
        (r#"{"usage":{"cost_usd":null}}"#, None),
        (r#"{"usage":{"cost_usd":{"a":1}}}"#, None),
        (r#"{"usage":{"cost_usd":0}}"#, Some(NanoUsd::ZERO)),
    ];
    for (body, cost) in expected {
        let mut reader = Reader::new(Format::Any, Framing::Json).pointed_at(pointer());
        body.as_bytes().chunks(1).for_each(|byte| reader.push(byte, &mut |_| {}));
        assert_eq!(reader.finish().pointed, cost, "{body}");
    }
    let mut reader = Reader::new(Format::Any, Framing::Events).pointed_at(pointer());
    let body = "data: {\"usage\":{\"cost_usd\":0.1}}\n\ndata: {\"usage\":{\"cost_usd\":0.2}}\n\ndata: {}\n\n";
    reader.push(body.as_bytes(), &mut |_| {});
    assert_eq!(reader.finish().pointed, Some(NanoUsd(200_000_000)));
}

#[test]
fn the_last_border_tells_where_a_stream_may_end() {
    let mut reader = Reader::new(Format::OpenAiChat, Framing::Events);
    let mut push = |chunk: &str| {
        reader.push(chunk.as_bytes(), &mut |_| {});
        reader.cut_at()
    };
    assert_eq!(push("data: {}"), Some(0), "before the first event");
    assert_eq!(push("\n"), None, "inside an event");
    assert_eq!(push("\ndata: {}\n\nda"), Some(11));
    assert_eq!(push("ta: {}\r\n\r"), Some(9));
    assert_eq!(push("\n"), Some(1));
    assert_eq!(push(": ping\n\n"), Some(8));
    assert_eq!(push("data"), Some(0));

    let mut lines = Reader::new(Format::Ollama, Framing::Lines);
    lines.push(b"{}\n{}\n{", &mut |_| {});
    assert_eq!(lines.cut_at(), Some(6));
    lines.push(b"\"a\":1", &mut |_| {});
    assert_eq!(lines.cut_at(), None);

    let mut plain = Reader::new(Format::OpenAiChat, Framing::Json);
    plain.push(b"{}", &mut |_| {});
    assert_eq!(plain.cut_at(), None);
}
