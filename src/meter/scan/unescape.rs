//! Takes JSON's escapes out of a string, at any split (RFC 8259, 7).

use memchr::memchr2;

/// What stands for half of a surrogate pair.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// The inside of one string, up to its closing quote.
#[derive(Default)]
pub struct Unescape {
    state: State,
    /// The first half of a pair (D800–DBFF) whose second may follow.
    high: Option<u16>,
}

#[derive(Default, Clone, Copy)]
enum State {
    #[default]
    Plain,
    Backslash,
    /// Behind `\u`: how many digits are missing, and those that came.
    Hex(u8, u16),
}

impl Unescape {
    /// Gives `out` the text; says how many bytes were taken and whether the string has ended.
    pub fn pass(&mut self, bytes: &[u8], out: &mut impl FnMut(&[u8])) -> (usize, bool) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (used, has_ended) = match self.state {
                State::Plain => self.plain(rest, out),
                State::Backslash => (self.backslash(rest, out), false),
                State::Hex(missing, value) => (self.hex(missing, value, rest, out), false),
            };
            at += used;
            if has_ended {
                return (at, true);
            }
        }
        (at, false)
    }

    fn plain(&mut self, bytes: &[u8], out: &mut impl FnMut(&[u8])) -> (usize, bool) {
        let end = memchr2(b'"', b'\\', bytes);
        let run = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if !run.is_empty() {
            self.drop_half(out);
            out(run);
        }
        let Some(end) = end else { return (bytes.len(), false) };
        let is_quote = bytes.get(end) == Some(&b'"');
        if is_quote {
            self.drop_half(out);
        } else {
            self.state = State::Backslash;
        }
        (end + 1, is_quote)
    }

    fn backslash(&mut self, bytes: &[u8], out: &mut impl FnMut(&[u8])) -> usize {
        let Some(byte) = bytes.first() else { return 0 };
        self.state = State::Plain;
        if *byte == b'u' {
            self.state = State::Hex(4, 0);
            return 1;
        }
        self.drop_half(out);
        out(match byte {
            b'n' => b"\n",
            b't' => b"\t",
            b'r' => b"\r",
            b'b' => b"\x08",
            b'f' => b"\x0c",
            other => std::slice::from_ref(other),
        });
        1
    }

    fn hex(&mut self, missing: u8, value: u16, bytes: &[u8], out: &mut impl FnMut(&[u8])) -> usize {
        let digit = bytes.first().and_then(|byte| char::from(*byte).to_digit(16));
        let Some(digit) = digit.and_then(|digit| u16::try_from(digit).ok()) else {
            // Not an escape after all: what follows is read as it stands.
            self.state = State::Plain;
            self.drop_half(out);
            out(REPLACEMENT);
            return 0;
        };
        let value = value << 4 | digit;
        self.state = if missing > 1 { State::Hex(missing - 1, value) } else { State::Plain };
        if missing == 1 {
            self.unit(value, out);
        }
        1
    }

    /// Takes a unit of UTF-16.
    fn unit(&mut self, unit: u16, out: &mut impl FnMut(&[u8])) {
        let pair = self.high.and_then(|high| char::decode_utf16([high, unit]).next());
        if let Some(Ok(character)) = pair {
            self.high = None;
            return out(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self.drop_half(out);
        match char::from_u32(u32::from(unit)) {
            Some(character) => out(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None if unit < 0xdc00 => self.high = Some(unit),
            None => out(REPLACEMENT),
        }
    }

    fn drop_half(&mut self, out: &mut impl FnMut(&[u8])) {
        if self.high.take().is_some() {
            out(REPLACEMENT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: &[&str]) -> (String, bool) {
        let (mut unescape, mut all, mut has_ended) = (Unescape::default(), Vec::new(), false);
        for piece in pieces {
            let (used, ended) =
                unescape.pass(piece.as_bytes(), &mut |run| all.extend_from_slice(run));
            assert!(used == piece.len() || ended);
            has_ended |= ended;
        }
        (String::from_utf8(all).expect("UTF-8"), has_ended)
    }

    #[test]
    fn escapes_are_taken_out_at_every_split() {
        let expected = [
            (r#"plain""#, "plain"),
            (r#"a\n\t\r\b\f\"\\\/b""#, "a\n\t\r\u{8}\u{c}\"\\/b"),
            (r#"\u00e9\u20AC\ud83d\ude00!""#, "é€😀!"),
            (r#"\ud83dx\ude00\ud83d\n\ud83d\ud83d\ude00\ud83d""#, "�x��\n�😀�"),
            (r#"\u12xyz""#, "�xyz"),
            (r#"\ud83d\u12xyz""#, "��xyz"),
        ];
        for (written, meant) in expected {
            for at in (0..=written.len()).filter(|at| written.is_char_boundary(*at)) {
                let (left, right) = written.split_at(at);
                assert_eq!(text(&[left, right]), (meant.to_owned(), true), "{written} at {at}");
            }
        }
    }
}
