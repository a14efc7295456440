//! Counts tokens of a text that arrives in pieces of any size.
//!
//! With a tokenizer, text is kept back until it can be cut where a token surely ends: before
//! a single space between a visible character and a letter. What was cut off is counted for good.
//! Where no such place comes within [`HELD`] bytes, the text is cut anyway; each such cut may
//! count a token or two too many, hardly ever one too few. So a count does not depend on how
//! the text was split on its way.
//!
//! # Limits
//! After [`EXACT`] bytes the rest is weighed, at no less than the average of what was
//! counted: a tokenizer takes up to 0.5 µs a byte for text that is made to be slow.

use std::fmt;

use super::{Family, weights::Weights};
use crate::meter::Confidence;

/// Bytes of one text that a tokenizer sees: about twenty pages, and at most some 16 ms of work.
pub const EXACT: usize = 32 << 10;
/// Bytes that are kept back at most for want of a place to cut.
#[cfg(feature = "tokenizer")]
const HELD: usize = 4 << 10;
/// Bytes from which on it is worth while to look for a place to cut.
#[cfg(feature = "tokenizer")]
const WORTH: usize = 512;

/// A number of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub tokens: u64,
    /// Exact when a tokenizer saw all of the text.
    pub confidence: Confidence,
}

/// The tokens of one text that is still arriving.
pub struct Counter {
    weights: Weights,
    /// What all text that no tokenizer has seen weighs, in thousandths of a token; includes what is kept back.
    weighed: u64,
    #[cfg(feature = "tokenizer")]
    seen: Option<Seen>,
}

/// What a tokenizer has seen.
#[cfg(feature = "tokenizer")]
struct Seen {
    table: &'static tiktoken::CoreBpe,
    /// Tokens that are counted for good.
    tokens: u64,
    /// What their text weighs.
    weight: u64,
    bytes: usize,
    /// Text that may go on in the middle of a token.
    held: String,
    /// Bytes of `held` at which a place to cut is looked for next.
    worth: usize,
}

impl Counter {
    /// Starts to count; the first counter of a family with a tokenizer has its table read, and does without.
    pub fn new(family: Family) -> Self {
        Self {
            weights: Weights::of(family),
            weighed: 0,
            #[cfg(feature = "tokenizer")]
            seen: super::exact::table(family).map(Seen::new),
        }
    }

    /// Takes the next piece of the text.
    pub fn push(&mut self, text: &str) {
        self.weighed = self.weighed.saturating_add(self.weights.weigh(text));
        #[cfg(feature = "tokenizer")]
        if let Some(seen) = &mut self.seen {
            self.weighed = self.weighed.saturating_sub(seen.push(text, self.weights));
        }
    }

    /// How many tokens there are so far: what is kept back is weighed, so this is cheap to ask for at every piece.
    pub fn tokens(&self) -> u64 {
        #[cfg(feature = "tokenizer")]
        if let Some(seen) = &self.seen {
            return seen.tokens.saturating_add(seen.extrapolate(self.weighed));
        }
        self.weighed.div_ceil(1_000)
    }

    /// How many tokens there were.
    pub fn finish(mut self) -> Counted {
        self.settle();
        Counted { tokens: self.tokens(), confidence: self.confidence() }
    }

    /// Counts what is kept back.
    fn settle(&mut self) {
        #[cfg(feature = "tokenizer")]
        if let Some(seen) = &mut self.seen {
            self.weighed = self.weighed.saturating_sub(seen.cut(seen.held.len(), self.weights));
        }
    }

    #[cfg(feature = "tokenizer")]
    fn confidence(&self) -> Confidence {
        match self.seen.is_some() && self.weighed == 0 {
            true => Confidence::Exact,
            false => Confidence::Estimated,
        }
    }

    #[cfg(not(feature = "tokenizer"))]
    fn confidence(&self) -> Confidence {
        Confidence::Estimated
    }
}

/// Without the text that is kept back, which is not for logs.
impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").field("tokens", &self.tokens()).finish_non_exhaustive()
    }
}

#[cfg(feature = "tokenizer")]
impl Seen {
    fn new(table: &'static tiktoken::CoreBpe) -> Self {
        Self { table, tokens: 0, weight: 0, bytes: 0, held: String::new(), worth: WORTH }
    }

    /// Takes text as far as there is room for it; gives the weight of what was counted for good.
    fn push(&mut self, text: &str, weights: Weights) -> u64 {
        let mut rest = &text[..text.floor_char_boundary(EXACT.saturating_sub(self.bytes))];
        let (before, mut counted) = (self.bytes, 0);
        while !rest.is_empty() {
            let room = HELD - self.held.len().min(HELD);
            let (head, tail) = rest.split_at(rest.floor_char_boundary(room));
            self.held.push_str(head);
            self.bytes += head.len();
            rest = tail;
            counted += self.settle(!rest.is_empty(), weights);
        }
        if self.bytes - before < text.len() {
            // No later text may be counted as if it came next.
            self.bytes = EXACT;
        }
        counted
    }

    /// Counts as much as can be cut off; everything when there is `more` and no room for it.
    fn settle(&mut self, more: bool, weights: Weights) -> u64 {
        if self.held.len() < self.worth && !more {
            return 0;
        }
        match (border(self.held.as_bytes()), more) {
            (Some(at), _) => self.cut(at, weights),
            (None, true) => self.cut(self.held.len(), weights),
            (None, false) => {
                // Looking again at every piece would cost the square of what is held.
                self.worth = self.worth.saturating_mul(2);
                0
            }
        }
    }

    /// Counts what is held up to `at` for good, and gives its weight.
    fn cut(&mut self, at: usize, weights: Weights) -> u64 {
        let text = &self.held[..at];
        let weight = weights.weigh(text);
        let tokens = self.table.count(text);
        self.tokens = self.tokens.saturating_add(u64::try_from(tokens).unwrap_or(u64::MAX));
        self.weight = self.weight.saturating_add(weight);
        self.held.drain(..at);
        self.worth = WORTH;
        weight
    }

    /// Tokens of text that weighs so much: at its weight, or at the average of what was counted if that is more.
    fn extrapolate(&self, weighed: u64) -> u64 {
        let counted = u128::from(self.tokens) * 1_000;
        let (above, below) = match counted > u128::from(self.weight) && self.weight > 0 {
            true => (counted, u128::from(self.weight)),
            false => (1, 1),
        };
        let tokens = (u128::from(weighed) * above).div_ceil(below * 1_000);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }
}

/// The last place where a token surely ends: at a single space between a visible character and a letter.
#[cfg(feature = "tokenizer")]
fn border(text: &[u8]) -> Option<usize> {
    let is_border = |at: &usize| {
        text[*at] == b' '
            && text[at - 1].is_ascii_graphic()
            && text.get(at + 1).is_some_and(u8::is_ascii_alphabetic)
    };
    (1..text.len()).rev().find(is_border)
}
