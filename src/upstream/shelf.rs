//! The connections of one worker to one endpoint that can take a request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::Version;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::Notify;

use super::{
    places::Gate,
    streams::{Stream, Streams},
    wire::{Use, Wire},
};
use crate::policy::snapshot::{Endpoint, Transport, Upstream, UpstreamProtocol};

/// What connections of one shelf have in common.
#[derive(Debug, Default)]
pub(super) struct Spot {
    pub(super) gate: Arc<Gate>,
    /// Whether somebody opens a connection that others may share.
    dialling: AtomicBool,
    /// Whether the endpoint has turned out to speak HTTP/1.
    http1: AtomicBool,
    dialled: Notify,
}

/// An idle HTTP/1 connection.
pub(super) struct Idle<B> {
    pub(super) sender: SendRequest<B>,
    pub(super) wire: Arc<Wire>,
    pub(super) since: Instant,
}

/// An HTTP/1 connection that carries one exchange.
pub(super) struct Own<B> {
    pub(super) sender: SendRequest<B>,
    pub(super) wire: Arc<Wire>,
    pub(super) spot: Arc<Spot>,
}

/// A connection for one request.
pub(super) enum Taken<B> {
    /// A connection of its own.
    Http1(Own<B>),
    /// A stream on a shared one.
    Http2(Stream<B>),
}

/// The connections to one endpoint.
pub(super) struct Shelf<B> {
    /// Those of the policy that asked last: found by their address first.
    endpoint: Arc<Endpoint>,
    transport: Arc<Transport>,
    pub(super) spot: Arc<Spot>,
    /// Newest last.
    idle: Vec<Idle<B>>,
    streams: Vec<Arc<Streams<B>>>,
}

impl Spot {
    pub(super) fn new(gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self { gate, ..Self::default() })
    }

    /// Whether the next connection will probably carry many requests.
    pub(super) fn is_shared(&self, secure: bool, protocol: UpstreamProtocol) -> bool {
        match protocol {
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Auto => secure && !self.http1.load(Relaxed),
        }
    }

    /// Says which HTTP the endpoint speaks.
    pub(super) fn speaks(&self, version: Version) {
        self.http1.store(version == Version::HTTP_11, Relaxed);
    }

    /// Waits for whoever opens a connection that others may share, or says that it is the caller's turn to.
    pub(super) async fn turn(self: &Arc<Self>, shared: bool) -> Turn {
        if !shared {
            return Turn::Open(None);
        }
        let dialled = self.dialled.notified();
        if !self.dialling.swap(true, Relaxed) {
            return Turn::Open(Some(Dialling(Arc::clone(self))));
        }
        dialled.await;
        Turn::Look
    }
}

/// What to do for a connection.
pub(super) enum Turn {
    /// Open one; with a guard if others wait for it.
    Open(Option<Dialling>),
    /// Look whether there is one now.
    Look,
}

/// Somebody opens a connection. Dropped, the others look again.
pub(super) struct Dialling(Arc<Spot>);

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.dialling.store(false, Relaxed);
        self.0.dialled.notify_waiters();
    }
}

impl<B> Shelf<B> {
    pub(super) fn new(endpoint: &Arc<Endpoint>, upstream: &Upstream, gate: Arc<Gate>) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            transport: Arc::clone(&upstream.transport),
            spot: Spot::new(gate),
            idle: Vec::new(),
            streams: Vec::new(),
        }
    }

    /// Whether it is for this endpoint, spoken with in this way.
    pub(super) fn is_for(&self, endpoint: &Arc<Endpoint>, transport: &Arc<Transport>) -> bool {
        let same = Arc::ptr_eq(&self.transport, transport) && Arc::ptr_eq(&self.endpoint, endpoint);
        same || self.transport.digest == transport.digest && *self.endpoint == **endpoint
    }

    /// Remembers the newest handles, by which it is found without a comparison.
    pub(super) fn refresh(&mut self, endpoint: &Arc<Endpoint>, transport: &Arc<Transport>) {
        if !Arc::ptr_eq(&self.endpoint, endpoint) || !Arc::ptr_eq(&self.transport, transport) {
            self.endpoint = Arc::clone(endpoint);
            self.transport = Arc::clone(transport);
        }
    }

    /// A connection that can take a request now.
    pub(super) fn take(&mut self, longest_idle: Duration) -> Option<Taken<B>> {
        if !self.streams.is_empty() {
            self.streams.retain(|streams| !streams.is_closed());
            if let Some(stream) = self.streams.iter().find_map(Streams::begin) {
                return Some(Taken::Http2(stream));
            }
        }
        while let Some(newest) = self.idle.pop() {
            let idle = newest.since.elapsed();
            if idle < longest_idle && newest.sender.is_ready() {
                newest.wire.note(Use::Busy);
                newest.wire.idled(idle);
                let (sender, wire, spot) = (newest.sender, newest.wire, Arc::clone(&self.spot));
                return Some(Taken::Http1(Own { sender, wire, spot }));
            }
        }
        None
    }

    /// Keeps an idle connection, unless there are `max` already.
    pub(super) fn put(&mut self, idle: Idle<B>, max: usize) {
        if self.idle.len() < max {
            idle.wire.note(Use::Idle);
            self.idle.push(idle);
        }
    }

    /// Keeps a connection that carries many requests.
    pub(super) fn share(&mut self, streams: Arc<Streams<B>>) {
        self.streams.push(streams);
    }

    /// Drops the oldest connection that has no request; `false` if there is none.
    pub(super) fn evict(&mut self) -> bool {
        if !self.idle.is_empty() {
            drop(self.idle.remove(0));
            return true;
        }
        let idle = self.streams.iter().position(|streams| streams.idle_for().is_some());
        idle.map(|index| self.streams.swap_remove(index)).is_some()
    }

    /// Drops what has been idle for `longest`, or is closed.
    pub(super) fn sweep(&mut self, longest: Duration) {
        self.idle.retain(|kept| kept.since.elapsed() < longest && !kept.sender.is_closed());
        self.streams
            .retain(|kept| !kept.is_closed() && kept.idle_for().is_none_or(|idle| idle < longest));
    }

    /// How many connections could take a request at once.
    pub(super) fn ready(&self) -> usize {
        // One that is shared has room for all that a worker would keep ready.
        if self.streams.is_empty() { self.idle.len() } else { usize::MAX }
    }
}
