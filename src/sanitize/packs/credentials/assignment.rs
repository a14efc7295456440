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

/// Names that announce a secret; also the last part of a longer name.
#[rustfmt::skip]
pub(super) const HEADS: &[&str] = &[
    "password", "passwd", "passphrase", "pwd", "secret", "api_key", "api-key", "apikey",
    "access_token", "access-token", "accesstoken", "auth_token", "auth-token", "authtoken", "refresh_token", "refreshtoken",
    "session_token", "sessiontoken", "id_token", "account_key", "accountkey", "access_key", "accesskey", "encryption_key", "signing_key",
];

/// A sign of assignment and a value: in quotes (which may hold escapes), in
/// escaped or single quotes, or bare.
pub(super) const TAIL: &str = concat!(
    r"(?i:[_-]?(?:access[_-]?)?key)?<quote>\s*[:=](?:",
    r"[=>]?[ \t]*\x22(?:[^\x22\\\r\n]|\\[^\r\n])+",
    r"|[=>]?[ \t]*(?:\\+\x22|\\*')[^\x22'\\\r\n]+",
    r"|[=>]?[ \t]*[^\s\x22'`\\,;&<>(){}\[\]|]+[(\[),]?)",
);

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

/// Judges a value by how it stands there.
pub(super) fn value(site: Site<'_>) -> Verdict {
    let start = value_start(site.bytes);
    let value = &site.bytes[start..];
    let part = match site.bytes[start - 1] {
        b'"' | b'\'' => quoted(&site.bytes[..start], value),
        _ => bare(&site.bytes[..start], value),
    };
    match part {
        Some(length) if !is_placeholder(&value[..length]) => Verdict::Mask(start..start + length),
        _ => Verdict::Pass(start),
    }
}

/// How much of a quoted value to mask.
fn quoted(head: &[u8], value: &[u8]) -> Option<usize> {
    let phrase = head.to_ascii_lowercase().starts_with(b"passphrase");
    let prose = value.contains(&b' ') && !phrase;
    // `"password="` ended a JSON string: what follows is no value.
    let outside = matches!(value, [b',' | b'}' | b']' | b':', ..]);
    (!prose && !outside).then_some(value.len())
}

/// How much of a bare value to mask.
fn bare(head: &[u8], value: &[u8]) -> Option<usize> {
    let (value, follow) = split_follow(value);
    let loose = head.iter().any(|byte| b" \t:".contains(byte));
    let letters = value.iter().any(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii());
    let secret = match follow {
        Some(b'(' | b'[') => false,
        _ if is_place(value) => false,
        // `Password: 8-64 characters`, `password === …`
        _ if !letters && (loose || value.len() < 4) => value.len() >= 6,
        _ if has_symbol(value) => true,
        Some(_) => false,
        None => !loose && value.len() >= 6 && value.iter().all(u8::is_ascii_alphabetic),
    };
    secret.then_some(value.len())
}

/// A file that holds the secret, or a page about it.
fn is_place(value: &[u8]) -> bool {
    let beginnings: [&[u8]; 5] = [b"/", b"./", b"~", b"http:", b"https:"];
    beginnings.into_iter().any(|beginning| value.starts_with(beginning))
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
