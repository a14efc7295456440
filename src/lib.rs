//! x
pub mod clock;
pub mod id;
pub mod telemetry;
pub mod units;
