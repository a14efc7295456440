//! One stage of redaction, made into a filter of chunks.
//!
//! A stage decides byte by byte, never by where a chunk ends: that is why a
//! stream and a whole text are redacted alike, and why stages can be chained.
//! [`Filter`] adds what a stream needs: it keeps back what the stage still waits for.

use bytes::{Bytes, BytesMut};

use super::Hits;
use super::window::{Before, Window};

/// The most bytes that a stage keeps back. A match that is certain and longer
/// is replaced at once and swallowed to its end.
pub const MAX_HELD: usize = 8 << 10;

/// The state of one redaction; positions count from the beginning of the window.
pub(super) trait Stage {
    /// What is looked for, shared by all streams.
    type Rules;

    fn begin(rules: &Self::Rules) -> Self;

    /// Consumes the window; if it is the last, to the end.
    fn advance(&mut self, rules: &Self::Rules, window: &mut Window<'_>);

    /// Where the bytes begin that must be kept until more is known.
    fn hold(&mut self, rules: &Self::Rules, window: &Window<'_>) -> usize;

    /// Forgets the first bytes of the window.
    fn rebase(&mut self, gone: usize);
}

/// A stage and what it holds.
pub(super) struct Filter<S> {
    stage: S,
    held: Vec<u8>,
    before: Before,
}

impl<S: Stage> Filter<S> {
    pub fn new(rules: &S::Rules) -> Self {
        Self { stage: S::begin(rules), held: Vec::new(), before: Before::default() }
    }

    /// Takes a chunk and yields what may be forwarded.
    pub fn push(&mut self, rules: &S::Rules, chunk: Bytes, last: bool, hits: &mut Hits) -> Bytes {
        let text = self.with_held(chunk);
        let mut window = Window::new(&text, self.before, last, hits);
        self.stage.advance(rules, &mut window);
        let hold = if last { text.len() } else { self.stage.hold(rules, &window) };
        if hold > 0 {
            self.before = window.before(hold);
            self.stage.rebase(hold);
        }
        self.held.extend_from_slice(&text[hold..]);
        window.into_output().into_bytes(&text, hold)
    }

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
