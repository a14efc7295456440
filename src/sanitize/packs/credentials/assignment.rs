//! `password=…`, `api_key: …`, `"client_secret":"…"`: masks the value only.
//!
//! The name may be part of a longer one (`DB_PASSWORD`, `dbPassword`). The
//! harder part is what is no secret: types, placeholders, code that passes a
//! variable on, prose after a colon.
//!
//! # Limits
//! A quoted value with spaces is taken for prose, except after `passphrase`; an
//! unquoted value after a colon needs a digit or a symbol.

use crate::sanitize::packs::judge::{Site, Verdict};

/// Names that announce a secret.
macro_rules! names {
    () => {
        concat!(
            r"(?i:pass(?:word|wd|phrase)|pwd|secret(?:[_-]?(?:access[_-]?)?key)?",
            r"|api[_-]?key|(?:access|auth|refresh|session|id)[_-]?token",
            r"|(?:account|shared[_-]?access|encryption|signing)[_-]?key)"
        )
    };
}

/// The JSON member; the value may hold escapes.
pub(super) const JSON: &str = concat!(names!(), r#""\s*:\s*"(?:[^"\\\r\n]|\\[^\r\n])+"#);

/// The same in JSON that stands inside a JSON string, or in single quotes.
pub(super) const NESTED: &str =
    concat!(names!(), r#"(?:\\+"|\\*')\s*(?::|=>)\s*(?:\\+"|\\*')[^"'\\\r\n]+"#);

/// Anything else: `name=value`, `NAME: value`, `name = "value"`.
pub(super) const PLAIN: &str =
    concat!(names!(), r#"[ \t]*(?::=|[:=])[ \t]*<quote>[^\s"'`\\,;&<>(){}\[\]|]+[(\[),]?"#);

/// Words that stand where a secret would.
const PLACEHOLDERS: &[&str] = &[
    "string",
    "str",
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "null",
    "none",
    "nil",
    "true",
    "false",
    "undefined",
    "required",
    "optional",
    "redacted",
    "hidden",
    "text",
    "bool",
    "boolean",
    "object",
    "number",
    "any",
    "bytes",
    "secretstr",
    "example",
    "placeholder",
    "passphrase",
    "api_key",
    "apikey",
    "access_token",
    "invalid",
    "incorrect",
];

/// Judges a value that stands in quotes.
pub(super) fn quoted(site: Site<'_>) -> Verdict {
    let start = value_start(site.bytes);
    let value = &site.bytes[start..];
    let phrase = site.bytes[..start].to_ascii_lowercase().starts_with(b"passphrase");
    let prose = value.contains(&b' ') && !phrase;
    if prose || is_placeholder(value) {
        return Verdict::Pass(start);
    }
    Verdict::Mask(start..site.bytes.len())
}

/// Judges a value of which only the beginning may be quoted.
pub(super) fn plain(site: Site<'_>) -> Verdict {
    let start = value_start(site.bytes);
    let (value, follow) = split_follow(&site.bytes[start..]);
    let loose = site.bytes[..start].iter().any(|byte| b" \t:".contains(byte));
    let quoted = site.bytes[start - 1] == b'"' || site.bytes[start - 1] == b'\'';
    let secret = match follow {
        Some(b'(' | b'[') => false,
        _ if quoted => true,
        _ if has_symbol(value) => true,
        Some(_) => false,
        None => !loose && value.len() >= 6 && value.iter().all(u8::is_ascii_alphabetic),
    };
    if !secret || is_placeholder(value) {
        return Verdict::Pass(start);
    }
    Verdict::Mask(start..start + value.len())
}

/// Where the value begins: behind the separator, spaces and quotes.
fn value_start(bytes: &[u8]) -> usize {
    let separator = bytes.iter().position(|byte| b":=".contains(byte)).unwrap_or(0);
    let skipped = bytes[separator..].iter().take_while(|byte| b":=> \t\r\n\"'\\".contains(byte));
    (separator + skipped.count()).min(bytes.len() - 1)
}

/// Splits off the sign that tells code from a value, and the full stop of a sentence.
fn split_follow(value: &[u8]) -> (&[u8], Option<u8>) {
    let (value, follow) = match value {
        [rest @ .., last @ (b'(' | b'[' | b')' | b',')] => (rest, Some(*last)),
        _ => (value, None),
    };
    let end = value.iter().rposition(|byte| !b".:!?*".contains(byte)).map_or(0, |last| last + 1);
    (&value[..end], follow)
}

/// Digits or signs that do not occur in words and identifiers.
fn has_symbol(value: &[u8]) -> bool {
    value
        .iter()
        .any(|byte| byte.is_ascii_digit() || b"!@#$%^*+/=~?".contains(byte) || !byte.is_ascii())
}

fn is_placeholder(value: &[u8]) -> bool {
    let masked = value.iter().all(|byte| b"*xX.-_#".contains(byte));
    let template = matches!(value, [b'$' | b'<' | b'{' | b'%' | b'[', ..]);
    let yours = value.len() >= 5 && value[..5].eq_ignore_ascii_case(b"your_")
        || value.starts_with(b"your-");
    let word = PLACEHOLDERS.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
    masked || template || yours || word
}
