//! Frames that Weir makes itself: closes, and texts that were cleaned.

use bytes::{BufMut, BytesMut};

use super::frame::Sender;

/// The longest reason that fits into a control frame beside its status code (RFC 6455, 5.5).
const MAX_REASON: usize = 123;

/// Why a WebSocket is closed, in the words of RFC 6455, 7.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The status code.
    pub code: u16,
    /// For people; made of constants, names and numbers of the policy.
    pub reason: String,
}

impl Close {
    /// This side leaves.
    pub const LEAVING: u16 = 1001;
    /// A frame broke the protocol.
    pub const PROTOCOL: u16 = 1002;
    /// The policy does not allow it.
    pub const POLICY: u16 = 1008;
    /// A message is too large.
    pub const TOO_LARGE: u16 = 1009;
    /// Something broke behind us.
    pub const BROKEN: u16 = 1011;

    /// A close with a reason, which is cut to what fits.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        Self { code, reason }
    }

    /// The frame, as `sender` must send it.
    pub fn frame(&self, sender: Sender) -> BytesMut {
        let mut payload = self.code.to_be_bytes().to_vec();
        payload.extend_from_slice(self.reason.as_bytes());
        let mut out = BytesMut::new();
        match sender {
            Sender::Server => put(&mut out, CLOSE, &payload),
            Sender::Client => put_masked(&mut out, CLOSE, &payload, rand::random()),
        }
        out
    }
}

const CLOSE: u8 = 8;
const TEXT: u8 = 1;

/// Appends a whole text message of a server.
pub fn put_text(out: &mut BytesMut, text: &[u8]) {
    put(out, TEXT, text);
}

/// Appends a close frame of a server whose payload is at hand. A payload that has grown too long is cut.
pub fn put_close(out: &mut BytesMut, payload: &[u8]) {
    let cut = payload.len().min(2 + MAX_REASON);
    // Text is cut between characters; a status code is never cut.
    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
    let fits = reason.floor_char_boundary(cut.saturating_sub(2));
    match payload.get(..2) {
        Some(code) => put(out, CLOSE, &[code, reason[..fits].as_bytes()].concat()),
        None => put(out, CLOSE, payload),
    }
}

fn put(out: &mut BytesMut, opcode: u8, payload: &[u8]) {
    put_head(out, opcode, 0, payload.len());
    out.extend_from_slice(payload);
}

fn put_masked(out: &mut BytesMut, opcode: u8, payload: &[u8], key: [u8; 4]) {
    put_head(out, opcode, 0x80, payload.len());
    out.extend_from_slice(&key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// A header in its shortest form (5.2), without the masking key.
fn put_head(out: &mut BytesMut, opcode: u8, mask: u8, length: usize) {
    out.put_u8(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.put_u8(mask | short),
        (_, Ok(long)) => {
            out.put_u8(mask | 126);
            out.put_u16(long);
        }
        _ => {
            out.put_u8(mask | 127);
            out.put_u64(length as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Opcode, Reader, Step};
    use super::*;

    fn size(sender: Sender, frame: &[u8]) -> (Opcode, u64) {
        let mut reader = Reader::new(sender, 1 << 20);
        let step = reader.next(frame).expect("a sound frame");
        let Step::Head(head) = step else { panic!("no header: {step:?}") };
        reader.pass(&step);
        assert_eq!(frame.len() as u64, head.length as u64 + head.payload);
        (head.opcode, head.payload)
    }

    #[test]
    fn a_close_is_sound_for_either_side() {
        let close = Close::new(Close::POLICY, "é".repeat(100));
        assert_eq!(size(Sender::Server, &close.frame(Sender::Server)), (Opcode::Close, 2 + 122));
        let frame = close.frame(Sender::Client);
        assert_eq!(size(Sender::Client, &frame), (Opcode::Close, 2 + 122));
        assert_eq!([frame[6] ^ frame[2], frame[7] ^ frame[3]], 1008_u16.to_be_bytes());
    }

    #[test]
    fn a_text_of_any_length_has_the_shortest_header() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let mut out = BytesMut::new();
            put_text(&mut out, &vec![b'x'; length]);
            assert_eq!(size(Sender::Server, &out), (Opcode::Text, length as u64));
        }
    }

    #[test]
    fn a_reason_that_has_grown_is_cut() {
        let mut out = BytesMut::new();
        put_close(&mut out, &[&[3, 232][..], "é".repeat(80).as_bytes()].concat());
        assert_eq!(size(Sender::Server, &out), (Opcode::Close, 2 + 122));
        for payload in [&b""[..], &[3], &[3, 232]] {
            let mut out = BytesMut::new();
            put_close(&mut out, payload);
            assert_eq!(out[2..], *payload);
        }
    }
}
