//! Ollama.

use super::{Answer, Format, Framing, Read, Usage, reading};

const LAST: &str = r#"{"model":"llama3.2","created_at":"2023-08-04T19:22:45.499127Z","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":"b"}}}]},"done_reason":"stop","done":true,"total_duration":8113331500,"load_duration":6396458,"prompt_eval_count":61,"prompt_eval_cached_count":20,"prompt_eval_duration":398801000,"eval_count":468,"eval_duration":7701267000}"#;

fn usage() -> Usage {
    Usage { input: 41, cache_read: 20, output: 468, ..Usage::default() }
}

#[test]
fn a_stream_reports_in_its_last_line() {
    let line = |content: &str| {
        format!(
            r#"{{"model":"llama3.2","created_at":"2023-08-04T08:52:19Z","message":{{"role":"assistant",{content}}},"done":false}}"#
        )
    };
    let lines =
        [line(r#""thinking":"Hm.","content":"""#), line(r#""content":"The""#), LAST.to_owned()];
    for end in ["\n", "\r\n"] {
        let body = lines.join(end) + end;
        let answer = Answer { format: Format::Ollama, framing: Framing::Lines, body: body.into() };
        let Read { reading, text, reasoning, tool } = answer.read_at_every_split();
        assert_eq!(reading, super::reading("llama3.2", usage()));
        assert_eq!(
            (text.as_str(), reasoning.as_str(), tool.as_str()),
            ("The", "Hm.", "f{\"a\":\"b\"}")
        );
    }
    let cut = lines[..2].join("\n") + "\n" + &LAST[..LAST.len() - 1];
    let answer = Answer { format: Format::Ollama, framing: Framing::Lines, body: cut.into() };
    let read = answer.read_at_every_split().reading;
    assert_eq!((read.usage, read.complete), (None, false));
}

#[test]
fn a_prompt_that_was_not_counted_is_told_from_one_of_nothing() {
    let lacks = |counts: &str| {
        let body = format!(r#"{{"model":"m","response":"Hi","done":true{counts}}}"#);
        let reading = Answer::plain(Format::Ollama, &body).read_at_every_split().reading;
        (reading.lacks_input, reading.lacks_output)
    };
    assert_eq!(lacks(r#","eval_count":5"#), (true, false));
    assert_eq!(lacks(r#","prompt_eval_count":0,"eval_count":5"#), (false, false));
    assert_eq!(lacks(r#","prompt_eval_count":5"#), (false, true));
    assert_eq!(lacks(""), (false, false));
}

#[test]
fn a_line_that_is_broken_does_not_hide_the_next() {
    let body = format!("{{\"model\":\"x\n{LAST}\n");
    let answer = Answer { format: Format::Ollama, framing: Framing::Lines, body: body.into() };
    assert_eq!(answer.read_at_every_split().reading, reading("llama3.2", usage()));
}

#[test]
fn a_plain_answer_is_taken_apart() {
    let chat = Answer::plain(Format::Ollama, LAST).read_at_every_split();
    assert_eq!(chat.reading, reading("llama3.2", usage()));
    let body = r#"{"model":"llama3.2","created_at":"2023-08-04T19:22:45Z","response":"The sky","done":true,"context":[1,2,3],"prompt_eval_count":26,"eval_count":259}"#;
    for format in [Format::Ollama, Format::Any] {
        let read = Answer::plain(format, body).read_at_every_split();
        let usage = Usage { input: 26, output: 259, ..Usage::default() };
        assert_eq!(read.reading, reading("llama3.2", usage), "{format}");
        assert_eq!(read.text, "The sky");
    }
}
