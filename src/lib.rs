//! Weir: a sidecar reverse proxy that enforces a hot-reloaded policy in front of
//! AI-agent services.
//!
//! The modules stand on floors and import downward only; `docs/architecture.md`
//! has the map and `tests/layers.rs` holds it.

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
#[cfg(feature = "demo")]
pub mod demo;
pub mod health;
pub mod id;
pub mod jwks;
pub mod ledger;
pub mod meter;
pub mod mishap;
pub mod policy;
pub mod proxy;
pub mod reload;
pub mod resources;
pub mod sanitize;
pub mod secret;
pub mod server;
pub mod settlements;
pub mod supervisor;
pub mod telemetry;
pub mod trust;
pub mod units;
pub mod upstream;
