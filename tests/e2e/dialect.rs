//! What model services say: the answers of OpenAI's and Anthropic's APIs, as far as the SDKs look.

use serde_json::{Value, json};

use crate::{
    origin::{Made, Origin},
    tools::Language,
};

/// One API with its SDKs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
}

impl Dialect {
    /// Every SDK: each dialect in each language.
    pub const SDKS: [(Self, Language); 4] = [
        (Self::OpenAi, Language::Python),
        (Self::OpenAi, Language::Node),
        (Self::Anthropic, Language::Python),
        (Self::Anthropic, Language::Node),
    ];

    /// The script that uses its SDK.
    pub fn script(self) -> &'static str {
        match self {
            Self::OpenAi => "openai_sdk",
            Self::Anthropic => "anthropic_sdk",
        }
    }

    /// Where questions go, below the base that the SDK is given; its routes are written so.
    pub fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "/v1/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }

    /// The base that an application gives to the SDK, below the host's.
    pub fn base(self) -> &'static str {
        match self {
            Self::OpenAi => "/v1",
            Self::Anthropic => "",
        }
    }

    /// A whole answer with this text and 3 tokens of output.
    pub fn answer(self, text: &str) -> Value {
        match self {
            Self::OpenAi => json!({
                "id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini",
                "choices": [{"index": 0, "finish_reason": "stop",
                             "message": {"role": "assistant", "content": text}}],
                "usage": {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11},
            }),
            Self::Anthropic => json!({
                "id": "m1", "type": "message", "role": "assistant", "model": "claude-opus-4-8",
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn", "stop_sequence": null,
                "usage": {"input_tokens": 8, "output_tokens": 3},
            }),
        }
    }

    /// What comes before the first piece of a stream.
    pub fn opening(self) -> String {
        match self {
            Self::OpenAi => String::new(),
            Self::Anthropic => {
                let mut message = self.answer("");
                (message["content"], message["stop_reason"]) = (json!([]), Value::Null);
                let block = json!({"type": "text", "text": ""});
                named(json!({"type": "message_start", "message": message}))
                    + &named(
                        json!({"type": "content_block_start", "index": 0, "content_block": block}),
                    )
                    + &named(json!({"type": "ping"}))
            }
        }
    }

    /// One piece of a stream.
    pub fn piece(self, text: &str) -> String {
        match self {
            Self::OpenAi => {
                chunk(&json!([{"index": 0, "delta": {"content": text}, "finish_reason": null}]))
            }
            Self::Anthropic => {
                let delta = json!({"type": "text_delta", "text": text});
                named(json!({"type": "content_block_delta", "index": 0, "delta": delta}))
            }
        }
    }

    /// What comes after the last piece, with the usage.
    pub fn closing(self) -> String {
        match self {
            Self::OpenAi => chunk(&json!([])) + "data: [DONE]\n\n",
            Self::Anthropic => {
                let delta = json!({"stop_reason": "end_turn", "stop_sequence": null});
                named(json!({"type": "content_block_stop", "index": 0}))
                    + &named(
                        json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 3}}),
                    )
                    + &named(json!({"type": "message_stop"}))
            }
        }
    }

    /// Lets the origin answer every question with the question.
    pub fn echoed(self, origin: &Origin) {
        origin.makes(self.path(), move |body| {
            let asked: Value = serde_json::from_slice(body).unwrap_or_default();
            let text = asked["messages"][0]["content"].as_str().unwrap_or("no question").to_owned();
            made(200, &self.answer(&text))
        });
    }
}

/// An answer of the origin, as the service would send it.
pub fn made(status: u16, answer: &Value) -> Made {
    let media = ("content-type".to_owned(), "application/json".to_owned());
    (status, vec![media], answer.to_string().into())
}

/// An event whose name is its type, as Anthropic sends it.
pub fn named(event: Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
}

fn chunk(choices: &Value) -> String {
    let usage = json!({"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11});
    let chunk = json!({
        "id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini",
        "choices": choices, "usage": if choices == &json!([]) { usage } else { Value::Null },
    });
    format!("data: {chunk}\n\n")
}
