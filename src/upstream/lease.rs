//! A connection that carries one exchange.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use super::{
    RequestBody,
    pool::Pool,
    shelf::{Idle, Own, Taken},
};

/// How long the rest of a request may take whose answer is over.
const REST: Duration = Duration::from_secs(2);

/// A connection, or a stream of one, for one exchange. Dropped before [`Lease::finish`], a connection of its own is
/// closed; a stream ends with the answer's body.
#[must_use]
pub struct Lease<B: RequestBody> {
    pub(super) pool: Arc<Pool<B>>,
    pub(super) taken: Taken<B>,
    pub(super) max_idle: usize,
}

impl<B: RequestBody> Lease<B> {
    /// Says that the answer was read to its end: the connection may be used again.
    pub fn finish(self) {
        let Self { pool, taken, max_idle } = self;
        let Taken::Http1(Own { mut sender, wire, spot }) = taken else { return };
        if sender.is_ready() {
            pool.put(&spot, Idle { sender, wire, since: Instant::now() }, max_idle);
        } else if !sender.is_closed() {
            // The connection's own task still has to notice that the answer is over, or the rest of the
            // request is on its way. An upstream that has answered need not take it.
            tokio::spawn(async move {
                match timeout(REST, sender.ready()).await {
                    Ok(Ok(())) => {
                        pool.put(&spot, Idle { sender, wire, since: Instant::now() }, max_idle);
                    }
                    Ok(Err(_)) => {}
                    Err(_) => wire.cut(),
                }
            });
        }
    }
}
