//! One HTTP/2 connection as its frames show it.

use std::time::{Duration, Instant};

use super::{
    floods::Floods,
    frames::{Frame, Frames, Step, kind},
    streams::{Streams, Stuck},
};
use crate::telemetry::Violation;

/// What every client begins with (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// CONTINUATION frames of one header block.
const MAX_CONTINUATIONS: u32 = 20;
const INITIAL_WINDOW_SIZE: u16 = 0x4;

/// Both directions of a connection.
#[derive(Debug)]
pub(in crate::server) struct Connection {
    /// Octets of the preface that have come.
    preface: usize,
    input: Frames,
    output: Frames,
    floods: Floods,
    streams: Streams,
    /// The first octets of a payload that says something in them.
    input_words: Words,
    output_words: Words,
    block: Option<Block>,
    max_block: u32,
    /// Since when the client owes the rest of a head or of a control frame.
    owed: Option<Instant>,
}

/// A header block that is not complete.
#[derive(Clone, Copy, Debug)]
struct Block {
    frames: u32,
    octets: u32,
}

impl Connection {
    /// A connection whose header blocks have at most `max_block` octets as they are sent, and
    /// whose client takes `rate` octets a second; 0 is any.
    pub(in crate::server) fn new(max_block: u32, rate: u64, now: Instant) -> Self {
        Self {
            preface: 0,
            input: Frames::default(),
            output: Frames::default(),
            floods: Floods::new(now),
            streams: Streams::new(rate),
            input_words: Words::default(),
            output_words: Words::default(),
            block: None,
            max_block,
            owed: None,
        }
    }

    /// The client sends `bytes`.
    ///
    /// # Errors
    /// What it must not do; the connection is over then.
    pub(in crate::server) fn received(
        &mut self,
        mut bytes: &[u8],
        now: Instant,
    ) -> Result<(), Violation> {
        if self.preface < PREFACE.len() {
            let wanted = PREFACE.get(self.preface..).unwrap_or_default();
            let (begin, rest) = bytes.split_at(wanted.len().min(bytes.len()));
            if !wanted.starts_with(begin) {
                return Err(Violation::Preface);
            }
            self.preface += begin.len();
            bytes = rest;
        }
        let mut input = std::mem::take(&mut self.input);
        let fed = input.feed(bytes, |frame, step| self.input(frame, step, now));
        self.input = input;
        fed?;
        let half = !self.input.is_between() && self.input.current().is_none();
        if half || self.block.is_some() {
            self.owed.get_or_insert(now);
        }
        Ok(())
    }

    /// We have sent `bytes`.
    ///
    /// # Errors
    /// When the client made us reset too many streams.
    pub(in crate::server) fn sent(&mut self, bytes: &[u8], now: Instant) -> Result<(), Violation> {
        let mut output = std::mem::take(&mut self.output);
        let fed = output.feed(bytes, |frame, step| self.output(frame, step, now));
        self.output = output;
        fed
    }

    /// Whether a frame of ours may be sent now.
    pub(in crate::server) fn may_speak(&self) -> bool {
        self.output.is_between()
    }

    /// Whether a frame may be put between those of the client now.
    pub(in crate::server) fn may_be_told(&self) -> bool {
        self.preface == PREFACE.len() && self.input.is_between() && self.block.is_none()
    }

    /// Since when the client owes the rest of a head, or of a frame that is no DATA.
    pub(in crate::server) fn owes_since(&self) -> Option<Instant> {
        self.owed
    }

    /// The last stream that the client opened.
    pub(in crate::server) fn last_stream(&self) -> u32 {
        self.streams.last()
    }

    /// A client that does not take what it asked for.
    pub(in crate::server) fn stuck(&self, now: Instant) -> Option<Stuck> {
        self.streams.stuck(now)
    }

    /// When one will be stuck, if nothing moves.
    pub(in crate::server) fn patience_ends(&self) -> Option<Instant> {
        self.streams.patience_ends()
    }

    /// We reset this stream ourselves.
    pub(in crate::server) fn forget(&mut self, stream: u32) {
        self.streams.closed(stream);
    }

    /// This stream cannot be reset in the middle of a frame: it gets `more` patience.
    pub(in crate::server) fn bear_with(&mut self, stream: u32, now: Instant, more: Duration) {
        self.streams.bear_with(stream, now, more);
    }

    fn input(&mut self, frame: Frame, step: Step<'_>, now: Instant) -> Result<(), Violation> {
        match step {
            Step::Begin => {
                // The payload of DATA may take its time: bodies have a pace of their own.
                self.owed = (frame.kind != kind::DATA).then(|| self.owed.unwrap_or(now));
                self.input_words = Words::default();
                self.floods.received(frame, now)?;
                self.head(frame)
            }
            Step::Payload(payload) => match frame.kind {
                // Of another length it is an error (RFC 9113, 6.9), which the library answers.
                kind::WINDOW_UPDATE if frame.length == 4 => self.window_update(frame, payload, now),
                kind::SETTINGS if !frame.is_ack() => {
                    self.settings(payload, now);
                    Ok(())
                }
                _ => Ok(()),
            },
            Step::End => {
                if self.block.is_none() {
                    self.owed = None;
                }
                match frame.kind {
                    kind::RST_STREAM => {
                        let early = self.streams.closed(frame.stream);
                        self.floods.reset(early)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Follows header blocks (RFC 9113, 4.3).
    fn head(&mut self, frame: Frame) -> Result<(), Violation> {
        if frame.kind != kind::HEADERS && frame.kind != kind::CONTINUATION {
            return Ok(());
        }
        let mut block = self.block.take().unwrap_or(Block { frames: 0, octets: 0 });
        block.frames += u32::from(frame.kind == kind::CONTINUATION);
        block.octets = block.octets.saturating_add(frame.length);
        if block.frames > MAX_CONTINUATIONS || block.octets > self.max_block {
            return Err(Violation::HeaderBlock);
        }
        self.block = (!frame.ends_headers()).then_some(block);
        if frame.kind == kind::HEADERS { self.streams.opened(frame.stream) } else { Ok(()) }
    }

    fn window_update(
        &mut self,
        frame: Frame,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Violation> {
        let mut said = None;
        self.input_words.fill::<4>(payload, |word| said = Some(word & 0x7fff_ffff));
        let Some(octets) = said.and_then(|octets| u32::try_from(octets).ok()) else {
            return Ok(());
        };
        self.streams.update(frame.stream, octets, now);
        self.floods.update(octets)
    }

    fn settings(&mut self, payload: &[u8], now: Instant) {
        let streams = &mut self.streams;
        self.input_words.fill::<6>(payload, |word| {
            let value = u32::try_from(word & 0xffff_ffff).unwrap_or(u32::MAX);
            if word >> 32 == u64::from(INITIAL_WINDOW_SIZE) {
                streams.set_initial(value, now);
            }
        });
    }

    fn output(&mut self, frame: Frame, step: Step<'_>, now: Instant) -> Result<(), Violation> {
        match (frame.kind, step) {
            (kind::HEADERS, Step::Begin) => {
                let begins = self.streams.answered(frame.stream, now);
                self.floods.answered(begins);
            }
            (kind::DATA, Step::Begin) => {
                self.floods.sent(now);
                self.streams.sent(frame.stream, frame.length, now);
            }
            (kind::RST_STREAM, Step::Begin) => self.output_words = Words::default(),
            (kind::RST_STREAM, Step::Payload(payload)) => {
                let mut code = 0;
                self.output_words.fill::<4>(payload, |word| code = word);
                return self.floods.fault(u32::try_from(code).unwrap_or(0));
            }
            (kind::RST_STREAM, Step::End) => {
                self.streams.closed(frame.stream);
            }
            (kind::HEADERS | kind::DATA, Step::End) if frame.ends_stream() => {
                self.streams.closed(frame.stream);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Numbers of a few octets each, which may come in pieces.
#[derive(Debug, Default)]
struct Words {
    word: u64,
    have: usize,
}

impl Words {
    /// Shows each number of `N` octets that is complete.
    fn fill<const N: usize>(&mut self, bytes: &[u8], mut show: impl FnMut(u64)) {
        for octet in bytes {
            self.word = (self.word << 8) | u64::from(*octet);
            self.have += 1;
            if self.have == N {
                show(self.word);
                *self = Self::default();
            }
        }
    }
}
