//! The upstream side: where a request goes, and one request on one pooled connection.
//!
//! [`Cluster`] knows how each endpoint does and chooses one; [`Pool`] brings the
//! request there; [`retry`] says whether it may be sent again; [`Watcher`] looks
//! at the endpoints in the background.
//!
//! Each worker has a pool of its own, so taking a connection wakes no other
//! core. Pools outlive policies; a connection to another address than the
//! policy in force names is dropped when it is met.
//!
//! # Failure
//! Connecting has a deadline. An idle connection that the upstream closed is
//! never seen by a caller: if nothing of the request was written, it goes out
//! again on a new one. A request that was written in part is never repeated.

mod attempt;
mod balance;
mod breaker;
mod budget;
mod cluster;
mod connection;
mod ejection;
mod health;
mod holds;
mod member;
mod pool;
mod provider;
mod recent;
pub mod retry;

pub use attempt::{Attempt, Verdict};
pub use cluster::{Ask, Closed, Cluster, Members, Why};
pub use connection::ConnectError;
pub use health::Watcher;
pub use holds::Whose;
pub use pool::{Lease, Pool, SendError};
pub use provider::retry_after;
