//! Tokens of text that passes in pieces, counted without a copy.

/// A running count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    bytes: u64,
}

/// Bytes of English text to a token, on average.
const BYTES_PER_TOKEN: u64 = 4;

impl Count {
    /// Takes the next piece in.
    pub(super) fn push(&mut self, text: &str) {
        self.bytes = self.bytes.saturating_add(text.len() as u64);
    }

    /// The tokens so far.
    pub(super) fn tokens(&self) -> u64 {
        self.bytes.div_ceil(BYTES_PER_TOKEN)
    }
}
