//! Idle connections of one worker.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, client::conn::http1::SendRequest};

use super::connection::{self, ConnectError};
use crate::{
    policy::snapshot::{Endpoint, Upstream},
    telemetry::Metrics,
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection; nothing was sent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A new connection closed before anything was written to it.
    #[error("the upstream closed a new connection at once: {0}")]
    Unsent(#[source] hyper::Error),
    /// The connection failed after the request had begun to leave.
    #[error("the exchange with the upstream failed: {0}")]
    Broken(#[source] hyper::Error),
}

/// Idle connections of one worker, newest last.
pub struct Pool<B> {
    /// Only this worker's tasks take it, for a push or a pop.
    idle: Mutex<Vec<Idle<B>>>,
    metrics: Arc<Metrics>,
}

struct Idle<B> {
    sender: SendRequest<B>,
    since: Instant,
    endpoint: Arc<Endpoint>,
}

impl<B> Pool<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    /// An empty pool.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), metrics })
    }

    /// Sends `request` to `endpoint` on an idle connection, or on a new one.
    ///
    /// # Errors
    /// When none can be had, or it fails. Deadlines for the answer are the caller's.
    ///
    /// # Cancellation
    /// Dropping the future closes the connection that the request is on.
    pub async fn send(
        self: &Arc<Self>,
        upstream: &Upstream,
        endpoint: &Arc<Endpoint>,
        mut request: Request<B>,
    ) -> Result<(Response<Incoming>, Lease<B>), SendError> {
        loop {
            let (sender, fresh) = match self.take(upstream, endpoint) {
                Some(sender) => (sender, false),
                // Boxed because it is rare and large: every request's future would carry its room.
                None => (Box::pin(connection::open(upstream, endpoint)).await?, true),
            };
            let mut lease = self.lease(upstream, endpoint, sender);
            let Some(sender) = &mut lease.sender else { continue };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, lease)),
                Err(mut failed) => match failed.take_message() {
                    // Nothing was written: the connection had been closed while idle.
                    Some(unsent) if !fresh => request = unsent,
                    Some(_) => return Err(SendError::Unsent(failed.into_error())),
                    None => return Err(SendError::Broken(failed.into_error())),
                },
            }
        }
    }

    fn lease(
        self: &Arc<Self>,
        upstream: &Upstream,
        endpoint: &Arc<Endpoint>,
        sender: SendRequest<B>,
    ) -> Lease<B> {
        self.metrics.upstream_busy.add(1);
        Lease {
            pool: Arc::clone(self),
            sender: Some(sender),
            endpoint: Arc::clone(endpoint),
            max_idle: upstream.max_idle,
        }
    }

    fn take(&self, upstream: &Upstream, endpoint: &Endpoint) -> Option<SendRequest<B>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(newest) = idle.pop() {
            self.metrics.upstream_idle.add(-1);
            let usable = newest.since.elapsed() < upstream.pool_idle_timeout
                && *newest.endpoint == *endpoint
                && newest.sender.is_ready();
            if usable {
                return Some(newest.sender);
            }
        }
        None
    }

    fn put(&self, idle: Idle<B>, max: usize) {
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < max {
            all.push(idle);
            self.metrics.upstream_idle.add(1);
        }
    }

    /// Drops connections that have been idle for `longest`, or that the upstream has closed.
    pub fn sweep(&self, longest: Duration) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let before = idle.len();
        idle.retain(|kept| kept.since.elapsed() < longest && !kept.sender.is_closed());
        let dropped = i64::try_from(before - idle.len()).unwrap_or_default();
        self.metrics.upstream_idle.add(-dropped);
    }
}

/// A connection that carries one exchange. Dropped before [`Lease::finish`], it is closed.
pub struct Lease<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    pool: Arc<Pool<B>>,
    sender: Option<SendRequest<B>>,
    endpoint: Arc<Endpoint>,
    max_idle: usize,
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    /// Says that the answer was read to its end: the connection may be used again.
    pub fn finish(mut self) {
        let Some(mut sender) = self.sender.take() else { return };
        let (pool, endpoint, max) =
            (Arc::clone(&self.pool), Arc::clone(&self.endpoint), self.max_idle);
        let keep = move |sender| pool.put(Idle { sender, since: Instant::now(), endpoint }, max);
        if sender.is_ready() {
            keep(sender);
        } else if !sender.is_closed() {
            // The connection's own task still has to notice that the answer is over. It ends
            // at once: either the connection becomes ready or it closes.
            tokio::spawn(async move {
                if sender.ready().await.is_ok() {
                    keep(sender);
                }
            });
        }
    }
}

impl<B> Drop for Lease<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        self.pool.metrics.upstream_busy.add(-1);
    }
}
