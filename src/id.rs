//! Identifiers that Weir mints.
//!
//! A request's id is 128 random bits; it doubles as the trace id when the
//! caller brought no valid `traceparent`, so that one draw of randomness serves
//! both. Ids from outside are never trusted as ours: they are only logged.

use std::fmt;

use rand::Rng;

/// The id of one exchange: 128 random bits, written as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId([u8; 16]);

/// The id of our own span in a trace: 64 random bits, written as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl RequestId {
    /// Draws a new id, and the span id that goes with it.
    pub fn mint() -> (Self, SpanId) {
        let mut bytes = [0_u8; 24];
        rand::rng().fill_bytes(&mut bytes);
        let (mut id, mut span) = ([0; 16], [0; 8]);
        id.copy_from_slice(&bytes[..16]);
        span.copy_from_slice(&bytes[16..]);
        // All-zero ids are invalid in W3C Trace Context.
        id[0] |= 1;
        span[0] |= 1;
        (Self(id), SpanId(span))
    }

    /// 32 lower-case hex digits.
    pub fn hex(&self) -> [u8; 32] {
        let mut text = [0; 32];
        hex_into(&self.0, &mut text);
        text
    }
}

impl std::str::FromStr for RequestId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let digits = text.as_bytes();
        let mut id = [0; 16];
        if digits.len() != 2 * id.len() {
            return Err(NotAnId);
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| match digit {
                b'0'..=b'9' => Ok(digit - b'0'),
                b'a'..=b'f' => Ok(digit - b'a' + 10),
                _ => Err(NotAnId),
            };
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(id))
    }
}

/// A text that is no id of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 lower-case hex digits")]
pub struct NotAnId;

impl SpanId {
    /// 16 lower-case hex digits.
    pub fn hex(&self) -> [u8; 16] {
        let mut text = [0; 16];
        hex_into(&self.0, &mut text);
        text
    }
}

/// Writes `bytes` as lower-case hex; `text` is twice as long.
fn hex_into(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// `bytes` as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = vec![0; bytes.len() * 2];
    hex_into(bytes, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hex_and_differ() {
        let ((a, span), (b, _)) = (RequestId::mint(), RequestId::mint());
        assert_ne!(a, b);
        assert_eq!(a.to_string().len(), 32);
        assert!(span.hex().iter().all(u8::is_ascii_hexdigit));
    }
}
