//! What a request truly used, and what that costs.
//!
//! Pure: bytes and numbers go in, a [`Usage`] and an amount of money come out. Nothing
//! here waits, reads a clock or knows a caller; the request path feeds it and settles
//! with what it says.
//!
//! Every provider counts in its own way; [`Usage`] is the one form that they are all
//! brought to before a price is looked up.

pub mod price;
pub mod tokens;
pub mod usage;

pub use usage::{Confidence, Source, Usage};
