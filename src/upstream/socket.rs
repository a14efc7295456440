//! The byte stream to an endpoint: TCP, a unix socket, or TLS over TCP.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::client::TlsStream;

use crate::policy::snapshot::{Endpoint, Target};

/// An open byte stream.
#[derive(Debug)]
pub enum Socket {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS; boxed, for its state is large.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What lies unread in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Nothing: the connection is as it was left.
    Nothing,
    /// Bytes, maybe of TLS itself.
    Bytes,
    /// The end of the stream, or an error.
    End,
}

/// Opens a plain byte stream to `endpoint`, without TLS; the caller sets the deadline.
///
/// # Errors
/// What the network says.
pub async fn dial(endpoint: &Endpoint) -> io::Result<Socket> {
    let tcp = match &endpoint.target {
        Target::Address(address) => TcpStream::connect(address).await?,
        Target::Name { host, port } => TcpStream::connect((host.as_str(), *port)).await?,
        Target::Socket(path) => return Ok(Socket::Unix(UnixStream::connect(path).await?)),
    };
    tcp.set_nodelay(true)?;
    Ok(Socket::Tcp(tcp))
}

impl Socket {
    /// Looks into the kernel for what has not been read, past what the runtime has noticed so far.
    pub(super) fn unread(&self) -> Unread {
        let socket = match self {
            Self::Tcp(tcp) => SockRef::from(tcp),
            Self::Unix(unix) => SockRef::from(unix),
            Self::Tls(tls) => SockRef::from(tls.get_ref().0),
        };
        match socket.peek(&mut [MaybeUninit::uninit()]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Unread::Nothing,
            Ok(0) | Err(_) => Unread::End,
            Ok(_) => Unread::Bytes,
        }
    }

    /// Whether unread bytes may belong to TLS itself.
    pub(super) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

/// Calls `$poll` on whichever stream it is.
macro_rules! each {
    ($socket:expr, $stream:ident => $poll:expr) => {
        match $socket.get_mut() {
            Socket::Tcp($stream) => $poll,
            Socket::Unix($stream) => $poll,
            Socket::Tls($stream) => $poll,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
