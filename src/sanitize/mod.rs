//! Redacts secrets and internals in response bodies and streams.
//!
//! A [`Redactor`] is compiled once per policy from built-in [`Pack`]s and the
//! operator's own [`Rule`]s. [`Redactor::redact`] treats a whole text; a
//! [`Stream`] treats chunks of any size and yields exactly the same bytes, for
//! every way of cutting the text. The packs come first; the own rules see what
//! the packs left.
//!
//! # Failure
//! Only [`Redactor::compile`] can fail. Bytes that are not UTF-8 are ordinary input.
//!
//! # Limits
//! A stage holds at most [`MAX_HELD`] bytes. A match that grows longer is masked
//! to its end without being kept; what merely may become a match is let go.
//! Bytes are matched as they stand: no decoding of JSON escapes (the packs know
//! the common ones) or of compression.

mod automaton;
mod built_in;
mod heads;
mod hits;
mod own;
mod packs;
mod prefixes;
mod redactor;
mod stage;
mod stream;
#[cfg(test)]
mod tests;
mod window;

pub use hits::Hits;
pub use packs::{Pack, UnknownPack};
pub use redactor::{Redactor, Rule, RuleError};
pub use stage::MAX_HELD;
pub use stream::Stream;
