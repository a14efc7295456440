//! Where a pool's connections come from: opened when they are needed, ahead of
//! it, or waited for.
//!
//! Who needs one while another is opened that both can share waits for that.
//! Past `max_connections` requests wait until one is closed or has no request,
//! on whatever worker; a worker then gives an idle one of its own up.

use std::sync::{Arc, Weak};

use http::Version;
use tokio::time::{Instant, timeout_at};

use super::{
    RequestBody,
    connection::{self, Opened, Order},
    error::{ConnectError, SendError},
    places::{Gate, Place},
    pool::{Pool, find, of},
    shelf::{Idle, Own, Shelf, Spot, Taken, Turn},
    wire::Use,
};
use crate::policy::snapshot::{Endpoint, Upstream};

/// What waiting at a gate came to.
enum Entered<B> {
    Place(Place),
    Taken(Taken<B>),
}

impl<B: RequestBody> Pool<B> {
    /// A connection, opened if need be; whether it is new.
    pub(super) async fn obtain(
        &self,
        upstream: &Upstream,
        endpoint: &Arc<Endpoint>,
    ) -> Result<(Taken<B>, bool), SendError> {
        let deadline = Instant::now() + upstream.connect_timeout;
        let spot = self.spot(upstream, endpoint);
        loop {
            let shared = spot.is_shared(endpoint.secure, upstream.transport.protocol);
            let turn = timeout_at(deadline, spot.turn(shared)).await;
            let Turn::Open(_dialling) = turn.map_err(|_| ConnectError::TimedOut)? else {
                if let Some(taken) = self.take(upstream, endpoint) {
                    return Ok((taken, false));
                }
                continue;
            };
            let place = match self.enter(&spot.gate, upstream, endpoint, deadline).await? {
                Entered::Place(place) => place,
                Entered::Taken(taken) => return Ok((taken, false)),
            };
            let order = Order { endpoint, transport: &upstream.transport, deadline, place };
            let opened = connection::open(order, &self.metrics).await?;
            if let Some(taken) = self.begin(&spot, opened) {
                return Ok((taken, true));
            }
        }
    }

    /// Waits for a place among the connections to the endpoint, or for one that is free.
    async fn enter(
        &self,
        gate: &Arc<Gate>,
        upstream: &Upstream,
        endpoint: &Arc<Endpoint>,
        deadline: Instant,
    ) -> Result<Entered<B>, SendError> {
        if let Some(place) = gate.enter(upstream.max_connections) {
            return Ok(Entered::Place(place));
        }
        let waiter = gate.waiter();
        loop {
            let mut freed = std::pin::pin!(waiter.freed());
            freed.as_mut().enable();
            if let Some(place) = gate.enter(upstream.max_connections) {
                return Ok(Entered::Place(place));
            }
            if let Some(taken) = self.take(upstream, endpoint) {
                return Ok(Entered::Taken(taken));
            }
            self.evict(gate);
            timeout_at(deadline, freed).await.map_err(|_| SendError::Full)?;
        }
    }

    /// Lets a worker drop a connection that has no request: somebody waits for its place.
    fn evict(&self, gate: &Arc<Gate>) {
        for pool in self.siblings.get().into_iter().flatten().filter_map(Weak::upgrade) {
            let mut shelves = pool.shelves();
            let mut same = shelves.iter_mut().filter(|shelf| Arc::ptr_eq(&shelf.spot.gate, gate));
            if same.any(Shelf::evict) {
                return;
            }
        }
    }

    /// The first request on a new connection.
    fn begin(&self, spot: &Arc<Spot>, opened: Opened<B>) -> Option<Taken<B>> {
        let streams = match opened {
            Opened::Http1(sender, wire) => {
                spot.speaks(Version::HTTP_11);
                wire.note(Use::Busy);
                let spot = Arc::clone(spot);
                return Some(Taken::Http1(Own { sender, wire, spot }));
            }
            Opened::Http2(streams) => streams,
        };
        spot.speaks(Version::HTTP_2);
        let stream = streams.begin();
        if let Some(shelf) = of(&mut self.shelves(), spot) {
            shelf.share(streams);
        }
        stream.map(Taken::Http2)
    }

    /// Opens connections until there are `min_idle` to every endpoint; `false` if some cannot be opened.
    pub(super) async fn fill(&self, upstream: &Upstream) -> bool {
        let mut filled = true;
        for endpoint in &upstream.endpoints {
            while self.lacks(upstream, endpoint) {
                if !self.add(upstream, endpoint).await {
                    filled = false;
                    break;
                }
            }
        }
        filled
    }

    fn lacks(&self, upstream: &Upstream, endpoint: &Arc<Endpoint>) -> bool {
        let ready = find(&mut self.shelves(), upstream, endpoint).map_or(0, |shelf| shelf.ready());
        ready < upstream.min_idle.min(upstream.max_idle)
    }

    /// Opens one more connection than is needed. `false` when that was not possible.
    async fn add(&self, upstream: &Upstream, endpoint: &Arc<Endpoint>) -> bool {
        let spot = self.spot(upstream, endpoint);
        let Some(place) = spot.gate.enter(upstream.max_connections) else { return false };
        let deadline = Instant::now() + upstream.connect_timeout;
        let order = Order { endpoint, transport: &upstream.transport, deadline, place };
        let Ok(opened) = connection::open(order, &self.metrics).await else { return false };
        match self.begin(&spot, opened) {
            Some(Taken::Http1(Own { sender, wire, spot })) => {
                let since = std::time::Instant::now();
                self.put(&spot, Idle { sender, wire, since }, upstream.max_idle);
                true
            }
            other => other.is_some(),
        }
    }
}
