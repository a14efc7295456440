//! Looks at a candidate and says what of it to mask.
//!
//! Pure functions of the candidate's bytes, so that a stream and a whole text
//! come to the same verdict. Holds the judges that several packs share.
//!
//! # Failure
//! None. A judge that passes a candidate says where the search goes on, so
//! that a secret inside a rejected candidate is still found.

use std::ops::Range;

/// A candidate and what stands before it.
#[derive(Clone, Copy)]
pub(in crate::sanitize) struct Site<'t> {
    /// The byte before the candidate; `None` at the beginning of the text.
    pub before: Option<u8>,
    /// The candidate; never empty.
    pub bytes: &'t [u8],
    /// The candidate is so long that it is judged before its end is known.
    pub open: bool,
}

/// What to do with a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sanitize) enum Verdict {
    /// Mask this part of the candidate, and search on behind the whole of it.
    Mask(Range<usize>),
    /// Leave it, and search on behind this many bytes of it.
    Pass(usize),
}

pub(in crate::sanitize) type Judge = fn(Site<'_>) -> Verdict;

/// Masks everything except an escape sequence that only served as the left border.
pub(in crate::sanitize) fn whole(site: Site<'_>) -> Verdict {
    Verdict::Mask(border(site.bytes)..site.bytes.len())
}

/// Masks the candidate without the punctuation of the sentence around it.
pub(in crate::sanitize) fn trimmed(site: Site<'_>) -> Verdict {
    let start = border(site.bytes);
    let end = trim(site.bytes);
    // `postgres://...`: a form, no address.
    let empty = site.bytes[..end].ends_with(b"/") || end <= start;
    if empty { pass(site) } else { Verdict::Mask(start..end) }
}

/// Leaves the whole candidate.
pub(in crate::sanitize) fn pass(site: Site<'_>) -> Verdict {
    Verdict::Pass(site.bytes.len())
}

/// `whole` if the condition holds, `pass` otherwise.
pub(in crate::sanitize) fn whole_if(condition: bool, site: Site<'_>) -> Verdict {
    if condition { whole(site) } else { pass(site) }
}

/// Length of the escape sequence at the beginning, as in `\tat …`: it is kept.
pub(in crate::sanitize) fn border(bytes: &[u8]) -> usize {
    if bytes[0] == b'\\' { 2 } else { 0 }
}

/// Length without trailing punctuation.
pub(in crate::sanitize) fn trim(bytes: &[u8]) -> usize {
    let last = bytes.iter().rposition(|byte| !b".,;:!?)]}*_".contains(byte));
    last.map_or(0, |last| last + 1)
}

/// The candidate without its border and without a prefix, if it has that prefix.
pub(in crate::sanitize) fn after<'t>(bytes: &'t [u8], prefix: &[u8]) -> &'t [u8] {
    let bytes = &bytes[border(bytes)..];
    bytes.strip_prefix(prefix).unwrap_or(bytes)
}

/// Tells a generated token from words joined by hyphens: long enough, and with
/// one long unbroken run, or digits and capitals mixed.
pub(in crate::sanitize) fn looks_generated(token: &[u8], at_least: usize) -> bool {
    let digit = token.iter().any(u8::is_ascii_digit);
    let upper = token.iter().any(u8::is_ascii_uppercase);
    let lower = token.iter().any(u8::is_ascii_lowercase);
    let run = longest_run(token);
    let mixed = digit && upper && lower;
    token.len() >= at_least && (mixed || run >= 16 || (digit && run >= 12))
}

fn longest_run(token: &[u8]) -> usize {
    let runs = token.split(|byte| !byte.is_ascii_alphanumeric());
    runs.map(<[u8]>::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_do_not_look_generated() {
        for words in [
            "learn-contrib-py",
            "fading-circle12",
            "some-css-class-name-2",
            "SCREAMING_SNAKE_CASE_NAME",
        ] {
            assert!(!looks_generated(words.as_bytes(), 12), "{words}");
        }
        for token in ["abcdefghijklmnopqrstuvwx", "proj-aB3dE6gH9", "ab12cd34ef56gh78"] {
            assert!(looks_generated(token.as_bytes(), 12), "{token}");
        }
    }

    #[test]
    fn borders_are_kept() {
        for (text, length) in [("\\tat", 2), ("at", 0)] {
            assert_eq!(border(text.as_bytes()), length);
        }
    }
}
