//! Answers of an agent's own routes, which may carry any service's usage.

use super::{Answer, Format, Usage};

fn usage(body: &str) -> Option<Usage> {
    Answer::plain(Format::Any, body).read_at_every_split().reading.usage
}

#[test]
fn the_names_of_the_counters_tell_how_to_count() {
    let expected = [
        (
            r#"{"insight":"x","usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}"#,
            Usage { input: 6, cache_read: 4, output: 5, ..Usage::default() },
        ),
        (
            r#"{"plan":{},"usage":{"input_tokens":10,"output_tokens":5,"input_tokens_details":{"cached_tokens":4}}}"#,
            Usage { input: 6, cache_read: 4, output: 5, ..Usage::default() },
        ),
        (
            r#"{"plan":{},"usage":{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":4,"cache_creation_input_tokens":0}}"#,
            Usage { input: 10, cache_read: 4, output: 5, ..Usage::default() },
        ),
        (
            r#"{"usage":{"inputTokens":10,"outputTokens":5,"cacheReadInputTokens":4}}"#,
            Usage { input: 10, cache_read: 4, output: 5, ..Usage::default() },
        ),
        (
            r#"{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":2}}"#,
            Usage { input: 10, output: 5, reasoning: 2, ..Usage::default() },
        ),
    ];
    for (body, expected) in expected {
        assert_eq!(usage(body), Some(expected), "{body}");
    }
    assert_eq!(usage(r#"{"result":{"usage":{"prompt_tokens":10}}}"#), None);
    assert_eq!(usage(r#"{"usage":"high"}"#), None);
    assert_eq!(usage("<html></html>"), None);
}
