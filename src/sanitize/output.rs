//! Collects the redacted bytes of one window.
//!
//! Nothing is copied before the first replacement, so that clean text is
//! forwarded as it came.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

/// Replaced text and the place up to which the window is dealt with.
#[derive(Debug, Default)]
pub(super) struct Output {
    written: Vec<u8>,
    /// Everything of the window before this is written or dropped.
    done: usize,
}

impl Output {
    /// Writes `replacement` in the place of `part`.
    pub fn replace(&mut self, text: &[u8], part: Range<usize>, replacement: &[u8]) {
        self.written.extend_from_slice(&text[self.done..part.start]);
        self.written.extend_from_slice(replacement);
        self.done = part.end;
    }

    /// Drops the window up to here.
    pub fn drop_to(&mut self, end: usize) {
        self.done = self.done.max(end);
    }

    /// What may be forwarded of a window of which the bytes from `hold` on are kept.
    pub fn into_bytes(mut self, text: &Bytes, hold: usize) -> Bytes {
        if self.written.is_empty() {
            return text.slice(self.done..hold);
        }
        self.written.extend_from_slice(&text[self.done..hold]);
        Bytes::from(self.written)
    }

    /// The whole text.
    pub fn into_whole(mut self, text: &[u8]) -> Cow<'_, [u8]> {
        if self.written.is_empty() {
            return Cow::Borrowed(&text[self.done..]);
        }
        self.written.extend_from_slice(&text[self.done..]);
        Cow::Owned(self.written)
    }
}
