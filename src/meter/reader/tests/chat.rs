//! OpenAI Chat Completions, embeddings, and the services that are compatible.

use super::{Answer, Format, Framing, NanoUsd, Read, Reader, Reading, Usage, reading};

#[test]
fn a_plain_answer_is_taken_apart() {
    let answer = Answer::plain(
        Format::OpenAiChat,
        r#"{
  "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
  "object": "chat.completion",
  "created": 1741569952,
  "model": "gpt-4.1-2025-04-14",
  "choices": [{
    "index": 0,
    "message": {"role": "assistant", "content": "Hello! \"How\" can I\nhelp \ud83d\ude00?", "refusal": null,
      "annotations": [], "audio": {"id": "a", "data": "UklGRg==", "transcript": "Hi."},
      "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get", "arguments": "{\"a\":1}"}}]},
    "logprobs": null,
    "finish_reason": "stop"
  }],
  "usage": {
    "prompt_tokens": 1117, "completion_tokens": 146, "total_tokens": 1263,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 13, "cache_write_tokens": 20},
    "completion_tokens_details": {"reasoning_tokens": 100, "audio_tokens": 6,
      "accepted_prediction_tokens": 9, "rejected_prediction_tokens": 11}
  },
  "service_tier": "flex",
  "system_fingerprint": "fp_44709d6fcb"
}"#,
    );
    let Read { reading, text, tool, .. } = answer.read_at_every_split();
    let usage = Usage {
        input: 60,
        cache_read: 1024,
        cache_write: 20,
        input_audio: 13,
        output: 40,
        reasoning: 100,
        output_audio: 6,
        ..Usage::default()
    };
    assert_eq!(usage.total(), 1263);
    assert_eq!(
        reading,
        Reading {
            service_tier: Some("flex".into()),
            ..super::reading("gpt-4.1-2025-04-14", usage)
        }
    );
    assert_eq!(text, "Hello! \"How\" can I\nhelp 😀?Hi.");
    assert_eq!(tool, "get{\"a\":1}");
}

const HEAD: &str = r#"{"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"kS9xYzQ"}"#;
const PIECE: &str = r#"{"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"Hel\u006co"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"a"}"#;
const STOP: &str = r#"{"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}"#;
const LAST: &str = r#"{"id":"chatcmpl-123","object":"chat.completion.chunk","created":1694268190,"model":"gpt-4o-mini","service_tier":"default","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}"#;

#[test]
fn a_stream_reports_in_its_last_chunk_without_choices() {
    let stream = Answer::events(Format::OpenAiChat, &[HEAD, PIECE, STOP, LAST, "[DONE]"]);
    let Read { reading, text, .. } = stream.read_at_every_split();
    let usage = Usage { input: 19, output: 6, reasoning: 4, ..Usage::default() };
    assert_eq!(
        reading,
        Reading { service_tier: Some("default".into()), ..super::reading("gpt-4o-mini", usage) }
    );
    assert_eq!(text, "Hello", "padding is no text");
    assert_eq!(
        stream.cut_behind_every_event(),
        [(None, false), (None, false), (None, true), (Some(usage), true), (Some(usage), true)]
    );
}

#[test]
fn several_choices_are_complete_when_all_have_ended() {
    let choice = |index, reason| {
        format!(
            r#"{{"choices":[{{"index":{index},"delta":{{"content":"x"}},"finish_reason":{reason}}}]}}"#
        )
    };
    let documents =
        [choice(0, "null"), choice(1, "null"), choice(1, "\"length\""), choice(0, "\"stop\"")];
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let stream = Answer::events(Format::OpenAiChat, &documents);
    let cuts: Vec<bool> = stream.cut_behind_every_event().iter().map(|cut| cut.1).collect();
    assert_eq!(cuts, [false, false, false, true]);
}

#[test]
fn what_a_total_has_beyond_its_parts_is_reasoning() {
    let cases = [
        // Gemini's compatible endpoint: thinking is only in the total.
        (r#"{"completion_tokens":12,"prompt_tokens":8,"total_tokens":120}"#, 12, 100),
        // xAI: reasoning is beside the completion, and told.
        (
            r#"{"prompt_tokens":8,"completion_tokens":12,"total_tokens":120,"completion_tokens_details":{"reasoning_tokens":100}}"#,
            12,
            100,
        ),
        // OpenAI: reasoning is inside.
        (
            r#"{"prompt_tokens":8,"completion_tokens":112,"total_tokens":120,"completion_tokens_details":{"reasoning_tokens":100}}"#,
            12,
            100,
        ),
        // A total that is too small, or missing, changes nothing.
        (r#"{"prompt_tokens":8,"completion_tokens":12,"total_tokens":3}"#, 12, 0),
        (r#"{"prompt_tokens":8,"completion_tokens":12}"#, 12, 0),
    ];
    for (usage, output, reasoning) in cases {
        let body = format!(r#"{{"model":"m","choices":[],"usage":{usage}}}"#);
        let read = Answer::plain(Format::OpenAiChat, &body).read_at_every_split();
        let expected = Usage { input: 8, output, reasoning, ..Usage::default() };
        assert_eq!(read.reading, reading("m", expected), "{usage}");
    }
}

#[test]
fn a_last_chunk_with_usage_alone_is_the_end_without_a_word_on_it() {
    let piece = r#"{"model":"m","choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":null}"#;
    let last = r#"{"model":"m","choices":[],"usage":{"prompt_tokens":8,"completion_tokens":1}}"#;
    let read = Answer::events(Format::OpenAiChat, &[piece, last]).read_at_every_split();
    assert_eq!(read.reading, reading("m", Usage { input: 8, output: 1, ..Usage::default() }));
    // Azure begins with a chunk without choices; vLLM reports in each.
    let first = r#"{"model":"","choices":[],"prompt_filter_results":[]}"#;
    let running = r#"{"choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":{"prompt_tokens":8,"completion_tokens":1}}"#;
    let read = Answer::events(Format::OpenAiChat, &[first, running]).read_at_every_split();
    assert!(!read.reading.complete);
}

#[test]
fn an_embedding_has_input_only() {
    let body = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.0023064255,-0.009327292]}],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}"#;
    let read = Answer::plain(Format::OpenAiEmbeddings, body).read_at_every_split();
    let usage = Usage { input: 8, ..Usage::default() };
    assert_eq!(read.reading, reading("text-embedding-3-small", usage));
}

#[test]
fn routers_name_dollars() {
    let cost = |body: &str| {
        let body = format!(r#"{{"choices":[],"usage":{body}}}"#);
        Answer::plain(Format::OpenAiChat, &body).read_at_every_split().reading.cost
    };
    let tokens = r#""prompt_tokens":194,"completion_tokens":2,"total_tokens":196"#;
    // OpenRouter, with its own credits and with the caller's key.
    assert_eq!(
        cost(&format!(
            r#"{{{tokens},"cost":0.00014,"is_byok":false,"cost_details":{{"upstream_inference_cost":0.00014}}}}"#
        )),
        Some(NanoUsd(140_000))
    );
    assert_eq!(
        cost(&format!(
            r#"{{{tokens},"cost":0.00001,"is_byok":true,"cost_details":{{"upstream_inference_cost":1.9e-4}}}}"#
        )),
        Some(NanoUsd(200_000))
    );
    // LiteLLM, TensorZero, Perplexity.
    assert_eq!(cost(&format!(r#"{{{tokens},"cost":6.45e-05}}"#)), Some(NanoUsd(64_500)));
    assert_eq!(
        cost(&format!(r#"{{{tokens},"tensorzero_cost":"0.5"}}"#)),
        Some(NanoUsd(500_000_000))
    );
    assert_eq!(
        cost(&format!(r#"{{{tokens},"cost":{{"input_tokens_cost":0.001,"total_cost":0.006}}}}"#)),
        Some(NanoUsd(6_000_000))
    );
    assert_eq!(cost(&format!(r#"{{{tokens},"cost":null,"tensorzero_cost":null}}"#)), None);
    assert_eq!(cost(&format!(r#"{{{tokens},"cost":-3}}"#)), None);
}

#[test]
fn vllm_reports_as_it_goes_and_the_last_report_counts() {
    let chunk = |tokens: u64| {
        let total = tokens + 7;
        format!(
            "data: {{\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"reasoning\":\"a\"}}}}],\"usage\":{{\"prompt_tokens\":7,\"total_tokens\":{total},\"completion_tokens\":{tokens}}}}}\n\n"
        )
    };
    let mut reader = Reader::new(Format::OpenAiChat, Framing::Events);
    for tokens in 0..5 {
        reader.push(chunk(tokens).as_bytes(), &mut |_| {});
        let expected = Usage { input: 7, output: tokens, ..Usage::default() };
        assert_eq!(reader.usage(), Some(expected));
        assert_eq!(reader.model(), Some("m"));
    }
    assert!(!reader.finish().complete);
}

#[test]
fn groq_and_deepseek_have_names_of_their_own() {
    let groq = r#"{"id":"c","model":"llama","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"req","usage":{"queue_time":0.1,"prompt_tokens":24,"completion_tokens":3,"total_tokens":27}}}"#;
    let read = Answer::events(Format::OpenAiChat, &[groq]).read_at_every_split();
    assert_eq!(read.reading, reading("llama", Usage { input: 24, output: 3, ..Usage::default() }));
    let deepseek = r#"{"model":"deepseek-chat","choices":[{"index":0,"message":{"content":"a","reasoning_content":"b"}}],"usage":{"prompt_tokens":100,"completion_tokens":3,"total_tokens":103,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}}"#;
    let read = Answer::plain(Format::OpenAiChat, deepseek).read_at_every_split();
    let usage = Usage { input: 36, cache_read: 64, output: 3, ..Usage::default() };
    assert_eq!(read.reading, reading("deepseek-chat", usage));
    assert_eq!((read.text.as_str(), read.reasoning.as_str()), ("a", "b"));
}

#[test]
fn tool_calls_are_told_as_they_stream() {
    let call = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]}}]}"#;
    let piece = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\""}}]}}]}"#;
    let read = Answer::events(Format::OpenAiChat, &[call, piece]).read_at_every_split();
    assert_eq!(read.tool, "f{\"x\"");
    assert_eq!(read.reading, Reading::default());
}
