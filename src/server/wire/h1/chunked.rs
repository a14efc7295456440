//! The chunked coding (RFC 9112, 7.1), octet by octet around the data.
//!
//! # Limits
//! A size has at most 15 digits; all extensions of a body together have at most
//! [`MAX_EXTENSIONS`] octets, its trailers [`MAX_TRAILERS`] octets and
//! [`MAX_TRAILER_FIELDS`] lines.

use super::{
    super::Fault,
    head::{is_field, is_token},
};

const MAX_DIGITS: u8 = 15;
const MAX_EXTENSIONS: u16 = 1 << 10;
const MAX_TRAILERS: u16 = 8 << 10;
const MAX_TRAILER_FIELDS: u8 = 64;

/// Where in a chunked body the bytes are.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    at: At,
    /// The size that is being read, then what is left of the chunk.
    size: u64,
    digits: u8,
    extensions: u16,
    trailers: u16,
    fields: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Size,
    Extension,
    Quoted,
    /// Behind a backslash in a quoted string.
    Escaped,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Where a trailer or the end begins.
    Line,
    Name,
    Value,
    LineLf,
    EndLf,
    Over,
}

impl Chunked {
    /// Reads on; returns how much of `bytes` belongs to the body.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut rest = bytes;
        while self.at != At::Over
            && let [octet, behind @ ..] = rest
        {
            if self.at == At::Data {
                let left = usize::try_from(self.size).unwrap_or(usize::MAX);
                let (data, behind) = rest.split_at(left.min(rest.len()));
                self.size -= data.len() as u64;
                if self.size == 0 {
                    self.at = At::DataCr;
                }
                rest = behind;
            } else {
                self.at = self.step(*octet)?;
                rest = behind;
            }
        }
        Ok(bytes.len() - rest.len())
    }

    pub(super) fn is_over(&self) -> bool {
        self.at == At::Over
    }

    fn step(&mut self, octet: u8) -> Result<At, Fault> {
        match self.at {
            At::Size => self.size(octet),
            At::Extension | At::Quoted | At::Escaped => self.extension(octet),
            At::SizeLf => match (octet, std::mem::take(&mut self.digits), self.size) {
                (b'\n', _, 0) => Ok(At::Line),
                (b'\n', ..) => Ok(At::Data),
                _ => Err(Fault::ChunkSize),
            },
            At::DataCr if octet == b'\r' => Ok(At::DataLf),
            At::DataLf if octet == b'\n' => Ok(At::Size),
            At::EndLf if octet == b'\n' => Ok(At::Over),
            At::DataCr | At::DataLf | At::EndLf => Err(Fault::ChunkEnd),
            At::Line | At::Name | At::Value | At::LineLf => self.trailer(octet),
            At::Data | At::Over => Ok(self.at),
        }
    }

    fn size(&mut self, octet: u8) -> Result<At, Fault> {
        match (char::from(octet).to_digit(16), octet) {
            (Some(digit), _) if self.digits < MAX_DIGITS => {
                self.digits += 1;
                self.size = (self.size << 4) | u64::from(digit);
                Ok(At::Size)
            }
            (None, b'\r') if self.digits > 0 => Ok(At::SizeLf),
            (None, b';') if self.digits > 0 => Ok(At::Extension),
            _ => Err(Fault::ChunkSize),
        }
    }

    /// Extensions are read over, but a line end inside of quotes is none: readers disagree there.
    fn extension(&mut self, octet: u8) -> Result<At, Fault> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            return Err(Fault::ChunkExtension);
        }
        match (self.at, octet) {
            (At::Extension, b'\r') => Ok(At::SizeLf),
            (At::Extension, b'"') => Ok(At::Quoted),
            (At::Quoted, b'"') => Ok(At::Extension),
            (At::Quoted, b'\\') => Ok(At::Escaped),
            (At::Escaped, octet) if is_field(octet) => Ok(At::Quoted),
            (at, octet) if is_field(octet) => Ok(at),
            _ => Err(Fault::ChunkExtension),
        }
    }

    fn trailer(&mut self, octet: u8) -> Result<At, Fault> {
        self.trailers += 1;
        let next = match (self.at, octet) {
            (At::Line, b'\r') => return Ok(At::EndLf),
            (At::Line, octet) if is_token(octet) => {
                self.fields += 1;
                At::Name
            }
            (At::Name, octet) if is_token(octet) => At::Name,
            (At::Name, b':') => At::Value,
            (At::Value, b'\r') => At::LineLf,
            (At::Value, octet) if is_field(octet) => At::Value,
            (At::LineLf, b'\n') => At::Line,
            _ => return Err(Fault::Trailers),
        };
        let fits = self.trailers < MAX_TRAILERS && self.fields <= MAX_TRAILER_FIELDS;
        if fits { Ok(next) } else { Err(Fault::Trailers) }
    }
}
