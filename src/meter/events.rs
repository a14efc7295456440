//! Cuts server-sent events (WHATWG HTML, 9.2) at any split, without keeping them.
//!
//! # Failure
//! None: a line that is no field is passed over.
//!
//! # Limits
//! Keeps the position within a line, and of a line's beginning at most five bytes in count.

use memchr::memchr2;

/// The field that holds the documents.
const DATA: &[u8] = b"data:";
/// U+FEFF, which may stand before the first line.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Some of the data of the event under way; each of its lines ends with a line feed.
    Data(&'a [u8]),
    /// The event has ended, with the byte at this offset of the chunk.
    End(usize),
}

/// Where a stream of events stands.
pub struct Events {
    line: Line,
    /// Whether the last byte was a CR, so that an LF behind it ends nothing.
    was_cr: bool,
    /// Whether the event under way has had a line.
    has_lines: bool,
}

/// Where a line stands.
enum Line {
    /// This many bytes of the mark that a stream may begin with.
    Mark(usize),
    /// This many bytes of `data:`, and nothing else, have come.
    Name(usize),
    /// Behind `data:`, where one space does not count.
    Space,
    Data,
    Other,
}

impl Default for Events {
    fn default() -> Self {
        Self { line: Line::Mark(0), was_cr: false, has_lines: false }
    }
}

impl Events {
    /// Whether the stream stands between two events.
    pub fn is_between(&self) -> bool {
        !self.has_lines && matches!(self.line, Line::Name(0) | Line::Mark(0))
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(Part<'_>)) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if std::mem::take(&mut self.was_cr) && rest.first() == Some(&b'\n') {
                at += 1;
                if self.is_between() {
                    out(Part::End(at));
                }
                continue;
            }
            let end = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            self.inside(rest.get(..end).unwrap_or_default(), out);
            at += end;
            if let Some(byte) = rest.get(end) {
                at += 1;
                self.was_cr = *byte == b'\r';
                self.line_ended(at, out);
            }
        }
    }

    /// Takes bytes of one line.
    fn inside(&mut self, mut bytes: &[u8], out: &mut impl FnMut(Part<'_>)) {
        while let Some(byte) = bytes.first() {
            let step = match self.line {
                Line::Mark(had) if MARK.get(had) == Some(byte) => Some(Line::Mark(had + 1)),
                Line::Mark(0 | 3) => {
                    self.line = Line::Name(0);
                    continue;
                }
                Line::Name(had) if DATA.get(had) == Some(byte) => {
                    Some(if had + 1 == DATA.len() { Line::Space } else { Line::Name(had + 1) })
                }
                Line::Space if *byte == b' ' => Some(Line::Data),
                Line::Space | Line::Data => {
                    self.line = Line::Data;
                    out(Part::Data(bytes));
                    None
                }
                Line::Mark(_) | Line::Name(_) | Line::Other => {
                    self.line = Line::Other;
                    None
                }
            };
            let Some(line) = step else { return };
            self.line = line;
            bytes = bytes.get(1..).unwrap_or_default();
        }
    }

    fn line_ended(&mut self, at: usize, out: &mut impl FnMut(Part<'_>)) {
        match std::mem::replace(&mut self.line, Line::Name(0)) {
            Line::Name(0) | Line::Mark(0 | 3) => {
                self.has_lines = false;
                out(Part::End(at));
            }
            Line::Space | Line::Data => {
                self.has_lines = true;
                out(Part::Data(b"\n"));
            }
            _ => self.has_lines = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let (mut events, mut all, mut now) = (Events::default(), Vec::new(), Vec::new());
        for piece in pieces {
            events.push(piece, &mut |part| match part {
                Part::Data(data) => now.extend_from_slice(data),
                Part::End(_) => {
                    let data = String::from_utf8(std::mem::take(&mut now)).expect("UTF-8");
                    // An LF behind a CR ends the same event once more.
                    if !data.is_empty() {
                        all.push(data);
                    }
                }
            });
        }
        all
    }

    #[test]
    fn data_is_found_at_every_split_and_with_every_line_end() {
        let text = ": hello\n\nevent: x\ndata: a\ndata:b\nid: 1\ndatax: no\ndata\n\n\ndata:  c\n\n: end\n\ndata: cut";
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("\u{feff}{}", text.replace('\n', end));
            let bytes = text.as_bytes();
            for at in 0..=bytes.len() {
                let (left, right) = bytes.split_at(at);
                assert_eq!(events(&[left, right]), ["a\nb\n", " c\n"], "{end:?} cut at {at}");
            }
        }
    }

    #[test]
    fn an_event_ends_behind_the_whole_of_its_line_end() {
        for (text, end) in
            [("data: a\n\ndata", 9), ("data: a\r\n\r\ndata", 11), ("data: a\r\rdata", 9)]
        {
            let (mut events, mut ends) = (Events::default(), Vec::new());
            events.push(text.as_bytes(), &mut |part| {
                if let Part::End(at) = part {
                    ends.push(at);
                }
            });
            assert_eq!(ends.last(), Some(&end), "{text:?}");
            assert!(!events.is_between());
        }
    }
}
