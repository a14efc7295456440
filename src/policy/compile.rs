//! From what is written to what runs: links names, compiles patterns, makes
//! every value that the request path can need.
//!
//! Everything that can fail, fails here, with the place in the file; only when
//! nothing did is a [`Policy`] built. Problems are collected, not thrown, so an
//! operator sees all of them at once.

mod away;
mod certificate_source;
mod identity;
mod limits;
mod listen;
mod metering;
mod operations;
mod prices;
mod resilience;
mod sanitize;
mod settings;
mod terms;
mod transport;
mod upstream;

use std::{path::Path, sync::Arc};

pub use listen::{ClientSettings, ListenSettings, PairSettings, TlsSettings};
pub(super) use sanitize::Redactors;
pub use settings::{AdminSettings, OnExpired, RedisSettings, Settings, StorePlace, StoreSettings};

use super::{
    cors::{Cors, CorsRules, EXPOSED},
    dependency::{Dependency, Probe},
    diagnostic::{Diagnostic, Report},
    file::{self, Origin, PolicyFile, TrustedFile},
    identity::Keys,
    jwt::IssuerKeys,
    read::At,
    snapshot::{HeadRules, Health, Mode, Policy, TierId},
    trusted::Trusted,
};
use crate::{meter::price, telemetry::Metrics};

/// What a compilation works with.
pub(super) struct Compiler<'a> {
    file: &'a PolicyFile,
    redactors: &'a Redactors,
    report: &'a mut Report,
}

/// What stands beside the policy file, already read.
pub(super) struct Beside<'a> {
    /// Keys, once for every `api_key` source, in the order of the file.
    pub(super) keys: Vec<Keys>,
    /// Issuers' keys, once for every `jwt` source, in the order of the file.
    pub(super) issuers: Vec<IssuerKeys>,
    /// The directory of the policy file.
    pub(super) directory: &'a Path,
    /// SHA-256 of the policy file, in hex.
    pub(super) sha256: String,
    /// The automata made last.
    pub(super) redactors: &'a Redactors,
}

/// Compiles `file`. There is a policy exactly when the report has no errors.
pub(super) fn compile(
    file: &PolicyFile,
    beside: Beside<'_>,
    metrics: &Metrics,
    report: &mut Report,
) -> Option<(Policy, Settings)> {
    let mut compiler = Compiler { file, redactors: beside.redactors, report };
    let (router, rules) = compiler.operations();
    let identity = compiler.identity(beside.keys, beside.issuers);
    compiler.check_tiers();
    let prices = compiler.prices();
    let redactor = compiler.redactor();
    let upstream = compiler.upstream(beside.directory);
    let settings = compiler.settings(beside.directory);
    if compiler.report.has_errors() {
        return None;
    }
    metrics.price_table.set(price::table_day());
    let cleaning = sanitize::cleaning(&file.sanitize, redactor, metrics);
    let operations = operations::build(file, rules, metrics);
    let tiers = terms::tiers(file);
    let terms = terms::build(file, &operations, &tiers, metrics);
    let policy = Policy {
        generation: 1,
        sha256: beside.sha256,
        mode: mode(file.enforcement.mode.value),
        blocked: file.enforcement.blocked.iter().map(|entry| entry.value.as_str()).collect(),
        head: HeadRules {
            max_bytes: usize::try_from(file.request.max_headers.value.0).unwrap_or(usize::MAX),
            max_fields: file.request.max_header_count.value as usize,
        },
        body_timeout: file.listen.body_timeout.value,
        min_rate: file.listen.min_rate.value.0,
        cors: cors(file),
        identity,
        trusted: trusted(file),
        router,
        operations,
        prices,
        tiers,
        terms,
        upstream: upstream?,
        cleaning,
        health: Health {
            path: file.health.path.value.clone(),
            timeout: file.health.timeout.value,
            every: file.health.every.value,
            dependencies: file.health.dependencies.iter().filter_map(dependency).collect(),
        },
    };
    Some((policy, settings))
}

fn trusted(file: &PolicyFile) -> Trusted {
    let written = &file.listen.trusted_proxies;
    let network = |entry: &At<TrustedFile>| match entry.value {
        TrustedFile::Network(network) => Some(network),
        TrustedFile::Unix => None,
    };
    Trusted {
        networks: written.iter().filter_map(network).collect(),
        unix: written.iter().any(|entry| entry.value == TrustedFile::Unix),
    }
}

fn mode(written: file::Mode) -> Mode {
    match written {
        file::Mode::Enforce => Mode::Enforce,
        file::Mode::Shadow => Mode::Shadow,
        file::Mode::Off => Mode::Off,
    }
}

fn dependency(written: &file::DependencyFile) -> Option<Dependency> {
    // Checked where it was read.
    let probe = Probe::parse(written.url.value.expose())?;
    Some(Dependency { name: shared(&written.name.value), probe })
}

fn cors(file: &PolicyFile) -> Cors {
    let written = &file.cors;
    let exact = written.origins.iter().filter_map(|origin| match &origin.value {
        Origin::Any => None,
        Origin::Exact(text) => http::HeaderValue::from_str(text).ok(),
    });
    Cors::compile(CorsRules {
        origins: exact.collect(),
        any_origin: written.origins.iter().any(|origin| origin.value == Origin::Any),
        methods: written.methods.iter().map(|method| method.value.clone()).collect(),
        headers: written.headers.iter().map(|name| name.value.clone()).collect(),
        any_header: false,
        expose: EXPOSED.into_iter().map(http::HeaderName::from_static).collect(),
        credentials: written.credentials.value,
        max_age_seconds: written.max_age.value.as_secs(),
    })
}

impl Compiler<'_> {
    fn error(&mut self, diagnostic: Diagnostic) {
        self.report.push(diagnostic);
    }

    /// The tier called `name`, or a problem at its place.
    fn tier(&mut self, name: &At<file::Name>) -> Option<TierId> {
        let tiers = &self.file.tiers;
        let known = tiers.iter().position(|tier| tier.name.value == name.value);
        if known.is_none() && self.file.names_known {
            let error = Diagnostic::error(format!("there is no tier `{}`", name.value.as_str()));
            let names = tiers.iter().map(|tier| tier.name.value.as_str());
            let error = error.at(name.span, "").help(one_of(name.value.as_str(), names));
            self.error(error);
        }
        known.map(TierId)
    }
}

/// "did you mean", or else what there is.
fn one_of<'n>(word: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    match super::read::closest(word, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// A name that lives as long as whoever counts under it.
fn shared(name: &file::Name) -> Arc<str> {
    Arc::from(name.as_str())
}
