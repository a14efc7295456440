//! The built-in rules, as patterns and judges.
//!
//! A [`Secret`] finds a candidate by its outer form; its [`Judge`] looks at the
//! candidate and says which part of it to mask, if any. This keeps the automata
//! small and legitimate text whole. Decides nothing about streams.
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
pub(super) const REPLACEMENT: &[u8] = b"[redacted]";

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

/// One kind of secret: a head that announces it anywhere in the text, and the
/// tail that must follow at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Secret {
    /// Literals of at least three bytes.
    pub heads: &'static [&'static str],
    /// A byte regex, ASCII only, with the shorthands of [`expand`]; may match the empty string.
    pub tail: &'static str,
    pub judge: Judge,
    /// The heads are lower case and match any case.
    pub fold: bool,
    /// A head must begin a word.
    pub word: bool,
    /// Bytes before the head that belong to the candidate; some of [`RUN`].
    pub reach: Class,
    /// The only spelling of lines that the tail is meant for; all if `None`.
    pub spelling: Option<usize>,
}

/// Bytes that may belong to a candidate whose head comes later: host names, schemes, paths, class names.
pub(super) static RUN: [bool; 256] = bytes(b"_.$+/-");

/// A set of bytes; `None` is the empty one.
pub(super) type Class = Option<&'static [bool; 256]>;

/// ASCII letters, digits, and these bytes.
const fn bytes(more: &[u8]) -> [bool; 256] {
    let mut class = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        class[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < more.len() {
        class[more[index] as usize] = true;
        index += 1;
    }
    class
}

/// The most bytes that a candidate reaches back before its head.
pub(super) const MAX_REACH: usize = 256;

impl Secret {
    /// Its heads begin a word.
    const fn new(heads: &'static [&'static str], tail: &'static str, judge: Judge) -> Self {
        Self { heads, tail, judge, fold: false, word: true, reach: None, spelling: None }
    }

    /// Its heads may stand anywhere.
    const fn inside(heads: &'static [&'static str], tail: &'static str, judge: Judge) -> Self {
        Self { word: false, ..Self::new(heads, tail, judge) }
    }

    const fn any_case(self) -> Self {
        Self { fold: true, ..self }
    }

    const fn reaching(self, reach: &'static [bool; 256]) -> Self {
        Self { reach: Some(reach), ..self }
    }

    const fn spelt(self, spelling: usize) -> Self {
        Self { spelling: Some(spelling), ..self }
    }
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
const SHORTHANDS: [(&str, &str); 3] = [
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

/// Writes the shorthands out; alternatives for each spelling, if the pattern asks for one.
pub(super) fn expand(pattern: &str, spelling: Option<usize>) -> String {
    let common = substitute(pattern, &SHORTHANDS);
    let chosen = SPELLINGS
        .iter()
        .enumerate()
        .filter(|(index, _)| spelling.is_none_or(|chosen| chosen == *index));
    let mut written: Vec<String> =
        chosen.map(|(_, spelling)| substitute(&common, spelling)).collect();
    written.dedup();
    written.join("|")
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

    #[test]
    fn every_secret_keeps_to_the_rules_of_its_fields() {
        for secret in Pack::ALL.into_iter().flat_map(Pack::secrets) {
            for head in secret.heads {
                assert!(head.len() >= 3, "{head}");
                assert!(!secret.fold || *head == head.to_ascii_lowercase(), "{head}");
            }
            let reach = secret.reach.map_or([false; 256], |class| *class);
            assert!(reach.iter().zip(&RUN).all(|(reach, run)| !reach || *run));
        }
    }
}
