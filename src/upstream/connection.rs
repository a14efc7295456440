//! Opens one HTTP/1.1 connection to the upstream.

use std::io;

use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::policy::snapshot::{Endpoint, Target, Upstream};

/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 256 << 10;
/// Most header fields of an answer.
const MAX_FIELDS: usize = 256;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network says no.
    #[error("the upstream refuses the connection: {0}")]
    Refused(#[source] io::Error),
    /// Nothing said anything in time.
    #[error("the upstream does not accept the connection in time")]
    TimedOut,
    /// HTTP could not begin.
    #[error("HTTP cannot begin on the connection: {0}")]
    Handshake(#[source] hyper::Error),
}

/// Connects within the policy's `connect_timeout`.
pub(super) async fn open<B>(
    upstream: &Upstream,
    endpoint: &Endpoint,
) -> Result<SendRequest<B>, ConnectError>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let tcp = tokio::time::timeout(upstream.connect_timeout, dial(endpoint));
    let tcp = tcp.await.map_err(|_| ConnectError::TimedOut)?.map_err(ConnectError::Refused)?;
    tcp.set_nodelay(true).map_err(ConnectError::Refused)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD).max_headers(MAX_FIELDS);
    let handshake = builder.handshake(TokioIo::new(tcp)).await;
    let (sender, connection) = handshake.map_err(ConnectError::Handshake)?;
    // Owned by its sender: the task ends when the pool or the lease drops that.
    tokio::spawn(async move { drop(connection.with_upgrades().await) });
    Ok(sender)
}

/// Opens a connection to `endpoint`; the caller sets the deadline.
///
/// # Errors
/// What the network says.
pub async fn dial(endpoint: &Endpoint) -> io::Result<TcpStream> {
    match &endpoint.target {
        Target::Address(address) => TcpStream::connect(address).await,
        Target::Name { host, port } => TcpStream::connect((host.as_str(), *port)).await,
    }
}
