//! x
pub mod clock;
pub mod id;
pub mod policy;
pub mod server;
pub mod telemetry;
pub mod units;
