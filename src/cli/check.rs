//! `weir check`

mod against;

use std::{io::IsTerminal, path::PathBuf, process::ExitCode, sync::Arc};

use crate::{
    policy::{
        diagnostic::{Color, Severity},
        load::Loader,
    },
    server::Tls,
    telemetry::Metrics,
};

/// Arguments of `weir check`.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The policy.
    #[arg(default_value = "policy.toml", value_name = "FILE")]
    policy: PathBuf,
    /// Asks this running proxy's admin listener who would be cut off by the policy, and who let in.
    #[arg(long, value_name = "ADMIN_URL")]
    against: Option<String>,
}

impl Check {
    /// Reads everything that `weir run` would read, except the store.
    pub(super) fn run(self) -> ExitCode {
        let mut loaded = Loader::new(&self.policy).load(&Metrics::default());
        let Some(compiled) = loaded.compiled else {
            print!("{}", loaded.report.render(color()));
            return ExitCode::FAILURE;
        };
        loaded.report.extend(compiled.file.not_yet_effective().iter().cloned());
        let text = loaded.report.render(color());
        print!("{text}");
        let settings = &compiled.settings;
        if let Err(error) = Tls::load(&settings.tls, Arc::default()) {
            println!("warning: the certificate cannot be used yet: {error}");
            println!("  help: `weir cert dev` makes a pair for development");
        }
        let warnings = loaded.report.count(Severity::Warning);
        let notes = loaded.report.count(Severity::Note);
        println!(
            "{} is valid: {} operations, {} tiers, {warnings} warnings, {notes} keys not yet effective",
            self.policy.display(),
            compiled.policy.operations.len(),
            compiled.policy.tiers.len(),
        );
        match self.against.as_deref().map(|url| against::compare(url, &compiled)) {
            None | Some(Ok(true)) => ExitCode::SUCCESS,
            Some(Ok(false)) => ExitCode::FAILURE,
            Some(Err(error)) => {
                super::complain(&*error);
                ExitCode::FAILURE
            }
        }
    }
}

fn color() -> Color {
    let wanted = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted { Color::Always } else { Color::Never }
}
