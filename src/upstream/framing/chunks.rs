//! A body in chunks (RFC 9112, 7.1), up to the end of its trailers.
//!
//! Sizes are plain hexadecimal digits. Extensions are let through, for the HTTP
//! library drops them, but only as visible text and [`MAX_EXTENSIONS`] of it.

use super::{
    Fault,
    fields::{Fields, is_value},
};

/// Most bytes of extensions, and of blanks behind sizes, in one answer.
const MAX_EXTENSIONS: usize = 16 << 10;
/// Digits of a size; 16 of them are 64 bits.
const MAX_DIGITS: u8 = 16;

/// A chunked body as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    at: At,
    /// Of the chunk: its size while that is read, then what is missing of it.
    left: u64,
    digits: u8,
    extensions: usize,
}

#[derive(Debug, Default)]
enum At {
    #[default]
    Size,
    /// Behind the digits.
    Blank,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailers(Fields),
}

impl Chunks {
    /// Takes in bytes up to the body's end. Returns how many, and whether it is whole.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(usize, bool), Fault> {
        let mut used = 0;
        while let Some(byte) = bytes.get(used) {
            match &mut self.at {
                At::Size => self.size(*byte)?,
                At::Blank => self.blank(*byte)?,
                At::Extension => self.extension(*byte)?,
                At::SizeLineFeed => self.size_end(*byte)?,
                At::Data => {
                    used += self.data(bytes.len() - used);
                    continue;
                }
                At::DataReturn => self.expect(*byte, b'\r', At::DataLineFeed)?,
                At::DataLineFeed => {
                    self.expect(*byte, b'\n', At::Size)?;
                    (self.left, self.digits) = (0, 0);
                }
                At::Trailers(fields) => {
                    let (more, whole) = fields.push(&bytes[used..])?;
                    return Ok((used + more, whole));
                }
            }
            used += 1;
        }
        Ok((used, false))
    }

    fn size(&mut self, byte: u8) -> Result<(), Fault> {
        let Some(digit) = char::from(byte).to_digit(16) else {
            return if self.digits == 0 { Err(Fault::ChunkSize) } else { self.blank(byte) };
        };
        self.digits += 1;
        if self.digits > MAX_DIGITS {
            return Err(Fault::ChunkSize);
        }
        self.left = self.left << 4 | u64::from(digit);
        Ok(())
    }

    /// What may stand behind a size: blanks, an extension, the line's end.
    fn blank(&mut self, byte: u8) -> Result<(), Fault> {
        self.at = match byte {
            b' ' | b'\t' => At::Blank,
            b';' => At::Extension,
            b'\r' => At::SizeLineFeed,
            b'\n' => return Err(Fault::BareLineEnd),
            _ => return Err(Fault::ChunkSize),
        };
        self.spend(byte)
    }

    fn extension(&mut self, byte: u8) -> Result<(), Fault> {
        match byte {
            b'\r' => self.at = At::SizeLineFeed,
            b'\n' => return Err(Fault::BareLineEnd),
            _ if !is_value(byte) => return Err(Fault::Control),
            _ => {}
        }
        self.spend(byte)
    }

    fn spend(&mut self, byte: u8) -> Result<(), Fault> {
        self.extensions += usize::from(byte != b'\r');
        if self.extensions > MAX_EXTENSIONS { Err(Fault::Extensions) } else { Ok(()) }
    }

    fn size_end(&mut self, byte: u8) -> Result<(), Fault> {
        if byte != b'\n' {
            return Err(Fault::BareLineEnd);
        }
        self.at = if self.left == 0 { At::Trailers(Fields::after(0)) } else { At::Data };
        Ok(())
    }

    fn data(&mut self, there: usize) -> usize {
        let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(there);
        self.left -= taken as u64;
        if self.left == 0 {
            self.at = At::DataReturn;
        }
        taken
    }

    fn expect(&mut self, byte: u8, wanted: u8, next: At) -> Result<(), Fault> {
        if byte != wanted {
            return Err(Fault::ChunkEnd);
        }
        self.at = next;
        Ok(())
    }
}
