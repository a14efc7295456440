//! Serves HTTP/1 or HTTP/2 on one connection.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use hyper::{Method, Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Bounds, ConnectionLimits, Handler, Listener, Peer,
    io::{Http1, Http2},
    tunnel,
    wire::h1::{MADE_UP_METHOD, MAX_FIELDS},
};
use crate::telemetry::{Metrics, Protocol};

/// Serves `stream` until it ends or the listener drains.
pub(super) async fn serve<H, S>(listener: &Listener<H>, handler: Arc<H>, stream: S, peer: Arc<Peer>)
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let protocol = peer.protocol;
    let ending = listener.ending(Arc::clone(&peer));
    let _open = Open::count(&listener.metrics, protocol);
    let (limits, bounds) = (listener.limits, handler.bounds());
    let metrics = Arc::clone(&listener.metrics);
    let guarded = Arc::clone(&peer);
    let tunnels = handler.offers_tunnels();
    let (connected, drain) = (Arc::clone(&peer), listener.drain.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        tunnel::offer(&mut request, &drain);
        let turn = Turn::begin(Arc::clone(&peer));
        let answer = answer(Arc::clone(&handler), Arc::clone(&peer), request);
        async move { Ok::<_, Infallible>(answer.await.map(|body| Turned { body, _turn: turn })) }
    });
    // How a connection ends is the peer's business; what matters was recorded per exchange.
    match protocol {
        Protocol::Http1 => {
            let io = TokioIo::new(Http1::new(stream, guarded, limits, bounds, metrics));
            let connection = http1(&limits).serve_connection(io, service);
            let mut connection = pin!(connection.with_upgrades());
            tokio::select! {
                biased;
                ended = connection.as_mut() => drop(ended),
                () = ending => {
                    connection.as_mut().graceful_shutdown();
                    drop(connection.await);
                }
            }
            // What the connection became is still on its socket, and counts as open.
            connected.tunnels_ended().await;
        }
        Protocol::Http2 => {
            let io = TokioIo::new(Http2::new(stream, guarded, limits, bounds, metrics));
            let mut builder = http2(&limits, bounds);
            if tunnels {
                builder.enable_connect_protocol();
            }
            let connection = builder.serve_connection(io, service);
            let mut connection = pin!(connection);
            tokio::select! {
                biased;
                ended = connection.as_mut() => return drop(ended),
                () = ending => connection.as_mut().graceful_shutdown(),
            }
            drop(connection.await);
        }
    }
}

/// Serves one request, or refuses what stands in for one that was not fit to be read.
// Not an `async fn`: that would keep the request twice, as it came and as it is used.
fn answer<H: Handler>(
    handler: Arc<H>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> impl Future<Output = Response<H::Body>> + Send {
    let connects = request.method() == Method::CONNECT;
    // Both are needed: the fault may be in a body, and a method of HTTP/2 may be anything.
    let fault = peer.fault().filter(|_| request.method() == MADE_UP_METHOD);
    let begun = match fault {
        // Boxed because it is rare: every request's future would carry its room.
        Some(fault) => Err(Box::new(handler.refuse(Arc::clone(&peer), fault))),
        None => Ok(handler.handle(Arc::clone(&peer), request)),
    };
    async move {
        let answer = match begun {
            Ok(serving) => serving.await,
            Err(refused) => return *refused,
        };
        let switches = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        let tunnels = switches || connects && answer.status().is_success();
        if tunnels && peer.protocol == Protocol::Http1 {
            peer.handover.become_tunnel();
        }
        answer
    }
}

fn http1(limits: &ConnectionLimits) -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_headers(MAX_FIELDS)
        .max_buf_size(limits.max_head_bytes);
    builder
}

fn http2(
    limits: &ConnectionLimits,
    bounds: Bounds,
) -> hyper::server::conn::http2::Builder<TokioExecutor> {
    // What is a little larger than allowed gets an answer in our shape; what is much larger, a
    // bare one.
    let max_list = limits.max_head_bytes.min(bounds.max_head.saturating_mul(2));
    let max_list = u32::try_from(max_list).unwrap_or(u32::MAX);
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(max_list)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_WINDOW as usize);
    builder
}

/// Envoy's figures for an edge: what one stream, and all of them, may send unread.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Streams that a client reset before they were looked at (RUSTSEC-2023-0034).
const MAX_PENDING_RESETS: usize = 20;
/// Streams that had to be reset for what a client did; `server::wire` counts more finely.
const MAX_LOCAL_RESETS: usize = 1_024;

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
