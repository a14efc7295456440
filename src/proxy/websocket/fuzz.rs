//! What the fuzz targets drive in this module; see `fuzz/`. Compiled for them alone.

use super::frame::{Reader, Sender, Step};

/// Frames of a WebSocket: any split of the bytes gives the same verdict.
///
/// # Panics
/// When that promise is broken.
pub fn websocket(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let sender = if first & 1 == 0 { Sender::Client } else { Sender::Server };
    let whole = verdict(bytes, sender, bytes.len().max(1));
    for piece in [1, 2, 5] {
        assert_eq!(verdict(bytes, sender, piece), whole, "in pieces of {piece}");
    }
}

/// How many bytes pass, in how many frames, and what is wrong.
fn verdict(bytes: &[u8], sender: Sender, piece: usize) -> (usize, usize, Option<String>) {
    let mut reader = Reader::new(sender, 1_000);
    let (mut passed, mut frames, mut end) = (0, 0, 0);
    loop {
        match reader.next(&bytes[passed..end]) {
            Ok(Step::More) if end == bytes.len() => return (passed, frames, None),
            Ok(Step::More) => end = bytes.len().min(end + piece),
            Ok(step) => {
                assert!(step.size() > 0 && passed + step.size() <= end);
                frames += usize::from(matches!(step, Step::Head(_)));
                reader.pass(&step);
                passed += step.size();
            }
            Err(fault) => return (passed, frames, Some(fault.to_string())),
        }
    }
}
