//! `weir health`

use http::{Method, StatusCode};

use super::{Failure, talk::Where};

/// Arguments of `weir health`.
#[derive(Debug, clap::Args)]
pub(super) struct Health {
    #[command(flatten)]
    at: Where,
}

impl Health {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (status, body) = self.at.ask(Method::GET, "/readyz")?;
        print!("{body}");
        if status == StatusCode::OK { Ok(()) } else { Err("the proxy is not ready".into()) }
    }
}
