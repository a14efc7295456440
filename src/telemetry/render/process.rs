//! What every client library tells of its process.

use std::fmt;

use prometheus_client::encoding::NoLabelSet;

use super::page::Page;
use crate::telemetry::process::Facts;

/// The families of the process; none where the system does not say.
pub(super) fn families(page: &mut Page<'_>) -> fmt::Result {
    let Some(facts) = Facts::read() else { return Ok(()) };
    let mut cpu = page.counter("process_cpu_seconds", "User and system CPU time")?;
    cpu.encode_counter::<NoLabelSet, _, f64>(&facts.cpu_seconds, None)?;
    let gauges: [(&str, &str, u64); 5] = [
        ("process_open_fds", "Open file descriptors", facts.open_fds),
        ("process_max_fds", "Largest number of open file descriptors", facts.max_fds),
        ("process_resident_memory_bytes", "Resident memory", facts.resident_bytes),
        ("process_virtual_memory_bytes", "Virtual memory", facts.virtual_bytes),
        ("process_threads", "Threads", facts.threads),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help)?.encode_gauge(&value)?;
    }
    let mut start = page.gauge("process_start_time_seconds", "Start, since the Unix epoch")?;
    start.encode_gauge(&facts.start_seconds)
}
