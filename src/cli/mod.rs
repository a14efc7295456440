//! The command line: its grammar here, one file per command beside it.

mod cert;
mod check;
mod drain;
mod explain;
mod health;
mod keys;
mod run;
mod talk;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry::LogFormat;

/// A sidecar reverse proxy that enforces a policy in front of an agent service.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the proxy in the foreground.
    Run(run::Run),
    /// Runs a sample agent and the proxy in front of it, and prints requests to try.
    #[cfg(feature = "demo")]
    Demo(crate::demo::Demo),
    /// Validates a policy and shows every problem with its place.
    Check(check::Check),
    /// Shows which operation, tier, limits and rules a request would meet, and why.
    Explain(explain::Explain),
    /// Makes, lists and revokes API keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Makes certificates for development.
    #[command(subcommand)]
    Cert(cert::Cert),
    /// Asks a running proxy whether it is ready.
    Health(health::Health),
    /// Asks a running proxy to finish its requests and stop.
    Drain(drain::Drain),
}

/// How log lines look, as a word on the command line.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum LogFormatWord {
    /// One JSON object per line.
    #[default]
    Json,
    /// One short line, for people.
    Text,
}

impl From<LogFormatWord> for LogFormat {
    fn from(word: LogFormatWord) -> Self {
        match word {
            LogFormatWord::Json => Self::Json,
            LogFormatWord::Text => Self::Text,
        }
    }
}

/// A command's failure, as people read it.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the command that `cli` names.
pub fn main(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Run(command) => command.run(),
        #[cfg(feature = "demo")]
        Command::Demo(command) => command.run().map_err(Into::into),
        Command::Check(command) => return command.run(),
        Command::Explain(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Cert(command) => command.run(),
        Command::Health(command) => command.run(),
        Command::Drain(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

/// One line per cause.
fn complain(error: &dyn std::error::Error) {
    eprintln!("weir: {error}");
    let mut cause = error.source();
    while let Some(deeper) = cause {
        eprintln!("  because: {deeper}");
        cause = deeper.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
