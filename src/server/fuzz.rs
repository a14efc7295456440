//! What the fuzz targets drive in this module; see `fuzz/`. Compiled for them alone.
//!
//! Each function takes any bytes and panics when a promise is broken.

use std::time::{Duration, Instant};

use super::{
    proxy_protocol,
    wire::{h1::Inspector, h2::Connection},
};

const MAX_HEAD: usize = 1 << 10;

/// Heads and bodies of HTTP/1 requests: a verdict depends on the bytes, not on how they are cut.
pub fn http1(bytes: &[u8]) {
    let whole = requests(bytes, bytes.len().max(1));
    for piece in [1, 2, 7] {
        assert_eq!(requests(bytes, piece), whole, "in pieces of {piece}");
    }
}

/// How many octets pass, how many heads are among them, and what is wrong in the end.
fn requests(bytes: &[u8], piece: usize) -> (usize, usize, Option<&'static str>) {
    let (mut inspector, mut passed, mut heads) = (Inspector::new(MAX_HEAD), 0, 0);
    let mut end = 0;
    loop {
        if inspector.is_whole() {
            inspector.next();
        }
        let held = &bytes[passed..end];
        match inspector.judge(held) {
            Ok(judged) => {
                assert!(judged.octets <= held.len());
                passed += judged.octets;
                heads += usize::from(judged.head);
                if inspector.is_whole() {
                    continue;
                }
            }
            // How much passed before a fault depends on where the bytes were cut.
            Err(fault) => return (0, 0, Some(fault.reason())),
        }
        if end == bytes.len() {
            return (passed, heads, None);
        }
        end = bytes.len().min(end + piece);
    }
}

/// Frames of HTTP/2, from both sides.
pub fn http2(bytes: &[u8]) {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    let now = Instant::now();
    let verdict = |piece: usize| {
        let mut connection = Connection::new(16 << 10, 240, now);
        let begun = connection.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", now);
        assert!(begun.is_ok(), "a sound preface");
        let verdict = bytes.chunks(piece).find_map(|piece| connection.received(piece, now).err());
        (verdict.map(|violation| format!("{violation:?}")), connection.last_stream())
    };
    assert_eq!(verdict(usize::from(piece).max(1)), verdict(bytes.len().max(1)));
    let mut connection = Connection::new(16 << 10, 240, now);
    let later = now + Duration::from_secs(3);
    for (index, piece) in bytes.chunks(usize::from(piece).max(1)).enumerate() {
        let moved = match index % 2 {
            0 => connection.received(piece, now),
            _ => connection.sent(piece, now),
        };
        let _ = (connection.stuck(later), connection.patience_ends());
        connection.forget(connection.last_stream());
        if moved.is_err() {
            return;
        }
    }
}

/// A header of the PROXY protocol: what is whole stays what it is, whatever follows.
pub fn proxy_protocol(bytes: &[u8]) {
    let whole = proxy_protocol::parse(bytes);
    if let Ok(Some(header)) = &whole {
        assert!(header.length <= bytes.len());
        let alone = proxy_protocol::parse(&bytes[..header.length]);
        let alone = alone.ok().flatten().map(|alone| (alone.length, alone.source));
        assert_eq!(alone, Some((header.length, header.source)));
    }
    if bytes.len() > proxy_protocol::MAX_LENGTH {
        assert!(!matches!(whole, Ok(None)), "it waits for ever");
    }
}
