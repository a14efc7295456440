//! A connection that carries one exchange.

use std::{sync::Arc, time::Instant};

use super::{
    RequestBody,
    pool::Pool,
    shelf::{Idle, Own, Taken},
};

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
            // request is on its way and has a deadline of its own. Either it becomes ready or it closes.
            tokio::spawn(async move {
                if sender.ready().await.is_ok() {
                    pool.put(&spot, Idle { sender, wire, since: Instant::now() }, max_idle);
                }
            });
        }
    }
}
