//! `[upstream.tls]`: whom to believe and what to show behind `https://`.

use std::path::PathBuf;

use rustls_pki_types::ServerName;

use super::super::read::{At, Parsed, Table, Wrong};
use crate::trust::Pin;

/// TLS towards the upstream. Paths are relative to the policy's directory; files are followed like the policy.
#[derive(Debug, Clone)]
pub struct UpstreamTlsFile {
    /// PEM file of the only authorities that are believed. Default: the system's.
    pub ca: Option<At<PathBuf>>,
    /// What is shown when the upstream asks for a certificate. Default: nothing.
    pub own: Option<OwnPairFile>,
    /// The name that is asked for (SNI) and that the certificate must have. Default: the URL's host.
    pub server_name: Option<At<ServerName<'static>>>,
    /// Hashes of which the server's certificate or public key must have one, on top of `ca`. Several allow a rotation.
    /// Default: none.
    pub pins: Vec<At<Pin>>,
    /// Where the first key is written, if any is.
    pub written: Option<At<()>>,
}

/// What Weir shows of itself.
#[derive(Debug, Clone)]
pub struct OwnPairFile {
    /// PEM, the whole chain, Weir's own certificate first.
    pub certificate: At<PathBuf>,
    /// PEM, the private key.
    pub key: At<PathBuf>,
}

pub(super) fn read(table: &mut Table<'_, '_>) -> UpstreamTlsFile {
    let wrote = (table.value("certificate").is_some(), table.value("key").is_some());
    let (certificate, key) = (table.optional("certificate"), table.optional("key"));
    match wrote {
        (true, false) => table.missing("key", "key = \"certs/client.key\", its private key"),
        (false, true) => table.missing("certificate", "certificate = \"certs/client.crt\""),
        _ => {}
    }
    let written = (!table.is_empty()).then(|| At::default_in(table.span(), ()));
    UpstreamTlsFile {
        ca: table.optional("ca"),
        own: certificate.zip(key).map(|(certificate, key)| OwnPairFile { certificate, key }),
        server_name: table.optional("server_name"),
        pins: table.optional("pin").map_or_else(Vec::new, |pins: At<Vec<At<Pin>>>| pins.value),
        written,
    }
}

impl UpstreamTlsFile {
    /// Every file that is named, as written.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let own = self.own.iter().flat_map(|own| [&own.certificate, &own.key]);
        self.ca.iter().chain(own).map(|path| &path.value)
    }
}

impl Parsed for Pin {
    const WANTED: &'static str = "a pin such as \"sha256/…\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let hint =
            "write sha256/ and the base64 of the SHA-256 of the server's certificate or public key";
        text.parse().map_err(|_| Wrong::new("this is no pin", hint))
    }
}

impl Parsed for ServerName<'static> {
    const WANTED: &'static str = "a name such as \"agent.example\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let hint = "write a host name or an IP address, without a port";
        Self::try_from(text.to_owned()).map_err(|_| Wrong::new("this is no server name", hint))
    }
}
