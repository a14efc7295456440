//! `weir drain`

use http::{Method, StatusCode};

use super::{Failure, talk::Where};

/// Longest wait unless said otherwise, in seconds: twice the default of `listen.drain_timeout`.
const PATIENCE: u64 = 60;

/// Arguments of `weir drain`.
#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    #[command(flatten)]
    at: Where,
}

impl Drain {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (status, body) = self.at.ask(Method::POST, "/admin/v1/drain", PATIENCE)?;
        print!("{body}");
        match status {
            StatusCode::OK => Ok(()),
            other => Err(format!("refused: {other}").into()),
        }
    }
}
