//! The pack `credentials`: API keys, tokens, private keys and passwords.
//!
//! Tokens are found by the prefix that their issuer gives them; passwords and
//! the like by the name before them, and then only the value is masked.
//!
//! # Limits
//! A secret that has neither prefix nor name passes.

mod assignment;

use super::Secret;
use super::judge::{Site, Verdict, after, border, looks_generated, whole, whole_if};

/// The rest of a token.
const WORD: &str = r"\w+";
const DASHED: &str = r"[\w-]+";
const DOTTED: &str = r"[\w.-]+";

#[rustfmt::skip]
pub(super) const SECRETS: &[Secret] = &[
    Secret::inside(&["-----BEGIN "], PEM, whole),
    Secret::new(&["eyJ"], r"[\w-]+(?:\.{1,2}[\w-]+)+", jwt),
    Secret::new(&["sk-"], DASHED, |s| generated(s, b"sk-", 16)),
    Secret::new(&["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"], WORD, |s| long(s, 14)),
    Secret::new(&["AKIA", "ASIA", "ABIA", "ACCA"], WORD, aws),
    Secret::new(&["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"], WORD, |s| long(s, 20)),
    Secret::new(&["glpat-", "gldt-", "glptt-", "glcbt-", "glrt-", "glsoat-", "glft-", "glagent-"], DOTTED, |s| generated(s, b"", 16)),
    Secret::new(&["xoxa-", "xoxb-", "xoxc-", "xoxd-", "xoxe-", "xoxe.xox", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xapp-"], DOTTED, |s| long(s, 15)),
    Secret::inside(&["hooks.slack.com/services/", "hooks.slack.com/workflows/"], r"[\w/-]+", |s| long(s, 40)),
    Secret::new(&["AIza"], DASHED, |s| long(s, 35)),
    Secret::new(&["hf_"], WORD, |s| generated(s, b"hf_", 20)),
    Secret::new(&["npm_"], WORD, |s| generated(s, b"npm_", 20)),
    Secret::new(&["pypi-"], DASHED, |s| generated(s, b"pypi-", 20)),
    Secret::new(&["SG."], r"[\w-]+\.[\w-]+", |s| generated(s, b"SG.", 28)),
    Secret::new(TWILIO, WORD, twilio),
    Secret::new(&["dop_v1_", "doo_v1_", "dor_v1_"], WORD, |s| long(s, 32)),
    Secret::new(&["weir_"], DASHED, |s| generated(s, b"weir_", 16)),
    Secret::new(&["bearer"], r"(?:\s|%20|\+)+[\w.~+/=-]+", bearer).any_case(),
    Secret::new(&["basic"], r"(?:\s|%20|\+)+[A-Za-z0-9+/]+={0,2}", basic).any_case(),
    Secret::inside(assignment::HEADS, assignment::TAIL, assignment::value).any_case(),
];

/// Account and key SIDs: `SK` and 32 hexadecimal digits.
#[rustfmt::skip]
const TWILIO: &[&str] = &["SK0", "SK1", "SK2", "SK3", "SK4", "SK5", "SK6", "SK7", "SK8", "SK9", "SKa", "SKb", "SKc", "SKd", "SKe", "SKf"];

/// From the header on, every byte of the body is part of the match, so that a
/// key that is cut off, or is longer than a stream may hold, is masked too.
const PEM: &str = concat!(
    r"[A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
    r"(?:[A-Za-z0-9+/=\s]|\\+[nrt]|\\/|(?:Proc-Type|DEK-Info|Comment|Version):[^\x22\\\r\n]*)*",
    r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)?",
);

fn tail<'t>(site: Site<'t>) -> &'t [u8] {
    after(site.bytes, b"")
}

fn long(site: Site<'_>, at_least: usize) -> Verdict {
    whole_if(tail(site).len() >= at_least, site)
}

/// Prefixes are also names of other things: `sk-fading-circle`, `weir_requests_total`.
fn generated(site: Site<'_>, prefix: &[u8], at_least: usize) -> Verdict {
    whole_if(looks_generated(after(site.bytes, prefix), at_least), site)
}

fn aws(site: Site<'_>) -> Verdict {
    let id = tail(site);
    let plain = id.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    whole_if(plain && id.len() == 20, site)
}

fn twilio(site: Site<'_>) -> Verdict {
    let sid = tail(site);
    whole_if(sid.len() == 34 && sid[2..].iter().all(u8::is_ascii_hexdigit), site)
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
        false => Verdict::Pass(start),
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
