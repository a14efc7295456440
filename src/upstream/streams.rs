//! One HTTP/2 connection and the streams that we have open on it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::Request;
use hyper::client::conn::http2::{Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{
    RequestBody,
    link::Link,
    places::Gate,
    wire::{Use, Wire},
};

/// Most streams on one connection, whatever the upstream allows: more share one window and one core.
pub(super) const MAX_STREAMS: usize = 100;

/// A connection that carries many requests.
pub(super) struct Streams<B> {
    sender: SendRequest<B>,
    wire: Arc<Wire>,
    gate: Arc<Gate>,
    open: AtomicUsize,
    /// What the upstream allows, as far as it is known.
    limit: Arc<AtomicUsize>,
    /// Whether the upstream takes an extended CONNECT (RFC 8441), as far as it is known.
    tunnels: Arc<AtomicBool>,
    born: Instant,
    /// When the last stream ended, in milliseconds after `born`.
    idle_ms: AtomicU64,
}

impl<B> Streams<B> {
    pub(super) fn new(sender: SendRequest<B>, wire: Arc<Wire>, gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self {
            sender,
            wire,
            gate,
            open: AtomicUsize::new(0),
            limit: Arc::new(AtomicUsize::new(MAX_STREAMS)),
            tunnels: Arc::default(),
            born: Instant::now(),
            idle_ms: AtomicU64::new(0),
        })
    }

    /// One more stream, if the connection takes it.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Stream<B>> {
        if self.sender.is_closed() {
            return None;
        }
        let limit = self.limit.load(Relaxed).clamp(1, MAX_STREAMS);
        let more = |open: usize| (open < limit).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, more).ok()?;
        self.wire.note(Use::Busy);
        Some(Stream(Arc::clone(self)))
    }

    /// How long it has had no stream; `None` while it has one.
    pub(super) fn idle_for(&self) -> Option<Duration> {
        let since = Duration::from_millis(self.idle_ms.load(Relaxed));
        (self.open.load(Relaxed) == 0).then(|| self.born.elapsed().saturating_sub(since))
    }

    /// Whether it can carry nothing more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// One stream's share of a connection; given back when dropped.
pub(super) struct Stream<B>(Arc<Streams<B>>);

impl<B> Stream<B> {
    /// Counts the answers 1xx to `request`: nobody reads the frames of this connection but the library.
    pub(super) fn count_interim(&self, request: &mut Request<B>) {
        let wire = Arc::clone(&self.0.wire);
        hyper::ext::on_informational(request, move |_| wire.count_interim(1));
    }

    /// What requests are handed to.
    pub(super) fn sender(&self) -> SendRequest<B> {
        self.0.sender.clone()
    }

    /// Whether it may switch protocols.
    pub(super) fn has_tunnels(&self) -> bool {
        self.0.tunnels.load(Relaxed)
    }
}

impl<B> Drop for Stream<B> {
    fn drop(&mut self) {
        let streams = &self.0;
        if streams.open.fetch_sub(1, Relaxed) == 1 {
            let now = u64::try_from(streams.born.elapsed().as_millis()).unwrap_or(u64::MAX);
            streams.idle_ms.store(now, Relaxed);
            streams.wire.note(Use::Idle);
        }
        streams.gate.wake();
    }
}

/// Drives a connection, and learns how many streams it may have.
pub(super) struct Driven<B: RequestBody> {
    connection: Connection<TokioIo<Link>, B, TokioExecutor>,
    limit: Arc<AtomicUsize>,
    tunnels: Arc<AtomicBool>,
}

impl<B: RequestBody> Driven<B> {
    pub(super) fn new(
        connection: Connection<TokioIo<Link>, B, TokioExecutor>,
        streams: &Streams<B>,
    ) -> Self {
        let (limit, tunnels) = (Arc::clone(&streams.limit), Arc::clone(&streams.tunnels));
        Self { connection, limit, tunnels }
    }

    /// Notes what the upstream allows by now.
    pub(super) fn learn(&self) {
        self.limit.store(self.connection.current_max_send_streams(), Relaxed);
        self.tunnels.store(self.connection.is_extended_connect_protocol_enabled(), Relaxed);
    }
}

impl<B: RequestBody> Future for Driven<B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ended = Pin::new(&mut self.connection).poll(cx).map(drop);
        self.learn();
        ended
    }
}
