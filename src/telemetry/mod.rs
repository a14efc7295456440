//! What operators see: metrics, the access log, events.
//!
//! Takes plain data and knows nobody above: an operation or a tier is a name
//! here. The request path holds pre-built handles ([`Cell`], [`Histogram`]) and
//! only adds to atomics; names are resolved when a policy is compiled.
//!
//! # Failure
//! Telemetry never fails a request: a log that cannot be written fast enough
//! loses lines, and counts them.

mod budget_use;
mod cells;
mod endpoint;
mod histogram;
mod log;
mod metrics;
mod output;
mod process;
mod record;
mod render;
mod spend;
mod violation;

pub use budget_use::BudgetUse;
pub use cells::{Cell, Counter, Gauge};
pub use endpoint::{EndpointCell, QUOTA_KINDS};
pub use histogram::Histogram;
pub use log::{LogFormat, init as init_log};
pub use metrics::{Connected, Handshake, Metrics, Protocol, StandIn, TUNNEL_ENDS};
pub use output::Output;
pub use record::{Cost, Metered, Record};
pub use render::{OPENMETRICS, PROMETHEUS, render};
pub use spend::MeteringError;
pub use violation::Violation;

use std::sync::Arc;

/// The metrics and the log of one process.
#[derive(Clone)]
pub struct Telemetry {
    /// Every counter, gauge and histogram.
    pub metrics: Arc<Metrics>,
    /// Where log lines go.
    pub output: Arc<Output>,
    /// How a record is written.
    pub format: LogFormat,
}

impl Telemetry {
    /// Telemetry that writes to `output`; `codes` are all values of the label `error_code`.
    pub fn new(codes: &'static [&'static str], output: Arc<Output>, format: LogFormat) -> Self {
        Self { metrics: Arc::new(Metrics::new(codes)), output, format }
    }

    /// Writes one finished exchange to the log.
    pub fn record(&self, record: &Record<'_>) {
        self.output.line(|buffer| match self.format {
            LogFormat::Json => record.write_json(buffer),
            LogFormat::Text => record.write_text(buffer),
        });
    }
}
