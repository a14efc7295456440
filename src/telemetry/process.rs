//! The `process_*` metrics, named as every client library names them, read from `/proc`.

use procfs::process::Process;

/// Facts about this process at the moment of a scrape.
pub(super) struct Facts {
    /// User and system CPU time, in seconds.
    pub(super) cpu_seconds: f64,
    /// Open file descriptors.
    pub(super) open_fds: u64,
    /// Soft limit on file descriptors; `u64::MAX` when there is none.
    pub(super) max_fds: u64,
    /// Resident set, in bytes.
    pub(super) resident_bytes: u64,
    /// Virtual memory, in bytes.
    pub(super) virtual_bytes: u64,
    /// Start of the process, in seconds since the Unix epoch.
    pub(super) start_seconds: f64,
    /// Threads.
    pub(super) threads: u64,
}

impl Facts {
    /// Reads them; `None` where `/proc` is not to be had.
    #[allow(clippy::cast_precision_loss)] // seconds as floats, for people
    pub(super) fn read() -> Option<Self> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let ticks = procfs::ticks_per_second() as f64;
        let boot = procfs::boot_time_secs().ok()? as f64;
        let max_fds = process.limits().ok()?.max_open_files.soft_limit;
        Some(Self {
            cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
            open_fds: process.fd_count().ok()? as u64,
            max_fds: match max_fds {
                procfs::process::LimitValue::Value(value) => value,
                procfs::process::LimitValue::Unlimited => u64::MAX,
            },
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            start_seconds: boot + stat.starttime as f64 / ticks,
            threads: u64::try_from(stat.num_threads).unwrap_or(0),
        })
    }
}
