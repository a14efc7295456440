//! What the fuzz targets drive in this module; see `fuzz/`. Compiled for them alone.

use super::framing::{Asked, Greeting, Inspector};

const ALL: [Asked; 5] =
    [Asked::Nothing, Asked::Ordinary, Asked::Head, Asked::Connect, Asked::Upgrade];

/// An upstream's answer: any split of the bytes gives the same verdict.
///
/// # Panics
/// When that promise is broken.
pub fn answer(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let asked = ALL[usize::from(first) % ALL.len()];
    let whole = verdict(bytes, asked, bytes.len().max(1));
    for piece in [1, 3, 16] {
        assert_eq!(verdict(bytes, asked, piece), whole, "in pieces of {piece}");
    }
    let greeted = |piece: usize| {
        let mut greeting = Greeting::default();
        let seen = bytes.chunks(piece).map(|piece| greeting.inspect(piece));
        seen.take_while(|seen| matches!(seen, Ok(false))).count() * piece >= bytes.len()
    };
    let _ = greeted(1);
}

/// How many bytes belong to the answer, whether it ended, and what is wrong.
fn verdict(bytes: &[u8], asked: Asked, piece: usize) -> (bool, usize, Option<String>) {
    let (mut inspector, mut passed) = (Inspector::default(), 0);
    for piece in bytes.chunks(piece) {
        match inspector.inspect(piece, asked) {
            Ok(judged) => {
                assert!(judged.bytes <= piece.len());
                passed += judged.bytes;
                if judged.ended {
                    return (true, passed, None);
                }
            }
            // What passed before a fault depends on where the bytes were cut.
            Err(fault) => return (false, 0, Some(fault.to_string())),
        }
    }
    (false, passed, None)
}
