//! What each operation meets in each tier, ready to be counted and shown.

use std::{fmt::Write as _, num::NonZeroU32, sync::Arc};

use http::HeaderValue;

use super::{
    Compiler,
    away::{Rule, with_away},
    one_of, shared,
};
use crate::{
    policy::{
        calendar::{Calendar, Period},
        diagnostic::Diagnostic,
        file::{AwayFile, Name, PolicyFile, Pool, StoreFile, TierFile},
        limit::{Counter, Limit, Limits, Span, Unit},
        read::At,
        snapshot::{Operation, ShownKind, ShownLimit, Terms, Tier},
    },
    telemetry::Metrics,
    units::{self, NanoUsd, Quota},
};

/// One tier's zone, as often as it is needed.
pub(super) struct Calendars(Vec<(String, String)>);

impl Compiler<'_> {
    /// Quotas name operations, zones exist, budgets can be spent.
    pub(super) fn check_tiers(&mut self) -> Calendars {
        let file = self.file;
        let mut zones = Vec::new();
        for tier in &file.tiers {
            for written in &tier.quotas {
                if let Pool::Operation(name) = &written.pool.value {
                    self.check_operation(name, &written.pool);
                }
            }
            let zone = &tier.budget.zone;
            match Calendar::new(Period::Day, &zone.value) {
                Ok(_) => zones.push((tier.name.value.as_str().to_owned(), zone.value.clone())),
                Err(_) => {
                    let error = Diagnostic::error("this time zone is not known").at(zone.span, "");
                    self.error(error.help("write a name of the IANA database: \"Europe/Berlin\""));
                }
            }
            self.warn_of_unaffordable(tier);
        }
        Calendars(zones)
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
        let budgets = [tier.budget.day, tier.budget.month];
        let Some(smallest) = budgets.into_iter().flatten().min_by_key(|budget| budget.value) else {
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
    calendars: &Calendars,
    metrics: &Metrics,
) -> Vec<Terms> {
    let none: Arc<str> = "none".into();
    let mut all = Vec::with_capacity((operations.len() + 1) * (tiers.len() + 1));
    for row in 0..=operations.len() {
        let operation = operations.get(row).map_or(&none, |operation| &operation.name);
        for column in 0..=tiers.len() {
            let tier = tiers.get(column).map_or(&none, |tier| &tier.name);
            let cell = metrics.cell(operation, tier);
            all.push(match (file.operations.get(row), file.tiers.get(column)) {
                (Some(written), Some(written_tier)) => {
                    let allowed = written.tiers.as_ref().is_none_or(|tiers| {
                        tiers.iter().any(|name| name.value == written_tier.name.value)
                    });
                    let name = &written.name.value;
                    let lines = || lines(written_tier, name, &file.store, calendars, metrics);
                    let inner = written.messages.charged.value.then(lines);
                    let rest = Rule::of(written_tier.away, &file.store);
                    let mut terms = terms(allowed, written_tier, lines(), rest, cell);
                    if let Some(inner) = inner {
                        terms.message_limits = uncrowded(inner, rest);
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

type Line = (Limit, (ShownLimit, Rule));

fn terms(
    allowed: bool,
    tier: &TierFile,
    lines: Vec<Line>,
    rest: Rule,
    cell: Arc<crate::telemetry::Cell>,
) -> Terms {
    let (limits, told): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
    let (shown, rules): (Vec<_>, Vec<_>) = told.into_iter().unzip();
    let concurrency = tier.concurrency.and_then(|bound| NonZeroU32::new(bound.value));
    Terms {
        allowed,
        policy_header: policy_header(&limits, &shown),
        limits: with_away(
            Limits { limits: limits.into(), concurrency, ..Limits::default() },
            &rules,
            rest,
        ),
        message_limits: Arc::default(),
        shown,
        cell,
    }
}

/// The limits of what happens inside a request that is in flight already.
fn uncrowded(lines: Vec<Line>, rest: Rule) -> Arc<Limits> {
    let (limits, told): (Vec<_>, Vec<_>) = lines.into_iter().unzip();
    let rules: Vec<_> = told.into_iter().map(|(_, rule)| rule).collect();
    with_away(Limits { limits: limits.into(), ..Limits::default() }, &rules, rest)
}

/// The quotas and budgets that one operation meets in `tier`.
fn lines(
    tier: &TierFile,
    operation: &Name,
    store: &StoreFile,
    calendars: &Calendars,
    metrics: &Metrics,
) -> Vec<Line> {
    let rule = |written: AwayFile| Rule::of(written.below(tier.away), store);
    let mut lines = Vec::new();
    for written in &tier.quotas {
        let scope = match &written.pool.value {
            Pool::All => "*",
            Pool::Operation(name) if name == operation => name.as_str(),
            Pool::Operation(_) => continue,
        };
        for (quota, away) in written.quotas.iter().zip(&written.away) {
            let (limit, shown) = quota_line(scope, &quota.value);
            lines.push((limit, (shown, rule(*away))));
        }
    }
    let zone = calendars.0.iter().find(|(name, _)| name == tier.name.value.as_str());
    let budgets = [(Period::Day, tier.budget.day), (Period::Month, tier.budget.month)];
    for (period, amount) in budgets {
        let calendar = zone.and_then(|(_, zone)| Calendar::new(period, zone).ok());
        if let (Some(amount), Some(calendar)) = (amount, calendar) {
            let (limit, shown) = budget_line(tier, period, calendar, amount.value, metrics);
            lines.push((limit, (shown, rule(tier.budget.away))));
        }
    }
    lines
}

fn quota_line(scope: &str, quota: &Quota) -> (Limit, ShownLimit) {
    let unit = match quota.unit {
        units::Unit::Requests => Unit::Requests,
        units::Unit::Tokens => Unit::Tokens,
        units::Unit::Bytes => Unit::Bytes,
    };
    let written = quota.to_string();
    let window = written.rsplit('/').next().unwrap_or_default();
    let own = if scope == "*" { "all" } else { scope };
    let kind = if unit == Unit::Requests { String::new() } else { format!("{unit}-") };
    let what = if scope == "*" { format!("{unit}") } else { format!("{scope} {unit}") };
    let phrase = match window {
        "second" | "minute" | "hour" | "day" => format!("{what} of this {window}"),
        _ => format!("{what} of any {window}"),
    };
    let amount = quota.amount.get();
    let shown = ShownLimit {
        phrase,
        unit,
        amount,
        kind: ShownKind::Quota {
            item: format!("\"{own}-{kind}{window}\";r="),
            amount: HeaderValue::from(amount),
        },
        written,
    };
    (Limit { counter: Counter::new(scope, unit, Span::Window(quota.window)), amount }, shown)
}

fn budget_line(
    tier: &TierFile,
    period: Period,
    calendar: Calendar,
    amount: NanoUsd,
    metrics: &Metrics,
) -> (Limit, ShownLimit) {
    let (name, phrase) = match period {
        Period::Month => ("month", "this month"),
        _ => ("day", "today"),
    };
    let shown = ShownLimit {
        written: format!("{amount}/{name}"),
        phrase: format!("your budget of {amount} for {phrase}"),
        unit: Unit::NanoUsd,
        amount: amount.0,
        kind: ShownKind::Budget {
            daily: period == Period::Day,
            dollars: value(&amount.dollars(4).to_string()),
            highest: metrics.budget_use(&shared(&tier.name.value), name),
        },
    };
    let counter = Counter::new("*", Unit::NanoUsd, Span::Period(calendar));
    (Limit { counter, amount: amount.0 }, shown)
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
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unnamed"))
}
