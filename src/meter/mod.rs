//! What a request truly used, and what that costs.
//!
//! Pure: bytes and numbers go in, a [`Usage`] and an amount of money come out. Nothing
//! here waits, reads a clock or knows a caller; the request path feeds it and settles
//! with what it says.
//!
//! Every provider counts in its own way; [`Usage`] is the one form that they are all
//! brought to before a price is looked up. [`Asked`] reads a request, [`Reader`] an
//! answer while it passes; `docs/metering.md` has the table of formats and classes.

pub mod asked;
mod bill;
pub mod cost;
mod counts;
pub mod decimal;
pub mod ending;
mod events;
pub mod format;
mod frames;
mod include_usage;
mod item;
mod notes;
pub mod pointer;
pub mod price;
pub mod reader;
mod scan;
mod standing;
mod telling;
pub mod tokens;
mod trim;
pub mod usage;
mod wire;

pub use asked::Asked;
pub use bill::Bill;
pub use ending::{Notice, Style};
pub use format::{Format, Framing};
pub use include_usage::include_usage;
pub use pointer::Pointer;
pub use reader::{Delta, Kind, Reader, Reading};
pub use trim::Trimmer;
pub use usage::{Confidence, Source, Usage};
