//! Whether a request asks for its prompt to be written to a cache.
//!
//! Anthropic's `cache_control` and Bedrock's `cachePoint` may stand beside any part of a prompt,
//! tools included, and at the top. They are looked for as whole strings of JSON, wherever they are:
//! the same word inside a text has its quotes escaped.
//!
//! # Limits
//! Where the word is a value, or the time stands beside something else, more is held than needed;
//! a name written in escapes is not seen, and the hold grows when the answer reports its usage.

use memchr::memmem;

/// How long a cache is to keep a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheTime {
    /// The provider's usual time: five minutes.
    Usual,
    /// An hour.
    Hour,
}

/// The longest time that is asked for.
pub(super) fn wanted(body: &[u8]) -> Option<CacheTime> {
    let has = |word: &str| memmem::find(body, word.as_bytes()).is_some();
    if !has("\"cache_control\"") && !has("\"cachePoint\"") {
        return None;
    }
    Some(if has("\"1h\"") { CacheTime::Hour } else { CacheTime::Usual })
}
