//! What needs a restart: sockets and the store.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    Compiler,
    listen::{ListenSettings, TlsSettings},
};
use crate::{
    policy::file::{AdminFile, DEFAULT_ADMIN, StoreUrl},
    secret::Secret,
};

/// What the process is built from once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The public listener.
    pub listen: ListenSettings,
    /// Its certificates, which are followed while running.
    pub tls: TlsSettings,
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
        let token = |s: &Self| s.admin.token.as_ref().map(|token| token.expose().to_owned());
        let mut tables = Vec::new();
        if self.listen != other.listen {
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
    pub(super) fn settings(&mut self, directory: &Path) -> Settings {
        let (admin, store) = (&self.file.admin, &self.file.store);
        let (listen, tls) = self.listen(directory);
        Settings {
            listen,
            tls,
            admin: AdminSettings::of(admin),
            store: StoreSettings {
                directory: match &store.url.value {
                    StoreUrl::Embedded(path) => Some(directory.join(path)),
                    StoreUrl::Redis(_) => None,
                },
                max_subjects: store.max_subjects.value as usize,
            },
        }
    }
}
