//! What each operation meets in each tier, ready to be counted and shown.

use std::{fmt::Write as _, num::NonZeroU32, sync::Arc};

use http::HeaderValue;

use super::{
    Compiler,
    away::{Rule, with_away},
    limits::{self, Line},
    one_of, shared,
};
use crate::{
    policy::{
        calendar::{Calendar, Period},
        diagnostic::Diagnostic,
        file::{BudgetFile, Name, OperationFile, PolicyFile, Pool, TierFile, TotalFile},
        limit::{Limit, Limits, Span},
        read::At,
        snapshot::{Operation, ShownKind, ShownLimit, Terms, Tier},
    },
    telemetry::Metrics,
};

impl Compiler<'_> {
    /// Quotas name operations, zones exist, budgets can be spent, former names are free.
    pub(super) fn check_tiers(&mut self) {
        let file = self.file;
        for tier in &file.tiers {
            let total = tier.total.as_ref();
            let pools = tier.quotas.iter().chain(total.into_iter().flat_map(|total| &total.quotas));
            for written in pools {
                if let Pool::Operation(name) = &written.pool.value {
                    self.check_operation(name, &written.pool);
                }
            }
            self.check_zone(&tier.budget);
            // A total without a zone has the tier's, and its problem is told already.
            let other = |total: &&TotalFile| total.budget.zone.value != tier.budget.zone.value;
            if let Some(total) = total.filter(other) {
                self.check_zone(&total.budget);
            }
            self.warn_of_unaffordable(tier);
        }
        let of_operations = file.operations.iter().filter_map(|operation| operation.total.as_ref());
        of_operations.for_each(|total| self.check_zone(&total.budget));
        let tiers = file.tiers.iter().map(|tier| (&tier.name, &tier.renamed_from));
        self.check_former("tier", &tiers.collect::<Vec<_>>());
        let operations = file.operations.iter();
        let operations = operations.map(|operation| (&operation.name, &operation.renamed_from));
        self.check_former("operation", &operations.collect::<Vec<_>>());
    }

    fn check_zone(&mut self, budget: &BudgetFile) {
        let zone = &budget.zone;
        if Calendar::new(Period::Day, &zone.value).is_err() {
            let error = Diagnostic::error("this time zone is not known").at(zone.span, "");
            self.error(error.help("write a name of the IANA database: \"Europe/Berlin\""));
        }
    }

    /// What still exists under its name keeps its counts itself, and two heirs would both count them.
    fn check_former(&mut self, kind: &str, all: &[(&At<Name>, &Vec<At<Name>>)]) {
        let mut taken: Vec<&At<Name>> = Vec::new();
        for former in all.iter().flat_map(|(_, former)| former.iter()) {
            let message = if all.iter().any(|(name, _)| name.value == former.value) {
                format!("{kind} `{}` is still there, so nothing was renamed from it", former.value)
            } else if taken.iter().any(|other| other.value == former.value) {
                format!("two {kind}s were renamed from `{}`", former.value)
            } else {
                taken.push(former);
                continue;
            };
            let error = Diagnostic::error(message).at(former.span, "");
            self.error(error.help("name what it was called before, and nothing that exists"));
        }
    }

    fn check_operation(&mut self, name: &Name, at: &At<Pool>) {
        let names = self.file.operations.iter().map(|operation| operation.name.value.as_str());
        if self.file.names_known && !names.clone().any(|known| known == name.as_str()) {
            let error = Diagnostic::error(format!("there is no operation `{}`", name.as_str()));
            let error = error.at(at.span, "").help(one_of(name.as_str(), names));
            self.error(error);
        }
    }

    fn warn_of_unaffordable(&mut self, tier: &TierFile) {
        let budgets = tier.budget.periods().into_iter().flatten();
        let rolling = tier.budget.rolling.iter();
        let rolling = rolling.map(|bound| bound.map(|bound| bound.amount));
        let Some(smallest) = budgets.chain(rolling).min_by_key(|budget| budget.value) else {
            return;
        };
        for operation in &self.file.operations {
            let Some(cost) = operation.cost.filter(|cost| cost.value > smallest.value) else {
                continue;
            };
            let message = format!(
                "one request of `{}` costs more than the whole budget of tier `{}`",
                operation.name.value.as_str(),
                tier.name.value.as_str()
            );
            let warning = Diagnostic::warning(message).at(cost.span, "costs this");
            self.report.push(warning.at(smallest.span, "never enough for it"));
        }
    }
}

/// The tiers as run.
pub(super) fn tiers(file: &PolicyFile) -> Vec<Tier> {
    let build = |written: &TierFile| Tier {
        name: shared(&written.name.value),
        header: value(written.name.value.as_str()),
    };
    file.tiers.iter().map(build).collect()
}

/// One entry per pair, row by row; the last row and column stand for "not known".
pub(super) fn build(
    file: &PolicyFile,
    operations: &[Operation],
    tiers: &[Tier],
    metrics: &Metrics,
) -> Vec<Terms> {
    let none: Arc<str> = "none".into();
    let mut all = Vec::with_capacity((operations.len() + 1) * (tiers.len() + 1));
    for row in 0..=operations.len() {
        let operation = operations.get(row).map_or(&none, |operation| &operation.name);
        for column in 0..=tiers.len() {
            let tier = tiers.get(column).map_or(&none, |tier| &tier.name);
            let written = (file.operations.get(row), file.tiers.get(column));
            let cell = match written {
                (Some(written), Some(written_tier)) => {
                    let former = former(written, written_tier);
                    metrics.renamed_cell(operation, tier, former)
                }
                _ => metrics.cell(operation, tier),
            };
            all.push(match written {
                (Some(written), Some(written_tier)) => {
                    let allowed = written.tiers.as_ref().is_none_or(|tiers| {
                        tiers.iter().any(|name| name.value == written_tier.name.value)
                    });
                    let both = || {
                        let own = limits::own(written_tier, written, &file.store, metrics);
                        let all = (written_tier, written, &file.store);
                        (own, limits::shared_by_all(all, metrics))
                    };
                    let rest = Rule::of(written_tier.away, &file.store);
                    let mut terms = terms(allowed, written_tier, both(), rest, cell);
                    if written.messages.charged.value {
                        terms.message_limits = uncrowded(both(), rest);
                    }
                    terms
                }
                _ => Terms {
                    allowed: true,
                    limits: Arc::default(),
                    message_limits: Arc::default(),
                    shown: Vec::new(),
                    policy_header: None,
                    cell,
                },
            });
        }
    }
    all
}

/// What a pair was called before: each name of the operation in each name of the tier, but for those that it has.
fn former(
    operation: &OperationFile,
    tier: &TierFile,
) -> impl Iterator<Item = (Arc<str>, Arc<str>)> {
    let names = |name: &At<Name>, former: &[At<Name>]| -> Vec<Arc<str>> {
        let former = former.iter().map(|name| shared(&name.value));
        std::iter::once(shared(&name.value)).chain(former).collect()
    };
    let operations = names(&operation.name, &operation.renamed_from);
    let tiers = names(&tier.name, &tier.renamed_from);
    let pair = move |operation: Arc<str>| {
        tiers.clone().into_iter().map(move |tier| (Arc::clone(&operation), tier))
    };
    operations.into_iter().flat_map(pair).skip(1)
}

fn terms(
    allowed: bool,
    tier: &TierFile,
    (own, shared): (Vec<Line>, Vec<Line>),
    rest: Rule,
    cell: Arc<crate::telemetry::Cell>,
) -> Terms {
    let (limits, told): (Vec<_>, Vec<_>) = own.into_iter().unzip();
    let (pools, more): (Vec<_>, Vec<_>) = shared.into_iter().unzip();
    let (mut shown, mut rules): (Vec<_>, Vec<_>) = told.into_iter().unzip();
    let policy_header = policy_header(&limits, &shown);
    for (more, rule) in more {
        shown.push(more);
        rules.push(rule);
    }
    let concurrency = tier.concurrency.and_then(|bound| NonZeroU32::new(bound.value));
    let (limits, pools) = (limits.into(), pools.into());
    let limits = Limits { limits, pools, concurrency, ..Limits::default() };
    Terms {
        allowed,
        policy_header,
        limits: with_away(limits, &rules, rest),
        message_limits: Arc::default(),
        shown,
        cell,
    }
}

/// The limits of what happens inside a request that is in flight already. Every index stays what it
/// is: a bound on requests in flight becomes one that is never met.
fn uncrowded((own, shared): (Vec<Line>, Vec<Line>), rest: Rule) -> Arc<Limits> {
    let rules: Vec<_> = own.iter().chain(&shared).map(|(_, (_, rule))| *rule).collect();
    let limits = own.into_iter().map(|(limit, _)| limit).collect();
    let unmet = |(limit, _): Line| match limit.counter.span() {
        Span::InFlight => Limit { amount: u64::MAX, ..limit },
        Span::Window(_) | Span::Period(_) => limit,
    };
    let pools = shared.into_iter().map(unmet).collect();
    with_away(Limits { limits, pools, ..Limits::default() }, &rules, rest)
}

/// `RateLimit-Policy`: one item per quota.
fn policy_header(limits: &[Limit], shown: &[ShownLimit]) -> Option<HeaderValue> {
    let mut text = String::new();
    for (limit, shown) in limits.iter().zip(shown) {
        let (ShownKind::Quota { item, .. }, Span::Window(window)) =
            (&shown.kind, limit.counter.span())
        else {
            continue;
        };
        let name = item.strip_suffix(";r=").unwrap_or(item);
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{name};q={};w={}", limit.amount, window.as_secs());
    }
    HeaderValue::try_from(text).ok().filter(|value| !value.is_empty())
}

/// Names and numbers of the policy are visible ASCII, so they are header values.
pub(super) fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unnamed"))
}
