//! Which certificate is shown for which name, and whose hosts a connection may ask for.
//!
//! Names are exact or have one `*` in front, which stands for one label. A name
//! that no pair has belongs to the default pair; without one it belongs to nobody.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::{TlsError, facts, pair::read_pair};
use crate::{
    policy::compile::{PairSettings, TlsSettings},
    telemetry::Metrics,
};

/// The label of the pair that is shown where no other fits.
const DEFAULT: &str = "default";

/// Pairs by the names that they are shown for.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    pairs: Vec<Pair>,
    exact: HashMap<String, usize>,
    /// Without their `*`, with the dot.
    wildcards: HashMap<String, usize>,
    default: Option<usize>,
}

#[derive(Clone, Debug)]
struct Pair {
    settings: PairSettings,
    key: Arc<CertifiedKey>,
    /// What it is shown for, as written or as in the certificate.
    names: Vec<String>,
    /// End of the certificate, in seconds since the Unix epoch.
    expires: i64,
}

impl Tenants {
    /// Reads all pairs. One that cannot be used is as in `running`, or left out, and a problem.
    pub(super) fn read(wanted: &TlsSettings, running: Option<&Self>) -> (Self, Vec<TlsError>) {
        let (mut tenants, mut problems) = (Self::default(), Vec::new());
        for settings in &wanted.pairs {
            match Pair::read(settings) {
                Ok(pair) => tenants.add(pair),
                Err(problem) => {
                    problems.push(problem);
                    let old =
                        running.and_then(|it| it.pairs.iter().find(|p| p.settings == *settings));
                    old.into_iter().for_each(|old| tenants.add(old.clone()));
                }
            }
        }
        (tenants, problems)
    }

    /// The first pair that names somebody keeps the name.
    fn add(&mut self, pair: Pair) {
        let index = self.pairs.len();
        if pair.settings.is_default {
            self.default = Some(index);
        } else {
            for name in &pair.names {
                match name.strip_prefix('*') {
                    Some(rest) => self.wildcards.entry(rest.to_owned()).or_insert(index),
                    None => self.exact.entry(name.clone()).or_insert(index),
                };
            }
        }
        self.pairs.push(pair);
    }

    /// Whether the same certificates are shown for the same names.
    pub(super) fn shows_the_same_as(&self, other: &Self) -> bool {
        let same = |(a, b): (&Pair, &Pair)| a.key.cert == b.key.cert && a.settings == b.settings;
        self.pairs.len() == other.pairs.len() && self.pairs.iter().zip(&other.pairs).all(same)
    }

    /// The pair that `name` (lower case) belongs to.
    fn find(&self, name: &str) -> Option<usize> {
        let exact = self.exact.get(name).copied();
        let wildcard = || {
            let (label, _) = name.split_once('.').filter(|(label, _)| !label.is_empty())?;
            self.wildcards.get(&name[label.len()..]).copied()
        };
        exact.or_else(wildcard).or(self.default)
    }

    fn has_one_tenant(&self) -> bool {
        self.pairs.len() == 1 && self.default.is_some()
    }
}

impl Pair {
    fn read(settings: &PairSettings) -> Result<Self, TlsError> {
        let key = read_pair(settings)?;
        let path = || settings.certificate.display().to_string();
        let wrong = || TlsError::Missing { path: path(), wanted: "certificate" };
        let leaf = key.cert.first().and_then(|leaf| facts::of(leaf)).ok_or_else(wrong)?;
        let names = match settings.names.is_empty() {
            true => leaf.dns.iter().map(|name| name.to_ascii_lowercase()).collect(),
            false => settings.names.clone(),
        };
        if names.is_empty() && !settings.is_default {
            return Err(TlsError::Nameless { path: path() });
        }
        let expires = leaf.expires;
        Ok(Self { settings: settings.clone(), key: Arc::new(key), names, expires })
    }

    fn label(&self) -> &str {
        let first = self.names.first().filter(|_| !self.settings.is_default);
        first.map_or(DEFAULT, String::as_str)
    }
}

/// The pairs in force.
#[derive(Debug)]
pub(super) struct Shown(ArcSwap<Tenants>);

impl Shown {
    pub(super) fn new(tenants: Tenants) -> Self {
        Self(ArcSwap::from_pointee(tenants))
    }

    pub(super) fn tenants(&self) -> Arc<Tenants> {
        self.0.load_full()
    }

    pub(super) fn replace(&self, tenants: Arc<Tenants>) {
        self.0.store(tenants);
    }

    /// Says when each certificate ends.
    pub(super) fn publish(&self, metrics: &Metrics) {
        let tenants = self.0.load();
        let ends = tenants.pairs.iter().map(|pair| (Arc::from(pair.label()), pair.expires));
        metrics.certificates.store(Arc::new(ends.collect()));
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let tenants = self.0.load();
        let index = match hello.server_name() {
            Some(name) => tenants.find(&name.to_ascii_lowercase()),
            None => tenants.default,
        };
        tenants.pairs.get(index?).map(|pair| Arc::clone(&pair.key))
    }
}

/// The pair that one connection was shown, among all that were in force.
#[derive(Clone, Debug)]
pub(in crate::server) struct Tenancy {
    tenants: Arc<Tenants>,
    index: Option<usize>,
}

impl Tenancy {
    pub(super) fn of(tenants: Arc<Tenants>, name: Option<&str>) -> Option<Self> {
        if tenants.has_one_tenant() {
            return None;
        }
        let index = match name {
            Some(name) => tenants.find(&name.to_ascii_lowercase()),
            None => tenants.default,
        };
        Some(Self { tenants, index })
    }

    /// Whether `host`, which may have a port, belongs to the same pair.
    pub(in crate::server) fn owns(&self, host: &str) -> bool {
        let is_literal = host.starts_with('[');
        let name = if is_literal { host } else { host.split(':').next().unwrap_or(host) };
        let name = name.strip_suffix('.').unwrap_or(name);
        let found = match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => self.tenants.find(&name.to_ascii_lowercase()),
            false => self.tenants.find(name),
        };
        found.is_some() && found == self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenants(with_default: bool) -> Arc<Tenants> {
        let tenants = Tenants {
            exact: [("a.example".to_owned(), 1), ("x.b.example".to_owned(), 1)].into(),
            wildcards: [(".b.example".to_owned(), 2)].into(),
            default: with_default.then_some(0),
            pairs: Vec::new(),
        };
        Arc::new(tenants)
    }

    #[test]
    fn a_name_finds_its_pair() {
        let all = tenants(true);
        for (name, pair) in [
            ("a.example", 1),
            ("y.b.example", 2),
            ("x.b.example", 1),
            ("b.example", 0),
            ("z.y.b.example", 0),
            (".b.example", 0),
            ("other", 0),
        ] {
            assert_eq!(all.find(name), Some(pair), "{name}");
        }
        assert_eq!(tenants(false).find("other"), None);
    }

    #[test]
    fn a_connection_owns_the_hosts_of_its_own_pair() {
        let at = |name: Option<&str>| Tenancy::of(tenants(true), name).expect("several tenants");
        for (name, host, owns) in [
            (Some("a.example"), "a.example", true),
            (Some("A.Example"), "a.EXAMPLE.:8443", true),
            (Some("a.example"), "y.b.example", false),
            (Some("a.example"), "other", false),
            (Some("y.b.example"), "w.b.example:1", true),
            (Some("other"), "[::1]:8443", true),
            (None, "127.0.0.1:8443", true),
            (None, "a.example", false),
        ] {
            assert_eq!(at(name).owns(host), owns, "{name:?} {host}");
        }
        let strict = Tenancy { tenants: tenants(false), index: None };
        assert!(!strict.owns("other"), "nobody's host");
    }
}
