//! One spelling for every path, before any rule sees it.
//!
//! The policy matches, and the upstream receives, the canonical form: percent
//! escapes of unreserved characters are decoded, the rest get upper-case digits,
//! dot segments and doubled slashes are resolved (RFC 3986, 6.2.2 and 5.2.4).
//!
//! # Errors
//! Escapes that servers are known to read in two ways are refused, not guessed:
//! an encoded slash, backslash or NUL, a doubly encoded escape, path parameters
//! (`;`), control characters, and text that is not UTF-8 once decoded.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("the path does not begin with a slash")]
    Relative,
    /// A `%` without two hex digits.
    #[error("a percent escape is not two hex digits")]
    BadEscape,
    /// A character or escape that servers read in more than one way.
    #[error("the path has a character that servers read in more than one way")]
    Ambiguous,
    /// The decoded path is not UTF-8.
    #[error("the decoded path is not UTF-8")]
    NotUtf8,
}

/// The canonical form of `path`; borrowed when it is canonical already.
///
/// # Errors
/// See the module.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::Relative);
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let unescaped = unescape(path.as_bytes())?;
    decode(&unescaped).ok_or(PathError::NotUtf8)?;
    Ok(Cow::Owned(resolve(&unescaped)))
}

/// A path that needs no work: safe characters, no empty or dot segment.
fn is_plain(path: &[u8]) -> bool {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_~:@!$&'()*+,=./".contains(byte);
    let doubtful = |pair: &[u8]| pair[0] == b'/' && (pair[1] == b'/' || pair[1] == b'.');
    path.iter().all(safe) && !path.windows(2).any(doubtful)
}

/// Decodes what is unreserved, normalises the other escapes, refuses what is ambiguous.
fn unescape(path: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let value = escaped(tail).ok_or(PathError::BadEscape)?;
                rest = &tail[2..];
                push_escape(&mut out, value)?;
            }
            b';' | b'\\' | 0..=0x20 | 0x7f => return Err(PathError::Ambiguous),
            // RFC 3986 has no place for these; upstreams differ in what they make of them.
            0x80.. => push_hex(&mut out, byte),
            _ => out.push(char::from(byte)),
        }
    }
    // Of the result, because the digits may have been escaped themselves: `%25%32%66`.
    if is_escaped_twice(out.as_bytes()) { Err(PathError::Ambiguous) } else { Ok(out) }
}

/// Whether an escaped `%` begins another escape.
fn is_escaped_twice(path: &[u8]) -> bool {
    path.windows(5).any(|five| five.starts_with(b"%25") && escaped(&five[3..]).is_some())
}

fn push_escape(out: &mut String, value: u8) -> Result<(), PathError> {
    match value {
        b'/' | b'\\' | 0..=0x1f | 0x7f => return Err(PathError::Ambiguous),
        b'-' | b'.' | b'_' | b'~' => out.push(char::from(value)),
        _ if value.is_ascii_alphanumeric() => out.push(char::from(value)),
        _ => push_hex(out, value),
    }
    Ok(())
}

fn push_hex(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// The value of the two hex digits that `rest` begins with.
fn escaped(rest: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (high, low) = (digit(*rest.first()?)?, digit(*rest.get(1)?)?);
    Some(high << 4 | low)
}

/// Removes dot segments and empty segments; a trailing slash stays.
fn resolve(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut directory = false;
    for segment in path.split('/').skip(1) {
        directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if directory || out.is_empty() {
        out.push('/');
    }
    out
}

/// A segment of a canonical path with its escapes decoded; `None` if that is not UTF-8.
pub fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            bytes.push(escaped(tail)?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_path_is_borrowed() {
        let path = "/api/user/u-1/behavior/analyze";
        assert!(matches!(canonical(path), Ok(Cow::Borrowed(same)) if same == path));
    }

    #[test]
    fn every_spelling_of_a_path_becomes_one() {
        for (written, wanted) in [
            ("/", "/"),
            ("/a/./b", "/a/b"),
            ("/a/../admin", "/admin"),
            ("/a/%2e%2e/admin", "/admin"),
            ("/%2E./../admin/", "/admin/"),
            ("//a///b", "/a/b"),
            ("/../../x", "/x"),
            ("/%61dmin", "/admin"),
            ("/a%c3%a9", "/a%C3%A9"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/50%25", "/50%25"),
            ("/a%20b", "/a%20b"),
            ("/...", "/..."),
        ] {
            assert_eq!(canonical(written).as_deref(), Ok(wanted), "{written}");
        }
    }

    #[test]
    fn a_canonical_form_is_its_own_canonical_form() {
        for path in ["//a/%7e/../%c3%a9", "/x/%41/./", "/a%25zz"] {
            let once = canonical(path).expect("a good path").into_owned();
            assert_eq!(canonical(&once).as_deref(), Ok(once.as_str()));
        }
    }

    #[test]
    fn what_servers_read_in_two_ways_is_refused() {
        for path in [
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%252e",
            "/a;b=1",
            "/a%0d%0a",
            "/a\u{7f}",
            // Whoever decodes once more reads "/a/b", with digits that were escaped themselves.
            "/a%25%32%66b",
            "/a%252%66b",
            "/a%25%32fb",
        ] {
            assert_eq!(canonical(path), Err(PathError::Ambiguous), "{path}");
        }
        assert_eq!(canonical("/a%2"), Err(PathError::BadEscape));
        assert_eq!(canonical("/%zz"), Err(PathError::BadEscape));
        assert_eq!(canonical("/%c0%ae"), Err(PathError::NotUtf8));
        assert_eq!(canonical("a"), Err(PathError::Relative));
    }
}
