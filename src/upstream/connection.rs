//! Opens one connection to an endpoint: socket, TLS, HTTP.

use std::{io, sync::Arc};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::ServerName;
use tokio::time::{Duration, Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::{
    RequestBody,
    error::ConnectError,
    framing::MAX_HEAD,
    link::Link,
    places::{Gate, Place},
    socket::{self, Socket},
    streams::{Driven, MAX_STREAMS, Streams},
    wire::Wire,
};
use crate::{
    policy::snapshot::{Endpoint, Transport, UpstreamProtocol, UpstreamTls},
    telemetry::{Connected, Metrics},
    trust,
};

/// How long a connection with waiting requests may be silent before it is asked for a sign of life.
const PING_AFTER: Duration = Duration::from_secs(5);
/// How long that sign may take.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// What one stream may send unread.
const STREAM_WINDOW: u32 = 128 << 10;
/// What all streams may send unread: as much as they may together, or one that nobody reads would stop the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;

/// A connection that has just been opened.
pub(super) enum Opened<B> {
    /// One request at a time.
    Http1(http1::SendRequest<B>, Arc<Wire>),
    /// Many.
    Http2(Arc<Streams<B>>),
}

/// What a connection is opened for.
pub(super) struct Order<'a> {
    /// Where to.
    pub(super) endpoint: &'a Endpoint,
    /// How it is spoken with.
    pub(super) transport: &'a Transport,
    /// When it must be open.
    pub(super) deadline: Instant,
    /// Its place among the others.
    pub(super) place: Place,
}

/// Opens a connection and counts how that went.
pub(super) async fn open<B: RequestBody>(
    order: Order<'_>,
    metrics: &Arc<Metrics>,
) -> Result<Opened<B>, ConnectError> {
    let opened = timeout_at(order.deadline, establish(order, metrics)).await;
    let opened = opened.unwrap_or(Err(ConnectError::TimedOut));
    metrics.upstream_connected(match &opened {
        Ok(_) => Connected::Opened,
        Err(ConnectError::TimedOut) => Connected::TimedOut,
        Err(ConnectError::Refused(_)) => Connected::Refused,
        Err(ConnectError::Tls(_) | ConnectError::Unpinned) => Connected::NoTls,
        Err(ConnectError::Protocol | ConnectError::Handshake(_)) => Connected::NoHttp,
    });
    opened
}

async fn establish<B: RequestBody>(
    order: Order<'_>,
    metrics: &Arc<Metrics>,
) -> Result<Opened<B>, ConnectError> {
    let Order { endpoint, transport, place, .. } = order;
    let mut socket = socket::dial(endpoint).await.map_err(ConnectError::Refused)?;
    if endpoint.secure {
        let tls = transport.tls.as_ref().ok_or_else(no_tls)?;
        socket = shake_hands(socket, endpoint, tls).await.map_err(untrusted)?;
    }
    let (wire, gate) = (Wire::new(metrics), place.gate());
    if speaks_http2(&socket, transport.protocol)? {
        let link = Link::http2(socket, Arc::clone(&wire), place);
        return begin_http2(link, wire, gate).await.map(Opened::Http2);
    }
    let link = Link::http1(socket, Arc::clone(&wire), place);
    let sender = begin_http1(link, &wire).await?;
    Ok(Opened::Http1(sender, wire))
}

fn untrusted(error: io::Error) -> ConnectError {
    match error.get_ref().and_then(|cause| cause.downcast_ref()) {
        Some(cause) if trust::is_unpinned(cause) => ConnectError::Unpinned,
        _ => ConnectError::Tls(error),
    }
}

fn no_tls() -> ConnectError {
    ConnectError::Tls(io::ErrorKind::Unsupported.into())
}

async fn shake_hands(socket: Socket, endpoint: &Endpoint, tls: &UpstreamTls) -> io::Result<Socket> {
    let Socket::Tcp(tcp) = socket else { return Ok(socket) };
    let name = match &tls.server_name {
        Some(name) => name.clone(),
        None => {
            let host = endpoint.authority.host();
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            ServerName::try_from(host).map_err(io::Error::other)?
        }
    };
    let stream = TlsConnector::from(Arc::clone(&tls.config)).connect(name, tcp).await?;
    Ok(Socket::Tls(Box::new(stream)))
}

fn speaks_http2(socket: &Socket, protocol: UpstreamProtocol) -> Result<bool, ConnectError> {
    let agreed = match socket {
        Socket::Tls(stream) => Some(stream.get_ref().1.alpn_protocol() == Some(b"h2")),
        Socket::Tcp(_) | Socket::Unix(_) => None,
    };
    match (protocol, agreed) {
        (UpstreamProtocol::Http2, Some(false)) => Err(ConnectError::Protocol),
        (UpstreamProtocol::Http2, _) => Ok(true),
        (UpstreamProtocol::Http1, _) => Ok(false),
        (UpstreamProtocol::Auto, agreed) => Ok(agreed.unwrap_or(false)),
    }
}

async fn begin_http1<B: RequestBody>(
    link: Link,
    wire: &Wire,
) -> Result<http1::SendRequest<B>, ConnectError> {
    let mut builder = http1::Builder::new();
    // Room for [`MAX_FIELDS`] is its default, on the stack.
    builder.max_buf_size(MAX_HEAD);
    let handshake = builder.handshake(TokioIo::new(link)).await;
    let (sender, connection) = handshake.map_err(ConnectError::Handshake)?;
    // Owned by its sender: the task ends when the pool or the lease drops that.
    let driver = tokio::spawn(async move { drop(connection.with_upgrades().await) });
    wire.driven_by(driver.abort_handle());
    Ok(sender)
}

async fn begin_http2<B: RequestBody>(
    link: Link,
    wire: Arc<Wire>,
    gate: Arc<Gate>,
) -> Result<Arc<Streams<B>>, ConnectError> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buf_size(STREAM_WINDOW as usize);
    let handshake = builder.handshake(TokioIo::new(link)).await;
    let (sender, connection) = handshake.map_err(ConnectError::Handshake)?;
    let streams = Streams::new(sender, Arc::clone(&wire), gate);
    let mut driven = Driven::new(connection, &streams);
    // Until the first SETTINGS nobody knows how many streams there may be, nor whether this is HTTP/2 at all.
    tokio::select! {
        () = wire.greeted() => driven.learn(),
        () = &mut driven => return Err(ConnectError::Protocol),
    }
    // Owned by its sender, as above.
    tokio::spawn(driven);
    Ok(streams)
}
