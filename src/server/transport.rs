//! What a connection is made of: a TCP or unix stream, with or without TLS.
//!
//! One type for all of them, so that HTTP is compiled once. What was read ahead,
//! to see a PROXY header or the preface of HTTP/2, is given out again first.

use std::{
    io,
    net::SocketAddr,
    os::unix::net::UnixStream as StdUnixStream,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;

use super::io::Paced;

/// How much is read ahead at once.
const PIECE: usize = 512;

/// A connection that no worker has taken yet.
#[derive(Debug)]
pub(super) enum Arrival {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(StdUnixStream),
}

impl Arrival {
    /// Where it comes from; a unix socket has no address.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Takes it into the event queue of the current worker.
    pub(super) fn take(self) -> io::Result<Transport> {
        let socket = match self {
            Self::Tcp(stream, _) => {
                // Without it, small answers would wait for the client's delayed acknowledgement.
                stream.set_nodelay(true)?;
                Socket::Tcp(TcpStream::from_std(stream)?)
            }
            Self::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)?),
        };
        Ok(Transport { socket, ahead: Vec::new() })
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A byte stream without TLS.
#[derive(Debug)]
pub(super) struct Transport {
    socket: Socket,
    /// Read ahead and not given out yet.
    ahead: Vec<u8>,
}

impl Transport {
    /// Reads one more piece ahead; returns all that was so far.
    ///
    /// # Errors
    /// When the other side closes or the socket fails.
    pub(super) async fn look_ahead(&mut self) -> io::Result<&[u8]> {
        let mut piece = [0; PIECE];
        let read = match &mut self.socket {
            Socket::Tcp(stream) => stream.read(&mut piece).await?,
            Socket::Unix(stream) => stream.read(&mut piece).await?,
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.ahead.extend_from_slice(&piece[..read]);
        Ok(&self.ahead)
    }

    /// What was read ahead so far.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Drops the first `length` bytes of what was read ahead.
    pub(super) fn skip(&mut self, length: usize) {
        self.ahead.drain(..length.min(self.ahead.len()));
    }

    /// Bounds what the kernel keeps without having sent it, as far as it can.
    pub(super) fn bound_unsent(&self, octets: u32) {
        if let Socket::Tcp(stream) = &self.socket {
            // Where the system has no such option, rates are measured more coarsely.
            drop(socket2::SockRef::from(stream).set_tcp_notsent_lowat(octets));
        }
    }

    fn socket(self: Pin<&mut Self>) -> Pin<&mut Socket> {
        Pin::new(&mut self.get_mut().socket)
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return self.as_mut().socket().poll_read(cx, buffer);
        }
        let taken = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..taken]);
        self.skip(taken);
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(cx)
    }
}

/// A connection as HTTP sees it.
// Nearly all are TLS: a box would cost each of them an allocation and every read a jump.
#[allow(clippy::large_enum_variant)]
pub(super) enum Stream {
    Plain(Paced<Transport>),
    Tls(TlsStream<Paced<Transport>>),
}

/// Passes each call on to whichever variant there is.
macro_rules! passed_on {
    ($type:ident: $first:ident, $second:ident) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$first(stream) => Pin::new(stream).poll_read(cx, buffer),
                    Self::$second(stream) => Pin::new(stream).poll_read(cx, buffer),
                }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::$first(stream) => Pin::new(stream).poll_write(cx, bytes),
                    Self::$second(stream) => Pin::new(stream).poll_write(cx, bytes),
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::$first(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
                    Self::$second(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    Self::$first(stream) => stream.is_write_vectored(),
                    Self::$second(stream) => stream.is_write_vectored(),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$first(stream) => Pin::new(stream).poll_flush(cx),
                    Self::$second(stream) => Pin::new(stream).poll_flush(cx),
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$first(stream) => Pin::new(stream).poll_shutdown(cx),
                    Self::$second(stream) => Pin::new(stream).poll_shutdown(cx),
                }
            }
        }
    };
}

passed_on!(Socket: Tcp, Unix);
passed_on!(Stream: Plain, Tls);
