//! Events of the program itself, as `tracing` emits them.

use std::{io, sync::Arc};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::Output;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    #[default]
    Json,
    /// One short line, for people.
    Text,
}

/// Sends events to `output`. The level is `WEIR_LOG` (a `tracing` filter; default `info`).
/// A second call in one process changes nothing.
pub fn init(output: Arc<Output>, format: LogFormat) {
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(EventWriter(output))
        .with_target(false)
        .with_ansi(false);
    // The only error is that a subscriber exists already; the first one stays.
    drop(match format {
        LogFormat::Json => {
            tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
        }
        LogFormat::Text => tracing::subscriber::set_global_default(builder.compact().finish()),
    });
}

/// Hands events to the block writer and asks for them to be written soon.
struct EventWriter(Arc<Output>);

impl<'a> MakeWriter<'a> for EventWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Output);

impl io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.line(|buffer| buffer.extend_from_slice(bytes));
        self.0.flush_soon();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
