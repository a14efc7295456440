//! Keys of the opening handshake, and the proof that somebody has read one (RFC 6455, 1.3).

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;

/// What the standard hangs behind every key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key that nobody used before.
pub fn mint() -> HeaderValue {
    value(&STANDARD.encode(rand::random::<[u8; 16]>()))
}

/// Whether a key is 16 octets in base64 (4.1).
pub fn is_sound(key: &HeaderValue) -> bool {
    STANDARD.decode(key.as_bytes()).is_ok_and(|octets| octets.len() == 16)
}

/// What whoever has read `key` answers.
pub fn proof(key: &HeaderValue) -> HeaderValue {
    let text = [key.as_bytes(), GUID].concat();
    // Not for security: it shows that the other side speaks the protocol.
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
    value(&STANDARD.encode(hash))
}

/// Base64 is made of visible ASCII, so it is a value.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_standard() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert!(is_sound(&key));
        assert_eq!(proof(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_sixteen_octets() {
        assert!(is_sound(&mint()));
        for wrong in ["", "x", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===", "=="] {
            assert!(!is_sound(&HeaderValue::from_static(wrong)), "{wrong}");
        }
        assert!(!is_sound(&value(&STANDARD.encode([255; 17]))));
    }
}
