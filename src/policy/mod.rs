//! The policy: as written, as compiled, as run.
//!
//! [`mod@file`] is what an operator wrote, with the place of every value; `compile`
//! turns it into a [`snapshot::Policy`] or into a list of everything that is
//! wrong; [`handle`] holds the one in force. [`load`] does all of it from disk.
//!
//! # Limits
//! Knows nothing of requests in flight, sockets or counters: what must survive a
//! reload lives outside.

mod blocked;
pub mod calendar;
pub mod compile;
pub mod cors;
pub mod dependency;
pub mod diagnostic;
pub mod file;
pub mod handle;
pub mod identity;
mod interpolate;
mod jwks_file;
pub mod jwt;
pub mod keys_file;
pub mod limit;
pub mod load;
pub mod metering;
pub mod path;
mod read;
pub mod redis_url;
pub mod resilience;
pub mod route;
pub mod snapshot;
pub mod trusted;

pub use interpolate::{Environment, MAX_EXPANSION, ProcessEnvironment};
pub use read::{At, MAX_SOURCE, Source};
