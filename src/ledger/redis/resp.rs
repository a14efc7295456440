//! The protocol between Redis and those who ask it (RESP 2).
//!
//! Commands are arrays of byte strings; [`Reply`] is what comes back.
//!
//! # Failure
//! [`Malformed`]: the peer does not speak the protocol, and the connection ends.
//!
//! # Limits
//! A reply has at most [`MAX_REPLY`] bytes and [`MAX_DEPTH`] levels.

/// The largest reply, in bytes: a page of subjects of 1 KiB each.
pub(super) const MAX_REPLY: usize = 8 << 20;
/// How deep arrays may lie in each other.
const MAX_DEPTH: u8 = 4;

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Error(String),
    Number(i64),
    /// A simple or a bulk string.
    Text(Vec<u8>),
    Nothing,
    Array(Vec<Reply>),
}

/// What was said is no RESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server does not speak the Redis protocol")]
pub(super) struct Malformed;

impl Reply {
    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// A number that cannot be negative.
    pub(super) fn amount(&self) -> Option<u64> {
        u64::try_from(self.number()?).ok()
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    pub(super) fn array(&self) -> &[Self] {
        if let Self::Array(items) = self { items } else { &[] }
    }
}

/// Takes one reply from the front of `bytes`: it, and how long it was; `None` if it is not whole yet.
///
/// # Errors
/// The bytes are no reply, however many follow.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Malformed> {
    let mut at = 0;
    match item(bytes, &mut at, 0) {
        Ok(reply) => Ok(Some((reply, at))),
        Err(Stop::Short) if bytes.len() <= MAX_REPLY => Ok(None),
        Err(_) => Err(Malformed),
    }
}

enum Stop {
    Short,
    Malformed,
}

fn item(bytes: &[u8], at: &mut usize, depth: u8) -> Result<Reply, Stop> {
    let line = line(bytes, at)?;
    let (kind, rest) = line.split_first().ok_or(Stop::Malformed)?;
    match kind {
        b'+' => Ok(Reply::Text(rest.to_vec())),
        b'-' => Ok(Reply::Error(String::from_utf8_lossy(rest).into_owned())),
        b':' => number(rest).map(Reply::Number),
        b'$' => match number(rest)? {
            -1 => Ok(Reply::Nothing),
            length => bulk(bytes, at, length),
        },
        b'*' => match number(rest)? {
            -1 => Ok(Reply::Nothing),
            count => array(bytes, at, count, depth),
        },
        _ => Err(Stop::Malformed),
    }
}

fn bulk(bytes: &[u8], at: &mut usize, length: i64) -> Result<Reply, Stop> {
    let length = usize::try_from(length).map_err(|_| Stop::Malformed)?;
    if length > MAX_REPLY {
        return Err(Stop::Malformed);
    }
    let text = bytes.get(*at..*at + length).ok_or(Stop::Short)?;
    let end = bytes.get(*at + length..*at + length + 2).ok_or(Stop::Short)?;
    if end != b"\r\n" {
        return Err(Stop::Malformed);
    }
    *at += length + 2;
    Ok(Reply::Text(text.to_vec()))
}

fn array(bytes: &[u8], at: &mut usize, count: i64, depth: u8) -> Result<Reply, Stop> {
    let count = usize::try_from(count).map_err(|_| Stop::Malformed)?;
    if depth >= MAX_DEPTH || count > MAX_REPLY {
        return Err(Stop::Malformed);
    }
    // Each item has at least four bytes: what is not there yet reserves nothing.
    let mut items = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        items.push(item(bytes, at, depth + 1)?);
    }
    Ok(Reply::Array(items))
}

fn line<'b>(bytes: &'b [u8], at: &mut usize) -> Result<&'b [u8], Stop> {
    let rest = bytes.get(*at..).ok_or(Stop::Short)?;
    let end = memchr::memchr(b'\n', rest).ok_or(Stop::Short)?;
    *at += end + 1;
    rest[..end].strip_suffix(b"\r").ok_or(Stop::Malformed)
}

fn number(text: &[u8]) -> Result<i64, Stop> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Stop::Malformed)
}

/// Appends one argument of a command.
pub(super) fn put(out: &mut Vec<u8>, argument: &[u8]) {
    let mut digits = itoa::Buffer::new();
    out.push(b'$');
    out.extend_from_slice(digits.format(argument.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(argument);
    out.extend_from_slice(b"\r\n");
}

/// Appends the beginning of a command with so many arguments.
pub(super) fn begin(out: &mut Vec<u8>, count: usize) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(count).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A whole command.
pub(super) fn command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    begin(&mut out, arguments.len());
    arguments.iter().for_each(|argument| put(&mut out, argument));
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: &[u8] = b"*5\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n-ERR no\r\n*1\r\n+OK\r\n";

    fn reply() -> Reply {
        let inner = Reply::Array(vec![Reply::Text(b"OK".to_vec())]);
        Reply::Array(vec![
            Reply::Number(-7),
            Reply::Text(b"a\r\n".to_vec()),
            Reply::Nothing,
            Reply::Error("ERR no".into()),
            inner,
        ])
    }

    #[test]
    fn a_reply_is_read_at_whichever_byte_it_was_cut() {
        for cut in 0..WHOLE.len() {
            assert_eq!(parse(&WHOLE[..cut]), Ok(None), "{cut}");
        }
        let more = [WHOLE, b"+"].concat();
        assert_eq!(parse(&more), Ok(Some((reply(), WHOLE.len()))));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\n"[..],
            b":seven\r\n",
            b"$-2\r\n",
            b"$99999999999\r\n",
            b"$1\r\nabc\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
            b"+OK\n",
            b"\r\n",
        ] {
            assert_eq!(parse(bytes), Err(Malformed), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
