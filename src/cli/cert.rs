//! `weir cert dev`

use std::path::PathBuf;

use super::Failure;

/// Subcommands of `weir cert`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Cert {
    /// Makes a development CA and a server certificate for localhost.
    Dev(Dev),
}

/// Arguments of `weir cert dev`.
#[derive(Debug, clap::Args)]
pub(super) struct Dev {
    /// Where to write ca.crt, server.crt and server.key.
    #[arg(long, default_value = "certs", value_name = "DIR")]
    dir: PathBuf,
    /// Further host names or addresses; may be repeated.
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
}

impl Cert {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Self::Dev(dev) = self;
        dev.run()
    }
}

impl Dev {
    #[cfg(feature = "demo")]
    fn run(self) -> Result<(), Failure> {
        let made = crate::demo::certificates(&self.dir, &self.name)?;
        println!("{}  trust this CA, for development only", made.ca.display());
        println!("{}", made.certificate.display());
        println!("{}", made.key.display());
        Ok(())
    }

    #[cfg(not(feature = "demo"))]
    fn run(self) -> Result<(), Failure> {
        let wanted = self.dir.display();
        Err(format!("this build makes no certificates for {wanted}: it lacks the feature `demo`")
            .into())
    }
}
