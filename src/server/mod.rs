//! The downstream side: accept, TLS, HTTP, drain.
//!
//! Knows nothing of the application: it hands each request to a [`Handler`].
//! One acceptor gives connections to [`Workers`], each a single-threaded
//! runtime on a thread of its own, so that a request is served from first byte
//! to last without crossing a core.
//!
//! # Failure
//! A connection that breaks the protocol, stalls in a handshake or dribbles its
//! request head is closed by its deadline; the listener goes on. When descriptors
//! run out, accepting pauses and says so.

mod accept;
mod crowd;
mod drain;
#[cfg(fuzzing)]
pub mod fuzz;
mod http;
mod io;
mod opening;
mod overload;
mod peer;
mod proxy_protocol;
mod redirect;
mod socket;
mod tls;
mod transport;
mod tunnel;
mod wire;
mod workers;

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Request, Response, body::Incoming};

pub use accept::{Door, Listener};
pub use drain::Drain;
pub use overload::{Overload, OverloadWatch, Pressure};
pub use peer::Peer;
pub use proxy_protocol::Senders;
pub use socket::{BindError, Claim, Socket, SocketFile, TcpClaim, UnixClaim};
pub use tls::{PeerCertificate, Prepared, Tls, TlsError};
pub use tunnel::{Bytes as TunnelBytes, Tunnel};
pub use wire::{Fault, Pace};
pub use workers::{Runtimes, Workers};

/// What serves requests.
pub trait Handler: Send + Sync + 'static {
    /// The body of a response.
    type Body: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync>
        + Send
        + 'static;

    /// Serves one request; every problem is an answer, so there is no error.
    ///
    /// # Cancellation
    /// The future is dropped when the caller leaves.
    fn handle(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Answers a request whose head was not fit to be read; the connection ends behind it.
    fn refuse(self: Arc<Self>, peer: Arc<Peer>, fault: Fault) -> Response<Self::Body>;

    /// What a connection that opens now is held to.
    fn bounds(&self) -> Bounds;

    /// Whether an HTTP/2 connection that begins now may ask for tunnels (RFC 8441).
    fn offers_tunnels(&self) -> bool {
        false
    }
}

/// Bounds that a reload may change for the connections that come after it.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Largest head of an HTTP/1 request, in bytes as it is sent. One that is
    /// smaller but still too large is the handler's to refuse.
    pub max_head: usize,
    /// Bytes a second that a client must take of what waits for it; 0 is any.
    pub min_rate: u64,
}

/// Bounds of one downstream connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// From the first byte of TCP to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request head to its last.
    pub header_timeout: Duration,
    /// Longest silence of a connection without a request.
    pub idle_timeout: Duration,
    /// Largest request head that hyper reads at all, in bytes; [`Bounds::max_head`] is below.
    pub max_head_bytes: usize,
    /// Open connections over all workers.
    pub max_connections: usize,
    /// Open connections of one address.
    pub max_connections_per_address: usize,
    /// Streams that one HTTP/2 connection may have open.
    pub max_streams: u32,
}
