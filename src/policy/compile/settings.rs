//! What needs a restart: sockets, certificates' places, the store.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Compiler;
use crate::{
    policy::{
        diagnostic::Diagnostic,
        file::{AdminFile, DEFAULT_ADMIN, StoreUrl},
    },
    secret::Secret,
};

/// What the process is built from once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The public listener.
    pub address: SocketAddr,
    /// PEM file of the certificate chain.
    pub certificate: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// Longest TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest request head.
    pub header_timeout: Duration,
    /// Longest silence of a connection without a request.
    pub idle_timeout: Duration,
    /// Open connections.
    pub max_connections: usize,
    /// Longest drain.
    pub drain_timeout: Duration,
    /// The operators' listener.
    pub admin: AdminSettings,
    /// Where the counts live.
    pub store: StoreSettings,
}

/// The operators' listener.
#[derive(Clone, Debug)]
pub struct AdminSettings {
    /// Where it listens.
    pub address: SocketAddr,
    /// What `/` and `/admin/v1` ask for; `None` only on loopback.
    pub token: Option<Secret>,
}

/// Where the counts live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The directory; `None` when the policy names a Redis, which is not supported yet.
    pub directory: Option<PathBuf>,
    /// Subjects that are counted at most.
    pub max_subjects: usize,
}

impl AdminSettings {
    /// As written.
    pub(in crate::policy) fn of(written: &AdminFile) -> Self {
        let token = written.token.as_ref().map(|token| token.value.clone());
        Self { address: written.address.value, token }
    }
}

impl Default for AdminSettings {
    /// What holds where nothing is written.
    fn default() -> Self {
        Self { address: DEFAULT_ADMIN, token: None }
    }
}

impl Settings {
    /// Names the tables in which `other` differs: those wait for a restart.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let listen = |s: &Self| {
            let times = (s.handshake_timeout, s.header_timeout, s.idle_timeout, s.drain_timeout);
            (s.address, s.certificate.clone(), s.key.clone(), times, s.max_connections)
        };
        let token = |s: &Self| s.admin.token.as_ref().map(|token| token.expose().to_owned());
        let mut tables = Vec::new();
        if listen(self) != listen(other) {
            tables.push("listen");
        }
        if self.admin.address != other.admin.address || token(self) != token(other) {
            tables.push("admin");
        }
        if self.store != other.store {
            tables.push("store");
        }
        tables
    }
}

impl Compiler<'_> {
    /// The settings; paths are resolved against `directory`.
    pub(super) fn settings(&mut self, directory: &Path) -> Option<Settings> {
        let (listen, admin, store) = (&self.file.listen, &self.file.admin, &self.file.store);
        let Some(tls) = &listen.tls else {
            let error = Diagnostic::error("`listen` has no certificate");
            let help = "write certificate = \"certs/server.crt\" and key = \"certs/server.key\"; \
                        `weir cert dev` makes a pair for development";
            self.error(error.at(listen.address.span, "").help(help));
            return None;
        };
        Some(Settings {
            address: listen.address.value,
            certificate: directory.join(&tls.certificate.value),
            key: directory.join(&tls.key.value),
            handshake_timeout: listen.handshake_timeout.value,
            header_timeout: listen.header_timeout.value,
            idle_timeout: listen.idle_timeout.value,
            max_connections: listen.max_connections.value as usize,
            drain_timeout: listen.drain_timeout.value,
            admin: AdminSettings::of(admin),
            store: StoreSettings {
                directory: match &store.url.value {
                    StoreUrl::Embedded(path) => Some(directory.join(path)),
                    StoreUrl::Redis(_) => None,
                },
                max_subjects: store.max_subjects.value as usize,
            },
        })
    }
}
