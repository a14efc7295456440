//! The policy as it is written: one struct per table, every default, every place.
//!
//! [`read`] turns the text of `policy.toml` into a [`PolicyFile`] or into a
//! report of everything that is wrong with it. What one value says by itself is
//! checked here: its type, unit, range and syntax. What links tables (a quota
//! that names an operation, routes that collide) and regular expressions belong
//! to the compiled policy, which finds each value's place in [`At`].
//!
//! Defaults stand here and nowhere else. They are safe: refuse, close, redact.
//!
//! # Failure
//! With any error there is no `PolicyFile`; warnings leave it usable.

mod admin;
mod alerts;
mod away;
mod bind;
mod budget;
mod certificates;
mod cors;
mod endpoints;
mod enforcement;
mod header;
mod health;
mod identity;
mod identity_certificate;
mod listen;
mod messages;
mod metering;
mod name;
mod operations;
mod prices;
mod request;
pub(super) mod retry;
mod sanitize;
mod store;
mod tiers;
mod total;
mod upstream;
mod upstream_tls;
mod url;

pub use admin::AdminFile;
pub(super) use admin::{DEFAULT_ADMIN, DEFAULT_SOCKET_MODE};
pub use alerts::{AlertRuleFile, AlertsFile};
pub use away::AwayFile;
pub use bind::{FileMode, HostName, ListenAddress, SocketPath};
pub use budget::{BudgetFile, WeekStart};
pub use certificates::{CertificatesFile, ClientCertificatesFile, PairFile};
pub use cors::{CorsFile, Origin};
pub use endpoints::{EjectionFile, ProbesFile, ProviderLimits};
pub use enforcement::{EnforcementFile, Mode};
pub use header::HeaderFile;
pub use health::{DependencyFile, HealthFile};
pub use identity::{
    ApiKeyFile, IdentityFile, Jwks, JwtFile, PathIdentityFile, SourceKind, TrustedProxyFile,
};
pub use identity_certificate::{CertificateField, CertificateIdentityFile};
pub use listen::{ListenFile, TrustedFile};
pub use messages::{ForeignOrigins, MessagesFile, Upgrade};
pub use metering::{CostSource, MeteringFile, OnClientAbort, OnExhausted};
pub use name::Name;
pub use operations::{OperationFile, RouteFile};
pub use prices::{PriceFile, UnknownModel};
pub use request::{Injection, MediaType, ParameterFile, RequestFile, RequestRulesFile};
pub use retry::{CircuitBreakerFile, RetryFile, RetryMethod, RetryOn};
pub use sanitize::{ErrorBodies, Redaction, ReplaceFile, SanitizeFile};
pub use store::{OnExpired, OnFailure, StoreFile, StoreUrl};
pub use tiers::{Pool, PoolFile, TierFile};
pub use total::TotalFile;
pub use upstream::{UpstreamFile, UpstreamProtocol};
pub use upstream_tls::{OwnPairFile, UpstreamTlsFile};
pub use url::UpstreamUrl;

use super::diagnostic::{Diagnostic, Report};
use super::interpolate::Environment;
use super::read::{At, Named, Source, Table, document};

/// Everything that `policy.toml` says.
#[derive(Debug, Clone)]
pub struct PolicyFile {
    /// The public listener. Required.
    pub listen: ListenFile,
    /// The operators' listener. Default: loopback only, without a token.
    pub admin: AdminFile,
    /// The service behind us. Required.
    pub upstream: UpstreamFile,
    /// Browsers' cross-origin requests. Default: no origin may make them.
    pub cors: CorsFile,
    /// Bounds that hold for every request.
    pub request: RequestFile,
    /// Identity sources in the order they are tried. None: everybody is refused.
    pub identity: Vec<At<IdentityFile>>,
    /// Kinds of work, in file order. At least one.
    pub operations: Vec<OperationFile>,
    /// What each tier may do, in file order. At least one.
    pub tiers: Vec<TierFile>,
    /// Prices of models, in file order, over the built-in table. Default: none.
    pub prices: Vec<PriceFile>,
    /// What a model without a price costs. Default: `ceiling`, because an unknown model must not be free.
    pub unknown_model: At<UnknownModel>,
    /// Where the counts live.
    pub store: StoreFile,
    /// What answers lose on their way out.
    pub sanitize: SanitizeFile,
    /// The public health path and the dependencies behind it.
    pub health: HealthFile,
    /// What operators are told of.
    pub alerts: AlertsFile,
    /// Whether decisions are enforced.
    pub enforcement: EnforcementFile,
    /// Paths of `${file:…}` references, as written, in no particular order: a change of one is a change of the policy.
    pub files: Vec<String>,
    /// Whether every operation and tier could be read: only then is a name that is not there a mistake.
    pub(super) names_known: bool,
    notes: Vec<Diagnostic>,
}

impl PolicyFile {
    /// Lists what is written and accepted but has no effect in this version, sorted by place.
    ///
    /// Each is a note with `file` 0. They are no part of the report of [`read`], so that a reload does not log them.
    pub fn not_yet_effective(&self) -> &[Diagnostic] {
        &self.notes
    }
}

/// Reads a policy and reports all problems at once.
///
/// There is a `PolicyFile` exactly when the report has no errors. The source is number 0 of the report.
pub fn read(source: Source, environment: &dyn Environment) -> (Option<PolicyFile>, Report) {
    let (file, report) = read_in_part(source, environment);
    (file.filter(|_| !report.has_errors()), report)
}

/// Reads a policy as [`read`] does, but hands out what could be read beside errors, so that what
/// links tables can be checked in the same round. Such a file must not be run.
pub(super) fn read_in_part(
    source: Source,
    environment: &dyn Environment,
) -> (Option<PolicyFile>, Report) {
    document(&source, environment, policy)
}

/// Walks the whole document.
// Flat: one line per table.
fn policy(root: &mut Table<'_, '_>) -> Option<PolicyFile> {
    if root.is_empty() {
        let help =
            "a policy has at least [listen], [upstream], [tiers.<name>] and [operations.<name>]";
        root.reader().push_shape(Diagnostic::error("the policy is empty").help(help));
        return None;
    }
    let unknown_model = prices::unknown_model(root);
    let listen = required(root, "listen", "address = \"0.0.0.0:8443\"", listen::read);
    let admin = root.table_or_empty("admin", admin::read);
    let upstream = required(root, "upstream", "url = \"http://127.0.0.1:8000\"", upstream::read);
    let cors = root.table_or_empty("cors", cors::read);
    let request = root.table_or_empty("request", request::read);
    let identity = identity::read(root);
    let (operations, all_operations) = operations::read(root);
    let (tiers, all_tiers) = tiers::read(root);
    let prices = prices::read(root);
    let store = root.table_or_empty("store", store::read);
    let sanitize = root.table_or_empty("sanitize", sanitize::read);
    let health = root.table_or_empty("health", health::read);
    let alerts = root.table_or_empty("alerts", alerts::read);
    let enforcement = root.table_or_empty("enforcement", enforcement::read);
    root.not_yet("alerts");
    Some(PolicyFile {
        listen: listen?,
        admin,
        upstream: upstream?,
        cors,
        request,
        identity,
        operations,
        tiers,
        prices,
        unknown_model,
        store,
        sanitize,
        health,
        alerts,
        enforcement,
        names_known: all_operations && all_tiers,
        files: root.reader().files(),
        notes: root.reader().notes(),
    })
}

/// Walks the tables below a key whose names the author chose. There must be one at least: if not, `none` is reported.
fn each_named<'r, 't, T>(
    root: &mut Table<'r, 't>,
    key: &'static str,
    none: Diagnostic,
    read: impl Fn(&mut Table<'r, 't>, Option<At<Name>>) -> Option<T>,
) -> (Vec<T>, bool) {
    let entry = |entry: &Named<'r, 't>| {
        let name = name::of(entry);
        entry.value.table(|table| read(table, name)).flatten()
    };
    let Some(value) = root.value(key) else {
        root.reader().push_shape(none);
        return (Vec::new(), false);
    };
    let entries = value.table(Table::named).unwrap_or_default();
    if entries.is_empty() && value.is_table() {
        root.reader().push_shape(none.at(value.span(), ""));
    }
    let items: Vec<T> = entries.iter().filter_map(entry).collect();
    let whole = items.len() == entries.len();
    (items, whole)
}

/// Walks a table that must be there.
fn required<'r, 't, T>(
    root: &mut Table<'r, 't>,
    key: &'static str,
    example: &str,
    read: impl FnOnce(&mut Table<'r, 't>) -> Option<T>,
) -> Option<T> {
    let Some(value) = root.value(key) else {
        let help = format!("add [{key}] with {example}");
        root.reader()
            .push_shape(Diagnostic::error(format!("the policy has no [{key}]")).help(help));
        return None;
    };
    value.table(read).flatten()
}
