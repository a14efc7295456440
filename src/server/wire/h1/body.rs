//! The body of one HTTP/1 request: where it ends.

use super::{super::Fault, chunked::Chunked};

/// What is still to come of a body.
#[derive(Debug)]
pub(super) enum Body {
    Length(u64),
    Chunked(Box<Chunked>),
}

impl Body {
    /// A body of this many octets.
    pub(super) const fn of(length: u64) -> Self {
        Self::Length(length)
    }

    /// A body that says itself where it ends.
    pub(super) fn chunked() -> Self {
        Self::Chunked(Box::default())
    }

    /// Reads on; returns how much of `bytes` belongs to the body.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        match self {
            Self::Length(left) => {
                let read = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= read as u64;
                Ok(read)
            }
            Self::Chunked(chunked) => chunked.read(bytes),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_over(),
        }
    }
}
