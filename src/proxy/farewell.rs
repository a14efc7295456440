//! How a streamed answer is ended before its upstream ends it: so that its reader knows.
//!
//! A reader of server-sent events gets one more event, `error`, whose data is the
//! refusal in the caller's dialect: the official SDKs raise it. It may only stand
//! behind a whole event, or it would complete a cut one. A caller of gRPC gets
//! trailers with the status. Anything else has no room for words and is cut.

use bytes::Bytes;
use http::HeaderMap;

use super::{exchange::Exchange, grpc, refusal::Refusal};

/// What follows the lines of every event: one of three line ends, twice (the HTML standard, 9.2.5).
const ENDS: [&[u8]; 3] = [b"\n\n", b"\r\n\r\n", b"\r\r"];

/// Whether an answer of events stands between two of them.
#[derive(Clone, Copy, Debug)]
pub struct Border {
    /// The last bytes that passed.
    last: [u8; 4],
}

impl Border {
    /// Nothing has passed yet.
    pub const fn new() -> Self {
        Self { last: *b"\n\n\n\n" }
    }

    /// These bytes passed.
    pub fn pass(&mut self, bytes: &[u8]) {
        let tail = &bytes[bytes.len().saturating_sub(4)..];
        self.last.rotate_left(tail.len() % 4);
        self.last[4 - tail.len()..].copy_from_slice(tail);
    }

    /// Whether an event may begin here.
    pub fn is_here(self) -> bool {
        ENDS.iter().any(|end| self.last.ends_with(end))
    }
}

/// What a reader of events is told.
pub fn event(exchange: &Exchange, refusal: &Refusal) -> Bytes {
    let mut event = b"event: error\ndata: ".to_vec();
    // JSON without line breaks: one line of data.
    event.extend(refusal.body(exchange.dialect(), exchange.id_text()));
    event.extend(b"\n\n");
    event.into()
}

/// What a caller of gRPC is told.
pub fn trailers(refusal: &Refusal) -> HeaderMap {
    let mut fields = HeaderMap::new();
    grpc::refuse(refusal, &mut fields);
    fields.remove(http::header::CONTENT_TYPE);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_begin_behind_a_whole_one_only() {
        for (text, is) in [
            ("", true),
            ("data: 1\n\n", true),
            ("data: 1\r\n\r\n", true),
            ("data: 1\r\r", true),
            (": comment\n\n", true),
            ("data: 1", false),
            ("data: 1\n", false),
            ("data: 1\r\n", false),
            ("data: 1\n\nd", false),
        ] {
            for piece in 1..=text.len().max(1) {
                let mut border = Border::new();
                text.as_bytes().chunks(piece).for_each(|piece| border.pass(piece));
                assert_eq!(border.is_here(), is, "{text:?} in pieces of {piece}");
            }
        }
    }
}
