//! Sends requests over the connections of one worker.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::Notify;

use super::{
    RequestBody, Unanswered,
    error::SendError,
    framing::{Fault, MAX_FIELDS},
    lease::Lease,
    places::Places,
    shelf::{Idle, Own, Shelf, Spot, Taken},
    streams::Stream,
    version,
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
    pub(super) siblings: Arc<OnceLock<Vec<Weak<Self>>>>,
    pub(super) metrics: Arc<Metrics>,
    /// Told when fewer are idle than the policy wants.
    pub(super) low: Notify,
}

impl<B: RequestBody> Pool<B> {
    /// An empty pool that shares its bounds with no other.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Self::sharing(Arc::default(), Arc::default(), metrics)
    }

    /// Empty pools, one for each of `workers`, that together keep to the policy's bounds.
    pub fn of_workers(workers: usize, metrics: &Arc<Metrics>) -> Vec<Arc<Self>> {
        let (places, siblings) = (Arc::<Places>::default(), Arc::<OnceLock<_>>::default());
        let pool =
            |_| Self::sharing(Arc::clone(&places), Arc::clone(&siblings), Arc::clone(metrics));
        let pools: Vec<_> = (0..workers).map(pool).collect();
        // Nobody else knows these pools yet.
        drop(siblings.set(pools.iter().map(Arc::downgrade).collect()));
        pools
    }

    fn sharing(
        places: Arc<Places>,
        siblings: Arc<OnceLock<Vec<Weak<Self>>>>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let (shelves, low) = (Mutex::default(), Notify::new());
        Arc::new(Self { shelves, places, siblings, metrics, low })
    }

    /// Sends `request` to `endpoint` on a connection that is there, or on a new one.
    ///
    /// Goes out again by itself when that is certainly safe: nothing was written because the connection had been
    /// closed while idle, or the upstream refused the stream and the body is still at hand.
    ///
    /// # Errors
    /// When no connection can be had, or it fails: see [`SendError::fate`] for what may be sent again. The request
    /// comes back when all of it is still there.
    /// The deadline for the answer is the caller's.
    ///
    /// # Cancellation
    /// Dropping the future closes the connection that the request is on, or resets its stream.
    // Not an `async fn`: that would keep the request twice, as it came and as it is used.
    #[allow(clippy::manual_async_fn, reason = "see above")]
    pub fn send<'s>(
        self: &'s Arc<Self>,
        upstream: &'s Upstream,
        endpoint: &'s Arc<Endpoint>,
        mut request: Request<B>,
    ) -> impl Future<Output = Answered<B>> + Send + use<'s, B> {
        let mut refused = 1;
        async move {
            loop {
                let (taken, fresh) = match self.take(upstream, endpoint) {
                    Some(taken) => (taken, false),
                    // Boxed because it is rare and large: every request's future would carry its room.
                    None => match Box::pin(self.obtain(upstream, endpoint)).await {
                        Ok(obtained) => obtained,
                        Err(error) => {
                            return Err(Box::new(Unanswered { error, request: Some(request) }));
                        }
                    },
                };
                let tried = match taken {
                    Taken::Http1(mut own) => {
                        let answer = over_http1(&mut own, request).await;
                        answer.map(|response| (response, Taken::Http1(own)))
                    }
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
                    Err((error, request)) => return Err(Box::new(Unanswered { error, request })),
                }
            }
        }
    }

    pub(super) fn take(&self, upstream: &Upstream, endpoint: &Arc<Endpoint>) -> Option<Taken<B>> {
        let mut shelves = self.shelves();
        let shelf = find(&mut shelves, upstream, endpoint)?;
        let taken = shelf.take(upstream.pool_idle_timeout);
        if upstream.min_idle > 0 && shelf.ready() < upstream.min_idle {
            self.low.notify_one();
        }
        taken
    }

    /// Where connections to `endpoint` are kept.
    pub(super) fn spot(&self, upstream: &Upstream, endpoint: &Arc<Endpoint>) -> Arc<Spot> {
        let mut shelves = self.shelves();
        if let Some(shelf) = find(&mut shelves, upstream, endpoint) {
            return Arc::clone(&shelf.spot);
        }
        let shelf = Shelf::new(endpoint, upstream, self.places.gate(&endpoint.name));
        let spot = Arc::clone(&shelf.spot);
        shelves.push(shelf);
        spot
    }

    pub(super) fn shelves(&self) -> MutexGuard<'_, Vec<Shelf<B>>> {
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
            let is_for = |upstream: &Upstream| {
                let transport = &upstream.transport;
                upstream.endpoints.iter().any(|known| shelf.is_for(known, transport))
            };
            let named = is_for(upstream) || is_for(upstream.for_tunnels());
            shelf.sweep(upstream.pool_idle_timeout);
            named
        });
        self.places.tidy();
    }
}

/// What came of a request, and the connection that its answer comes on.
type Answered<B> = Result<(Response<Incoming>, Lease<B>), Box<Unanswered<B>>>;

/// Why there is no answer, and the request if it is still there.
type Failed<B> = (SendError, Option<Request<B>>);

/// An answer and what it comes on.
type Tried<B> = Result<(Response<Incoming>, Taken<B>), Failed<B>>;

/// Hands the request over at once; the future only waits for the answer.
fn over_http1<B: RequestBody>(
    own: &mut Own<B>,
    mut request: Request<B>,
) -> impl Future<Output = Result<Response<Incoming>, Failed<B>>> + Send + use<B> {
    version::to_http1(&mut request);
    own.wire.ask(request.method(), request.headers());
    let answer = own.sender.try_send_request(request);
    async move {
        answer.await.map_err(|mut failed| match failed.take_message() {
            Some(unsent) => (SendError::Unsent(failed.into_error()), Some(unsent)),
            None => (SendError::after_sending(failed.into_error()), None),
        })
    }
}

async fn over_http2<B: RequestBody>(
    stream: Stream<B>,
    endpoint: &Endpoint,
    mut request: Request<B>,
) -> Tried<B> {
    let tunnel = version::to_http2(&mut request, endpoint);
    if tunnel && !stream.has_tunnels() {
        return Err((SendError::NoTunnels, None));
    }
    stream.count_interim(&mut request);
    let again = version::repeat(&request);
    match stream.sender().try_send_request(request).await {
        Ok(response) if response.headers().len() > MAX_FIELDS => {
            Err((SendError::Malformed(Fault::TooManyFields), None))
        }
        Ok(mut response) => {
            if tunnel {
                version::from_http2(&mut response);
            }
            Ok((response, Taken::Http2(stream)))
        }
        Err(mut failed) => Err(match failed.take_message() {
            Some(unsent) => (SendError::Unsent(failed.into_error()), Some(unsent)),
            None => (SendError::after_sending(failed.into_error()), again),
        }),
    }
}

/// The shelf of `endpoint`, found by its handles as long as the policy stays the same.
pub(super) fn find<'s, B>(
    shelves: &'s mut [Shelf<B>],
    upstream: &Upstream,
    endpoint: &Arc<Endpoint>,
) -> Option<&'s mut Shelf<B>> {
    let shelf = shelves.iter_mut().find(|shelf| shelf.is_for(endpoint, &upstream.transport))?;
    shelf.refresh(endpoint, &upstream.transport);
    Some(shelf)
}

pub(super) fn of<'s, B>(shelves: &'s mut [Shelf<B>], spot: &Arc<Spot>) -> Option<&'s mut Shelf<B>> {
    shelves.iter_mut().find(|shelf| Arc::ptr_eq(&shelf.spot, spot))
}
