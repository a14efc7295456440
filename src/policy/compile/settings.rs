//! What needs a restart: sockets and the store.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Compiler,
    listen::{ListenSettings, TlsSettings},
};
pub use crate::policy::file::OnExpired;
use crate::{
    policy::{
        At,
        file::{AdminFile, DEFAULT_ADMIN, DEFAULT_SOCKET_MODE, StoreFile, StoreUrl},
        redis_url::RedisUrl,
    },
    secret::Secret,
    units::Percent,
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
    /// Where agents of this machine say what requests cost.
    pub socket: Option<PathBuf>,
    /// Permission bits of that socket.
    pub socket_mode: u32,
}

/// Where the counts live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Where.
    pub place: StorePlace,
    /// Where what a Redis must be told later is kept.
    pub journal: PathBuf,
    /// Subjects that are counted at most.
    pub max_subjects: usize,
    /// In a directory: how long what a crash left open stays held before it is given back; `None` charges it.
    pub release_after: Option<Duration>,
}

/// A store's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A directory of this process.
    Directory(PathBuf),
    /// A Redis that replicas share.
    Redis(Box<RedisSettings>),
}

/// How a Redis is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// Where it is.
    pub url: RedisUrl,
    /// How long it may take for an answer.
    pub deadline: Duration,
    /// How long a request waits for it at most, queue included.
    pub max_wait: Duration,
    /// How long what this process holds outlives its crash.
    pub lease: Duration,
    /// The part of a limit that may be drawn ahead.
    pub share: Percent,
    /// What becomes of what a crashed replica held.
    pub on_expired: OnExpired,
    /// The only authorities that are believed; `None` for the system's.
    pub ca: Option<PathBuf>,
    /// What is shown of us: a chain and its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl AdminSettings {
    /// As written; the socket's path is resolved against `directory`.
    pub(in crate::policy) fn of(written: &AdminFile, directory: &Path) -> Self {
        Self {
            address: written.address.value,
            token: written.token.as_ref().map(|token| token.value.clone()),
            socket: written.socket.as_ref().map(|socket| directory.join(&socket.value.0)),
            socket_mode: written.socket_mode.value.0,
        }
    }
}

impl RedisSettings {
    fn of(url: &RedisUrl, written: &StoreFile, directory: &Path) -> Self {
        let path = |path: &At<PathBuf>| directory.join(&path.value);
        Self {
            url: url.clone(),
            deadline: written.deadline.value,
            max_wait: written.max_wait.value,
            lease: written.lease.value,
            share: written.share.value,
            on_expired: written.on_expired.value,
            ca: written.ca.as_ref().map(path),
            own: written.own.as_ref().map(|(chain, key)| (path(chain), path(key))),
        }
    }
}

impl Default for AdminSettings {
    /// What holds where nothing is written.
    fn default() -> Self {
        let socket_mode = DEFAULT_SOCKET_MODE.0;
        Self { address: DEFAULT_ADMIN, token: None, socket: None, socket_mode }
    }
}

impl Settings {
    /// Names the tables in which `other` differs: those wait for a restart.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let admin = |s: &Self| {
            let token = s.admin.token.as_ref().map(|token| token.expose().to_owned());
            (s.admin.address, token, s.admin.socket.clone(), s.admin.socket_mode)
        };
        let mut tables = Vec::new();
        if self.listen != other.listen {
            tables.push("listen");
        }
        if admin(self) != admin(other) {
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
            admin: AdminSettings::of(admin, directory),
            store: StoreSettings {
                place: match &store.url.value {
                    StoreUrl::Embedded(path) => StorePlace::Directory(directory.join(path)),
                    StoreUrl::Redis(url) => {
                        StorePlace::Redis(Box::new(RedisSettings::of(url, store, directory)))
                    }
                },
                journal: directory.join(&store.journal),
                max_subjects: store.max_subjects.value as usize,
                release_after: (store.on_expired.value == OnExpired::Release)
                    .then_some(store.lease.value),
            },
        }
    }
}
