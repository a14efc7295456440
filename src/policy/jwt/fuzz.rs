//! What the fuzz targets drive in this module; see `fuzz/`. Compiled for them alone.

use super::signed::Signed;

/// A token as a stranger may write it: it parses or it does not.
pub fn token(bytes: &[u8]) {
    drop(Signed::parse(bytes));
    // Most bytes are no base64; claims and header alone get further.
    let text = |part: &[u8]| {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        URL_SAFE_NO_PAD.encode(part)
    };
    let mut parts = bytes.splitn(2, |byte| *byte == b'.');
    let (header, claims) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let token = format!("{}.{}.AAAA", text(header), text(claims));
    drop(Signed::parse(token.as_bytes()));
}
