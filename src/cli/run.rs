//! `weir run`

use std::path::PathBuf;

use super::{Failure, LogFormatWord};
use crate::{
    app::{self, RunOptions},
    server::Runtimes,
};

/// Arguments of `weir run`.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// The policy; it is followed while the proxy runs.
    #[arg(long, default_value = "policy.toml", value_name = "FILE")]
    policy: PathBuf,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormatWord,
    /// Worker threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// How worker threads share work.
    #[arg(long, value_enum, default_value_t, hide_short_help = true)]
    runtime: RuntimeWord,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum RuntimeWord {
    /// Each thread serves its own connections.
    #[default]
    PerCore,
    /// Threads steal work from each other.
    WorkStealing,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        let options = RunOptions {
            policy: self.policy,
            log_format: self.log_format.into(),
            threads: self.threads.map(usize::from),
            runtimes: match self.runtime {
                RuntimeWord::PerCore => Runtimes::PerCore,
                RuntimeWord::WorkStealing => Runtimes::WorkStealing,
            },
            address: None,
            admin_address: None,
        };
        app::run(&options, |at| {
            let addresses: Vec<String> = at.public.iter().map(ToString::to_string).collect();
            let address = addresses.first().map(String::as_str).unwrap_or_default();
            let all = (addresses.len() > 1).then(|| addresses.join(" "));
            let redirect = at.redirect.map(|address| address.to_string());
            let (admin, version) = (at.admin, env!("CARGO_PKG_VERSION"));
            let admin_socket = at.admin_socket.as_ref().map(|path| path.display().to_string());
            tracing::info!(
                %address, %admin, addresses = all, redirect, admin_socket, version, "serving"
            );
        })?;
        Ok(())
    }
}
