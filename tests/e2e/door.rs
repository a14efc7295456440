//! How connections reach a service of the test: TCP, TLS or a unix socket.

use std::{io, net::SocketAddr, path::Path, pin::Pin, sync::Arc};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
};
use tokio_rustls::TlsAcceptor;

/// Any byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// What listens.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A listener, and what it wants of whoever comes.
pub struct Door {
    listener: Listener,
    tls: Option<Arc<ServerConfig>>,
    http2: bool,
}

/// A connection on its way in.
pub struct Entering {
    stream: Result<TcpStream, Pin<Box<dyn Stream>>>,
    tls: Option<Arc<ServerConfig>>,
    http2: bool,
}

/// A connection that got in.
pub struct Visitor {
    pub stream: Pin<Box<dyn Stream>>,
    pub http2: bool,
}

impl Door {
    /// Plain TCP, HTTP/1.1.
    pub async fn tcp(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        Self { listener: Listener::Tcp(listener), tls: None, http2: false }
    }

    /// Plain TCP on a free port, HTTP/1.1.
    pub async fn free() -> Self {
        Self::tcp(([127, 0, 0, 1], 0).into()).await
    }

    /// A unix socket, HTTP/1.1.
    pub fn unix(path: &Path) -> Self {
        let listener = Listener::Unix(UnixListener::bind(path).unwrap());
        Self { listener, tls: None, http2: false }
    }

    /// The same over TLS; ALPN says which HTTP.
    pub fn tls(mut self, config: ServerConfig) -> Self {
        self.tls = Some(Arc::new(config));
        self
    }

    /// The same with HTTP/2 without a word before.
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// The address; something without meaning for a unix socket.
    pub fn address(&self) -> SocketAddr {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().unwrap(),
            Listener::Unix(_) => ([127, 0, 0, 1], 9).into(),
        }
    }

    /// The next connection.
    pub async fn knock(&self) -> Entering {
        let stream = match &self.listener {
            Listener::Tcp(listener) => Ok(listener.accept().await.unwrap().0),
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await.unwrap();
                Err(Box::pin(stream) as Pin<Box<dyn Stream>>)
            }
        };
        Entering { stream, tls: self.tls.clone(), http2: self.http2 }
    }
}

impl Entering {
    /// Shakes hands where that is wanted.
    pub async fn enter(self) -> io::Result<Visitor> {
        let Self { stream, tls, http2 } = self;
        let tcp = match stream {
            Ok(tcp) => tcp,
            Err(stream) => return Ok(Visitor { stream, http2 }),
        };
        tcp.set_nodelay(true)?;
        let Some(config) = tls else { return Ok(Visitor { stream: Box::pin(tcp), http2 }) };
        let stream = TlsAcceptor::from(config).accept(tcp).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Visitor { stream: Box::pin(stream), http2 })
    }
}
