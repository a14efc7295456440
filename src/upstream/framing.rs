//! Where an HTTP/1 answer begins and ends, told from its bytes, and what no
//! answer may look like.
//!
//! [`Inspector`] is fed every byte of a connection before the HTTP library sees
//! it. The library is lenient where two readers may disagree (bare line feeds,
//! folded lines, two equal lengths, a length beside chunks); here such an answer
//! is a [`Fault`], because whoever reads it differently can put an answer of
//! theirs into somebody else's. Bytes behind an answer are never handed on.
//!
//! Free of I/O and of allocation: any split of the bytes gives the same verdict.
//!
//! # Limits
//! [`MAX_HEAD`], [`MAX_FIELDS`], and those of `chunks`.

mod chunks;
mod fields;
mod greeting;
mod status;
#[cfg(test)]
mod tests;

use chunks::Chunks;
use fields::Fields;
pub use greeting::Greeting;
use status::StatusLine;

/// Largest head of an answer, in bytes, its status line included; all interim answers (1xx) before it together have
/// as much.
pub const MAX_HEAD: usize = 256 << 10;
/// Most header fields of an answer: as many as the library reads without memory of its own for each.
pub const MAX_FIELDS: usize = 100;

/// What makes an answer unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not `HTTP/1.1 200 …`.
    #[error("the answer has no proper status line")]
    StatusLine,
    /// A carriage return or a line feed alone.
    #[error("the answer has a bare CR or LF")]
    BareLineEnd,
    /// NUL or another control byte in a head.
    #[error("the answer's head has a control byte")]
    Control,
    /// A field name that is empty or no token.
    #[error("the answer has a malformed field name")]
    FieldName,
    /// A line that continues the one before (RFC 9112, 5.2).
    #[error("the answer has a folded header line")]
    Folded,
    /// More than [`MAX_HEAD`].
    #[error("the answer's head is too large")]
    HeadTooLarge,
    /// More than [`MAX_FIELDS`].
    #[error("the answer has too many header fields")]
    TooManyFields,
    /// Interim answers of more than [`MAX_HEAD`] together.
    #[error("the answer has too many interim answers before it")]
    TooManyInterim,
    /// `Content-Length` is no number, or there are two of it.
    #[error("the answer's content-length is unreadable or there are two")]
    Length,
    /// `Transfer-Encoding` is not exactly `chunked`, or comes with HTTP/1.0.
    #[error("the answer's transfer-encoding is not exactly chunked")]
    Coding,
    /// A length beside chunks (RFC 9112, 6.3).
    #[error("the answer has a content-length beside transfer-encoding")]
    LengthAndCoding,
    /// A chunk's size line is not what RFC 9112, 7.1 allows.
    #[error("the answer has a malformed chunk size")]
    ChunkSize,
    /// Chunk extensions that are too long altogether.
    #[error("the answer has too long chunk extensions")]
    Extensions,
    /// Something else than CRLF behind a chunk's data.
    #[error("the answer has a chunk that does not end where it should")]
    ChunkEnd,
    /// 101 to a request that asked for no upgrade.
    #[error("an unasked switch of protocols")]
    Switch,
    /// An HTTP/2 connection does not begin with SETTINGS.
    #[error("the upstream does not speak HTTP/2")]
    Greeting,
    /// Bytes that answer no request.
    #[error("the upstream sent bytes that nobody asked for")]
    Unasked,
}

/// What the running request allows its answer to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// There is no running request.
    #[default]
    Nothing,
    /// An answer with a body.
    Ordinary,
    /// An answer to HEAD: never a body.
    Head,
    /// An answer to CONNECT: a tunnel after 2xx.
    Connect,
    /// An answer that may switch protocols.
    Upgrade,
}

/// What became of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How many of them belong to the answer; what is behind them must not be handed on.
    pub bytes: usize,
    /// Whether the answer ended with the last of these.
    pub ended: bool,
    /// Heads of interim answers (1xx) that ended in them.
    pub interim: u32,
}

/// Follows the answers of one connection.
#[derive(Debug, Default)]
pub struct Inspector {
    state: State,
    /// Bytes of the interim answers so far.
    interim: usize,
    /// Interim answers that nobody was told of yet.
    untold: u32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Between,
    Status(StatusLine),
    Fields(StatusLine, Fields),
    Length(u64),
    Chunks(Chunks),
    UntilClose,
    /// Another protocol: nothing is looked at any more.
    Tunnel,
}

/// What a head says of what follows it.
struct Head {
    line: StatusLine,
    bytes: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Head {
    fn of(line: StatusLine, fields: &Fields) -> Self {
        let (length, chunked) = (fields.length(), fields.is_chunked());
        Self { line, bytes: fields.bytes(), length, chunked }
    }
}

impl Inspector {
    /// Takes in what was read next, while `asked` is what the running request allows.
    ///
    /// # Errors
    /// When the bytes are no proper answer. The inspector is of no use then, nor is the connection.
    pub fn inspect(&mut self, bytes: &[u8], asked: Asked) -> Result<Passed, Fault> {
        let (mut used, mut ended) = (0, false);
        while used < bytes.len() && !ended {
            used += self.step(&bytes[used..], asked)?;
            ended = matches!(self.state, State::Between);
        }
        Ok(Passed { bytes: used, ended, interim: std::mem::take(&mut self.untold) })
    }

    /// Takes in as much as one state can. Only the end of an answer leaves `Between` behind.
    fn step(&mut self, bytes: &[u8], asked: Asked) -> Result<usize, Fault> {
        match &mut self.state {
            State::Between if asked == Asked::Nothing => Err(Fault::Unasked),
            State::Between => {
                self.interim = 0;
                self.state = State::Status(StatusLine::default());
                Ok(0)
            }
            State::Status(line) => {
                let (used, whole) = line.push(bytes)?;
                if whole {
                    let fields = Fields::after(line.bytes());
                    self.state = State::Fields(*line, fields);
                }
                Ok(used)
            }
            State::Fields(line, fields) => {
                let (used, whole) = fields.push(bytes)?;
                if whole {
                    let head = Head::of(*line, fields);
                    self.state = self.after_head(head, asked)?;
                }
                Ok(used)
            }
            State::Length(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= used as u64;
                if *left == 0 {
                    self.state = State::Between;
                }
                Ok(used)
            }
            State::Chunks(chunks) => {
                let (used, whole) = chunks.push(bytes)?;
                if whole {
                    self.state = State::Between;
                }
                Ok(used)
            }
            State::UntilClose | State::Tunnel => Ok(bytes.len()),
        }
    }

    /// What follows a head (RFC 9112, 6.3).
    fn after_head(&mut self, head: Head, asked: Asked) -> Result<State, Fault> {
        let Head { line, bytes, length, chunked } = head;
        if chunked && (length.is_some() || !line.is_http11()) {
            return Err(if length.is_some() { Fault::LengthAndCoding } else { Fault::Coding });
        }
        Ok(match line.status() {
            101 if asked == Asked::Upgrade => State::Tunnel,
            101 => return Err(Fault::Switch),
            100..=199 => self.interim(bytes)?,
            200..=299 if asked == Asked::Connect => State::Tunnel,
            204 | 304 => State::Between,
            _ if asked == Asked::Head => State::Between,
            _ if chunked => State::Chunks(Chunks::default()),
            _ => match length {
                Some(0) => State::Between,
                Some(length) => State::Length(length),
                None => State::UntilClose,
            },
        })
    }

    fn interim(&mut self, bytes: usize) -> Result<State, Fault> {
        self.interim += bytes;
        self.untold = self.untold.saturating_add(1);
        if self.interim > MAX_HEAD {
            return Err(Fault::TooManyInterim);
        }
        Ok(State::Status(StatusLine::default()))
    }
}
