//! Redacts secrets and internals in response bodies and streams.
//!
//! A [`Redactor`] is compiled once per policy from built-in [`Pack`]s and the
//! operator's own [`Rule`]s. [`Redactor::redact`] treats a whole text; a
//! [`Stream`] treats chunks of any size and yields exactly the same bytes, for
//! every way of cutting the text.
//!
//! # Failure
//! Only [`Redactor::compile`] can fail. Bytes that are not UTF-8 are ordinary input.
//!
//! # Limits
//! A stream holds at most [`MAX_HELD`] bytes. A match that grows longer is masked
//! to its end without being kept. A text that merely may become a match is let go
//! beyond that length. Bytes are matched as they stand: no decoding of JSON
//! escapes (the packs know the common ones) or of compression.

mod automaton;
mod hits;
mod machine;
mod output;
mod packs;
mod redactor;
mod stream;
#[cfg(test)]
mod tests;

pub use hits::Hits;
pub use machine::MAX_HELD;
pub use packs::{Pack, UnknownPack};
pub use redactor::{Redactor, Rule, RuleError};
pub use stream::Stream;
