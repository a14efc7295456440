//! The wire formats of answers, and which one a path speaks.
//!
//! A [`Format`] says which fields hold the model, the usage and the generated text;
//! a [`Framing`] says how an answer is cut into JSON documents. The first follows
//! from the request's path or from the policy, the second from the answer's
//! `Content-Type`.
//!
//! # Failure
//! None: a path that says nothing is [`Format::Any`], which finds the usage object of
//! every format by its own field names; an unknown media type is one JSON document.

use std::{fmt, str::FromStr};

/// A dialect in which services report what an answer used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenAI Chat Completions, the older Completions, and what is compatible: vLLM,
    /// LiteLLM, OpenRouter, TensorZero, Azure, Gemini's and Ollama's OpenAI endpoints.
    OpenAiChat,
    /// OpenAI Responses; also its images and transcriptions, which count alike.
    OpenAiResponses,
    /// OpenAI Embeddings.
    OpenAiEmbeddings,
    /// Anthropic Messages.
    Anthropic,
    /// Gemini's `generateContent` and `streamGenerateContent`, of AI Studio and Vertex.
    Gemini,
    /// Bedrock's Converse and ConverseStream.
    Bedrock,
    /// Ollama's own `/api/chat` and `/api/generate`.
    Ollama,
    /// Any of them, told apart by the names of the fields: for an agent's own routes.
    #[default]
    Any,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 8] = [
        Self::OpenAiChat,
        Self::OpenAiResponses,
        Self::OpenAiEmbeddings,
        Self::Anthropic,
        Self::Gemini,
        Self::Bedrock,
        Self::Ollama,
        Self::Any,
    ];

    /// The word for the policy and the logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiResponses => "openai_responses",
            Self::OpenAiEmbeddings => "openai_embeddings",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
            Self::Ollama => "ollama",
            Self::Any => "any",
        }
    }

    /// Finds the format that requests to `path` are answered in; a query does not matter.
    ///
    /// Looks at the end of the path, so that a prefix before it (`/openai/deployments/x`,
    /// `/api`, `/proxy/eu`) changes nothing.
    pub fn of_path(path: &str) -> Self {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = path.strip_suffix('/').unwrap_or(path);
        let of_end = |(end, format): &(&str, Self)| path.ends_with(end).then_some(*format);
        ENDS.iter().find_map(of_end).unwrap_or_default()
    }
}

/// How paths end, the longer before the shorter that it contains.
const ENDS: [(&str, Format); 18] = [
    ("/chat/completions", Format::OpenAiChat),
    ("/completions", Format::OpenAiChat),
    ("/v1/responses", Format::OpenAiResponses),
    ("/openai/responses", Format::OpenAiResponses),
    ("/images/generations", Format::OpenAiResponses),
    ("/images/edits", Format::OpenAiResponses),
    ("/audio/transcriptions", Format::OpenAiResponses),
    ("/embeddings", Format::OpenAiEmbeddings),
    ("/v1/messages", Format::Anthropic),
    (":rawPredict", Format::Anthropic),
    (":streamRawPredict", Format::Anthropic),
    (":generateContent", Format::Gemini),
    (":streamGenerateContent", Format::Gemini),
    ("/converse", Format::Bedrock),
    ("/converse-stream", Format::Bedrock),
    ("/api/chat", Format::Ollama),
    ("/api/generate", Format::Ollama),
    ("/api/embed", Format::Ollama),
];

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == word).ok_or(UnknownFormat)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the name of a wire format")]
pub struct UnknownFormat;

/// How an answer is cut into JSON documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Framing {
    /// One document is the whole body, or an array of them (Gemini without `alt=sse`).
    #[default]
    Json,
    /// Server-sent events: a document per event.
    Events,
    /// A document per line (NDJSON, JSON lines).
    Lines,
    /// Amazon's binary event stream: a document per message.
    Frames,
}

impl Framing {
    /// Finds the framing that a `Content-Type` names; parameters and case do not matter.
    pub fn of(content_type: Option<&str>) -> Self {
        let written = content_type.unwrap_or_default();
        let media = written.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| media.eq_ignore_ascii_case(name);
        if is("text/event-stream") {
            return Self::Events;
        }
        if is("application/vnd.amazon.eventstream") {
            return Self::Frames;
        }
        let lines = ["application/x-ndjson", "application/ndjson", "application/jsonl"];
        if lines.into_iter().chain(["application/x-jsonlines", "application/jsonlines"]).any(is) {
            return Self::Lines;
        }
        Self::Json
    }

    /// Whether the answer is a stream of many documents.
    pub const fn is_stream(self) -> bool {
        !matches!(self, Self::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_format_whatever_stands_before_it() {
        let expected = [
            ("/v1/chat/completions", Format::OpenAiChat),
            ("/openai/deployments/mine/chat/completions?api-version=1", Format::OpenAiChat),
            ("/v1/completions", Format::OpenAiChat),
            ("/v1beta/openai/chat/completions", Format::OpenAiChat),
            ("/v1/responses", Format::OpenAiResponses),
            ("/v1/responses/", Format::OpenAiResponses),
            ("/v1/messages", Format::Anthropic),
            ("/v1beta/models/gemini-2.5-flash:generateContent", Format::Gemini),
            ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", Format::Gemini),
            ("/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse", Format::Bedrock),
            ("/model/amazon.nova-lite-v1:0/converse-stream", Format::Bedrock),
            ("/api/chat", Format::Ollama),
            ("/api/generate", Format::Ollama),
            ("/v1/messages/count_tokens", Format::Any),
            ("/api/analyze", Format::Any),
            ("", Format::Any),
        ];
        for (path, format) in expected {
            assert_eq!(Format::of_path(path), format, "{path}");
        }
    }

    #[test]
    fn every_format_has_a_word_that_is_read_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("openai".parse::<Format>(), Err(UnknownFormat));
    }

    #[test]
    fn the_media_type_tells_the_framing() {
        let expected = [
            (Some("text/event-stream; charset=utf-8"), Framing::Events),
            (Some("Text/Event-Stream"), Framing::Events),
            (Some("application/x-ndjson"), Framing::Lines),
            (Some("application/vnd.amazon.eventstream"), Framing::Frames),
            (Some("application/json"), Framing::Json),
            (Some("text/event-streams"), Framing::Json),
            (None, Framing::Json),
        ];
        for (media, framing) in expected {
            assert_eq!(Framing::of(media), framing, "{media:?}");
        }
    }
}
