//! The upstream side: where a request goes, and one request on one pooled connection.
//!
//! [`Cluster`] knows how each endpoint does and chooses one; [`Pool`] brings the
//! request there; [`retry`] says whether it may be sent again; [`Watcher`] looks
//! at the endpoints in the background.
//!
//! Each worker has a pool of its own, so taking a connection wakes no other
//! core. Pools outlive policies; connections to endpoints that the policy in
//! force does not name are closed.
//!
//! ```text
//! pool ── shelf ── connection ── link ── socket      TCP, TLS, unix
//!   │       └ streams (HTTP/2)     └ framing         what answers may look like
//!   └ places (max_connections, over all workers)
//! ```
//!
//! # Failure
//! Connecting has a deadline. An idle connection that the upstream closed is
//! never seen by a caller: if nothing of the request was written, it goes out
//! again on a new one. A request that was written in part is never repeated,
//! unless the upstream says that it did not look at it.

mod attempt;
mod balance;
mod breaker;
mod budget;
mod cluster;
mod connection;
mod ejection;
mod error;
mod framing;
#[cfg(fuzzing)]
pub mod fuzz;
mod health;
mod holds;
mod lease;
mod link;
mod member;
mod places;
mod pool;
mod provider;
mod recent;
pub mod retry;
mod shelf;
mod socket;
mod streams;
mod supply;
mod tend;
mod version;
mod wire;

use std::error::Error;

use bytes::Bytes;
use http_body::Body;
use http_body_util::Empty;

pub use attempt::{Attempt, Verdict};
pub use cluster::{Ask, Closed, Cluster, Members, Why};
pub use error::{ConnectError, Fate, SendError, Unanswered, fault};
pub use framing::Fault;
pub use health::Watcher;
pub use holds::Whose;
pub use lease::Lease;
pub use pool::Pool;
pub use provider::retry_after;
pub use socket::{Socket, dial};
pub use version::repeat;

/// The body of a request.
pub trait RequestBody:
    Body<Data = Bytes, Error: Error + Send + Sync> + Send + Unpin + Sized + 'static
{
    /// The same body again, as long as nothing of it was taken and all of it is at hand.
    fn repeat(&self) -> Option<Self>;
}

impl RequestBody for Empty<Bytes> {
    fn repeat(&self) -> Option<Self> {
        Some(Self::new())
    }
}
