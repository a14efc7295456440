//! `weir health`

use http::{Method, StatusCode};

use super::{Failure, talk::Where};

/// Longest wait unless said otherwise, in seconds.
const PATIENCE: u64 = 5;

/// Arguments of `weir health`.
#[derive(Debug, clap::Args)]
pub(super) struct Health {
    #[command(flatten)]
    at: Where,
    /// Asks whether the process lives, instead of whether it is ready.
    #[arg(long)]
    live: bool,
}

impl Health {
    pub(super) fn run(self) -> Result<(), Failure> {
        let path = if self.live { "/livez" } else { "/readyz" };
        let (status, body) = self.at.ask(Method::GET, path, PATIENCE)?;
        print!("{body}");
        if status == StatusCode::OK { Ok(()) } else { Err("the proxy is not ready".into()) }
    }
}
