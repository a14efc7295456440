//! Where a stream stands, as far as its ending depends on it.
//!
//! Choices (OpenAI, Gemini) and content blocks (Anthropic, Bedrock) are a bit each.
//!
//! # Limits
//! The first 128 of them: no service has as many, and one beyond is not closed.

/// Where a stream stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Whether a document has come.
    pub has_begun: bool,
    /// Whether Anthropic's `message_start` has come.
    pub has_started: bool,
    /// Whether the reason for the end has been told.
    pub has_stopped: bool,
    /// Whether the last document of the stream has come.
    pub has_ended: bool,
    /// Whether the answer comes in choices or candidates.
    pub has_choices: bool,
    /// Choices or content blocks that have begun; a bit for each of the first 128.
    pub begun: u128,
    /// Those of them that have ended.
    pub ended: u128,
    /// Of the last event that had one.
    pub sequence: u64,
}

impl Standing {
    /// The choices or blocks that are open, in order.
    pub fn open(self) -> impl Iterator<Item = u32> {
        let open = self.begun & !self.ended;
        (0..u128::BITS).filter(move |at| open >> at & 1 == 1)
    }
}

/// The bit of a choice or block; the first one if none is named, nothing beyond the 128th.
pub fn bit(index: Option<u32>) -> u128 {
    1_u128.checked_shl(index.unwrap_or_default()).unwrap_or_default()
}
