//! Sends requests over the connections of one worker.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use http::{Request, Response, Version};
use hyper::body::Incoming;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    RequestBody,
    connection::{self, Opened, Order},
    error::{ConnectError, SendError},
    framing::{Fault, MAX_FIELDS},
    lease::Lease,
    places::{Gate, Place, Places},
    shelf::{Idle, Own, Shelf, Spot, Taken, Turn},
    streams::Stream,
    version,
    wire::Use,
};
use crate::{
    policy::snapshot::{Endpoint, Upstream},
    telemetry::Metrics,
};

/// How often a request goes out that an upstream certainly has not looked at.
const ATTEMPTS: u32 = 3;

/// The connections of one worker.
pub struct Pool<B> {
    /// Only this worker's tasks take it, for a push or a pop; another worker's when all connections are busy.
    shelves: Mutex<Vec<Shelf<B>>>,
    places: Arc<Places>,
    siblings: Arc<OnceLock<Vec<Weak<Self>>>>,
    metrics: Arc<Metrics>,
    /// Told when fewer are idle than the policy wants.
    pub(super) low: Notify,
}

impl<B> Pool<B>
where
    B: RequestBody,
{
    /// Empty pools, one for each of `workers`, that together keep to the policy's bounds.
    pub fn of_workers(workers: usize, metrics: &Arc<Metrics>) -> Vec<Arc<Self>> {
        let (places, siblings) = (Arc::<Places>::default(), Arc::default());
        let pool = |_| {
            Arc::new(Self {
                shelves: Mutex::default(),
                places: Arc::clone(&places),
                siblings: Arc::clone(&siblings),
                metrics: Arc::clone(metrics),
                low: Notify::new(),
            })
        };
        let pools: Vec<_> = (0..workers).map(pool).collect();
        // Nobody else knows these pools yet.
        drop(siblings.set(pools.iter().map(Arc::downgrade).collect()));
        pools
    }

    /// Sends `request` to `endpoint` on a connection that is there, or on a new one.
    ///
    /// Goes out again by itself when that is certainly safe: nothing was written because the connection had been
    /// closed while idle, or the upstream refused the stream and the body is still at hand.
    ///
    /// # Errors
    /// When no connection can be had, or it fails: see [`SendError::fate`] for what may be sent again.
    /// The deadline for the answer is the caller's.
    ///
    /// # Cancellation
    /// Dropping the future closes the connection that the request is on, or resets its stream.
    pub async fn send(
        self: &Arc<Self>,
        upstream: &Upstream,
        endpoint: &Arc<Endpoint>,
        mut request: Request<B>,
    ) -> Result<(Response<Incoming>, Lease<B>), SendError> {
        let mut refused = 1;
        loop {
            let (taken, fresh) = match self.take(upstream, endpoint) {
                Some(taken) => (taken, false),
                // Boxed because it is rare and large: every request's future would carry its room.
                None => Box::pin(self.obtain(upstream, endpoint)).await?,
            };
            let tried = match taken {
                Taken::Http1(own) => over_http1(own, request).await,
                Taken::Http2(stream) => Box::pin(over_http2(stream, endpoint, request)).await,
            };
            match tried {
                Ok((answer, taken)) => {
                    let pool = Arc::clone(self);
                    return Ok((answer, Lease { pool, taken, max_idle: upstream.max_idle }));
                }
                // The connection had been closed while idle.
                Err((SendError::Unsent(_), Some(unsent))) if !fresh => request = unsent,
                Err((SendError::Refused(_), Some(again))) if refused < ATTEMPTS => {
                    refused += 1;
                    request = again;
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    fn take(&self, upstream: &Upstream, endpoint: &Arc<Endpoint>) -> Option<Taken<B>> {
        let mut shelves = self.shelves();
        let shelf = find(&mut shelves, upstream, endpoint)?;
        let taken = shelf.take(upstream.pool_idle_timeout);
        if upstream.min_idle > 0 && shelf.ready() < upstream.min_idle {
            self.low.notify_one();
        }
        taken
    }

    /// A connection, opened if need be; whether it is new.
    async fn obtain(
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

    /// Where connections to `endpoint` are kept.
    fn spot(&self, upstream: &Upstream, endpoint: &Arc<Endpoint>) -> Arc<Spot> {
        let mut shelves = self.shelves();
        if let Some(shelf) = find(&mut shelves, upstream, endpoint) {
            return Arc::clone(&shelf.spot);
        }
        let shelf = Shelf::new(endpoint, upstream, self.places.gate(&endpoint.name));
        let spot = Arc::clone(&shelf.spot);
        shelves.push(shelf);
        spot
    }

    fn shelves(&self) -> MutexGuard<'_, Vec<Shelf<B>>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn put(&self, spot: &Arc<Spot>, idle: Idle<B>, max: usize) {
        // Without a shelf the policy no longer names the endpoint.
        if let Some(shelf) = of(&mut self.shelves(), spot) {
            shelf.put(idle, max);
        }
        spot.gate.wake();
    }

    /// Drops connections that `upstream` has no use for: old, closed, or to other endpoints.
    pub(super) fn sweep(&self, upstream: &Upstream) {
        self.shelves().retain_mut(|shelf| {
            let transport = &upstream.transport;
            let named = upstream.endpoints.iter().any(|known| shelf.is_for(known, transport));
            shelf.sweep(upstream.pool_idle_timeout);
            named
        });
        self.places.tidy();
    }

    /// Opens connections until there are `min_idle` to every endpoint, or one cannot be opened.
    pub(super) async fn fill(&self, upstream: &Upstream) {
        for endpoint in &upstream.endpoints {
            while self.lacks(upstream, endpoint) {
                if !self.add(upstream, endpoint).await {
                    break;
                }
            }
        }
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

/// What waiting at a gate came to.
enum Entered<B> {
    Place(Place),
    Taken(Taken<B>),
}

/// An answer and what it comes on; or why not, and the request if it is still there.
type Tried<B> = Result<(Response<Incoming>, Taken<B>), (SendError, Option<Request<B>>)>;

async fn over_http1<B>(mut own: Own<B>, mut request: Request<B>) -> Tried<B>
where
    B: RequestBody,
{
    version::to_http1(&mut request);
    own.wire.ask(request.method(), request.headers());
    match own.sender.try_send_request(request).await {
        Ok(response) => Ok((response, Taken::Http1(own))),
        Err(mut failed) => Err(match failed.take_message() {
            Some(unsent) => (SendError::Unsent(failed.into_error()), Some(unsent)),
            None => (SendError::after_sending(failed.into_error()), None),
        }),
    }
}

async fn over_http2<B>(stream: Stream<B>, endpoint: &Endpoint, mut request: Request<B>) -> Tried<B>
where
    B: RequestBody,
{
    version::to_http2(&mut request, endpoint);
    let again = version::repeat(&request);
    match stream.sender().try_send_request(request).await {
        Ok(response) if response.headers().len() > MAX_FIELDS => {
            Err((SendError::Malformed(Fault::TooManyFields), None))
        }
        Ok(response) => Ok((response, Taken::Http2(stream))),
        Err(mut failed) => Err(match failed.take_message() {
            Some(unsent) => (SendError::Unsent(failed.into_error()), Some(unsent)),
            None => (SendError::after_sending(failed.into_error()), again),
        }),
    }
}

/// The shelf of `endpoint`, found by its handles as long as the policy stays the same.
fn find<'s, B>(
    shelves: &'s mut [Shelf<B>],
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
) -> Option<&'s mut Shelf<B>> {
    let shelf = shelves.iter_mut().find(|shelf| shelf.is_for(endpoint, &upstream.transport))?;
    shelf.refresh(endpoint, &upstream.transport);
    Some(shelf)
}

fn of<'s, B>(shelves: &'s mut [Shelf<B>], spot: &Arc<Spot>) -> Option<&'s mut Shelf<B>> {
    shelves.iter_mut().find(|shelf| Arc::ptr_eq(&shelf.spot, spot))
}
