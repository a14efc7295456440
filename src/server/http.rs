//! Serves HTTP/1 or HTTP/2 on one connection.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{ConnectionLimits, Handler, Listener, Peer, io::Guarded};
use crate::telemetry::{Metrics, Protocol};

/// Header fields that hyper parses at all; the policy's own, lower bound answers in our shape.
const MAX_PARSED_HEADERS: usize = 256;

/// Serves `stream` until it ends or the listener drains.
pub(super) async fn serve<H, S>(
    listener: &Listener<H>,
    handler: Arc<H>,
    stream: S,
    address: SocketAddr,
    protocol: Protocol,
) where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Arc::new(Peer::new(address, protocol));
    let _open = Open::count(&listener.metrics, protocol);
    let guarded = Guarded::new(stream, Arc::clone(&peer), listener.limits, listener.too_slow);
    let io = TokioIo::new(guarded);
    let service = service_fn(move |request: Request<Incoming>| {
        let turn = Turn::begin(Arc::clone(&peer));
        let answer = Arc::clone(&handler).handle(Arc::clone(&peer), request);
        async move { Ok::<_, Infallible>(answer.await.map(|body| Turned { body, _turn: turn })) }
    });
    // How a connection ends is the peer's business; what matters was recorded per exchange.
    match protocol {
        Protocol::Http1 => {
            let connection = http1(&listener.limits).serve_connection(io, service);
            let mut connection = pin!(connection);
            tokio::select! {
                biased;
                ended = connection.as_mut() => return drop(ended),
                () = listener.drain.begun() => connection.as_mut().graceful_shutdown(),
            }
            drop(connection.await);
        }
        Protocol::Http2 => {
            let connection = http2(&listener.limits).serve_connection(io, service);
            let mut connection = pin!(connection);
            tokio::select! {
                biased;
                ended = connection.as_mut() => return drop(ended),
                () = listener.drain.begun() => connection.as_mut().graceful_shutdown(),
            }
            drop(connection.await);
        }
    }
}

fn http1(limits: &ConnectionLimits) -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(MAX_PARSED_HEADERS)
        .max_buf_size(limits.max_head_bytes);
    builder
}

fn http2(limits: &ConnectionLimits) -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.max_head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_WINDOW as usize);
    builder
}

/// Envoy's figures for an edge: what one stream, and all of them, may send unread.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Counts an open connection.
struct Open<'a>(&'a Metrics, Protocol);

impl<'a> Open<'a> {
    fn count(metrics: &'a Metrics, protocol: Protocol) -> Self {
        metrics.connections(protocol).add(1);
        Self(metrics, protocol)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections(self.1).add(-1);
    }
}

/// Marks the connection as serving a request, until dropped.
struct Turn(Arc<Peer>);

impl Turn {
    fn begin(peer: Arc<Peer>) -> Self {
        peer.begin();
        Self(peer)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.finish();
    }
}

pin_project_lite::pin_project! {
    /// A response body that ends its turn when it is dropped.
    struct Turned<B> {
        #[pin]
        body: B,
        _turn: Turn,
    }
}

impl<B: http_body::Body> http_body::Body for Turned<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
