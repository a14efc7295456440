//! The end of a stream that is ended before its time, in the dialect of the stream.
//!
//! Written so that the official SDKs take it for the end that the provider itself would
//! have sent: all that is open is closed, ids and counters go on from where the stream
//! stood at the last border of an event.
//!
//! # Failure
//! None is written for a stream that has ended or has failed by itself, or whose
//! dialect is not known. A stream that has not begun cannot finish: it ends with an error.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Usage,
    format::{Format, Framing},
    frames,
    notes::Notes,
};

/// How a stream ends that must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As if the model had reached its output limit: `finish_reason: "length"`, `max_tokens`.
    Finish,
    /// With the dialect's error event, which official SDKs raise as their error type.
    Error,
}

/// What an error event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// The class of error, such as `insufficient_quota`.
    pub kind: &'a str,
    /// The machine-readable code, such as `budget_exceeded`.
    pub code: &'a str,
    /// The sentence for people.
    pub message: &'a str,
}

/// Writes the end; `counted` is the output that was counted here, in tokens.
pub fn write(
    notes: &Notes,
    framing: Framing,
    style: Style,
    notice: &Notice<'_>,
    counted: u64,
) -> Option<Bytes> {
    if notes.standing.has_ended || notes.has_failed() {
        return None;
    }
    let mut out = Out { bytes: Vec::with_capacity(512), framing };
    let style = if notes.standing.has_begun { style } else { Style::Error };
    let mut usage = notes.usage().unwrap_or_default();
    let missing = counted.saturating_sub(usage.all_output());
    usage.output = usage.output.saturating_add(missing);
    match (notes.dialect(), style) {
        (Format::OpenAiChat, Style::Finish) => chat(&mut out, notes),
        (Format::OpenAiChat, Style::Error) => chat_error(&mut out, notice),
        (Format::OpenAiResponses, Style::Finish) => responses(&mut out, notes, &usage),
        (Format::OpenAiResponses, Style::Error) => responses_error(&mut out, notes, notice),
        (Format::Anthropic, Style::Finish) => anthropic(&mut out, notes, &usage),
        (Format::Anthropic, Style::Error) => anthropic_error(&mut out, notice),
        (Format::Gemini, Style::Finish) => gemini(&mut out, notes, &usage),
        (Format::Gemini, Style::Error) => gemini_error(&mut out, notice),
        (Format::Bedrock, Style::Finish) => bedrock(&mut out, notes, &usage),
        (Format::Bedrock, Style::Error) => bedrock_error(&mut out, notice),
        (Format::Ollama, Style::Finish) => ollama(&mut out, notes, &usage),
        (Format::Ollama, Style::Error) => out.document(&json!({"error": notice.message})),
        (Format::OpenAiEmbeddings | Format::Any, _) => return None,
    }
    Some(out.bytes.into())
}

/// Documents, framed as the stream is.
struct Out {
    bytes: Vec<u8>,
    framing: Framing,
}

impl Out {
    fn document(&mut self, document: &Value) {
        let text = document.to_string();
        match self.framing {
            Framing::Events => self.text(&["data: ", &text, "\n\n"]),
            Framing::Frames => frames::write(&mut self.bytes, &[], text.as_bytes()),
            Framing::Lines | Framing::Json => self.text(&[&text, "\n"]),
        }
    }

    /// A document under the name of its event, which is its `type` too.
    fn event(&mut self, name: &str, document: &Value) {
        self.text(&["event: ", name, "\n"]);
        self.document(document);
    }

    /// A message of a binary stream.
    fn frame(&mut self, kind: &str, name: &str, document: &Value) {
        let named = if kind == "exception" { ":exception-type" } else { ":event-type" };
        let headers =
            [(named, name), (":content-type", "application/json"), (":message-type", kind)];
        frames::write(&mut self.bytes, &headers, document.to_string().as_bytes());
    }

    fn text(&mut self, pieces: &[&str]) {
        pieces.iter().for_each(|piece| self.bytes.extend_from_slice(piece.as_bytes()));
    }
}

fn chat(out: &mut Out, notes: &Notes) {
    let is_old = notes.object == "text_completion";
    let end = |index: u32| {
        let mut choice = json!({"index": index, "logprobs": null, "finish_reason": "length"});
        let content = if is_old { ("text", json!("")) } else { ("delta", json!({})) };
        choice[content.0] = content.1;
        choice
    };
    let open: Vec<Value> = notes.standing.open().map(end).collect();
    let choices = if notes.standing.begun == 0 { vec![unbegun(end(0))] } else { open };
    if !choices.is_empty() {
        let object = if is_old { "text_completion" } else { "chat.completion.chunk" };
        out.document(&json!({
            "id": notes.id,
            "object": object,
            "created": notes.created.parse::<u64>().unwrap_or_default(),
            "model": notes.model,
            "choices": choices,
        }));
    }
    out.text(&["data: [DONE]\n\n"]);
}

/// The choice of a stream that had none yet: the SDKs ask for its role.
fn unbegun(mut choice: Value) -> Value {
    if let Some(delta) = choice.get_mut("delta") {
        *delta = json!({"role": "assistant", "content": ""});
    }
    choice
}

fn chat_error(out: &mut Out, notice: &Notice<'_>) {
    out.document(&json!({"error": openai_error(notice)}));
    out.text(&["data: [DONE]\n\n"]);
}

fn openai_error(notice: &Notice<'_>) -> Value {
    json!({"message": notice.message, "type": notice.kind, "param": null, "code": notice.code})
}

fn responses(out: &mut Out, notes: &Notes, usage: &Usage) {
    // Without `output`: the SDKs then keep what they gathered, which we did not.
    out.event(
        "response.incomplete",
        &json!({
            "type": "response.incomplete",
            "sequence_number": notes.standing.sequence.saturating_add(1),
            "response": {
                "id": notes.id,
                "object": "response",
                "created_at": notes.created.parse::<u64>().unwrap_or_default(),
                "model": notes.model,
                "status": "incomplete",
                "error": null,
                "incomplete_details": {"reason": "max_output_tokens"},
                "usage": {
                    "input_tokens": usage.all_input(),
                    "input_tokens_details": {"cached_tokens": usage.cache_read},
                    "output_tokens": usage.all_output(),
                    "output_tokens_details": {"reasoning_tokens": usage.reasoning},
                    "total_tokens": usage.total(),
                },
            },
        }),
    );
}

fn responses_error(out: &mut Out, notes: &Notes, notice: &Notice<'_>) {
    // As documented, and with the object that the API really sends: the Python SDK raises for that.
    out.event(
        "error",
        &json!({
            "type": "error",
            "sequence_number": notes.standing.sequence.saturating_add(1),
            "code": notice.code,
            "message": notice.message,
            "param": null,
            "error": openai_error(notice),
        }),
    );
}

fn anthropic(out: &mut Out, notes: &Notes, usage: &Usage) {
    for index in notes.standing.open() {
        let stop = json!({"type": "content_block_stop", "index": index});
        out.event("content_block_stop", &stop);
    }
    if !notes.standing.has_stopped {
        out.event(
            "message_delta",
            &json!({
                "type": "message_delta",
                "delta": {"stop_reason": "max_tokens", "stop_sequence": null},
                "usage": {"output_tokens": usage.all_output()},
            }),
        );
    }
    out.event("message_stop", &json!({"type": "message_stop"}));
}

fn anthropic_error(out: &mut Out, notice: &Notice<'_>) {
    let error = json!({"type": notice.kind, "message": notice.message});
    out.event("error", &json!({"type": "error", "error": error}));
}

fn gemini(out: &mut Out, notes: &Notes, usage: &Usage) {
    let end = |index: u32| {
        let content = json!({"parts": [{"text": ""}], "role": "model"});
        json!({"content": content, "finishReason": "MAX_TOKENS", "index": index})
    };
    let open: Vec<Value> = notes.standing.open().map(end).collect();
    out.document(&json!({
        "candidates": if open.is_empty() { vec![end(0)] } else { open },
        "usageMetadata": {
            "promptTokenCount": usage.all_input(),
            "candidatesTokenCount": usage.all_output().saturating_sub(usage.reasoning),
            "thoughtsTokenCount": usage.reasoning,
            "totalTokenCount": usage.total(),
        },
        "modelVersion": notes.model,
        "responseId": notes.id,
    }));
}

fn gemini_error(out: &mut Out, notice: &Notice<'_>) {
    let status = "RESOURCE_EXHAUSTED";
    out.document(&json!({"error": {"code": 429, "message": notice.message, "status": status}}));
}

fn bedrock(out: &mut Out, notes: &Notes, usage: &Usage) {
    for index in notes.standing.open() {
        out.frame("event", "contentBlockStop", &json!({"contentBlockIndex": index}));
    }
    if !notes.standing.has_stopped {
        out.frame("event", "messageStop", &json!({"stopReason": "max_tokens"}));
    }
    let usage = json!({
        "inputTokens": usage.input,
        "outputTokens": usage.all_output(),
        "totalTokens": usage.total(),
    });
    let metadata = json!({"usage": usage, "metrics": {"latencyMs": 0}});
    out.frame("event", "metadata", &metadata);
}

fn bedrock_error(out: &mut Out, notice: &Notice<'_>) {
    out.frame("exception", "throttlingException", &json!({"message": notice.message}));
}

fn ollama(out: &mut Out, notes: &Notes, usage: &Usage) {
    // Of `/api/chat` and `/api/generate` both names; each client reads its own.
    out.document(&json!({
        "model": notes.model,
        "created_at": notes.created,
        "message": {"role": "assistant", "content": ""},
        "response": "",
        "done": true,
        "done_reason": "length",
        "prompt_eval_count": usage.all_input(),
        "eval_count": usage.all_output(),
    }));
}

#[cfg(test)]
mod tests;
