//! Redacts a response stream.
//!
//! [`Stream`] takes chunks of any size and yields chunks that are safe to
//! forward. A match may lie across a chunk border, so the longest suffix that
//! may still become a match, and only that, is held back until more arrives.
//!
//! # Failure
//! None. A stream that is dropped without [`Stream::finish`] loses what it holds.
//!
//! # Limits
//! Holds at most [`MAX_HELD`](super::MAX_HELD) bytes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::machine::Machine;
use super::output::Output;
use super::{Hits, Redactor};

/// The redaction of one response.
pub struct Stream {
    redactor: Arc<Redactor>,
    machine: Machine,
    held: Vec<u8>,
    hits: Hits,
}

impl Stream {
    /// Begins a response.
    pub fn new(redactor: Arc<Redactor>) -> Self {
        let machine = Machine::new(&redactor);
        Self { redactor, machine, held: Vec::new(), hits: Hits::new() }
    }

    /// Takes a chunk and yields what may be forwarded now: the very same chunk
    /// when nothing matched and nothing is held.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let text = self.with_held(chunk);
        let mut output = Output::default();
        self.machine.advance(&self.redactor, &text, &mut output, &mut self.hits);
        let hold = self.machine.hold(&self.redactor, &text);
        self.machine.rebase(&text, hold);
        self.held.extend_from_slice(&text[hold..]);
        output.into_bytes(&text, hold)
    }

    /// Ends the response and yields the rest.
    pub fn finish(&mut self) -> Bytes {
        let text = self.with_held(Bytes::new());
        let mut output = Output::default();
        self.machine.finish(&self.redactor, &text, &mut output, &mut self.hits);
        self.machine = Machine::new(&self.redactor);
        output.into_bytes(&text, text.len())
    }

    /// What was replaced so far.
    pub fn hits(&self) -> &Hits {
        &self.hits
    }

    /// How many bytes are held back now.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn with_held(&mut self, chunk: Bytes) -> Bytes {
        if self.held.is_empty() {
            return chunk;
        }
        let mut text = BytesMut::with_capacity(self.held.len() + chunk.len());
        text.extend_from_slice(&self.held);
        text.extend_from_slice(&chunk);
        self.held.clear();
        text.freeze()
    }
}
