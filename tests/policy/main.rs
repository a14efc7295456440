//! What an operator writes, and what they are told of it.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod defaults;
mod keys_file;
mod mutations;
mod problems;
mod shared;
