//! Every ending in every dialect, cut at every border, and read back by the reader itself.

use serde_json::{Value, json};

use crate::meter::{
    Format, Framing, Notice, Reader, Style,
    frames::{self, Frames, Part},
};

const NOTICE: Notice<'static> = Notice {
    kind: "insufficient_quota",
    code: "budget_exceeded",
    message: "The budget of \"today\" is spent.",
};

/// Reads `sent` up to its last border and ends there.
fn ended(format: Format, framing: Framing, sent: &[u8], style: Style) -> Option<Vec<u8>> {
    let mut reader = Reader::new(format, framing);
    reader.push(sent, &mut |_| {});
    reader.ending(style, &NOTICE, 42).map(|bytes| bytes.to_vec())
}

/// The documents of a stream of events, with the names of their events.
fn documents(stream: &[u8]) -> Vec<(String, Value)> {
    let text = str::from_utf8(stream).expect("UTF-8");
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    events
        .map(|event| {
            let field = |name: &str| {
                let line = event.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or_default().trim().to_owned()
            };
            let data = field("data:");
            (field("event:"), serde_json::from_str(&data).unwrap_or(Value::String(data)))
        })
        .collect()
}

fn events(format: Format, sent: &str, style: Style) -> Vec<(String, Value)> {
    documents(&ended(format, Framing::Events, sent.as_bytes(), style).expect("an ending"))
}

const CHUNK: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":17,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";

#[test]
fn a_chat_finishes_as_if_its_length_were_reached() {
    let second = CHUNK.replace("\"index\":0", "\"index\":2");
    let done = CHUNK.replace("\"finish_reason\":null", "\"finish_reason\":\"stop\"");
    let found = events(Format::OpenAiChat, &[CHUNK, &second].concat(), Style::Finish);
    let choice =
        |index| json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": "length"});
    let chunk = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 17, "model": "m",
        "choices": [choice(0), choice(2)],
    });
    let last = (String::new(), json!("[DONE]"));
    assert_eq!(found, [(String::new(), chunk), last.clone()]);
    let found = events(Format::OpenAiChat, &done, Style::Finish);
    assert_eq!(found, std::slice::from_ref(&last), "what has finished does not finish twice");
    let found = events(Format::Any, CHUNK, Style::Error);
    let error = json!({"error": {
        "message": NOTICE.message, "type": NOTICE.kind, "param": null, "code": NOTICE.code,
    }});
    assert_eq!(found, [(String::new(), error), last]);
}

#[test]
fn an_old_completion_finishes_with_text() {
    let sent = "data: {\"id\":\"c\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":null}]}\n\n";
    let found = events(Format::OpenAiChat, sent, Style::Finish);
    assert_eq!(found[0].1["object"], "text_completion");
    assert_eq!(
        found[0].1["choices"],
        json!([{"index": 0, "text": "", "logprobs": null, "finish_reason": "length"}])
    );
}

#[test]
fn an_answer_is_left_incomplete() {
    let sent = "data: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"created_at\":17,\"model\":\"m\"}}\n\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"delta\":\"a\"}\n\n";
    for format in [Format::OpenAiResponses, Format::Any] {
        let found = events(format, sent, Style::Finish);
        let (name, event) = &found[0];
        assert_eq!((name.as_str(), found.len()), ("response.incomplete", 1));
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!(name), &json!(5)));
        let response = &event["response"];
        assert_eq!(response["id"], "resp_1");
        assert_eq!(response["status"], "incomplete");
        assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
        assert_eq!(response["usage"]["output_tokens"], 42);
        assert_eq!(response.get("output"), None, "the SDKs keep what they gathered");
    }
    let found = events(Format::OpenAiResponses, sent, Style::Error);
    let (name, event) = &found[0];
    assert_eq!((name.as_str(), &event["type"]), ("error", &json!("error")));
    assert_eq!((&event["code"], &event["message"]), (&json!(NOTICE.code), &json!(NOTICE.message)));
    assert_eq!(event["error"]["type"], NOTICE.kind);
}

const MESSAGE: [&str; 3] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
];

#[test]
fn a_message_closes_the_blocks_that_are_open() {
    let names = |sent: &str| -> Vec<String> {
        events(Format::Anthropic, sent, Style::Finish).into_iter().map(|event| event.0).collect()
    };
    let end = ["message_delta", "message_stop"];
    let open = ["content_block_stop", "message_delta", "message_stop"];
    assert_eq!(names(MESSAGE[0]), end);
    assert_eq!(names(&MESSAGE[..2].concat()), open);
    assert_eq!(names(&MESSAGE.concat()), end);
    // A block that began behind the border was never sent on.
    let beyond = MESSAGE[0].to_owned() + MESSAGE[1].trim_end();
    assert_eq!(names(&beyond), end);
    let stopped = "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":50}}\n\n";
    assert_eq!(names(&(MESSAGE.concat() + stopped)), ["message_stop"]);
    let found = events(Format::Anthropic, &MESSAGE[..2].concat(), Style::Finish);
    assert_eq!(found[0].1, json!({"type": "content_block_stop", "index": 0}));
    assert_eq!(found[1].1["delta"], json!({"stop_reason": "max_tokens", "stop_sequence": null}));
    assert_eq!(found[1].1["usage"], json!({"output_tokens": 42}));
    let found = events(Format::Anthropic, &MESSAGE.concat(), Style::Error);
    let error = json!({"type": NOTICE.kind, "message": NOTICE.message});
    assert_eq!(found, [("error".to_owned(), json!({"type": "error", "error": error}))]);
}

#[test]
fn a_candidate_reaches_its_maximum() {
    let sent = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":8},\"modelVersion\":\"m\",\"responseId\":\"r\"}\r\n\r\n";
    let found = events(Format::Gemini, sent, Style::Finish);
    let chunk = &found[0].1;
    assert_eq!(chunk["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(chunk["usageMetadata"]["candidatesTokenCount"], 42);
    assert_eq!((&chunk["modelVersion"], &chunk["responseId"]), (&json!("m"), &json!("r")));
    let found = events(Format::Gemini, sent, Style::Error);
    assert_eq!(found[0].1["error"]["status"], "RESOURCE_EXHAUSTED");
}

#[test]
fn a_line_says_that_all_is_done() {
    let sent = b"{\"model\":\"m\",\"created_at\":\"2023-08-04T08:52:19Z\",\"message\":{\"content\":\"a\"},\"done\":false}\n";
    let line = ended(Format::Ollama, Framing::Lines, sent, Style::Finish).expect("an ending");
    assert!(line.ends_with(b"\n"));
    let line: Value = serde_json::from_slice(&line).expect("JSON");
    assert_eq!((&line["done"], &line["done_reason"]), (&json!(true), &json!("length")));
    assert_eq!(
        (&line["eval_count"], &line["created_at"]),
        (&json!(42), &json!("2023-08-04T08:52:19Z"))
    );
    let line = ended(Format::Ollama, Framing::Lines, sent, Style::Error).expect("an ending");
    assert_eq!(
        serde_json::from_slice::<Value>(&line).expect("JSON"),
        json!({"error": NOTICE.message})
    );
}

#[test]
fn a_binary_stream_ends_in_messages() {
    let mut sent = Vec::new();
    let mut send = |name, payload: &str| {
        frames::write(&mut sent, &[(":event-type", name)], payload.as_bytes());
    };
    send("messageStart", r#"{"role":"assistant"}"#);
    send("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#);
    let named = |style| {
        let ending = ended(Format::Bedrock, Framing::Frames, &sent, style).expect("an ending");
        let mut names = Vec::new();
        Frames::default().push(&ending, &mut |part| match part {
            Part::Begin(name) => names.push(name.to_owned()),
            Part::Payload(_) | Part::End(_) => {}
        });
        names
    };
    assert_eq!(named(Style::Finish), ["contentBlockStop", "messageStop", "metadata"]);
    assert_eq!(named(Style::Error), ["throttlingException"]);
}

#[test]
fn what_was_ended_reads_as_complete() {
    let chat = CHUNK.as_bytes().to_vec();
    let message = MESSAGE[..2].concat().into_bytes();
    for (format, framing, mut sent) in
        [(Format::OpenAiChat, Framing::Events, chat), (Format::Anthropic, Framing::Events, message)]
    {
        sent.extend(ended(format, framing, &sent, Style::Finish).expect("an ending"));
        let mut reader = Reader::new(format, framing);
        reader.push(&sent, &mut |_| {});
        assert!(reader.finish().complete, "{format}");
    }
}

#[test]
fn what_has_ended_or_failed_ends_no_more() {
    for (format, sent) in [
        (Format::OpenAiChat, [CHUNK, "data: [DONE]\n\n"].concat()),
        (Format::OpenAiChat, "data: {\"error\":{\"message\":\"no\"}}\n\n".to_owned()),
        (Format::Anthropic, MESSAGE.concat() + "data: {\"type\":\"message_stop\"}\n\n"),
        (Format::OpenAiEmbeddings, CHUNK.to_owned()),
        (Format::Any, "data: {}\n\n".to_owned()),
    ] {
        assert_eq!(ended(format, Framing::Events, sent.as_bytes(), Style::Finish), None, "{sent}");
    }
    assert_eq!(ended(Format::OpenAiChat, Framing::Json, b"{\"choices\":[", Style::Finish), None);
}

#[test]
fn a_stream_that_has_not_begun_ends_with_an_error() {
    for (format, sent) in [(Format::Anthropic, ""), (Format::OpenAiChat, ": ping\n\n")] {
        let found = events(format, sent, Style::Finish);
        assert!(found[0].1.get("error").is_some(), "{found:?}");
    }
}

#[test]
fn more_that_was_reported_than_counted_stands() {
    let sent =
        "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"output_tokens\":99}}}\n\n";
    let found = events(Format::Anthropic, sent, Style::Finish);
    assert_eq!(found[0].1["usage"]["output_tokens"], 99);
}
