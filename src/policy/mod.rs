//! x
pub mod cors;
pub mod path;
pub mod route;
