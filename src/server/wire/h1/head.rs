//! One HTTP/1 request head, line by line (RFC 9112, 2 to 6).
//!
//! Stricter than the standard wherever two readers could disagree: lines end with
//! CRLF, nothing is folded, blanks stand only where they must, and a message has
//! one length said in one way. What this accepts, hyper reads the same; a test
//! holds that.

use memchr::memchr;

use super::{super::Fault, body::Body};

/// More header lines than hyper is told to parse are never passed to it.
pub(in crate::server) const MAX_FIELDS: usize = 256;
/// The longest header name.
const MAX_NAME: usize = 1 << 10;
/// The longest target that hyper reads.
const MAX_TARGET: usize = (u16::MAX - 1) as usize;
/// A request that no client can send, because its method has no letter: it stands in for one that
/// was not fit to be read, so that its answer is written where and as every other answer is.
pub(in crate::server) const MADE_UP: &[u8] = b"- * HTTP/1.1\r\n\r\n";
/// Its method.
pub(in crate::server) const MADE_UP_METHOD: &str = "-";

/// What is known of a head so far.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Octets that were searched for a line's end, and where the line begins that is not judged yet.
    searched: usize,
    line: usize,
    /// Empty lines before the request line; one is forgiven (RFC 9112, 2.2).
    blank: bool,
    version: Option<Version>,
    fields: usize,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    expects: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

impl Head {
    /// Reads on in `bytes`, which begin where the head begins; returns where it ends, if it does.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        loop {
            let unread = bytes.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr(b'\n', unread) else {
                self.searched = bytes.len();
                return Ok(None);
            };
            let end = self.searched + at;
            let line = bytes.get(self.line..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").ok_or(Fault::BareLf)?;
            (self.searched, self.line) = (end + 1, end + 1);
            match (line.is_empty(), self.version) {
                (true, Some(_)) => return Ok(Some(self.line)),
                (true, None) if !self.blank => self.blank = true,
                (_, None) => self.version = Some(request_line(line)?),
                (false, Some(_)) => self.field(line)?,
            }
        }
    }

    /// How the body that follows is framed (RFC 9112, 6.3).
    pub(super) fn body(&self) -> Result<Body, Fault> {
        if self.chunked && self.length.is_some() {
            return Err(Fault::TwoFramings);
        }
        if self.chunked && self.version != Some(Version::Http11) {
            return Err(Fault::TransferEncoding);
        }
        let length = self.length.unwrap_or(0);
        if self.upgrade && (self.chunked || self.expects || length > 0) {
            return Err(Fault::UpgradeWithBody);
        }
        Ok(if self.chunked { Body::chunked() } else { Body::of(length) })
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.fields += 1;
        if self.fields > MAX_FIELDS {
            return Err(Fault::HeadTooLarge);
        }
        let (name, value) = split(line)?;
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"expect") => self.expects = true,
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            10 if name.eq_ignore_ascii_case(b"connection") => return connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // Twice is once too often, even if they agree: not every reader takes the same.
                let old = self.length.replace(length(value)?);
                return if old.is_some() { Err(Fault::Length) } else { Ok(()) };
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let doubled = std::mem::replace(&mut self.chunked, true);
                if doubled || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::TransferEncoding);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The name and the value, without the blanks around it.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if line.first().is_some_and(|first| is_blank(*first)) {
        return Err(Fault::FoldedField);
    }
    let end = line.iter().position(|octet| !is_token(*octet)).ok_or(Fault::FieldName)?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() || rest.first() != Some(&b':') || name.len() > MAX_NAME {
        return Err(Fault::FieldName);
    }
    let value = rest.get(1..).unwrap_or_default();
    // No early end, so that the compiler can look at many octets at once.
    if !value.iter().fold(true, |sound, octet| sound & is_field(*octet)) {
        return Err(Fault::FieldValue);
    }
    Ok((name, trim(value)))
}

fn request_line(line: &[u8]) -> Result<Version, Fault> {
    let (method, rest) = cut(line).ok_or(Fault::RequestLine)?;
    if !method.first().is_some_and(u8::is_ascii_alphabetic) || !method.iter().all(|o| is_token(*o))
    {
        return Err(Fault::Method);
    }
    let (target, version) = cut(rest).ok_or(Fault::RequestLine)?;
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(Fault::Version),
    };
    if is_target(method, target) { Ok(version) } else { Err(Fault::Target) }
}

/// The four forms of RFC 9112, 3.2; never with a fragment.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    if target.len() > MAX_TARGET {
        return false;
    }
    match target {
        _ if method == b"CONNECT" => http::uri::Authority::try_from(target).is_ok(),
        b"*" => method == b"OPTIONS",
        [b'/', ..] if target.iter().all(|octet| is_plain(*octet)) => true,
        // What browsers write although they should escape it is left to who reads the path.
        _ if memchr(b'#', target).is_some() => false,
        [b'/', ..] => http::Uri::try_from(target).is_ok(),
        _ => http::Uri::try_from(target).is_ok_and(|uri| {
            let web = uri.scheme_str().is_some_and(|scheme| ["http", "https"].contains(&scheme));
            web && uri.authority().is_some()
        }),
    }
}

/// One plain number that a 63-bit integer holds.
fn length(value: &[u8]) -> Result<u64, Fault> {
    let sound = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| sound).ok_or(Fault::Length)?;
    let length: i64 = text.parse().map_err(|_| Fault::Length)?;
    u64::try_from(length).map_err(|_| Fault::Length)
}

/// A caller must not be able to take the framing away from who reads next (CVE-2026-26365).
fn connection(value: &[u8]) -> Result<(), Fault> {
    let frames = |name: &[u8]| {
        [&b"content-length"[..], b"transfer-encoding", b"host"]
            .iter()
            .any(|framing| name.eq_ignore_ascii_case(framing))
    };
    match value.split(|octet| *octet == b',').any(|name| frames(trim(name))) {
        true => Err(Fault::ConnectionOption),
        false => Ok(()),
    }
}

fn cut(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr(b' ', line)?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_blank(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_blank(*last)
    {
        value = rest;
    }
    value
}

const fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// RFC 9110, 5.5, with `obs-text`.
pub(super) const fn is_field(octet: u8) -> bool {
    octet >= b' ' && octet != 0x7f || octet == b'\t'
}

/// RFC 9110, 5.6.2.
pub(super) const fn is_token(octet: u8) -> bool {
    TOKEN[octet as usize]
}

/// What RFC 3986 allows in a path and a query.
const fn is_plain(octet: u8) -> bool {
    PLAIN[octet as usize]
}

static TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
static PLAIN: [bool; 256] = table(b"-._~!$&'()*+,;=:@%/?");

/// Letters, digits and `others`.
const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut octet = 0;
    while octet < 128 {
        table[octet] = (octet as u8).is_ascii_alphanumeric();
        octet += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}
