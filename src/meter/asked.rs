//! What a request asks for, as far as its price depends on it.
//!
//! One tree of names serves all formats, because their names hardly meet. The text that
//! the model will read is told in pieces, with nothing copied that is not escaped; text
//! under names that are not known is not told.
//!
//! # Failure
//! None: a body that is not JSON asks for nothing, and one that breaks off asks for what came.
//!
//! # Limits
//! See [`super::scan`]. What the service adds itself (its own prompts, conversations that it
//! keeps, files) cannot be seen; [`Asked::has_unseen`] says where the request names such.

mod cache;
mod path;
mod tree;

use super::{
    decimal,
    format::Format,
    scan::{Scanner, Sink, Value},
};
pub use cache::CacheTime;
use tree::{Attached, TREE, Want};

/// Tokens that one picture is taken for.
///
/// Anthropic counts at most about 1,600 for one, OpenAI 765 for a large square in high detail, Gemini 258 a tile.
pub const IMAGE_TOKENS: u64 = 1_600;
/// The most that one picture is, where nobody can tell its size: of Anthropic and Gemini in high resolution.
const MOST_IMAGE_TOKENS: u64 = 4_800;
/// The same of `gpt-4o-mini`, whose tokens are cheap and whose pictures are many of them: 2,833 and 5,667 a tile.
const MOST_MINI_IMAGE_TOKENS: u64 = 48_169;
/// Bytes of base64 that are taken for one token of an attached sound, film or document.
///
/// Speech as WAV or MP3 has more bytes to a token, pages of scanned documents about as many.
pub const ATTACHED_BYTES_PER_TOKEN: u64 = 50;
/// Bytes of an attached text that are taken for one token.
const BYTES_PER_TOKEN: u64 = 3;
/// The largest number that is believed.
const MOST: u64 = 1_000_000_000;

/// What a request's body and path ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The model, from the body, or from the path (Gemini, Bedrock, Azure's deployments); at most 256 bytes.
    pub model: Option<Box<str>>,
    /// The service tier that was asked for, in the provider's word.
    pub service_tier: Option<Box<str>>,
    /// Whether the answer shall be streamed.
    pub stream: bool,
    /// Whether an OpenAI stream shall end with its usage.
    pub include_usage: bool,
    /// The most output for each answer, in tokens; `None` if not said. Of several names that
    /// the format has the largest number.
    pub max_output: Option<u64>,
    /// The most thinking for each answer, in tokens; 0 if not said. Some services count it beside the output.
    pub thinking: u64,
    /// How long a cache is to keep the prompt, where the request asks for that.
    pub cache: Option<CacheTime>,
    /// How many answers are generated, at least 1: `n`, `best_of` or `candidateCount`, times the prompts of a batch.
    pub answers: u64,
    /// Tokens of a prompt that was given as their numbers, and what attached texts are taken for.
    pub tokens: u64,
    /// Pictures in the prompt.
    pub images: u64,
    /// Sounds, films and documents in the prompt.
    pub attachments: u64,
    /// Their size as base64, in bytes; 0 for those that are only named.
    pub attached_bytes: u64,
    /// Whether the prompt goes on from something that the service keeps: `previous_response_id`,
    /// a conversation, cached content, a stored prompt.
    pub has_unseen: bool,
}

impl Asked {
    /// Reads a request; `prompt` is told every piece of text that the model will read (messages, system, tools,
    /// schemas), so that it can be counted without a copy.
    pub fn read(format: Format, path: &str, body: &[u8], prompt: &mut impl FnMut(&str)) -> Self {
        let (asked, part) = (Self::default(), Part::default());
        let mut ask = Ask { format, prompt, asked, part, wanted: 1, prompts: 0 };
        ask.asked.stream = format == Format::Ollama;
        Scanner::new(&TREE).push(body, &mut ask);
        let (mut asked, wanted, prompts) = (ask.asked, ask.wanted, ask.prompts);
        asked.answers = wanted.saturating_mul(prompts.max(1)).clamp(1, MOST);
        asked.stream |= path::is_stream(path);
        asked.cache = cache::wanted(body);
        if format == Format::OpenAiEmbeddings || path::is_embedding(path) {
            asked.max_output = Some(0);
        }
        if asked.model.is_none() || matches!(format, Format::Gemini | Format::Bedrock) {
            asked.model = path::model(path).or(asked.model);
        }
        asked
    }

    /// What the parts of the prompt that are no text are taken for, in tokens.
    pub fn attached_tokens(&self) -> u64 {
        let named = self.images.saturating_add(self.attachments).saturating_mul(IMAGE_TOKENS);
        let attached = self.attached_bytes / ATTACHED_BYTES_PER_TOKEN;
        named.saturating_add(attached).saturating_add(self.tokens)
    }

    /// What the pictures may be beyond that, in tokens: a hold must do for the largest.
    pub fn unsure_tokens(&self) -> u64 {
        let is_mini = self.model.as_deref().is_some_and(|model| model.contains("4o-mini"));
        let most = if is_mini { MOST_MINI_IMAGE_TOKENS } else { MOST_IMAGE_TOKENS };
        self.images.saturating_mul(most - IMAGE_TOKENS)
    }
}

/// The request as it is read.
struct Ask<'a, F> {
    format: Format,
    prompt: &'a mut F,
    asked: Asked,
    part: Part,
    wanted: u64,
    prompts: u64,
}

/// The part of a message under way.
#[derive(Default)]
struct Part {
    attached: Option<Attached>,
    bytes: u64,
}

impl Part {
    /// Takes a type or a media type; that it is text, once known, stays.
    fn is(&mut self, word: &str) {
        if self.attached != Some(Attached::Text) {
            self.attached = Attached::of(word).or(self.attached);
        }
    }
}

impl<F> Ask<'_, F> {
    fn part_ended(&mut self) {
        let part = std::mem::take(&mut self.part);
        match part.attached {
            Some(Attached::Image) => self.asked.images += 1,
            Some(Attached::Other) => {
                self.asked.attachments += 1;
                self.asked.attached_bytes += part.bytes;
            }
            Some(Attached::Text) => self.asked.tokens += part.bytes / BYTES_PER_TOKEN,
            None => {}
        }
    }

    fn set(&mut self, want: Want, text: &str) {
        let number = || decimal::scaled(text, 0, MOST).ok();
        let asked = &mut self.asked;
        match want {
            Want::Stream => asked.stream = text == "true",
            Want::IncludeUsage => asked.include_usage = text == "true",
            Want::MaxOutput(bound) if !bound.holds_for(self.format) => {}
            Want::MaxOutput(_) => asked.max_output = asked.max_output.max(number()),
            Want::Thinking => asked.thinking = asked.thinking.max(number().unwrap_or_default()),
            Want::Answers => self.wanted = self.wanted.max(number().unwrap_or(1)),
            Want::Token => asked.tokens += 1,
            Want::Unseen => asked.has_unseen |= text != "null",
            _ => {}
        }
    }
}

impl<F: FnMut(&str)> Sink<Want> for Ask<'_, F> {
    fn text(&mut self, want: Want, text: &str) {
        match want {
            Want::Attached => self.part.bytes += text.len() as u64,
            Want::Image => {}
            _ => (self.prompt)(text),
        }
    }

    fn text_ended(&mut self, want: Want) {
        match want {
            Want::Image => self.asked.images += 1,
            Want::Prompt => self.prompts += 1,
            _ => {}
        }
    }

    fn value(&mut self, want: Want, value: Value<'_>) {
        match (want, value) {
            (_, Value::Bare(text)) => self.set(want, text),
            (Want::Model, Value::String(text)) => self.asked.model = Some(text.into()),
            (Want::Tier, Value::String(text)) => self.asked.service_tier = Some(text.into()),
            (Want::PartType, Value::String(text)) => self.part.is(text),
            (Want::Unseen, Value::String(_)) => self.asked.has_unseen = true,
            // Gemini and others write 64-bit numbers as strings.
            (_, Value::String(text)) => self.set(want, text),
        }
    }

    fn open(&mut self, mark: Want) {
        match mark {
            Want::Part(attached) => self.part = Part { attached, bytes: 0 },
            Want::Tokens => self.prompts += 1,
            Want::Unseen => self.asked.has_unseen = true,
            _ => {}
        }
    }

    fn close(&mut self, mark: Want) {
        if let Want::Part(_) = mark {
            self.part_ended();
        }
    }
}

#[cfg(test)]
mod tests;
