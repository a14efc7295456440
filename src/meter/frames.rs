//! Amazon's binary event stream (`application/vnd.amazon.eventstream`), at any split.
//!
//! A message is a prelude (total length, length of the headers, CRC-32 of both), the
//! headers, the payload and a CRC-32 of all before it; numbers are big-endian. The payload
//! passes through; the headers are kept until the name of the event is known.
//!
//! # Failure
//! A wrong length or checksum leaves the stream unread from there on: nothing tells where
//! the next message begins.
//!
//! # Limits
//! Headers of at most [`MOST_HEADERS`] bytes, messages of at most [`LONGEST`].

use crc32fast::Hasher;

/// The largest headers that are read, in bytes; Amazon's bound is 128 KiB.
const MOST_HEADERS: usize = 128 * 1024;
/// The longest message, in bytes; Amazon's bound for a payload is 24 MiB.
const LONGEST: u64 = 25 * 1024 * 1024;
const PRELUDE: usize = 12;
const CHECKSUM: u64 = 4;
/// The type of a header's value that is a string.
const STRING: u8 = 7;

/// A part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A message begins; its event, or the kind of its exception.
    Begin(&'a str),
    /// Some of its payload.
    Payload(&'a [u8]),
    /// It has ended, with the byte at this offset of the chunk.
    End(usize),
}

/// Where a binary event stream stands.
#[derive(Default)]
pub struct Frames {
    state: State,
    /// The prelude or the headers, as far as they have come.
    kept: Vec<u8>,
    checksum: Hasher,
}

#[derive(Default, Clone, Copy)]
enum State {
    #[default]
    Prelude,
    /// How many bytes the headers and the payload have.
    Headers(usize, u64),
    /// How many bytes of the payload are missing.
    Payload(u64),
    Checksum,
    Lost,
}

impl Frames {
    /// Whether the stream stands between two messages.
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Prelude) && self.kept.is_empty()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(Part<'_>)) {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let used = match self.state {
                State::Prelude => self.keep(rest, PRELUDE, Self::prelude_came),
                State::Headers(length, payload) => self.keep(rest, length, |frames| {
                    out(Part::Begin(event(&frames.kept).unwrap_or_default()));
                    frames.checksum.update(&frames.kept);
                    frames.state = State::Payload(payload);
                }),
                State::Payload(missing) => Some(self.payload(missing, rest, out)),
                State::Checksum => {
                    let used = self.keep(rest, 4, Self::checksum_came);
                    used.inspect(|used| out(Part::End(at + used)));
                    used
                }
                State::Lost => None,
            };
            let Some(used) = used else { return };
            at += used;
            if at >= bytes.len() && !self.can_go_on() {
                return;
            }
        }
    }

    /// Whether the next step needs no more bytes: empty headers, an empty payload.
    fn can_go_on(&self) -> bool {
        matches!(self.state, State::Headers(0, _) | State::Payload(0))
    }

    /// Collects `length` bytes and then goes on; `None` as long as some are missing.
    fn keep(&mut self, bytes: &[u8], length: usize, came: impl FnOnce(&mut Self)) -> Option<usize> {
        let missing = length.saturating_sub(self.kept.len());
        let taken = bytes.get(..missing.min(bytes.len())).unwrap_or_default();
        self.kept.extend_from_slice(taken);
        if taken.len() < missing {
            return None;
        }
        came(self);
        self.kept.clear();
        Some(taken.len())
    }

    fn prelude_came(&mut self) {
        let [total, headers, checksum] = [0, 4, 8].map(|at| number(&self.kept, at));
        self.checksum = Hasher::new();
        self.checksum.update(self.kept.get(..8).unwrap_or_default());
        let is_sound = self.checksum.clone().finalize() == checksum;
        self.checksum.update(self.kept.get(8..).unwrap_or_default());
        let around = PRELUDE as u64 + u64::from(headers) + CHECKSUM;
        let payload = u64::from(total).checked_sub(around);
        self.state = match (payload, usize::try_from(headers)) {
            (Some(payload), Ok(headers))
                if is_sound && payload <= LONGEST && headers <= MOST_HEADERS =>
            {
                State::Headers(headers, payload)
            }
            _ => State::Lost,
        };
    }

    fn payload(&mut self, missing: u64, bytes: &[u8], out: &mut impl FnMut(Part<'_>)) -> usize {
        let length = usize::try_from(missing).unwrap_or(usize::MAX).min(bytes.len());
        let taken = bytes.get(..length).unwrap_or_default();
        if !taken.is_empty() {
            self.checksum.update(taken);
            out(Part::Payload(taken));
        }
        let missing = missing - length as u64;
        self.state = if missing == 0 { State::Checksum } else { State::Payload(missing) };
        length
    }

    fn checksum_came(&mut self) {
        let is_sound = std::mem::take(&mut self.checksum).finalize() == number(&self.kept, 0);
        self.state = if is_sound { State::Prelude } else { State::Lost };
    }
}

/// The big-endian number at `at`.
fn number(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map(u32::from_be_bytes).unwrap_or_default()
}

/// The event that the headers name, or the exception.
fn event(headers: &[u8]) -> Option<&str> {
    let mut rest = headers;
    while !rest.is_empty() {
        let (name, behind) = take(rest, 1)?;
        let (kind, behind) = behind.split_first()?;
        let width = match kind {
            0 | 1 => 0,
            2 => 1,
            3 => 2,
            4 => 4,
            5 | 8 => 8,
            9 => 16,
            _ => {
                let (value, behind) = take(behind, 2)?;
                if *kind == STRING && matches!(name, b":event-type" | b":exception-type") {
                    return str::from_utf8(value).ok();
                }
                rest = behind;
                continue;
            }
        };
        rest = behind.get(width..)?;
    }
    None
}

/// Takes a text behind its length of `width` bytes.
fn take(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let length = bytes.get(..width)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    bytes.get(width..)?.split_at_checked(length)
}

/// Writes a message with one kind of type and a JSON payload.
pub fn write(out: &mut Vec<u8>, headers: &[(&str, &str)], payload: &[u8]) {
    let begin = out.len();
    out.extend_from_slice(&[0; PRELUDE]);
    for (name, value) in headers {
        out.push(u8::try_from(name.len()).unwrap_or_default());
        out.extend_from_slice(name.as_bytes());
        out.push(STRING);
        out.extend_from_slice(&u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    let length =
        |from: usize, to: usize| u32::try_from(to - from).unwrap_or_default().to_be_bytes();
    let headers = length(begin + PRELUDE, out.len());
    out.extend_from_slice(payload);
    let total = length(begin, out.len() + 4);
    let prelude = [total, headers].concat();
    let checksum = crc32fast::hash(&prelude).to_be_bytes();
    for (place, byte) in out.iter_mut().skip(begin).zip(prelude.iter().chain(&checksum)) {
        *place = *byte;
    }
    let checksum = crc32fast::hash(out.get(begin..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        let headers = [(":message-type", "event"), (":event-type", "messageStart")];
        write(&mut bytes, &headers, b"{\"role\":\"assistant\"}");
        write(&mut bytes, &[], b"");
        write(&mut bytes, &[(":exception-type", "throttlingException")], b"{}");
        bytes
    }

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let (mut frames, mut said) = (Frames::default(), Vec::<String>::new());
        for piece in pieces {
            frames.push(piece, &mut |part| match part {
                Part::Begin(name) => said.push(format!("{name}:")),
                Part::Payload(bytes) => {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    said.last_mut().expect("begun").push_str(&text);
                }
                Part::End(_) => said.last_mut().expect("begun").push(';'),
            });
        }
        said
    }

    #[test]
    fn messages_are_read_at_every_split() {
        let bytes = stream();
        let expected = ["messageStart:{\"role\":\"assistant\"};", ":;", "throttlingException:{};"];
        for at in 0..=bytes.len() {
            let (left, right) = bytes.split_at(at);
            assert_eq!(read(&[left, right]), expected, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), expected);
    }

    #[test]
    fn a_message_has_the_bytes_that_amazon_documents() {
        // The example of an empty message in Amazon's documentation of the encoding.
        let mut bytes = Vec::new();
        write(&mut bytes, &[], b"");
        assert_eq!(
            bytes,
            [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff]
        );
    }

    #[test]
    fn a_wrong_byte_loses_the_rest_and_nothing_else() {
        let good = stream();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            bad.extend_from_slice(&good);
            assert!(read(&[&bad]).len() <= 3, "byte {at}");
        }
        assert_eq!(read(&[&[0xff; 4096]]), Vec::<String>::new());
    }
}
