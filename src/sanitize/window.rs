//! The part of the text that can be seen at once.
//!
//! A stage works on a window: what it held back, and the new chunk. A few bytes
//! before the window are remembered, so that borders of words are the same
//! wherever the text was cut.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::Hits;

/// How far a word's left border is looked for: `\u0026`.
const LOOK_BACK: usize = 6;

/// The bytes before a window, the nearest first.
pub(super) type Before = [Option<u8>; LOOK_BACK];

/// The bytes at hand, and what goes out for them.
pub(super) struct Window<'t> {
    pub text: &'t [u8],
    before: Before,
    /// The text ends with this window.
    pub last: bool,
    hits: &'t mut Hits,
    written: Vec<u8>,
    /// Everything before this is written or dropped.
    done: usize,
}

/// Redacted bytes, if they differ from the window's.
pub(super) struct Output {
    written: Vec<u8>,
    rest: usize,
}

impl<'t> Window<'t> {
    pub fn new(text: &'t [u8], before: Before, last: bool, hits: &'t mut Hits) -> Self {
        Self { text, before, last, hits, written: Vec::new(), done: 0 }
    }

    /// Writes `replacement` in the place of `part`, and counts it.
    pub fn replace(&mut self, part: Range<usize>, replacement: &[u8], label: usize) {
        self.hits.record(label);
        self.written.extend_from_slice(&self.text[self.done..part.start]);
        self.written.extend_from_slice(replacement);
        self.done = part.end;
    }

    /// Drops everything up to here.
    pub fn drop_to(&mut self, end: usize) {
        self.done = self.done.max(end);
    }

    pub fn into_output(self) -> Output {
        Output { written: self.written, rest: self.done }
    }

    /// The byte before `at`; `None` at the beginning of the text.
    pub fn byte_before(&self, at: usize) -> Option<u8> {
        self.byte_back(at, 0)
    }

    /// What will be before the window that begins at `at`.
    pub fn before(&self, at: usize) -> Before {
        std::array::from_fn(|back| self.byte_back(at, back))
    }

    /// Says whether a word begins here, where an escape sequence before it (`\n`,
    /// `\u0026`, `%3D`) counts as a space.
    pub fn begins_word(&self, at: usize) -> bool {
        let back = |back| self.byte_back(at, back).unwrap_or(b' ');
        let word = back(0).is_ascii_alphanumeric() || back(0) == b'_';
        !word
            || (back(1) == b'\\' && b"nrtbf".contains(&back(0)))
            || (back(2) == b'%' && back(1).is_ascii_hexdigit() && back(0).is_ascii_hexdigit())
            || (back(5) == b'\\' && back(4) == b'u')
    }

    /// The byte that stands `back` bytes before the byte before `at`.
    fn byte_back(&self, at: usize, back: usize) -> Option<u8> {
        match at.checked_sub(back + 1) {
            Some(index) => self.text.get(index).copied(),
            None => self.before.get(back - at).copied().flatten(),
        }
    }
}

impl Output {
    /// What may be forwarded of a chunk of which the bytes from `hold` on are kept.
    pub fn into_bytes(mut self, text: &Bytes, hold: usize) -> Bytes {
        if self.written.is_empty() {
            return text.slice(self.rest..hold);
        }
        self.written.extend_from_slice(&text[self.rest..hold]);
        Bytes::from(self.written)
    }

    /// The whole text.
    pub fn into_whole(mut self, text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
        match text {
            text if self.written.is_empty() && self.rest == 0 => text,
            text => {
                self.written.extend_from_slice(&text[self.rest..]);
                Cow::Owned(self.written)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_behind_escapes() {
        let begins = |text: &str| {
            let mut hits = Hits::new();
            let window = Window::new(text.as_bytes(), Before::default(), false, &mut hits);
            window.begins_word(text.len())
        };
        for text in ["", " ", "-", r"\n", r"a\t", "%3D", r"\u0026"] {
            assert!(begins(text), "{text}");
        }
        for text in ["a", "_", "n", "5%3", "u0026"] {
            assert!(!begins(text), "{text}");
        }
    }

    #[test]
    fn borders_do_not_depend_on_the_cut() {
        let text = r"ab\u0026";
        for cut in 0..=text.len() {
            let (front, back) = text.as_bytes().split_at(cut);
            let (mut hits, mut more) = (Hits::new(), Hits::new());
            let before = Window::new(front, Before::default(), false, &mut hits).before(cut);
            let window = Window::new(back, before, false, &mut more);
            assert_eq!(window.byte_before(back.len()), Some(b'6'));
            assert!(window.begins_word(back.len()));
        }
    }
}
