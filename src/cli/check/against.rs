//! `weir check --against`: whom an edited policy would cut off, and whom it would let in.
//!
//! Asks a running proxy what its subjects have used and which limits are in force, and lays the edited
//! limits beside them. A subject is cut off from an operation when it could use it now and could not
//! under the edited policy.
//!
//! # Limits
//! The store does not know tiers. A subject's tier is taken from the edited policy where that says it
//! (keys, paths, addresses, certificates); of others every tier is looked at, and named.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, ToSocketAddrs},
};

use http::{Method, StatusCode};

use super::super::{Failure, talk};
use crate::{
    admin::usage::{self, Counted, MOST, Row, Usage},
    policy::{identity::Source, load::Compiled, snapshot::Policy},
    secret::Secret,
};

/// Longest wait for the answer, in seconds.
const PATIENCE: u64 = 30;
/// Most of an answer that is read: ten thousand subjects with a dozen counters each.
const MOST_BYTES: usize = 64 << 20;
/// Most of a strange answer that is repeated, in characters.
const MOST_SAID: usize = 200;

/// Says what would change; `true` when nobody would be cut off.
pub(super) fn compare(url: &str, compiled: &Compiled) -> Result<bool, Failure> {
    let usage = ask(url, compiled.settings.admin.token.as_ref())?;
    let changes = Changes::between(&usage, &compiled.policy, &former(compiled));
    let (cut, let_in) = (changes.count(true), changes.count(false));
    changes.print();
    let looked = usage.subjects.len();
    let more = if usage.more { ", the first by name" } else { "" };
    println!("{looked} subjects looked at{more}: {cut} would be cut off, {let_in} let in");
    Ok(cut == 0)
}

fn ask(url: &str, token: Option<&Secret>) -> Result<Usage, Failure> {
    let address = address(url)?;
    let token = token.map(|token| token.expose().to_owned());
    let path = format!("/admin/v1/usage?limit={MOST}");
    let asked = talk::ask_at(address, token, Method::GET, &path, PATIENCE, MOST_BYTES);
    let (status, body) = asked?;
    match status {
        StatusCode::OK => serde_json::from_str(&body).map_err(|error| {
            format!("what answers at {address} is no proxy of this version: {error}").into()
        }),
        StatusCode::UNAUTHORIZED => Err(format!(
            "the proxy at {address} wants another token; set WEIR_ADMIN_TOKEN to the one it was started with"
        )
        .into()),
        StatusCode::NOT_FOUND => {
            Err(format!("what answers at {address} is no operators' listener of this version").into())
        }
        // It may be anything: nothing of it may move a terminal's cursor.
        other => {
            let said: String = body.trim_end().chars().take(MOST_SAID).collect();
            Err(format!("what answers at {address} says {other}: {}", said.escape_debug()).into())
        }
    }
}

fn address(url: &str) -> Result<SocketAddr, Failure> {
    let place = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    if place.contains("://") || place.contains('/') {
        return Err(
            format!("`{url}` is not where operators ask; write http://127.0.0.1:9901").into()
        );
    }
    let found = place.to_socket_addrs().map_err(|error| {
        format!("`{url}` cannot be looked up: {error}; write http://127.0.0.1:9901")
    })?;
    found.into_iter().next().ok_or_else(|| format!("`{url}` has no address").into())
}

/// New names of operations and tiers, and what each was called before.
type Former = BTreeMap<(bool, String), Vec<String>>;

fn former(compiled: &Compiled) -> Former {
    let file = &compiled.file;
    let names = |former: &[crate::policy::At<crate::policy::file::Name>]| {
        former.iter().map(|name| name.value.to_string()).collect()
    };
    let operations = file.operations.iter();
    let operations =
        operations.map(|it| ((true, it.name.value.to_string()), names(&it.renamed_from)));
    let tiers = file.tiers.iter();
    let tiers = tiers.map(|it| ((false, it.name.value.to_string()), names(&it.renamed_from)));
    operations.chain(tiers).collect()
}

/// What a subject may do, tier by tier: which limits refuse each operation.
type Verdicts = BTreeMap<(String, String), BTreeSet<String>>;

struct Change {
    subject: String,
    tier: String,
    operation: String,
    limits: BTreeSet<String>,
    cut_off: bool,
}

struct Changes(Vec<Change>);

impl Changes {
    fn between(usage: &Usage, policy: &Policy, former: &Former) -> Self {
        let edited = usage::rows(policy);
        let pools = by_key(&usage.pools);
        let mut changes = Vec::new();
        for subject in &usage.subjects {
            let own = by_key(&subject.counters);
            let before = verdicts(&usage.limits, &own, &pools);
            let after = verdicts(&edited, &own, &pools);
            for tier in tiers_of(&subject.subject, policy) {
                for operation in &policy.operations {
                    let new = (tier.clone(), operation.name.to_string());
                    let was = old_names(&new, former).into_iter().find_map(|old| before.get(&old));
                    let is = after.get(&new);
                    let (limits, cut_off) = match (was, is) {
                        (None, Some(limits)) => (limits.clone(), true),
                        (Some(limits), None) => (limits.clone(), false),
                        _ => continue,
                    };
                    let (tier, operation) = new;
                    let subject = subject.subject.clone();
                    changes.push(Change { subject, tier, operation, limits, cut_off });
                }
            }
        }
        Self(changes)
    }

    /// Subjects of whom this is true in any operation.
    fn count(&self, cut_off: bool) -> usize {
        let these = self.0.iter().filter(|change| change.cut_off == cut_off);
        these.map(|change| change.subject.as_str()).collect::<BTreeSet<_>>().len()
    }

    fn print(&self) {
        for Change { subject, tier, operation, limits, cut_off } in &self.0 {
            let limits = limits.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let what = match cut_off {
                true => format!("would be cut off from {operation} by {limits}"),
                false => format!("would be let in to {operation}, refused now by {limits}"),
            };
            println!("{} ({tier}) {what}", subject.escape_debug());
        }
    }
}

fn old_names((tier, operation): &(String, String), former: &Former) -> Vec<(String, String)> {
    let all = |of_operation, name: &String| {
        let old = former.get(&(of_operation, name.clone())).cloned().unwrap_or_default();
        std::iter::once(name.clone()).chain(old).collect::<Vec<_>>()
    };
    let (tiers, operations) = (all(false, tier), all(true, operation));
    let with = |tier: &String| operations.iter().map(|it| (tier.clone(), it.clone())).collect();
    tiers.iter().flat_map(|tier| -> Vec<_> { with(tier) }).collect()
}

fn by_key(counters: &[Counted]) -> BTreeMap<&str, u64> {
    counters.iter().map(|counted| (counted.counter.as_str(), counted.used)).collect()
}

/// Only operations that something refuses have an entry.
fn verdicts(rows: &[Row], own: &BTreeMap<&str, u64>, pools: &BTreeMap<&str, u64>) -> Verdicts {
    let mut verdicts = Verdicts::new();
    for row in rows {
        let counts = if row.shared { pools } else { own };
        let used = row.counters.iter().filter_map(|key| counts.get(key.as_str()));
        let used = used.fold(0, |sum: u64, used| sum.saturating_add(*used));
        if used.saturating_add(row.least) > row.amount {
            let key = (row.tier.clone(), row.operation.clone());
            let shared = if row.shared { " of all callers" } else { "" };
            verdicts.entry(key).or_default().insert(format!("{}{shared}", row.limit));
        }
    }
    verdicts
}

/// The tiers in which a subject may be.
fn tiers_of(subject: &str, policy: &Policy) -> BTreeSet<String> {
    let mut tiers = BTreeSet::new();
    let mut open = false;
    for source in &policy.identity.sources {
        match source {
            Source::Path { tier, .. } if subject.starts_with("path:") => _ = tiers.insert(tier.0),
            Source::Address { tier } if subject.starts_with("address:") => {
                tiers.insert(tier.0);
            }
            Source::ApiKey(keys) => tiers.extend(keys.tiers_of(subject).map(|tier| tier.0)),
            Source::ClientCertificate(source) => _ = tiers.insert(source.tier.0),
            Source::Jwt { .. } | Source::TrustedProxy(_) => open = true,
            Source::Path { .. } | Source::Address { .. } => {}
        }
    }
    let unverified = subject.starts_with("path:") || subject.starts_with("address:");
    if tiers.is_empty() || (open && !unverified) {
        tiers.extend(0..policy.tiers.len());
    }
    let name = |tier: usize| policy.tiers.get(tier).map(|tier| tier.name.to_string());
    tiers.into_iter().filter_map(name).collect()
}
