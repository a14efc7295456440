//! HTTP/2 frame by frame: what no client library would send.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::{client::Client, harness::soon};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const PROTOCOL_ERROR: u32 = 1;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame as it is sent.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// A header block of literals without indexing.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of 7 bits (RFC 7541, 5.1).
fn length(block: &mut Vec<u8>, mut length: usize) {
    if length < 127 {
        return block.push(u8::try_from(length).unwrap());
    }
    block.push(127);
    length -= 127;
    while length >= 128 {
        block.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    block.push(u8::try_from(length).unwrap());
}

/// The head of a request for `path`, as fields.
pub fn get(path: &str) -> Vec<(&str, &str)> {
    vec![(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
}

/// A request without a body.
pub fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get(path)))
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn update(stream: u32, octets: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &octets.to_be_bytes())
}

/// SETTINGS with one setting.
pub fn setting(name: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM and GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status, where it is one of those that HPACK has in its table or a plain literal.
    pub fn status(&self) -> u16 {
        let table = [200, 204, 206, 304, 400, 404, 500];
        match self.payload.as_slice() {
            [indexed @ 0x88..=0x8e, ..] => table[usize::from(indexed - 0x88)],
            [0x08 | 0x48, length, rest @ ..] if length & 0x80 == 0 => {
                std::str::from_utf8(&rest[..3]).unwrap().parse().unwrap()
            }
            // Huffman codes of ten digits, five or six bits each.
            [0x08 | 0x48, _, rest @ ..] => digits(rest),
            other => panic!("no status in {other:02x?}"),
        }
    }
}

/// Three digits in HPACK's Huffman code: 0, 1 and 2 have five bits, the others six.
fn digits(bytes: &[u8]) -> u16 {
    let bits = bytes.iter().take(3).fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << 8;
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let five = bits << at >> 27;
        let digit = if five < 3 {
            at += 5;
            five
        } else {
            let six = bits << at >> 26;
            at += 6;
            six - 0x19 + 3
        };
        number = number * 10 + digit;
    }
    u16::try_from(number).unwrap()
}

/// A connection that is spoken to in frames.
pub struct Wire {
    pub reading: ReadHalf<TlsStream<TcpStream>>,
    pub writing: WriteHalf<TlsStream<TcpStream>>,
}

impl Wire {
    /// Only TLS, nothing said yet.
    pub async fn silent(client: &Client) -> Self {
        let (reading, writing) = tokio::io::split(client.tls(&["h2"]).await);
        Self { reading, writing }
    }

    /// The preface and these settings.
    pub async fn open(client: &Client, settings: &[u8]) -> Self {
        let mut wire = Self::silent(client).await;
        wire.send(&[PREFACE, settings].concat()).await;
        wire
    }

    /// With the settings that say nothing.
    pub async fn plain(client: &Client) -> Self {
        Self::open(client, &frame(SETTINGS, 0, 0, &[])).await
    }

    /// Sends these bytes, as far as they are taken.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.writing.write_all(bytes).await.is_ok() && self.writing.flush().await.is_ok()
    }

    /// The next frame; `None` at the end, however it comes.
    pub async fn frame(&mut self) -> Option<Frame> {
        next(&mut self.reading).await
    }

    /// The first frame that `is` accepts; `None` at the end.
    pub async fn find(&mut self, what: &str, is: impl Fn(&Frame) -> bool) -> Option<Frame> {
        soon(what, until(&mut self.reading, is)).await
    }

    /// What becomes of a stream: its answer's head, its reset or the connection's end.
    pub async fn fate(&mut self, what: &str, stream: u32) -> Option<Frame> {
        self.find(what, |frame| {
            frame.kind == GOAWAY || frame.stream == stream && [1, 3].contains(&frame.kind)
        })
        .await
    }

    /// All frames until the end.
    pub async fn rest(&mut self, what: &str) -> Vec<Frame> {
        soon(what, rest(&mut self.reading)).await
    }
}

/// The first frame that `is` accepts; `None` at the end.
pub async fn until(
    reading: &mut ReadHalf<TlsStream<TcpStream>>,
    is: impl Fn(&Frame) -> bool,
) -> Option<Frame> {
    loop {
        let frame = next(reading).await?;
        if is(&frame) {
            return Some(frame);
        }
    }
}

/// All frames until the end.
pub async fn rest(reading: &mut ReadHalf<TlsStream<TcpStream>>) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = next(reading).await {
        frames.push(frame);
    }
    frames
}

async fn next(reading: &mut ReadHalf<TlsStream<TcpStream>>) -> Option<Frame> {
    let mut head = [0; 9];
    reading.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    reading.read_exact(&mut payload).await.ok()?;
    Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
}
