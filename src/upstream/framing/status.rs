//! The status line: `HTTP/1.1 200 OK`, byte by byte.

use super::{Fault, MAX_HEAD};

const BEGIN: &[u8; 7] = b"HTTP/1.";

/// A status line as far as it has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StatusLine {
    at: At,
    bytes: usize,
    http11: bool,
    status: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Up to the status: every byte has its place.
    #[default]
    Fixed,
    Reason,
    LineFeed,
}

impl StatusLine {
    /// Takes in bytes up to the line's end. Returns how many, and whether the line is whole.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(usize, bool), Fault> {
        for (index, byte) in bytes.iter().enumerate() {
            match self.at {
                At::Fixed => self.at = self.fixed(*byte)?,
                At::Reason if *byte == b'\r' => self.at = At::LineFeed,
                At::Reason => reason(*byte)?,
                At::LineFeed if *byte == b'\n' => {
                    self.bytes += 1;
                    return Ok((index + 1, true));
                }
                At::LineFeed => return Err(Fault::BareLineEnd),
            }
            self.bytes += 1;
            if self.bytes > MAX_HEAD {
                return Err(Fault::HeadTooLarge);
            }
        }
        Ok((bytes.len(), false))
    }

    /// One byte up to the one behind the status.
    fn fixed(&mut self, byte: u8) -> Result<At, Fault> {
        let proper = match self.bytes {
            place @ 0..7 => byte == BEGIN[place],
            7 => {
                self.http11 = byte == b'1';
                matches!(byte, b'0' | b'1')
            }
            8 => byte == b' ',
            place @ 9..12 => {
                self.status = self.status * 10 + u16::from(byte.wrapping_sub(b'0'));
                byte.is_ascii_digit() && (place > 9 || byte != b'0')
            }
            _ if byte == b'\r' => return Ok(At::LineFeed),
            _ if byte == b' ' => return Ok(At::Reason),
            _ => false,
        };
        if proper { Ok(At::Fixed) } else { Err(Fault::StatusLine) }
    }

    /// How many bytes it has, its end included.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The three digits.
    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// Whether it is of HTTP/1.1, not HTTP/1.0.
    pub(super) const fn is_http11(&self) -> bool {
        self.http11
    }
}

fn reason(byte: u8) -> Result<(), Fault> {
    match byte {
        b'\n' => Err(Fault::BareLineEnd),
        b'\t' | b' '..=b'~' | 0x80.. => Ok(()),
        _ => Err(Fault::Control),
    }
}
