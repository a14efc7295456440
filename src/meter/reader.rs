//! Reads out of an answer, while it passes, what it used.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Usage,
    ending::{Notice, Style},
    format::{Format, Framing},
    pointer::Pointer,
};
use crate::units::NanoUsd;

/// What kind of output a piece of text is, as far as is known when it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text for the reader; also refusals and transcripts of sound.
    Text,
    /// Reasoning, or a summary of it.
    Reasoning,
    /// Arguments of a tool call.
    Tool,
}

/// A piece of what the model generated.
///
/// All pieces of one field, put together, are its text without JSON's escapes; where
/// a piece ends means nothing, it follows the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta<'a> {
    /// What it is.
    pub kind: Kind,
    /// The text, never empty. What is not UTF-8 is a replacement character.
    pub text: &'a str,
}

/// What an answer said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The model that answered; at most 256 bytes.
    pub model: Option<Box<str>>,
    /// The service tier that the answer was served in (`flex`, `priority`), in the
    /// provider's word: it can change the price.
    pub service_tier: Option<Box<str>>,
    /// What was reported, in the one normal form. When `complete` is false this is what
    /// had been said so far: its input is right, its output at most a part.
    pub usage: Option<Usage>,
    /// Dollars that the usage itself names (OpenRouter, LiteLLM, TensorZero, Perplexity).
    pub cost: Option<NanoUsd>,
    /// Dollars at the place that the policy named.
    pub pointed: Option<NanoUsd>,
    /// Whether the answer came to its own end.
    pub complete: bool,
}

/// Reads one answer, fed with its bytes in pieces of any size.
pub struct Reader {
    format: Format,
    framing: Framing,
    pointer: Option<Arc<Pointer>>,
}

impl Reader {
    /// Begins with an answer in `format`, cut as its `Content-Type` says.
    pub fn new(format: Format, framing: Framing) -> Self {
        Self { format, framing, pointer: None }
    }

    /// Looks for a cost at `pointer` too, in each document of the answer; the last one found counts.
    #[must_use]
    pub fn pointed_at(mut self, pointer: Arc<Pointer>) -> Self {
        self.pointer = Some(pointer);
        self
    }

    /// Takes the next bytes of the body, decoded (not gzip), and tells `deltas` what was generated in them.
    pub fn push(&mut self, _chunk: &[u8], _deltas: &mut impl FnMut(Delta<'_>)) {}

    /// What has been reported so far: grows where the service reports while it streams.
    pub fn usage(&self) -> Option<Usage> {
        None
    }

    /// How many bytes of the last chunk may be sent on, at most, when the stream is to end
    /// here with [`Reader::ending`]: up to the border of an event. `None` if an event began in
    /// an earlier chunk and has not ended, or if the answer is no stream.
    pub fn cut_at(&self) -> Option<usize> {
        None
    }

    /// What ends the stream at [`Reader::cut_at`] in its own dialect, so that the official SDKs parse it.
    ///
    /// `None` for an answer that is no stream, has ended, or is in a format without streams.
    /// `counted` is the output in tokens that was counted here: it is told where the dialect tells usage
    /// and more than what was reported.
    pub fn ending(&self, _style: Style, _notice: &Notice<'_>, _counted: u64) -> Option<Bytes> {
        None
    }

    /// Closes the books: call it however the answer ended.
    pub fn finish(self) -> Reading {
        let _ = (self.format, self.framing, self.pointer);
        Reading::default()
    }
}
