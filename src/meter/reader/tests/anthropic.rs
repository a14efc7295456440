//! Anthropic Messages.

use super::{Answer, Format, Read, Reading, Usage, reading};

#[test]
fn a_plain_answer_is_taken_apart() {
    let answer = Answer::plain(
        Format::Anthropic,
        r#"{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","model":"claude-sonnet-4-5-20250929",
"content":[{"type":"thinking","thinking":"Let me see.","signature":"EqQBCg=="},{"type":"text","text":"Hi!"},
{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"location":"Paris","x":[1]}}],
"stop_reason":"end_turn","stop_sequence":null,
"usage":{"input_tokens":2095,"cache_creation_input_tokens":2051,"cache_read_input_tokens":2051,
"cache_creation":{"ephemeral_5m_input_tokens":51,"ephemeral_1h_input_tokens":2000},
"output_tokens":503,"output_tokens_details":{"thinking_tokens":200},
"server_tool_use":{"web_search_requests":2,"web_fetch_requests":1},"service_tier":"standard","inference_geo":"us"}}"#,
    );
    let Read { reading, text, reasoning, tool } = answer.read_at_every_split();
    let usage = Usage {
        input: 2095,
        cache_read: 2051,
        cache_write: 51,
        cache_write_1h: 2000,
        output: 303,
        reasoning: 200,
        web_searches: 2,
        web_fetches: 1,
        ..Usage::default()
    };
    assert_eq!((usage.all_input(), usage.all_output()), (2095 + 2051 + 2051, 503));
    assert_eq!(
        reading,
        Reading {
            service_tier: Some("standard".into()),
            ..super::reading("claude-sonnet-4-5-20250929", usage)
        }
    );
    assert_eq!((text.as_str(), reasoning.as_str()), ("Hi!", "Let me see."));
    assert_eq!(tool, r#"get_weather{"location":"Paris","x":[1]}"#);
}

const STREAM: [&str; 11] = [
    r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"model":"claude-opus-4-1","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":25,"cache_creation_input_tokens":100,"cache_read_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":100},"output_tokens":1,"service_tier":"priority"}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
    r#"{"type":"ping"}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\": 1}"}}"#,
    r#"{"type":"content_block_stop","index":1}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89}}"#,
    r#"{"type":"message_stop"}"#,
];

#[test]
fn a_stream_is_cumulative_and_keeps_the_input_of_its_start() {
    let stream = Answer::events(Format::Anthropic, &STREAM);
    let Read { reading, text, tool, .. } = stream.read_at_every_split();
    let start =
        Usage { input: 25, cache_read: 7, cache_write_1h: 100, output: 1, ..Usage::default() };
    let end = Usage { output: 89, ..start };
    assert_eq!(
        reading,
        Reading { service_tier: Some("priority".into()), ..super::reading("claude-opus-4-1", end) }
    );
    assert_eq!((text.as_str(), tool.as_str()), ("Hello", "f{}{\"a\": 1}"));
    let cuts = stream.cut_behind_every_event();
    assert!(cuts[..9].iter().all(|cut| *cut == (Some(start), false)), "{cuts:?}");
    assert_eq!(cuts[9..], [(Some(end), false), (Some(end), true)]);
}

#[test]
fn the_last_of_several_deltas_counts_and_nothing_is_added_up() {
    let delta = |usage: &str| {
        format!(r#"{{"type":"message_delta","delta":{{"stop_reason":null}},"usage":{usage}}}"#)
    };
    let first = delta(r#"{"output_tokens":40,"input_tokens":30,"cache_read_input_tokens":null}"#);
    let second = delta(
        r#"{"output_tokens":90,"server_tool_use":{"web_search_requests":3,"web_fetch_requests":0}}"#,
    );
    let documents = [STREAM[0], &first, &second, STREAM[10]];
    for format in [Format::Anthropic, Format::Any] {
        let read = Answer::events(format, &documents).read_at_every_split();
        let usage = Usage {
            input: 30,
            cache_read: 7,
            cache_write_1h: 100,
            output: 90,
            web_searches: 3,
            ..Usage::default()
        };
        assert_eq!(read.reading.usage, Some(usage), "{format}");
        assert!(read.reading.complete);
    }
}

#[test]
fn runs_beside_the_answer_are_added() {
    let body = r#"{"type":"message","model":"m","content":[],"usage":{"input_tokens":23000,"output_tokens":1000,
"iterations":[{"type":"compaction","input_tokens":180000,"output_tokens":3500,"cache_read_input_tokens":5,"cache_creation_input_tokens":6},
{"type":"message","input_tokens":23000,"output_tokens":1000,"cache_read_input_tokens":0,"cache_creation_input_tokens":0}]}}"#;
    let usage =
        Usage { input: 203_000, cache_read: 5, cache_write: 6, output: 4_500, ..Usage::default() };
    let read = Answer::plain(Format::Anthropic, body).read_at_every_split();
    assert_eq!(read.reading, reading("m", usage));
}
