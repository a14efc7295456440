//! Every default that `policy/file` documents, as a small policy gets it.

use std::{ffi::OsString, io, path::Path, time::Duration};

use weir::{
    policy::{
        Environment, Source,
        diagnostic::Color,
        file::{self, *},
    },
    units::{Bytes, Percent, Rate},
};

const SMALL: &str = r#"
[listen]
address = "127.0.0.1:8443"
[upstream]
url = "http://127.0.0.1:8000/base"
[[identity]]
from = "address"
tier = "free"
[operations.all]
routes = ["* /**"]
[tiers.free]
concurrency = 3
"#;

struct Nothing;

impl Environment for Nothing {
    fn variable(&self, _name: &str) -> Option<OsString> {
        None
    }

    fn file(&self, _path: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn policy(text: &str) -> PolicyFile {
    let (policy, report) = file::read(Source::new("policy.toml", text), &Nothing);
    assert!(report.diagnostics().is_empty(), "{}", report.render(Color::Never));
    policy.expect("a policy without problems is read")
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn listeners_have_their_documented_defaults() {
    let policy = policy(SMALL);

    let listen = &policy.listen;
    assert!(listen.tls.is_none() && !listen.plaintext.value);
    assert_eq!(listen.handshake_timeout.value, seconds(5));
    assert_eq!(listen.header_timeout.value, seconds(5));
    assert_eq!(listen.body_timeout.value, seconds(60));
    assert_eq!(listen.min_rate.value, Rate(240));
    assert_eq!(listen.idle_timeout.value, seconds(300));
    assert_eq!(listen.max_connections.value, 10_000);
    assert_eq!(listen.drain_timeout.value, seconds(30));
    assert_eq!(policy.admin.address.value.to_string(), "127.0.0.1:9901");
    assert!(policy.admin.token.is_none() && policy.admin.socket.is_none());
    assert_eq!(policy.admin.socket_mode.value.0, 0o600);
    assert_eq!(policy.enforcement.mode.value, Mode::Enforce);
    assert!(policy.enforcement.blocked.is_empty());
    assert_eq!(policy.health.path.value, "/api/health");
    assert_eq!((policy.health.timeout.value, policy.health.every.value), (seconds(2), seconds(10)));
    assert!(policy.health.dependencies.is_empty());
    assert!(policy.alerts.webhook.is_none() && policy.alerts.rules.is_empty());
}

#[test]
fn upstream_and_store_have_their_documented_defaults() {
    let policy = policy(SMALL);

    let upstream = &policy.upstream;
    assert_eq!(upstream.url.value.path(), "/base");
    assert_eq!(upstream.connect_timeout.value, seconds(2));
    assert_eq!(upstream.response_timeout.value, seconds(120));
    assert_eq!(upstream.idle_timeout.value, seconds(60));
    assert!(
        upstream.headers.is_empty()
            && upstream.retry.is_none()
            && upstream.circuit_breaker.is_none()
    );
    assert!(upstream.url.socket.is_none());
    assert_eq!(upstream.protocol.value, UpstreamProtocol::Auto);
    assert_eq!((upstream.max_connections.value, upstream.min_idle.value), (10_000, 0));
    let tls = &upstream.tls;
    assert!(tls.ca.is_none() && tls.own.is_none() && tls.server_name.is_none());
    assert!(tls.pins.is_empty() && tls.written.is_none());
    assert_eq!((upstream.max_idle.value, upstream.pool_idle_timeout.value), (256, seconds(60)));
    assert!(upstream.more_urls.is_empty() && upstream.ejection.written.is_none());
    assert_eq!(upstream.provider_limits.value, ProviderLimits::Refuse);
    let probes = &upstream.probes;
    assert!(probes.path.is_none() && probes.every.is_none() && probes.timeout.is_none());
    assert_eq!((probes.healthy_after.value, probes.unhealthy_after.value), (1, 1));
    let ejection = &upstream.ejection;
    assert_eq!((ejection.failures.value, ejection.panic.value), (5, Percent::whole(25)));
    assert_eq!(ejection.eject_for.value.to_string(), "30s..5m");
    let store = &policy.store;
    assert!(matches!(&store.url.value, StoreUrl::Embedded(path) if path == Path::new("data")));
    assert_eq!(store.on_failure.value, OnFailure::Local);
    assert_eq!(store.allowance.value, Percent::whole(25));
    assert_eq!(store.max_subjects.value, 100_000);
    assert!(policy.prices.is_empty() && policy.files.is_empty());
    assert_eq!(policy.unknown_model.value, UnknownModel::Ceiling);
}

#[test]
fn requests_and_answers_have_their_documented_defaults() {
    let policy = policy(SMALL);

    let cors = &policy.cors;
    assert!(cors.origins.is_empty() && cors.headers.is_empty() && !cors.credentials.value);
    let methods: Vec<_> = cors.methods.iter().map(|method| method.value.as_str()).collect();
    assert_eq!((methods.join(" ").as_str(), cors.max_age.value), ("GET HEAD POST", seconds(600)));
    assert_eq!(policy.request.max_body.value, Bytes::mib(2));
    assert_eq!(policy.request.max_headers.value, Bytes::kib(32));
    assert_eq!(policy.request.max_header_count.value, 100);
    let sanitize = &policy.sanitize;
    assert_eq!(sanitize.errors.value, ErrorBodies::Generic);
    let removed: Vec<_> = sanitize.remove_headers.iter().map(|name| name.value.as_str()).collect();
    assert_eq!(removed, ["server", "x-powered-by"]);
    let added = sanitize
        .add_headers
        .iter()
        .map(|header| format!("{}: {}", header.name.value, header.value.value));
    assert_eq!(
        added.collect::<Vec<_>>(),
        ["x-content-type-options: nosniff", "x-frame-options: DENY"]
    );
    let redact: Vec<_> = sanitize.redact.iter().map(|kind| kind.value).collect();
    assert_eq!(redact, Redaction::ALL);
    assert!(sanitize.rules.is_empty());
}

#[test]
fn operations_and_tiers_have_their_documented_defaults() {
    let policy = policy(SMALL);

    let operation = &policy.operations[0];
    assert!(operation.cost.is_none() && operation.tiers.is_none());
    assert_eq!(operation.metering.sources[0].value, CostSource::Header);
    assert_eq!(operation.metering.sources.len(), 1);
    assert!(operation.upgrade.is_empty() && operation.max_lifetime.is_none());
    assert_eq!(operation.foreign_origins.value, ForeignOrigins::Forward);
    let messages = &operation.messages;
    assert_eq!((messages.max_size.value, messages.charged.value), (Bytes::mib(1), false));
    assert!(messages.per_minute.is_none() && messages.max_count.is_none());
    let rules = &operation.request;
    assert!(rules.content_types.is_none() && rules.max_body.is_none() && rules.schema.is_none());
    assert!(rules.parameters.is_empty());
    assert_eq!((rules.max_depth.is_none(), rules.injection.value), (true, Injection::Off));
    let budget = &policy.tiers[0].budget;
    assert!(budget.day.is_none() && budget.month.is_none() && policy.tiers[0].quotas.is_empty());
    assert_eq!(budget.zone.value, "UTC");
}

#[test]
fn tables_that_are_written_in_part_have_their_documented_defaults() {
    let text = SMALL.replace(
        "[[identity]]",
        "retry = {}\ncircuit_breaker = {}\n[[identity]]\nfrom = \"api_key\"\n\
         [[identity]]\nfrom = \"jwt\"\nissuer = \"https://i/\"\njwks = \"https://i/keys?v=2\"\n\
         [[sanitize.rule]]\nname = \"n\"\npattern = \"p\"\n[[identity]]",
    );

    let policy = policy(&text);

    let retry = &policy.upstream.retry.as_ref().expect("it is written").value;
    assert_eq!(
        (retry.attempts.value, retry.backoff.value.to_string()),
        (3, "100ms..2s".to_owned())
    );
    assert_eq!(retry.on.iter().map(|on| on.value).collect::<Vec<_>>(), RetryOn::USUAL);
    let methods: Vec<_> = retry.methods.iter().map(|method| method.as_str()).collect();
    assert_eq!(methods, ["GET", "HEAD", "OPTIONS", "TRACE"]);
    assert_eq!(retry.budget.value, Percent::whole(20));
    let breaker = &policy.upstream.circuit_breaker.as_ref().expect("it is written").value;
    let breaker = (breaker.failures.value, breaker.within.value, breaker.open_for.value);
    assert_eq!(breaker, (5, seconds(30), seconds(15)));
    assert!(
        matches!(&policy.identity[0].value, IdentityFile::ApiKey(key) if *key.keys == *Path::new("keys.toml"))
    );
    let IdentityFile::Jwt(jwt) = &policy.identity[1].value else {
        panic!("the second source is a JWT")
    };
    assert_eq!((jwt.subject_claim.value.as_str(), jwt.tier_claim.value.as_str()), ("sub", "tier"));
    assert!(jwt.audience.is_none() && jwt.tier.is_none() && matches!(jwt.jwks.value, Jwks::Url(_)));
    assert_eq!(policy.sanitize.rules[0].replace.value, "[redacted]");
}
