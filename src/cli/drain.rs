//! `weir drain`

use http::{Method, StatusCode};

use super::{Failure, talk::Where};

/// Arguments of `weir drain`.
#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    #[command(flatten)]
    at: Where,
}

impl Drain {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (status, body) = self.at.ask(Method::POST, "/admin/v1/drain")?;
        print!("{body}");
        if status == StatusCode::ACCEPTED {
            Ok(())
        } else {
            Err(format!("refused: {status}").into())
        }
    }
}
