//! Takes connections from a listening socket and gives them to workers.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{ConnectionLimits, Drain, Handler, Workers, http, io::Paced, workers::Place};
use crate::telemetry::{Handshake, Metrics, Protocol};

/// The longest queue of connections that the kernel keeps for us.
const BACKLOG: u32 = 4096;
/// How long accepting pauses when the system has no descriptor left.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Claims `address`; a second process that wants it fails.
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
        };
        // Only lets us take over connections in TIME_WAIT; two listeners still collide.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|source| BindError { address, source })
}

/// All that the connections of a listening socket need.
pub struct Listener<H> {
    /// The TLS side.
    pub tls: Arc<ServerConfig>,
    /// One handler per worker.
    pub handlers: Vec<Arc<H>>,
    /// The threads.
    pub workers: Arc<Workers>,
    /// Bounds of each connection.
    pub limits: ConnectionLimits,
    /// Ends it all.
    pub drain: Drain,
    /// Where connections are counted.
    pub metrics: Arc<Metrics>,
}

impl<H: Handler> Listener<H> {
    /// Accepts from `socket` until draining begins, and closes it then: connections that are
    /// still open must not keep new ones waiting in its queue.
    pub async fn serve(self, socket: TcpListener) {
        let listener = Arc::new(self);
        let drain = listener.drain.clone();
        tokio::select! {
            () = drain.begun() => {}
            () = listener.accept(&socket) => {}
        }
    }

    async fn accept(self: &Arc<Self>, socket: &TcpListener) {
        let mut complained = None;
        loop {
            match socket.accept().await {
                Ok((stream, address)) => self.dispatch(stream, address),
                Err(error) => {
                    complain(&mut complained, &error);
                    if is_ours(&error) {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    fn dispatch(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        if self.workers.open() >= self.limits.max_connections {
            self.metrics.connections_shed.add(1);
            return;
        }
        let Some((index, place)) = self.workers.place() else { return };
        // The socket moves to the worker's own event queue.
        let Ok(stream) = stream.into_std() else { return };
        let listener = Arc::clone(self);
        let task = async move {
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            let cut = listener.drain.clone();
            tokio::select! {
                () = listener.connection(index, stream, address, place) => {}
                () = cut.cut() => {}
            }
        };
        self.workers.spawn(index, self.drain.track(task));
    }

    async fn connection(&self, index: usize, tcp: TcpStream, address: SocketAddr, _place: Place) {
        // Without it, small answers would wait for the client's delayed acknowledgement.
        if tcp.set_nodelay(true).is_err() {
            return;
        }
        let Some(handler) = self.handlers.get(index) else { return };
        let rate = handler.bounds().min_rate;
        let tcp = Paced::new(tcp, rate, address, Arc::clone(&self.metrics));
        let handshake = TlsAcceptor::from(Arc::clone(&self.tls)).accept(tcp);
        let stream = match tokio::time::timeout(self.limits.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return self.metrics.handshake(Handshake::Failed),
            Err(_) => return self.metrics.handshake(Handshake::TimedOut),
        };
        let (_, session) = stream.get_ref();
        self.metrics.handshake(match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => Handshake::Tls12,
            _ => Handshake::Tls13,
        });
        let protocol = match session.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        http::serve(self, Arc::clone(handler), stream, address, protocol).await;
    }
}

/// Errors of this process or machine, as against those of the one connection.
fn is_ours(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Says at most once a second that accepting fails.
fn complain(last: &mut Option<Instant>, error: &io::Error) {
    if is_ours(error) && last.is_none_or(|last| last.elapsed() > Duration::from_secs(1)) {
        *last = Some(Instant::now());
        tracing::error!(%error, "cannot accept connections");
    }
}
