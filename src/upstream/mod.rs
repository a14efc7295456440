//! The upstream side: pooled connections, and one request on one of them.
//!
//! Each worker has a pool of its own, so taking a connection wakes no other
//! core. Pools outlive policies; a connection to another address than the
//! policy in force names is dropped when it is met.
//!
//! # Failure
//! Connecting has a deadline. An idle connection that the upstream closed is
//! never seen by a caller: if nothing of the request was written, it goes out
//! again on a new one. A request that was written in part is never repeated.

mod connection;
mod framing;
mod pool;

pub use connection::{ConnectError, dial};
pub use pool::{Lease, Pool, SendError};
