//! OpenAI Responses.

use super::{Answer, Format, Read, Reading, Usage, reading};

#[test]
fn a_plain_answer_is_taken_apart() {
    let answer = Answer::plain(
        Format::OpenAiResponses,
        r#"{
  "id": "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b", "object": "response", "created_at": 1741476542,
  "status": "completed", "error": null, "incomplete_details": null, "instructions": null, "max_output_tokens": null,
  "model": "gpt-5-2025-08-07",
  "output": [
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Think."}]},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"type": "web_search_call", "id": "ws_2", "status": "completed", "action": {"type": "open_page", "url": "u"}},
    {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{\"a\":2}"},
    {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
     "content": [{"type": "output_text", "text": "In a forest", "annotations": []}]}
  ],
  "service_tier": "priority", "text": {"format": {"type": "text"}},
  "usage": {"input_tokens": 328, "input_tokens_details": {"cached_tokens": 128, "cache_write_tokens": 50},
    "output_tokens": 52, "output_tokens_details": {"reasoning_tokens": 30}, "total_tokens": 380},
  "user": null, "metadata": {}
}"#,
    );
    let Read { reading, text, reasoning, tool } = answer.read_at_every_split();
    let usage = Usage {
        input: 150,
        cache_read: 128,
        cache_write: 50,
        output: 22,
        reasoning: 30,
        web_searches: 1,
        ..Usage::default()
    };
    assert_eq!(usage.total(), 380);
    assert_eq!(
        reading,
        Reading {
            service_tier: Some("priority".into()),
            ..super::reading("gpt-5-2025-08-07", usage)
        }
    );
    assert_eq!(
        (text.as_str(), reasoning.as_str(), tool.as_str()),
        ("In a forest", "Think.", "f{\"a\":2}")
    );
}

const STREAM: [&str; 11] = [
    r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1","object":"response","created_at":1741290958,"status":"in_progress","model":"gpt-4.1-2025-04-14","output":[],"usage":null}}"#,
    r#"{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"ws_1","type":"web_search_call","status":"in_progress"}}"#,
    r#"{"type":"response.output_item.done","sequence_number":2,"output_index":0,"item":{"id":"ws_1","type":"web_search_call","status":"completed","action":{"type":"search","query":"x"}}}"#,
    r#"{"type":"response.reasoning_summary_text.delta","sequence_number":3,"delta":"Hm. "}"#,
    r#"{"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_1","output_index":1,"content_index":0,"delta":"Hi","logprobs":[],"obfuscation":"xyz"}"#,
    r#"{"type":"response.output_text.delta","sequence_number":5,"delta":" there"}"#,
    r#"{"type":"response.function_call_arguments.delta","sequence_number":6,"delta":"{\"b\":"}"#,
    r#"{"type":"response.output_audio.delta","sequence_number":7,"delta":"UklGRgAA"}"#,
    r#"{"type":"response.output_audio_transcript.delta","sequence_number":8,"delta":"!"}"#,
    r#"{"type":"response.output_text.done","sequence_number":9,"text":"Hi there"}"#,
    r#"{"type":"response.completed","sequence_number":10,"response":{"id":"resp_1","object":"response","created_at":1741290958,"status":"completed","model":"gpt-4.1-2025-04-14","output":[{"id":"ws_1","type":"web_search_call","action":{"type":"search"}},{"id":"msg_1","type":"message","content":[{"type":"output_text","text":"Hi there"}]}],"service_tier":"default","usage":{"input_tokens":37,"output_tokens":11,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":48}}}"#,
];

#[test]
fn a_stream_reports_in_its_terminal_event() {
    let stream = Answer::events(Format::OpenAiResponses, &STREAM);
    let Read { reading, text, reasoning, tool } = stream.read_at_every_split();
    let usage = Usage { input: 37, output: 9, reasoning: 2, web_searches: 1, ..Usage::default() };
    assert_eq!(
        reading,
        Reading {
            service_tier: Some("default".into()),
            ..super::reading("gpt-4.1-2025-04-14", usage)
        }
    );
    assert_eq!(
        (text.as_str(), reasoning.as_str(), tool.as_str()),
        ("Hi there!", "Hm. ", "{\"b\":")
    );
    let cuts = stream.cut_behind_every_event();
    assert!(cuts[..10].iter().all(|cut| *cut == (None, false)), "{cuts:?}");
    assert_eq!(cuts[10], (Some(usage), true));
}

#[test]
fn incomplete_and_failed_answers_report_too() {
    for kind in ["response.incomplete", "response.failed"] {
        let last = STREAM[10].replace("response.completed", kind);
        let read =
            Answer::events(Format::OpenAiResponses, &[STREAM[0], &last]).read_at_every_split();
        assert!(read.reading.complete && read.reading.usage.is_some(), "{kind}");
    }
}

#[test]
fn billed_searches_are_told_apart_from_calls_where_the_answer_counts_them() {
    let body = r#"{"object":"response","model":"m","output":[{"type":"web_search_call"},{"type":"web_search_call"}],"tool_usage":{"web_search":{"num_requests":5}},"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}"#;
    let usage = Usage { input: 1, output: 1, web_searches: 5, ..Usage::default() };
    for format in [Format::OpenAiResponses, Format::Any] {
        let read = Answer::plain(format, body).read_at_every_split();
        assert_eq!(read.reading, reading("m", usage), "{format}");
    }
}

#[test]
fn pictures_are_counted_apart() {
    let body = r#"{"created":1713833628,"data":[{"b64_json":"aGk="}],"usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40},"output_tokens_details":{"image_tokens":45,"text_tokens":5}}}"#;
    let read = Answer::plain(Format::OpenAiResponses, body).read_at_every_split();
    let usage =
        Usage { input: 10, input_image: 40, output: 5, output_image: 45, ..Usage::default() };
    assert_eq!(read.reading.usage, Some(usage));
}
