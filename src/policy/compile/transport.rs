//! How the upstream is spoken with: protocol, and TLS with all that it needs.
//!
//! Reads the named files. What cannot be used is a problem at the key that names
//! it, so a reload keeps the last policy that worked.

use std::{fs, path::Path};

use rustls_pki_types::ServerName;
use sha2::{Digest as _, Sha256};

use super::Compiler;
use crate::{
    policy::{
        diagnostic::{Diagnostic, Span},
        file::{self, UpstreamUrl},
        read::At,
        snapshot::{Transport, UpstreamProtocol, UpstreamTls},
    },
    trust::{self, ClientCertificate, TrustError},
};

impl Compiler<'_> {
    /// The transport for `protocol`; `None` when it cannot be used. Paths are resolved against `directory`.
    pub(super) fn transport(
        &mut self,
        directory: &Path,
        protocol: UpstreamProtocol,
    ) -> Option<Transport> {
        let written = &self.file.upstream;
        let is_secure = |url: &&At<UpstreamUrl>| url.scheme_str() == Some("https");
        let secure = written.urls().any(|url| is_secure(&url));
        let tls = if secure {
            for url in written.urls().filter(is_secure) {
                let host = url.host().unwrap_or_default();
                if written.tls.server_name.is_none() && !can_be_certified(host) {
                    let error = Diagnostic::error("no certificate can have the host's name");
                    let help = "write server_name in [upstream.tls]";
                    self.error(error.at(url.span, "").help(help));
                }
            }
            Some(self.upstream_tls(directory, protocol)?)
        } else {
            self.warn_of_unused_tls();
            None
        };
        let digest = self.transport_digest(directory, protocol, secure);
        Some(Transport { protocol, tls, digest })
    }

    fn upstream_tls(
        &mut self,
        directory: &Path,
        protocol: UpstreamProtocol,
    ) -> Option<UpstreamTls> {
        let written = &self.file.upstream.tls;
        let ca = written.ca.as_ref();
        let roots = trust::roots(ca.map(|ca| directory.join(&ca.value)).as_deref());
        let roots = self.usable(roots, ca.map(|ca| ca.span));
        let own = written.own.as_ref().map(|own| {
            let (chain, key) = (&own.certificate, &own.key);
            let pair =
                ClientCertificate::load(&directory.join(&chain.value), &directory.join(&key.value));
            let place = |error: &TrustError| match error {
                TrustError::Mismatch(_) => key.span,
                error if error.path() == Some(&directory.join(&key.value)) => key.span,
                _ => chain.span,
            };
            let place = pair.as_ref().err().map(place);
            self.usable(pair, place)
        });
        let pins = written.pins.iter().map(|pin| pin.value).collect();
        let alpn: &[&str] = match protocol {
            UpstreamProtocol::Auto => &["h2", "http/1.1"],
            UpstreamProtocol::Http1 => &["http/1.1"],
            UpstreamProtocol::Http2 => &["h2"],
        };
        let own = own.map_or(Some(None), |own| own.map(Some));
        let config = trust::client_config(roots?, own?, pins, alpn);
        let config = self.usable(config, None)?;
        let server_name = written.server_name.as_ref().map(|name| name.value.clone());
        Some(UpstreamTls { config, server_name })
    }

    /// What came of a file, or a problem at `place`.
    fn usable<T>(&mut self, result: Result<T, TrustError>, place: Option<Span>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        let text = format!("{error}{}", source.unwrap_or_default());
        let problem = Diagnostic::error(text).help("name PEM files: see [upstream.tls]");
        let place = place.unwrap_or(self.file.upstream.url.span);
        self.error(problem.at(place, ""));
        None
    }

    fn warn_of_unused_tls(&mut self) {
        let Some(written) = &self.file.upstream.tls.written else { return };
        let warning = Diagnostic::warning("`upstream.tls` has no effect: the URL is not https");
        let help = "write url = \"https://…\", or leave [upstream.tls] out";
        self.error(warning.at(written.span, "").help(help));
    }

    /// Different whenever a connection made for one may not be used for the other.
    fn transport_digest(
        &self,
        directory: &Path,
        protocol: UpstreamProtocol,
        secure: bool,
    ) -> [u8; 32] {
        let written = &self.file.upstream;
        let mut digest = Sha256::new();
        digest.update(format!(
            "{protocol:?} {secure} {:?}",
            written.tls.server_name.as_ref().map(|name| &name.value)
        ));
        for path in written.tls.files().filter(|_| secure) {
            let bytes = fs::read(directory.join(path)).unwrap_or_default();
            digest.update(Sha256::digest(bytes));
        }
        for pin in &written.tls.pins {
            digest.update(pin.value.to_string());
        }
        digest.finalize().into()
    }
}

/// Whether a certificate can be for `host`, as a URL has it.
fn can_be_certified(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host).is_ok()
}

/// The protocol as written.
pub(super) const fn protocol(written: file::UpstreamProtocol) -> UpstreamProtocol {
    match written {
        file::UpstreamProtocol::Auto => UpstreamProtocol::Auto,
        file::UpstreamProtocol::Http1 => UpstreamProtocol::Http1,
        file::UpstreamProtocol::Http2 => UpstreamProtocol::Http2,
    }
}
