//! Requests as the services document them.

use super::{ATTACHED_BYTES_PER_TOKEN, Asked, CacheTime, Format, IMAGE_TOKENS};

fn read(format: Format, path: &str, body: &str) -> (Asked, String) {
    let mut prompt = String::new();
    let asked = Asked::read(format, path, body.as_bytes(), &mut |text| {
        prompt.push_str(text);
        prompt.push('|');
    });
    (asked, prompt)
}

#[test]
fn a_chat_request() {
    let (asked, prompt) = read(
        Format::OpenAiChat,
        "/v1/chat/completions",
        r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"max_tokens":100,"max_completion_tokens":300,
"n":3,"service_tier":"flex","metadata":{"a":"unread"},"user":"unread",
"messages":[{"role":"system","content":"Be \"kind\"."},{"role":"user","content":[{"type":"text","text":"What is this?"},
{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},{"type":"input_audio","input_audio":{"data":"AAAAAAAAAA","format":"wav"}}]},
{"role":"assistant","content":null,"tool_calls":[{"id":"c"}]},{"role":"tool","content":"42"}],
"tools":[{"type":"function"}]}"#,
    );
    assert_eq!(
        asked,
        Asked {
            model: Some("gpt-4o".into()),
            service_tier: Some("flex".into()),
            stream: true,
            include_usage: true,
            max_output: Some(300),
            answers: 3,
            images: 1,
            attachments: 1,
            attached_bytes: 10,
            ..Asked::default()
        }
    );
    assert_eq!(prompt, "Be \"kind\".|What is this?|[{\"id\":\"c\"}]|42|[{\"type\":\"function\"}]|");
    assert_eq!(asked.attached_tokens(), 2 * IMAGE_TOKENS + 10 / ATTACHED_BYTES_PER_TOKEN);
}

#[test]
fn a_batch_of_prompts_asks_for_an_answer_each() {
    let asked = |body| read(Format::OpenAiChat, "/v1/completions", body).0;
    assert_eq!(asked(r#"{"prompt":"a","n":2,"best_of":5}"#).answers, 5);
    assert_eq!(asked(r#"{"prompt":["a","b","c"],"n":2}"#).answers, 6);
    let tokens = asked(r#"{"prompt":[1,2,3]}"#);
    assert_eq!((tokens.answers, tokens.tokens), (1, 3));
    let batch = asked(r#"{"prompt":[[1,2],[3]]}"#);
    assert_eq!((batch.answers, batch.tokens), (2, 3));
    assert_eq!(asked(r#"{"n":0}"#).answers, 1);
    assert_eq!(asked(r#"{"n":1e300}"#).answers, 1);
}

#[test]
fn a_responses_request() {
    let (asked, prompt) = read(
        Format::OpenAiResponses,
        "/v1/responses",
        r#"{"model":"gpt-5","instructions":"Brief.","max_output_tokens":64,"previous_response_id":"resp_1",
"input":[{"role":"user","content":[{"type":"input_text","text":"Hi"},{"type":"input_image","image_url":"https://x/y.png"}]},
{"type":"function_call_output","call_id":"c","output":"done"}],
"text":{"format":{"type":"json_schema"}}}"#,
    );
    assert_eq!(
        (asked.max_output, asked.images, asked.has_unseen, asked.stream),
        (Some(64), 1, true, false)
    );
    assert_eq!(prompt, "Brief.|Hi|done|{\"type\":\"json_schema\"}|");
    let (asked, prompt) =
        read(Format::OpenAiResponses, "", r#"{"input":"Hi","previous_response_id":null}"#);
    assert_eq!((asked.has_unseen, prompt.as_str()), (false, "Hi|"));
}

#[test]
fn an_anthropic_request() {
    let (asked, prompt) = read(
        Format::Anthropic,
        "/v1/messages",
        r#"{"model":"claude-sonnet-4-5","max_tokens":1024,"stream":true,"system":[{"type":"text","text":"Sys.","cache_control":{"type":"ephemeral"}}],
"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"/9j/4AAQ"}},
{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0x"}},
{"type":"document","source":{"type":"text","media_type":"text/plain","data":"Plain words."}},{"type":"text","text":"Look."}]},
{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{"a":1}}]},
{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"ok"},{"type":"image","source":{"data":"AA"}}]}]}],
"tools":[{"name":"f"}]}"#,
    );
    assert_eq!((asked.max_output, asked.images, asked.attachments), (Some(1024), 2, 1));
    assert_eq!((asked.attached_bytes, asked.tokens), (8, 4));
    assert_eq!(prompt, "Sys.|Look.|f|{\"a\":1}|ok|[{\"name\":\"f\"}]|");
}

#[test]
fn a_gemini_request() {
    let body = r#"{"system_instruction":{"parts":[{"text":"Sys."}]},"contents":[{"role":"user","parts":[{"text":"Hi"},
{"inline_data":{"mime_type":"image/png","data":"AAAA"}},{"fileData":{"mimeType":"video/mp4","fileUri":"gs://x"}}]}],
"generationConfig":{"maxOutputTokens":"800","candidateCount":2},"cachedContent":"cachedContents/1"}"#;
    let (asked, prompt) =
        read(Format::Gemini, "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", body);
    assert_eq!(
        asked,
        Asked {
            model: Some("gemini-2.5-flash".into()),
            stream: true,
            max_output: Some(800),
            answers: 2,
            images: 1,
            attachments: 1,
            has_unseen: true,
            ..Asked::default()
        }
    );
    assert_eq!(prompt, "Sys.|Hi|");
}

#[test]
fn a_bedrock_request() {
    let body = r#"{"system":[{"text":"Sys."}],"messages":[{"role":"user","content":[{"text":"Hi"},
{"image":{"format":"png","source":{"bytes":"AAAA"}}},{"document":{"format":"pdf","name":"n","source":{"bytes":"AAAAAA"}}}]},
{"role":"user","content":[{"toolResult":{"toolUseId":"t","content":[{"text":"r"},{"json":{"a":1}}]}}]}],
"inferenceConfig":{"maxTokens":512},"serviceTier":{"type":"flex"}}"#;
    let (asked, prompt) = read(
        Format::Bedrock,
        "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse-stream",
        body,
    );
    assert_eq!(asked.model.as_deref(), Some("anthropic.claude-3-haiku-20240307-v1:0"));
    assert_eq!(
        (asked.stream, asked.max_output, asked.service_tier.as_deref()),
        (true, Some(512), Some("flex"))
    );
    assert_eq!((asked.images, asked.attachments, asked.attached_bytes), (1, 1, 6));
    assert_eq!(prompt, "Sys.|Hi|r|{\"a\":1}|");
}

#[test]
fn an_ollama_request_streams_unless_it_says_no() {
    let body = r#"{"model":"llama3.2","messages":[{"role":"user","content":"Hi","images":["iVBORw0KGgo"]}],"options":{"num_predict":-1}}"#;
    let (asked, prompt) = read(Format::Ollama, "/api/chat", body);
    assert_eq!(
        (asked.stream, asked.max_output, asked.images, prompt.as_str()),
        (true, None, 1, "Hi|")
    );
    let (asked, prompt) = read(
        Format::Ollama,
        "/api/generate",
        r#"{"prompt":"p","system":"s","images":["A","B"],"stream":false,"options":{"num_predict":42},"context":[1,2]}"#,
    );
    assert_eq!(
        (asked.stream, asked.max_output, asked.images, asked.tokens),
        (false, Some(42), 2, 2)
    );
    assert_eq!(prompt, "p|s|");
}

#[test]
fn a_deployment_stands_in_for_the_model() {
    let path = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21";
    assert_eq!(read(Format::OpenAiChat, path, "{}").0.model.as_deref(), Some("my-gpt"));
    assert_eq!(
        read(Format::OpenAiChat, path, r#"{"model":"gpt-4o"}"#).0.model.as_deref(),
        Some("gpt-4o")
    );
    assert_eq!(read(Format::Bedrock, "/model/%zz/converse", "{}").0.model, None);
}

#[test]
fn what_is_no_request_asks_for_nothing() {
    let nothing = Asked { answers: 1, ..Asked::default() };
    for body in
        ["", "not json", "[]", "null", "{\"model\":", "{\"messages\":7,\"max_tokens\":\"x\"}"]
    {
        assert_eq!(read(Format::OpenAiChat, "/", body), (nothing.clone(), String::new()), "{body}");
    }
    let deep = r#"{"messages":[{"content":["#.to_owned() + &r#"{"content":["#.repeat(100_000);
    assert_eq!(read(Format::Anthropic, "/", &deep).0, nothing);
}

#[test]
fn a_prompt_is_written_to_a_cache_where_any_part_of_it_asks_for_that() {
    let cache = |body: &str| read(Format::Anthropic, "/v1/messages", body).0.cache;
    let mark = r#"{"cache_control": {"type": "ephemeral"}}"#;
    for body in [
        mark.to_owned(),
        format!(r#"{{"tools":[{mark}]}}"#),
        format!(r#"{{"messages":[{{"content":[{mark}]}}]}}"#),
        r#"{"messages":[{"content":[{"text":"x"},{"cachePoint":{"type":"default"}}]}]}"#.to_owned(),
    ] {
        assert_eq!(cache(&body), Some(CacheTime::Usual), "{body}");
    }
    let hour = r#"{"system":[{"cache_control":{"type":"ephemeral","ttl" : "1h"}}]}"#;
    assert_eq!(cache(hour), Some(CacheTime::Hour));
    let said = r#"{"messages":[{"content":"What is \"cache_control\" and \"1h\"?"}]}"#;
    assert_eq!(cache(said), None, "who speaks of it does not ask for it");
}

#[test]
fn thinking_is_told_apart_from_output() {
    let asked = |format, body| read(format, "", body).0;
    let claude = asked(
        Format::Anthropic,
        r#"{"max_tokens":4000,"thinking":{"type":"enabled","budget_tokens":16000}}"#,
    );
    assert_eq!((claude.max_output, claude.thinking), (Some(4_000), 16_000));
    let gemini =
        r#"{"generationConfig":{"maxOutputTokens":9,"thinkingConfig":{"thinkingBudget":-1}}}"#;
    assert_eq!(asked(Format::Gemini, gemini).thinking, 0);
    let router = asked(Format::OpenAiChat, r#"{"reasoning":{"max_tokens":700}}"#);
    assert_eq!((router.max_output, router.thinking), (None, 700));
}

#[test]
fn a_bound_counts_only_under_the_name_that_the_service_reads() {
    let bound = |format, body| read(format, "", body).0.max_output;
    for null in [r#"{"max_tokens":null}"#, r#"{"max_completion_tokens":null}"#, "{}"] {
        assert_eq!(bound(Format::OpenAiChat, null), None, "{null}");
    }
    let all = r#"{"max_tokens":1,"max_output_tokens":2,"options":{"num_predict":3}}"#;
    assert_eq!(bound(Format::OpenAiChat, all), Some(1));
    assert_eq!(bound(Format::OpenAiResponses, all), Some(2));
    assert_eq!(bound(Format::Ollama, all), Some(3));
    assert_eq!(bound(Format::Any, all), Some(3));
    assert_eq!(bound(Format::OpenAiChat, r#"{"max_output_tokens":2}"#), None);
}

#[test]
fn vectors_have_no_output_and_a_hold_does_for_the_largest_picture() {
    let batch = r#"{"model":"text-embedding-3-small","input":["a","b"]}"#;
    assert_eq!(read(Format::OpenAiEmbeddings, "/v1/embeddings", batch).0.max_output, Some(0));
    assert_eq!(read(Format::Ollama, "/api/embed", batch).0.max_output, Some(0));
    let picture = |model: &str| {
        let body = format!(
            r#"{{"model":"{model}","messages":[{{"content":[{{"type":"image_url","image_url":{{"url":"x"}}}}]}}]}}"#
        );
        read(Format::OpenAiChat, "", &body).0
    };
    let mini = picture("gpt-4o-mini");
    assert!(mini.unsure_tokens() > 30_000 && mini.attached_tokens() == IMAGE_TOKENS);
    assert!(picture("gpt-4o").unsure_tokens() < 10_000);
}
