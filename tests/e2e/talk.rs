//! A WebSocket by hand, on either side: frames as bytes, and both opening handshakes.

use std::net::SocketAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    client::{Client, Connection},
    harness::soon,
};

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// One frame as it came, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn text(&self) -> String {
        assert_eq!((self.fin, self.opcode), (true, TEXT), "{self:?}");
        String::from_utf8(self.payload.clone()).unwrap()
    }

    /// The status code and the reason of a close.
    pub fn close(&self) -> (u16, String) {
        assert_eq!(self.opcode, CLOSE, "{self:?}");
        let (code, reason) = self.payload.split_at(2);
        (u16::from_be_bytes([code[0], code[1]]), String::from_utf8(reason.to_vec()).unwrap())
    }
}

type Stream = Box<dyn Both>;
pub trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

/// One side of an open WebSocket.
pub struct Talk {
    pub stream: Stream,
    masks: bool,
    /// Head of the answer that opened it, or of the request.
    pub head: String,
    _connection: Option<Connection>,
}

/// A frame's bytes.
pub fn bytes(first: u8, payload: &[u8], masks: bool) -> Vec<u8> {
    let mask = if masks { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        short @ 0..=125 => out.push(mask | u8::try_from(short).unwrap()),
        long @ 126..=0xffff => {
            out.push(mask | 126);
            out.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
        }
        huge => {
            out.push(mask | 127);
            out.extend_from_slice(&(huge as u64).to_be_bytes());
        }
    }
    let key = [7, 11, 13, 17];
    if masks {
        out.extend_from_slice(&key);
        out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        out.extend_from_slice(payload);
    }
    out
}

impl Talk {
    /// The service's side of a WebSocket that was opened in another way.
    pub fn of(stream: impl Both + 'static, head: String) -> Self {
        Self { stream: Box::new(stream), masks: false, head, _connection: None }
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        soon("the bytes are taken", async {
            self.stream.write_all(bytes).await.unwrap();
            self.stream.flush().await.unwrap();
        })
        .await;
    }

    /// Sends a whole frame.
    pub async fn send(&mut self, opcode: u8, payload: impl AsRef<[u8]>) {
        let frame = bytes(0x80 | opcode, payload.as_ref(), self.masks);
        self.raw(&frame).await;
    }

    /// Sends a frame that is not the last of its message.
    pub async fn send_part(&mut self, opcode: u8, payload: &str) {
        let frame = bytes(opcode, payload.as_bytes(), self.masks);
        self.raw(&frame).await;
    }

    /// The rest of a chunked message, as it is on the wire.
    pub async fn read_chunked(&mut self) -> Vec<u8> {
        let mut got = Vec::new();
        soon("the message ends", async {
            let is_over = |got: &[u8]| {
                let last = got.windows(5).rposition(|part| part == b"\r\n0\r\n");
                last.is_some() && got.ends_with(b"\r\n\r\n")
            };
            while !is_over(&got) {
                got.push(self.stream.read_u8().await.unwrap());
            }
        })
        .await;
        got
    }

    /// The next frame; `None` when the other side has ended.
    pub async fn try_next(&mut self) -> Option<Frame> {
        soon("the next frame comes", self.read()).await.ok()
    }

    pub async fn next(&mut self) -> Frame {
        self.try_next().await.expect("a frame before the end")
    }

    /// Waits for the end; fails when anything else comes before it.
    pub async fn ended(&mut self) {
        let next = self.try_next().await;
        assert_eq!(next, None, "the other side ends without another word");
    }

    async fn read(&mut self) -> std::io::Result<Frame> {
        let first = self.stream.read_u8().await?;
        let second = self.stream.read_u8().await?;
        assert_eq!(second & 0x80 != 0, !self.masks, "a client masks, a server does not");
        let length = match second & 0x7f {
            126 => u64::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await?,
            short => u64::from(short),
        };
        let mut key = [0; 4];
        if !self.masks {
            self.stream.read_exact(&mut key).await?;
        }
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload).await?;
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        Ok(Frame { fin: first & 0x80 != 0, opcode: first & 0x0f, payload })
    }
}

/// The key of the example in RFC 6455, and what proves that it was read.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request for a WebSocket over HTTP/1.1, with more header lines.
pub fn asks(path: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: keep-alive, Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n{lines}\r\n"
    )
}

/// Asks for a WebSocket over HTTP/1.1; the head of the answer, and the connection.
pub async fn try_open(client: &Client, path: &str, lines: &str) -> Talk {
    let mut stream = client.tls(&["http/1.1"]).await;
    stream.write_all(asks(path, lines).as_bytes()).await.unwrap();
    let head = crate::raw::read_until(&mut stream, "\r\n\r\n").await;
    Talk { stream: Box::new(stream), masks: true, head, _connection: None }
}

/// A WebSocket over HTTP/1.1; the origin has to agree meanwhile.
pub async fn open(client: &Client, path: &str, lines: &str) -> Talk {
    let talk = try_open(client, path, lines).await;
    assert!(talk.head.starts_with("HTTP/1.1 101 "), "{}", talk.head);
    assert!(talk.head.contains(&format!("sec-websocket-accept: {PROOF}\r\n")), "{}", talk.head);
    talk
}

/// Asks for a WebSocket over HTTP/2 (RFC 8441); the status instead when it is refused.
pub async fn open_h2(client: &Client, path: &str) -> Result<Talk, u16> {
    let mut connection = client.h2().await;
    // Only a server that has said so may be asked, so its settings must have come.
    client.get("/settings").on(&mut connection).await;
    let ask = client.ask(http::Method::CONNECT, path).header("sec-websocket-version", "13");
    let (head, upgraded) = ask.switch(&mut connection, "websocket").await?;
    let stream = Box::new(TokioIo::new(upgraded));
    Ok(Talk { stream, masks: true, head: format!("{head:?}"), _connection: Some(connection) })
}

/// A service whose every connection is handled by the test.
pub struct Service {
    pub address: SocketAddr,
    listener: TcpListener,
}

impl Service {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    /// The next request: its head, and the connection behind it.
    pub async fn next(&self) -> Talk {
        soon("a request reaches the service", async {
            loop {
                let (mut stream, _) = self.listener.accept().await.unwrap();
                let head = read_head(&mut stream).await;
                // The health probe of the sidecar only connects.
                if !head.is_empty() {
                    let stream = Box::new(stream);
                    return Talk { stream, masks: false, head, _connection: None };
                }
            }
        })
        .await
    }

    /// Answers the next request with these bytes and hands the connection over.
    pub async fn answers(&self, bytes: &str) -> Talk {
        let mut talk = self.next().await;
        talk.raw(bytes.as_bytes()).await;
        talk
    }

    /// Agrees to the next request for a WebSocket, with more header lines.
    pub async fn agrees(&self, lines: &str) -> Talk {
        let mut talk = self.next().await;
        let answer = agreement(&talk.head, lines);
        talk.raw(answer.as_bytes()).await;
        talk
    }

    /// Echoes every request's path, and every message of a WebSocket, until dropped.
    pub fn echoes(self) -> Echo {
        let address = self.address;
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = self.listener.accept().await.unwrap();
                connections.spawn(echo(stream));
            }
        });
        Echo { address, task }
    }
}

/// A service that agrees to every WebSocket and says everything again.
pub struct Echo {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(mut stream: TcpStream) {
    let head = read_head(&mut stream).await;
    if !head.contains("upgrade: websocket") {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        drop(stream.write_all(answer.as_bytes()).await);
        return;
    }
    stream.write_all(agreement(&head, "").as_bytes()).await.unwrap();
    let mut talk = Talk { stream: Box::new(stream), masks: false, head, _connection: None };
    while let Ok(frame) = talk.read().await {
        let first = if frame.fin { 0x80 } else { 0 } | frame.opcode;
        let out = bytes(first, &frame.payload, false);
        if talk.stream.write_all(&out).await.is_err() || frame.opcode == CLOSE {
            return;
        }
    }
}

/// The answer that opens a WebSocket for a request with this head.
pub fn agreement(head: &str, lines: &str) -> String {
    let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
    let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.expect("a key"));
    let sha1 = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
    let proof = STANDARD.encode(aws_lc_rs::digest::digest(sha1, text.as_bytes()));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {proof}\r\n{lines}\r\n"
    )
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}
