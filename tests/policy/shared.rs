//! What a policy that is right becomes: the first users' one as it stands, and small ones.

use std::{ffi::OsString, io, time::Duration};

use weir::{
    policy::{
        Environment, Source,
        diagnostic::{Color, Report, Severity},
        file::{self, *},
    },
    units::NanoUsd,
};

const SHARED: &str = include_str!("fixtures/policy.toml");
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

struct Fixed(&'static [(&'static str, &'static str)]);

impl Environment for Fixed {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    }

    fn file(&self, path: &str) -> io::Result<Vec<u8>> {
        let found = self.0.iter().find(|(known, _)| *known == path);
        found.map(|(_, content)| content.as_bytes().to_vec()).ok_or(io::ErrorKind::NotFound.into())
    }
}

fn read(text: &str) -> (Option<PolicyFile>, Report) {
    file::read(Source::new("policy.toml", text), &Fixed(&[]))
}

fn policy(text: &str) -> PolicyFile {
    let (policy, report) = read(text);
    assert!(report.diagnostics().is_empty(), "{}", report.render(Color::Never));
    policy.expect("a policy without problems is read")
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_first_users_policy_loads_as_it_stands() {
    let policy = policy(SHARED);

    let names =
        |names: Vec<&Name>| names.into_iter().map(Name::as_str).collect::<Vec<_>>().join(" ");
    let operations =
        names(policy.operations.iter().map(|operation| &operation.name.value).collect());
    assert_eq!(
        operations,
        "behavior_analysis plan_generation insights_generation chat general_api"
    );
    assert_eq!(
        names(policy.tiers.iter().map(|tier| &tier.name.value).collect()),
        "free premium admin"
    );
    let kinds: Vec<_> = policy.identity.iter().map(|source| source.kind().as_str()).collect();
    assert_eq!(kinds, ["api_key", "jwt", "path", "address"]);
    assert!(policy.admin.token.is_none() && policy.alerts.webhook.is_none());
    assert_eq!(policy.alerts.rules[1].when.value, "p95_latency > 200ms for 5m");
    assert_eq!(policy.sanitize.rules[0].pattern.value, "EMP-\\d{6}");
    assert_eq!(policy.sanitize.add_headers.len(), 3);
    assert_eq!(policy.prices[0].cached_input.map(|price| price.value), Some(NanoUsd(75_000_000)));
    assert_eq!(policy.health.dependencies.len(), 3);
    assert_eq!(policy.cors.methods.len(), 4);
}

#[test]
fn the_first_users_operations_and_tiers_are_read_exactly() {
    let policy = policy(SHARED);

    let analysis = &policy.operations[0];
    assert_eq!(analysis.routes.len(), 3);
    assert_eq!(analysis.routes[2].method, Some(http::Method::POST));
    assert_eq!(analysis.routes[2].pattern, "/api/analyze");
    assert_eq!(analysis.cost.map(|cost| cost.value), Some(NanoUsd(30_000_000)));
    let rules = &policy.operations[2].request;
    let depth = rules.max_depth.map(|depth| depth.value);
    assert_eq!((depth, rules.injection.value), (Some(20), Injection::Refuse));
    assert_eq!(rules.parameters[0].name.value, "user_id");
    assert_eq!(rules.parameters[0].pattern.value, "[A-Za-z0-9_-]{1,128}");
    assert_eq!(
        rules.content_types.as_ref().map(|types| types[0].as_str()),
        Some("application/json")
    );
    let sources = &policy.operations[3].metering.sources;
    let sources: Vec<_> = sources.iter().map(|source| source.value.clone()).collect();
    assert_eq!(sources, [CostSource::Header, CostSource::Usage]);
    assert_eq!(policy.operations[4].routes[0].method, None);
    let free = &policy.tiers[0];
    assert_eq!(free.quotas[2].quotas[0].value.to_string(), "15/hour");
    assert_eq!(free.budget.month.map(|month| month.value), Some(NanoUsd::dollars_whole(5)));
    assert_eq!(free.concurrency.map(|concurrency| concurrency.value), Some(4));
    assert_eq!(policy.tiers[2].quotas[0].pool.value, Pool::All);
}

#[test]
fn every_value_knows_its_place() {
    let policy = policy(SHARED);

    let span = policy.tiers[0].quotas[1].quotas[0].span;
    assert_eq!(&SHARED[span.start..span.end], "\"8/hour\"");
    let span = policy.operations[1].name.span;
    assert_eq!(&SHARED[span.start..span.end], "plan_generation");
    let span = policy.listen.drain_timeout.span;
    assert_eq!(&SHARED[span.start..span.end], "[listen]");
}

#[test]
fn what_has_no_effect_yet_is_listed_with_its_place() {
    let policy = policy(SHARED);

    let notes: Vec<_> =
        policy.not_yet_effective().iter().map(|note| note.message.as_str()).collect();

    let expected = [
        "`operations.insights_generation.request.injection` is not yet effective",
        "`prices` is not yet effective",
        "`alerts` is not yet effective",
    ];
    assert_eq!(notes, expected);
    let places = policy.not_yet_effective().iter().map(|note| note.labels[0].0);
    let places: Vec<_> = places.map(|span| &SHARED[span.start..span.end]).collect();
    assert_eq!(places[..2], ["injection", "prices"]);
    assert!(policy.not_yet_effective().iter().all(|note| note.severity == Severity::Note));
}

#[test]
fn outages_are_judged_by_the_limit_then_the_tier_then_the_store() {
    let text = format!(
        "{SMALL}on_failure = \"refuse\"\n\
         quotas = {{ all = [\"3/hour\", {{ limit = \"9/day\", on_failure = \"allow\" }}], \
         \"*\" = {{ limit = \"20/day\", allowance = \"10%\" }} }}\n\
         budget = {{ day = \"$1\", on_failure = \"local\" }}\n[store]\nallowance = \"5%\"\n"
    );

    let policy = policy(&text);

    let tier = &policy.tiers[0];
    let of = |away: AwayFile| {
        let Some(on_failure) = away.below(tier.away).on_failure else { panic!("nothing holds") };
        (on_failure.value, away.allowance.map(|share| share.value.hundredths()))
    };
    let quotas: Vec<_> =
        tier.quotas.iter().flat_map(|pool| &pool.away).map(|away| of(*away)).collect();
    let expected =
        [(OnFailure::Refuse, None), (OnFailure::Allow, None), (OnFailure::Refuse, Some(1000))];
    assert_eq!(quotas, expected);
    assert_eq!(of(tier.budget.away), (OnFailure::Local, None));
    assert_eq!(tier.quotas[0].quotas[1].value.to_string(), "9/day");
}

#[test]
fn the_rest_that_has_no_effect_yet_is_listed_too() {
    let text = format!(
        "unknown_model = \"flat\"\n{SMALL}[operations.all.request]\nschema = \"s.json\"\n\
         [store]\nurl = \"${{REDIS_URL}}\"\non_failure = \"allow\"\nallowance = \"5%\"\n"
    );
    let environment = Fixed(&[("REDIS_URL", "redis://:pw@redis:6379")]);

    let (policy, report) = file::read(Source::new("policy.toml", text), &environment);

    let policy = policy.expect("the policy is right");
    let notes: Vec<_> =
        policy.not_yet_effective().iter().map(|note| note.message.as_str()).collect();
    assert_eq!(notes.len(), 2);
    assert!(notes[0].contains("unknown_model") && notes[1].contains("request.schema"));
    assert!(report.diagnostics().is_empty());
    assert!(
        matches!(policy.store.url.value, StoreUrl::Redis(_)) && policy.store.url.from_reference
    );
    assert!(!format!("{policy:?}").contains("pw@"));
}

#[test]
fn references_are_resolved_and_marked() {
    let text = SMALL.replace(
        "\"http://127.0.0.1:8000/base\"",
        "\"http://${HOST}:8000\"\nconnect_timeout = \"${T:-3s}\"",
    ) + "[admin]\ntoken = \"${file:token}\"\n[sanitize]\nadd_headers = { X-Price = \"$0.03\" }\n";
    let environment = Fixed(&[("HOST", "agent"), ("token", "t0ken\n")]);

    let (policy, report) = file::read(Source::new("policy.toml", text), &environment);

    let policy = policy.expect("the policy is right");
    assert!(report.diagnostics().is_empty(), "{}", report.render(Color::Never));
    assert_eq!(policy.upstream.url.host(), Some("agent"));
    assert!(policy.upstream.url.from_reference && !policy.listen.addresses[0].from_reference);
    assert_eq!(policy.upstream.connect_timeout.value, seconds(3));
    assert_eq!(policy.admin.token.as_ref().map(|token| token.expose()), Some("t0ken"));
    assert_eq!(policy.sanitize.add_headers[0].value.value, "$0.03");
    assert_eq!(policy.files, ["token"]);
    assert!(!format!("{policy:?}").contains("t0ken"));
}

#[test]
fn lists_of_quotas_are_read_in_order() {
    let list = "quotas = { \"*\" = [\"60/minute\", \"500/hour\", \"20000 tokens/minute\"], all = \"10MiB/2d\" }";

    let policy = policy(&SMALL.replace("concurrency = 3", list));

    let pools = &policy.tiers[0].quotas;
    let quotas: Vec<_> = pools[0].quotas.iter().map(|quota| quota.value.to_string()).collect();
    assert_eq!(quotas, ["60/minute", "500/hour", "20000 tokens/minute"]);
    assert!(matches!(&pools[1].pool.value, Pool::Operation(name) if name.as_str() == "all"));
    assert_eq!(pools[1].quotas[0].value.to_string(), "10MiB/2d");
}

#[test]
fn a_file_that_is_too_large_or_no_text_is_refused() {
    let large = "#".repeat(weir::policy::MAX_SOURCE + 1);

    let (policy, report) = read(&large);

    assert!(policy.is_none());
    assert_eq!(report.diagnostics()[0].message, "the file is larger than 1MiB");
    let report = Source::decode("policy.toml", b"[listen]\nx = \xff1".to_vec())
        .expect_err("this is not UTF-8");
    let one_line = report.one_line(&report.diagnostics()[0]);
    assert_eq!(one_line, "policy.toml:2:5: error: the file is not UTF-8; save the file as UTF-8");
}

#[test]
fn a_reference_that_escapes_hide_is_marked_and_never_shown() {
    let hidden = "\"\\u0024{HOST}\"";
    let right = SMALL.replace("\"http://127.0.0.1:8000/base\"", hidden);
    let environment = Fixed(&[("HOST", "http://canary-7f3a9")]);

    let (policy, _) = file::read(Source::new("policy.toml", right), &environment);
    let wrong = SMALL.replace("\"127.0.0.1:8443\"", hidden);
    let (_, report) = file::read(Source::new("policy.toml", wrong), &environment);

    assert!(policy.is_some_and(|policy| policy.upstream.url.from_reference));
    assert!(report.has_errors() && !report.render(Color::Never).contains("canary"));
}

#[test]
fn all_references_together_have_a_bound() {
    struct Large;
    impl Environment for Large {
        fn variable(&self, _name: &str) -> Option<OsString> {
            Some("x".repeat(60_000).into())
        }

        fn file(&self, _path: &str) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::NotFound.into())
        }
    }
    let headers: String = (0..80).map(|n| format!("X-{n} = \"${{X}}\"\n")).collect();
    let text = format!("{SMALL}[upstream.headers]\n{headers}");

    let (policy, report) = file::read(Source::new("policy.toml", text), &Large);

    assert!(policy.is_none());
    let bound = "the references of this file expand to more than 4194304 bytes";
    assert!(report.diagnostics().iter().all(|diagnostic| diagnostic.message == bound));
}
