//! What passes between TLS and HTTP, judged byte by byte before the HTTP library
//! sees it.
//!
//! The library shows neither the octets of an HTTP/1 head, where two readers of
//! one message may disagree about its length, nor the control frames of HTTP/2,
//! with which a client can make a server work for nothing. [`h1`] and [`h2`] are
//! pure state machines over byte slices: no I/O, no clock, no copy. `server::io`
//! feeds them and carries out what they say.
//!
//! # Failure
//! [`Fault`] is what is wrong with an HTTP/1 message, `telemetry::Violation` the
//! coarser kind under which anything on either protocol is counted.

mod fault;
pub(super) mod h1;
pub(super) mod h2;
mod handover;
mod pace;

pub use fault::Fault;
pub(super) use handover::Handover;
pub use pace::Pace;
