//! Follows the frames of an HTTP/2 connection in both directions.
//!
//! Only the 9 octets before each frame are read, and of the payload what a few
//! control frames say; nothing is copied and no header block is decoded. That is
//! enough to count what costs us much and a client little (CVE-2019-9511 to 9518,
//! CVE-2023-44487, CVE-2024-27316, CVE-2025-8671), and to know which streams wait
//! for a window that does not open.
//!
//! # Failure
//! A `Violation` past a limit of [`floods`]: the caller says GOAWAY and closes.

mod connection;
mod floods;
mod frames;
mod streams;

pub(in crate::server) use connection::Connection;
pub(in crate::server) use frames::{Reason, goaway, reset};
pub(in crate::server) use streams::Stuck;

#[cfg(test)]
mod tests;
