//! Redacts a response stream.
//!
//! [`Stream`] takes chunks of any size and yields chunks that are safe to
//! forward. A match may lie across a chunk border, so the longest suffix that
//! may still become part of a match, and only that, is held back until more arrives.
//!
//! # Failure
//! None. A stream that is dropped without [`Stream::finish`] loses what it holds.
//!
//! # Limits
//! Holds at most [`MAX_HELD`](super::MAX_HELD) bytes for the packs, and as much for the own rules.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::stage::Filter;
use super::{Hits, Redactor, built_in, own};

/// The redaction of one response.
pub struct Stream {
    redactor: Arc<Redactor>,
    built_in: Option<Filter<built_in::Search>>,
    own: Option<Filter<own::Search>>,
    hits: Hits,
}

impl Stream {
    /// Begins a response.
    pub fn new(redactor: Arc<Redactor>) -> Self {
        let built_in = redactor.built_in.as_ref().map(Filter::new);
        let own = redactor.own.as_ref().map(Filter::new);
        Self { redactor, built_in, own, hits: Hits::new() }
    }

    /// Takes a chunk and yields what may be forwarded now: the very same chunk
    /// when nothing matched and nothing is held.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        self.pass(chunk, false)
    }

    /// Ends the response and yields the rest. Nothing may be pushed after it.
    pub fn finish(&mut self) -> Bytes {
        self.pass(Bytes::new(), true)
    }

    /// What was replaced so far.
    pub fn hits(&self) -> &Hits {
        &self.hits
    }

    /// How many bytes are held back now.
    pub fn held(&self) -> usize {
        let built_in = self.built_in.as_ref().map_or(0, Filter::held);
        built_in + self.own.as_ref().map_or(0, Filter::held)
    }

    fn pass(&mut self, mut chunk: Bytes, last: bool) -> Bytes {
        if let (Some(filter), Some(rules)) = (&mut self.built_in, &self.redactor.built_in) {
            chunk = filter.push(rules, chunk, last, &mut self.hits);
        }
        if let (Some(filter), Some(rules)) = (&mut self.own, &self.redactor.own) {
            chunk = filter.push(rules, chunk, last, &mut self.hits);
        }
        chunk
    }
}

/// Shows no byte of the response: what is held may be a secret.
impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("held", &self.held()).field("hits", &self.hits).finish()
    }
}
