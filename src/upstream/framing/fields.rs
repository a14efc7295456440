//! Header and trailer fields, line by line up to the empty one.
//!
//! Every line is looked at; only `Content-Length` and `Transfer-Encoding` are
//! read. Their names and values fit into a small buffer: a longer one is neither.

use memchr::memchr2;

use super::{Fault, MAX_FIELDS, MAX_HEAD};

/// Longer than `transfer-encoding`, and than any length or coding that is accepted.
const SHORT: usize = 32;

/// A block of fields as far as it has come.
#[derive(Debug)]
pub(super) struct Fields {
    at: At,
    bytes: usize,
    count: usize,
    field: Field,
    /// The name, then the value of a field that is read.
    text: [u8; SHORT],
    /// [`SHORT`] plus one when it does not fit.
    len: usize,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    LineStart,
    Name,
    Value,
    /// Behind a value's CR.
    LineFeed,
    /// Behind the CR of the empty line.
    LastLineFeed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Length,
    Coding,
    Other,
}

impl Fields {
    /// The fields of a head of which `bytes` have been seen already.
    pub(super) const fn after(bytes: usize) -> Self {
        Self {
            at: At::LineStart,
            bytes,
            count: 0,
            field: Field::Other,
            text: [0; SHORT],
            len: 0,
            length: None,
            chunked: false,
        }
    }

    /// How many bytes there were, those before the first field included.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What `Content-Length` says.
    pub(super) const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether `Transfer-Encoding` says `chunked`.
    pub(super) const fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// Takes in bytes up to the end of the block. Returns how many, and whether it is whole.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(usize, bool), Fault> {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            used += match self.at {
                At::LineStart => self.line_start(rest[0])?,
                At::Name => self.name(rest)?,
                At::Value => self.value(rest)?,
                At::LineFeed | At::LastLineFeed if rest[0] != b'\n' => {
                    return Err(Fault::BareLineEnd);
                }
                At::LineFeed => self.line_end()?,
                At::LastLineFeed => {
                    self.count(used + 1)?;
                    return Ok((used + 1, true));
                }
            };
        }
        self.count(used)?;
        Ok((used, false))
    }

    fn count(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes += bytes;
        if self.bytes > MAX_HEAD { Err(Fault::HeadTooLarge) } else { Ok(()) }
    }

    fn line_start(&mut self, byte: u8) -> Result<usize, Fault> {
        match byte {
            b'\r' => {
                self.at = At::LastLineFeed;
                Ok(1)
            }
            b'\n' => Err(Fault::BareLineEnd),
            b' ' | b'\t' => Err(Fault::Folded),
            _ if self.count == MAX_FIELDS => Err(Fault::TooManyFields),
            _ => {
                self.count += 1;
                (self.at, self.len) = (At::Name, 0);
                Ok(0)
            }
        }
    }

    /// Up to and with the colon.
    fn name(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let end = bytes.iter().position(|byte| !is_token(*byte)).unwrap_or(bytes.len());
        self.keep(&bytes[..end]);
        let Some(stop) = bytes.get(end) else { return Ok(end) };
        if *stop != b':' || self.len == 0 {
            return Err(Fault::FieldName);
        }
        self.field = match self.text.get(..self.len) {
            Some(name) if name.eq_ignore_ascii_case(b"content-length") => Field::Length,
            Some(name) if name.eq_ignore_ascii_case(b"transfer-encoding") => Field::Coding,
            _ => Field::Other,
        };
        (self.at, self.len) = (At::Value, 0);
        Ok(end + 1)
    }

    /// Up to and with the CR.
    fn value(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let end = memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
        // No early end, so that the compiler can look at many bytes at once.
        if !bytes[..end].iter().fold(true, |sound, byte| sound & is_value(*byte)) {
            return Err(Fault::Control);
        }
        if self.field != Field::Other {
            self.keep(&bytes[..end]);
        }
        match bytes.get(end) {
            None => Ok(end),
            Some(b'\r') => {
                self.at = At::LineFeed;
                Ok(end + 1)
            }
            Some(_) => Err(Fault::BareLineEnd),
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        match self.text.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.len = SHORT + 1,
        }
    }

    fn line_end(&mut self) -> Result<usize, Fault> {
        let text = self.text.get(..self.len).map(<[u8]>::trim_ascii);
        match self.field {
            Field::Other => {}
            // nginx refuses a second one as well, even when it says the same.
            Field::Length if self.length.is_some() => return Err(Fault::Length),
            Field::Length => self.length = Some(text.and_then(number).ok_or(Fault::Length)?),
            Field::Coding => {
                let proper = text.is_some_and(|text| text.eq_ignore_ascii_case(b"chunked"));
                if !proper || self.chunked {
                    return Err(Fault::Coding);
                }
                self.chunked = true;
            }
        }
        self.at = At::LineStart;
        Ok(1)
    }
}

/// Digits alone, that 64 bits can hold.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// RFC 9110, 5.6.2.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = is_tchar(byte as u8);
        byte += 1;
    }
    table
};

const fn is_tchar(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+'
        | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// RFC 9110, 5.5, obsolete text included.
pub(super) const fn is_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}
