//! Text on its way out: gathered so that it is told in pieces of a useful size.

/// When a piece is told, in bytes.
const FULL: usize = 4096;
/// What stands for bytes that are not UTF-8.
const REPLACEMENT: &str = "\u{fffd}";

/// Collects up to 4 KiB of text; the space is used again.
#[derive(Default)]
pub struct Piece {
    bytes: Vec<u8>,
}

impl Piece {
    /// Appends, and tells what has become a full piece.
    pub fn add(&mut self, run: &[u8], told: &mut impl FnMut(&str)) {
        for part in run.chunks(FULL) {
            self.bytes.extend_from_slice(part);
            if self.bytes.len() >= FULL {
                self.tell(false, told);
            }
        }
    }

    /// Makes it empty.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Tells what there is. Unless this is the `end` of the text, a character whose rest may follow is kept.
    pub fn tell(&mut self, end: bool, told: &mut impl FnMut(&str)) {
        let mut done = 0;
        for chunk in self.bytes.utf8_chunks() {
            if !chunk.valid().is_empty() {
                told(chunk.valid());
            }
            done += chunk.valid().len();
            let is_last = done + chunk.invalid().len() == self.bytes.len();
            if chunk.invalid().is_empty() || (is_last && !end) {
                break;
            }
            told(REPLACEMENT);
            done += chunk.invalid().len();
        }
        self.bytes.drain(..done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&[u8]]) -> String {
        let (mut piece, mut all) = (Piece::default(), String::new());
        for run in pieces {
            piece.add(run, &mut |text| all.push_str(text));
            piece.tell(false, &mut |text| all.push_str(text));
        }
        piece.tell(true, &mut |text| all.push_str(text));
        all
    }

    #[test]
    fn a_character_is_told_whole_and_what_is_none_is_replaced() {
        let text = "aé€😀".as_bytes();
        for at in 0..=text.len() {
            let (left, right) = text.split_at(at);
            assert_eq!(told(&[left, right]), "aé€😀", "cut at {at}");
        }
        let bad = b"a\xff\xe2\x82b\xe2";
        let whole = String::from_utf8_lossy(bad);
        for at in 0..=bad.len() {
            let (left, right) = bad.split_at(at);
            assert_eq!(told(&[left, right]), whole, "cut at {at}");
        }
    }

    #[test]
    fn a_long_text_is_told_on_the_way() {
        let (mut piece, mut count) = (Piece::default(), 0);
        piece.add(&[b'x'; 10_000], &mut |text| count += text.len());
        assert_eq!((count, piece.bytes.len()), (8_192, 1_808));
    }
}
