//! The built-in rules, as patterns and judges.
//!
//! A pattern is a byte regex that finds a candidate by its outer form; its
//! [`Judge`] looks at the candidate and says which part of it to mask, if any.
//! This keeps the automaton small (no counted repetitions) and legitimate text
//! whole. Decides nothing about streams.
//!
//! # Limits
//! Heuristics: a secret without a telling form or name passes, and so does a
//! placeholder (`password=password`).

pub(super) mod judge;

mod connection_strings;
mod credentials;
mod private_addresses;
mod stack_traces;

use std::str::FromStr;

use judge::Judge;

/// What a match of a built-in pack is replaced with.
pub(super) const REPLACEMENT: &str = "[redacted]";

/// A built-in set of patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pack {
    /// API keys, tokens, private keys, passwords.
    Credentials,
    /// Database and broker addresses with their credentials.
    ConnectionStrings,
    /// Tracebacks, stack frames and the error texts of database drivers.
    StackTraces,
    /// Addresses and host names of the inner network.
    PrivateAddresses,
}

/// No pack has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such pack: expected credentials, connection_strings, stack_traces or private_addresses"
)]
pub struct UnknownPack;

/// One pattern of a pack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secret {
    /// A byte regex, ASCII only, with the `<…>` shorthands of [`expand`].
    pub pattern: &'static str,
    pub judge: Judge,
}

impl Pack {
    /// All packs, in the order of their precedence.
    pub const ALL: [Pack; 4] =
        [Pack::Credentials, Pack::ConnectionStrings, Pack::StackTraces, Pack::PrivateAddresses];

    /// The name in the policy and in the metric label `rule`.
    pub const fn name(self) -> &'static str {
        match self {
            Pack::Credentials => "credentials",
            Pack::ConnectionStrings => "connection_strings",
            Pack::StackTraces => "stack_traces",
            Pack::PrivateAddresses => "private_addresses",
        }
    }

    pub(super) const fn secrets(self) -> &'static [Secret] {
        match self {
            Pack::Credentials => credentials::SECRETS,
            Pack::ConnectionStrings => connection_strings::SECRETS,
            Pack::StackTraces => stack_traces::SECRETS,
            Pack::PrivateAddresses => private_addresses::SECRETS,
        }
    }
}

impl FromStr for Pack {
    type Err = UnknownPack;

    fn from_str(name: &str) -> Result<Self, UnknownPack> {
        Pack::ALL.into_iter().find(|pack| pack.name() == name).ok_or(UnknownPack)
    }
}

/// Shorthands that mean the same everywhere; one may use those below it.
const SHORTHANDS: [(&str, &str); 4] = [
    // Beginning of a word, where a JSON, URL or JavaScript escape before it counts as a space.
    ("<left>", r"(?:\b|\\[nrtbf]|\\u00[0-9a-f]{2}|%[0-9A-F]{2})"),
    // A quote, possibly escaped, or nothing.
    ("<quote>", r"(?:\\*[\x22'])?"),
    // The rest of a line that may be plain or in JSON: a quote that could close a string ends it.
    (
        "<line>",
        r"(?:[^\r\n\x22\\]|\\[^nr\r\n]|\x22[^\r\n\x22\\,}\]:\s]|\x22,? [a-eg-mo-su-zA-Z(])*",
    ),
    ("<blank>", r"(?:[ \t]|\\+t)"),
];

/// How a line is written: its end, a quote in it, one sign of it, of a path, of a quoted text.
type Spelling = [(&'static str, &'static str); 5];

const SPELLINGS: [Spelling; 3] = [
    // Plain text.
    [
        ("<eol>", r"\r?\n"),
        ("<dq>", r"\x22"),
        ("<char>", r"[^\r\n]"),
        ("<path>", r"[^\s\x22()]"),
        ("<inquote>", r"[^\x22\r\n]"),
    ],
    // Inside a JSON string.
    [
        ("<eol>", r"(?:\\r)?\\n"),
        ("<dq>", r"\\\x22"),
        ("<char>", r"(?:[^\r\n\x22\\]|\\[^nr\r\n])"),
        ("<path>", r"(?:[^\s\x22()\\]|\\[\\/])"),
        ("<inquote>", r"(?:[^\x22\r\n\\]|\\\\)"),
    ],
    // Inside a JSON string of a JSON text that is itself a JSON string, as in tool calls.
    [
        ("<eol>", r"(?:\\\\r)?\\\\n"),
        ("<dq>", r"\\\\\\\x22"),
        ("<char>", r"(?:[^\r\n\x22\\]|\\\\(?:[^nr\r\n\x22\\]|\\[\\\x22]))"),
        ("<path>", r"(?:[^\s\x22()\\]|\\\\\\\\)"),
        ("<inquote>", r"(?:[^\x22\r\n\\]|\\\\\\\\)"),
    ],
];

/// Writes the shorthands of a built-in pattern out, once for each spelling that it asks for.
pub(super) fn expand(pattern: &str) -> Vec<String> {
    let common = substitute(pattern, &SHORTHANDS);
    let mut written: Vec<String> =
        SPELLINGS.iter().map(|spelling| substitute(&common, spelling)).collect();
    written.dedup();
    written
}

fn substitute(pattern: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(pattern.to_owned(), |text, (short, long)| text.replace(short, long))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for pack in Pack::ALL {
            assert_eq!(pack.name().parse(), Ok(pack));
        }
        assert_eq!("Credentials".parse::<Pack>(), Err(UnknownPack));
    }
}
