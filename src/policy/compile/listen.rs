//! The public listener as run: where it is, its certificates, its bounds.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Compiler;
use crate::policy::{
    diagnostic::Diagnostic,
    file::{CertificatesFile, ListenAddress, ListenFile, PairFile, TrustedFile},
};

/// The public listener. All of it needs a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// Where it listens; at least one, paths resolved.
    pub addresses: Vec<ListenAddress>,
    /// Permission bits of unix sockets.
    pub socket_mode: u32,
    /// Whether it speaks without TLS.
    pub plaintext: bool,
    /// Whose word about a caller's real address is taken.
    pub proxy_protocol: Vec<TrustedFile>,
    /// Where plain HTTP is sent on to https, and the port that it is told.
    pub redirect: Option<(SocketAddr, Option<u16>)>,
    /// Longest TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest request head.
    pub header_timeout: Duration,
    /// Longest silence of a connection without a request.
    pub idle_timeout: Duration,
    /// Open connections.
    pub max_connections: usize,
    /// Open connections of one address; as many as `max_connections` when nothing is written.
    pub max_connections_per_address: usize,
    /// Memory at which new work is refused, in bytes, if the policy says so.
    pub max_memory: Option<u64>,
    /// How long new connections are taken after a stop was asked for.
    pub drain_delay: Duration,
    /// Longest drain after that.
    pub drain_timeout: Duration,
}

/// Certificates, and what clients must show. Followed while running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Pairs in file order, the default first if there is one.
    pub pairs: Vec<PairSettings>,
    /// What clients must show.
    pub clients: Option<ClientSettings>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairSettings {
    /// Whether it is shown where no other pair fits.
    pub is_default: bool,
    /// Lower case, perhaps with `*.` in front; empty for those in the certificate.
    pub names: Vec<String>,
    /// PEM file of the chain.
    pub certificate: PathBuf,
    /// PEM file of the key.
    pub key: PathBuf,
}

/// What clients must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSettings {
    /// PEM file of the CAs.
    pub ca: PathBuf,
    /// Whether a client without a certificate is turned away.
    pub required: bool,
    /// PEM file of the revocation lists.
    pub crl: Option<PathBuf>,
}

impl TlsSettings {
    /// Every file that is named here.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.pairs.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        let clients = self.clients.iter().flat_map(|it| [Some(&it.ca), it.crl.as_ref()]).flatten();
        pairs.chain(clients).map(PathBuf::as_path)
    }
}

impl Compiler<'_> {
    /// The listener; paths are resolved against `directory`.
    pub(super) fn listen(&mut self, directory: &Path) -> (ListenSettings, TlsSettings) {
        let written = &self.file.listen;
        if written.tls.is_none() && !written.plaintext.value {
            let error = Diagnostic::error("`listen` has no certificate");
            let help = "write certificate = \"certs/server.crt\" and key = \"certs/server.key\" \
                        (`weir cert dev` makes a pair for development), or plaintext = true to \
                        serve without TLS";
            let span = written.addresses.first().map_or(written.plaintext.span, |at| at.span);
            self.error(error.at(span, "").help(help));
        }
        let tls = written.tls.as_ref().map(|tls| resolve(tls, directory)).unwrap_or_default();
        (settings(written, directory), tls)
    }
}

fn settings(written: &ListenFile, directory: &Path) -> ListenSettings {
    let place = |address: &ListenAddress| match address {
        ListenAddress::Ip(address) => ListenAddress::Ip(*address),
        ListenAddress::Unix(path) => ListenAddress::Unix(directory.join(path)),
    };
    let port = written.redirect_port.as_ref().and_then(|port| u16::try_from(port.value).ok());
    let max_connections = written.max_connections.value;
    let per_address = written.max_connections_per_address.as_ref();
    ListenSettings {
        addresses: written.addresses.iter().map(|at| place(&at.value)).collect(),
        socket_mode: written.socket_mode.value.0,
        plaintext: written.plaintext.value,
        proxy_protocol: written.proxy_protocol.iter().map(|at| at.value).collect(),
        redirect: written.redirect.as_ref().map(|at| (at.value, port)),
        handshake_timeout: written.handshake_timeout.value,
        header_timeout: written.header_timeout.value,
        idle_timeout: written.idle_timeout.value,
        max_connections: max_connections as usize,
        max_connections_per_address: per_address.map_or(max_connections, |at| at.value) as usize,
        max_memory: written.max_memory.as_ref().map(|bytes| bytes.value.0),
        drain_delay: written.drain_delay.value,
        drain_timeout: written.drain_timeout.value,
    }
}

fn resolve(written: &CertificatesFile, directory: &Path) -> TlsSettings {
    let pair = |is_default: bool, pair: &PairFile| PairSettings {
        is_default,
        names: pair.names.iter().map(|name| name.value.0.clone()).collect(),
        certificate: directory.join(&pair.certificate.value),
        key: directory.join(&pair.key.value),
    };
    let default = written.default.iter().map(|written| pair(true, written));
    TlsSettings {
        pairs: default.chain(written.others.iter().map(|written| pair(false, written))).collect(),
        clients: written.clients.as_ref().map(|written| ClientSettings {
            ca: directory.join(&written.ca.value),
            required: written.required.value,
            crl: written.crl.as_ref().map(|path| directory.join(&path.value)),
        }),
    }
}
