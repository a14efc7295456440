//! The pack `credentials`: API keys, tokens, private keys and passwords.
//!
//! Tokens are found by the prefix that their issuer gives them; passwords and
//! the like by the name before them, and then only the value is masked.
//!
//! # Limits
//! A secret that has neither prefix nor name passes.

mod assignment;

use super::Secret;
use super::judge::{Site, Verdict, after, border, looks_generated, pass, whole, whole_if};

#[rustfmt::skip]
pub(super) const SECRETS: &[Secret] = &[
    // PEM first: its header would otherwise be cut short by weaker patterns.
    Secret { pattern: PEM, judge: whole },
    Secret { pattern: r"<left>eyJ[\w-]+(?:\.{1,2}[\w-]+)+", judge: jwt },
    Secret { pattern: r"<left>sk-[\w-]+", judge: sk },
    Secret { pattern: r"<left>(?:[sr]k_(?:live|test)|whsec)_\w+", judge: |s| long(s, 14) },
    Secret { pattern: r"<left>A(?:KI|SI|BI|CC)A[A-Z0-9]+", judge: |s| whole_if(tail(s).len() == 20, s) },
    Secret { pattern: r"<left>gh[pousr]_\w+", judge: |s| long(s, 20) },
    Secret { pattern: r"<left>github_pat_\w+", judge: |s| long(s, 24) },
    Secret { pattern: r"<left>gl(?:pat|dt|ptt|cbt|rt|soat|ft|agent)-[\w.-]+", judge: |s| token(s, 16) },
    Secret { pattern: r"<left>x(?:ox[a-z]|app)-[\w-]+", judge: |s| long(s, 15) },
    Secret { pattern: r"\bhooks\.slack\.com/(?:services|workflows)/[\w/-]+", judge: |s| long(s, 40) },
    Secret { pattern: r"<left>AIza[\w-]+", judge: |s| long(s, 35) },
    Secret { pattern: r"<left>(?:hf|npm)_[A-Za-z0-9]+", judge: |s| long(s, 24) },
    Secret { pattern: r"<left>pypi-[\w-]+", judge: |s| token(s, 24) },
    Secret { pattern: r"<left>SG\.[\w-]+\.[\w-]+", judge: |s| token(s, 32) },
    Secret { pattern: r"<left>SK[0-9a-f]+", judge: |s| whole_if(tail(s).len() == 34, s) },
    Secret { pattern: r"<left>do[opr]_v1_[0-9a-f]+", judge: |s| long(s, 32) },
    Secret { pattern: r"<left>weir_[\w-]+", judge: |s| token(s, 20) },
    Secret { pattern: r"<left>(?i:bearer)(?:\s|%20|\+)+[\w.~+/=-]+", judge: bearer },
    Secret { pattern: r"<left>(?i:basic)(?:\s|%20|\+)+[A-Za-z0-9+/]+={0,2}", judge: basic },
    Secret { pattern: assignment::JSON, judge: assignment::quoted },
    Secret { pattern: assignment::NESTED, judge: assignment::quoted },
    Secret { pattern: assignment::PLAIN, judge: assignment::plain },
];

/// From the header on, every byte of the body is part of the match, so that a
/// key that is cut off, or is longer than a stream may hold, is masked too.
const PEM: &str = concat!(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
    r"(?:[A-Za-z0-9+/=\s]|\\+[nrt]|\\/|(?:Proc-Type|DEK-Info|Comment|Version):[^\x22\\\r\n]*)*",
    r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)?",
);

fn tail<'t>(site: Site<'t>) -> &'t [u8] {
    after(site.bytes, b"")
}

fn long(site: Site<'_>, at_least: usize) -> Verdict {
    whole_if(tail(site).len() >= at_least, site)
}

fn token(site: Site<'_>, at_least: usize) -> Verdict {
    whole_if(looks_generated(tail(site), at_least), site)
}

/// `sk-` also begins CSS classes (`sk-fading-circle`) and package names.
fn sk(site: Site<'_>) -> Verdict {
    whole_if(looks_generated(after(site.bytes, b"sk-"), 16), site)
}

/// Three parts or more; two are enough where the third is out of sight.
fn jwt(site: Site<'_>) -> Verdict {
    let dots = site.bytes.iter().filter(|byte| **byte == b'.').count();
    whole_if(site.open || (dots >= 2 && site.bytes.len() >= 24), site)
}

fn bearer(site: Site<'_>) -> Verdict {
    let start = scheme_end(site.bytes);
    let token = &site.bytes[start..];
    let end = super::judge::trim(token);
    let generated = looks_generated(&token[..end], 10) || (end >= 24 && token.contains(&b'.'));
    if generated { Verdict::Mask(start..start + end) } else { Verdict::Pass(start) }
}

fn basic(site: Site<'_>) -> Verdict {
    let start = scheme_end(site.bytes);
    match decodes_to_pair(&site.bytes[start..]) {
        true => Verdict::Mask(start..site.bytes.len()),
        false => pass(site),
    }
}

/// Where the token begins in `Bearer token`.
fn scheme_end(bytes: &[u8]) -> usize {
    let mut at = border(bytes);
    at += bytes[at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    loop {
        match &bytes[at..] {
            [b'%', b'2', b'0', ..] => at += 3,
            [b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c | b'+', ..] => at += 1,
            _ => return at,
        }
    }
}

/// Says whether this is the base64 of printable text with a colon: `user:password`.
fn decodes_to_pair(base64: &[u8]) -> bool {
    let (mut bits, mut filled, mut colon) = (0u32, 0, false);
    for symbol in base64.iter().take_while(|byte| **byte != b'=') {
        bits = (bits << 6 | sextet(*symbol)) & 0x3fff;
        filled += 6;
        if filled >= 8 {
            filled -= 8;
            let byte = (bits >> filled) as u8;
            if byte < 0x20 || byte == 0x7f {
                return false;
            }
            colon |= byte == b':';
        }
    }
    colon && base64.len() >= 4
}

fn sextet(symbol: u8) -> u32 {
    match symbol {
        b'A'..=b'Z' => u32::from(symbol - b'A'),
        b'a'..=b'z' => u32::from(symbol - b'a') + 26,
        b'0'..=b'9' => u32::from(symbol - b'0') + 52,
        b'+' => 62,
        _ => 63,
    }
}
