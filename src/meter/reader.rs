//! Reads out of an answer, while it passes, what it used and what was generated.
//!
//! A [`Reader`] is fed with a body's bytes in pieces of any size. It keeps counters and a
//! few words, never the body: JSON of any size is followed by a scanner that looks only at
//! the places of its [`Format`].
//!
//! # Failure
//! None. Wrong or odd JSON is passed over; an answer that says nothing of its usage
//! has none, and the caller counts the [`Delta`]s.
//!
//! # Limits
//! See [`super::scan`] and [`super::frames`]; at most a few KiB for an answer.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;

use super::{
    Usage,
    ending::{self, Notice, Style},
    events::{self, Events},
    format::{Format, Framing},
    frames::{self, Frames},
    notes::Notes,
    pointer::Pointer,
    scan::Scanner,
    telling::Telling,
    wire::{self, Field},
};
use crate::units::NanoUsd;

/// What kind of output a piece of text is, as far as is known when it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text for the reader; also refusals and transcripts of sound.
    Text,
    /// Reasoning, or a summary of it.
    Reasoning,
    /// The name of a tool that is called, and its arguments.
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
    /// The model that answered; at most 256 bytes. Bedrock does not say: see [`super::Asked`].
    pub model: Option<Box<str>>,
    /// The service tier that the answer was served in (`flex`, `priority`), in the
    /// provider's word: it can change the price.
    pub service_tier: Option<Box<str>>,
    /// What was reported, in the one normal form. When `complete` is false this is what
    /// had been said so far: its input is right, its output at most a part.
    pub usage: Option<Usage>,
    /// Whether usage was reported without a word on input: old Ollama is silent on a prompt that it had cached.
    pub lacks_input: bool,
    /// The same of output.
    pub lacks_output: bool,
    /// Dollars that the usage itself names (OpenRouter, LiteLLM, TensorZero, Perplexity).
    pub cost: Option<NanoUsd>,
    /// Dollars at the place that the policy named.
    pub pointed: Option<NanoUsd>,
    /// Whether the answer came to its own end.
    pub complete: bool,
}

/// Reads one answer, fed with its bytes in pieces of any size.
pub struct Reader {
    scanner: Scanner<Field>,
    notes: Notes,
    wire: Wire,
    cut_at: Option<usize>,
}

/// How far the framing has come.
enum Wire {
    Json,
    Events(Events, Mark),
    /// Whether the line under way has had a byte.
    Lines(bool),
    Frames(Box<Frames>),
}

impl Wire {
    fn is_between(&self) -> bool {
        match self {
            Self::Json => false,
            Self::Events(events, _) => events.is_between(),
            Self::Lines(has_bytes) => !has_bytes,
            Self::Frames(frames) => frames.is_between(),
        }
    }
}

/// `[DONE]`, as far as the data of an event has been it.
#[derive(Default)]
struct Mark(usize);

impl Mark {
    const DONE: &[u8] = b"[DONE]";
    const NONE: usize = usize::MAX;

    fn push(&mut self, data: &[u8]) {
        for byte in data {
            match Self::DONE.get(self.0) {
                Some(expected) if expected == byte => self.0 += 1,
                // The SDKs look at the beginning only.
                None if self.0 == Self::DONE.len() => return,
                _ => return self.0 = Self::NONE,
            }
        }
    }

    fn take(&mut self) -> bool {
        std::mem::take(&mut self.0) == Self::DONE.len()
    }
}

impl Reader {
    /// Begins with an answer in `format`, cut as its `Content-Type` says.
    pub fn new(format: Format, framing: Framing) -> Self {
        let wire = match framing {
            Framing::Json => Wire::Json,
            Framing::Events => Wire::Events(Events::default(), Mark::default()),
            Framing::Lines => Wire::Lines(false),
            Framing::Frames => Wire::Frames(Box::default()),
        };
        let scanner = Scanner::new(wire::tree(format));
        Self { scanner, notes: Notes::new(format), wire, cut_at: None }
    }

    /// Looks for a cost at `pointer` too, in each document of the answer; the last one found counts.
    #[must_use]
    pub fn pointed_at(mut self, pointer: Arc<Pointer>) -> Self {
        self.scanner.point_at(pointer);
        self
    }

    /// Takes the next bytes of the body, decoded (not gzip), and tells `deltas` what was generated in them.
    pub fn push(&mut self, chunk: &[u8], deltas: &mut impl FnMut(Delta<'_>)) {
        let Self { scanner, notes, wire, cut_at } = self;
        *cut_at = wire.is_between().then_some(0);
        match wire {
            Wire::Json => scanner.push(chunk, &mut Telling { notes, deltas }),
            Wire::Events(events, mark) => events.push(chunk, &mut |part| match part {
                events::Part::Data(data) => {
                    mark.push(data);
                    scanner.push(data, &mut Telling { notes, deltas });
                }
                events::Part::End(at) => {
                    if mark.take() {
                        notes.end_mark();
                    }
                    border(scanner, notes);
                    *cut_at = Some(at);
                }
            }),
            Wire::Lines(has_bytes) => {
                let mut at = 0;
                while let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
                    let end = memchr(b'\n', rest);
                    let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                    scanner.push(line, &mut Telling { notes, deltas });
                    *has_bytes |= !line.is_empty();
                    at += line.len();
                    if end.is_some() {
                        at += 1;
                        *has_bytes = false;
                        border(scanner, notes);
                        *cut_at = Some(at);
                    }
                }
            }
            Wire::Frames(frames) => frames.push(chunk, &mut |part| match part {
                frames::Part::Begin(event) => notes.event(event),
                frames::Part::Payload(bytes) => scanner.push(bytes, &mut Telling { notes, deltas }),
                frames::Part::End(at) => {
                    border(scanner, notes);
                    *cut_at = Some(at);
                }
            }),
        }
    }

    /// What has been reported so far: grows where the service reports while it streams.
    pub fn usage(&self) -> Option<Usage> {
        self.notes.usage()
    }

    /// The model that the answer names, as far as it has come.
    pub fn model(&self) -> Option<&str> {
        Some(self.notes.model.as_str()).filter(|model| !model.is_empty())
    }

    /// The service tier that the answer names, as far as it has come.
    pub fn service_tier(&self) -> Option<&str> {
        Some(self.notes.service_tier.as_str()).filter(|tier| !tier.is_empty())
    }

    /// Whether the stream has said all that it had to say.
    pub fn has_ended(&self) -> bool {
        self.notes.has_ended()
    }

    /// How many bytes of the last chunk may be sent on, at most, when the stream is to end
    /// here with [`Reader::ending`]: up to the border of an event. `None` if an event began in
    /// an earlier chunk and has not ended, or if the answer is no stream.
    pub fn cut_at(&self) -> Option<usize> {
        self.cut_at
    }

    /// What ends the stream at [`Reader::cut_at`] in its own dialect, so that the official SDKs parse it.
    ///
    /// `None` for an answer that is no stream, has ended there, or is in a format without streams.
    /// `counted` is the output in tokens that was counted here: it is told where the dialect tells usage
    /// and more than what was reported.
    pub fn ending(&self, style: Style, notice: &Notice<'_>, counted: u64) -> Option<Bytes> {
        let framing = match self.wire {
            Wire::Json => return None,
            Wire::Events(..) => Framing::Events,
            Wire::Lines(_) => Framing::Lines,
            Wire::Frames(_) => Framing::Frames,
        };
        ending::write(&self.notes, framing, style, notice, counted)
    }

    /// Closes the books: call it however the answer ended.
    pub fn finish(self) -> Reading {
        let word = |word: &str| (!word.is_empty()).then(|| word.into());
        let complete = match self.wire {
            Wire::Json => self.scanner.is_whole(),
            Wire::Events(_, mut mark) => self.notes.has_ended() || mark.take(),
            _ => self.notes.has_ended(),
        };
        Reading {
            model: word(&self.notes.model),
            service_tier: word(&self.notes.service_tier),
            usage: self.notes.usage(),
            lacks_input: self.notes.lacks_input(),
            lacks_output: self.notes.lacks_output(),
            cost: self.notes.cost,
            pointed: self.notes.pointed,
            complete,
        }
    }
}

/// One document is over and the next may begin.
fn border(scanner: &mut Scanner<Field>, notes: &mut Notes) {
    scanner.reset();
    notes.border();
}

#[cfg(test)]
mod tests;
