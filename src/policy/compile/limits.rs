//! One limit as it is counted and as it is shown.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use http::HeaderValue;

use super::{away::Rule, shared, terms::value};
use crate::{
    policy::{
        calendar::{Calendar, Period},
        file::{
            AwayFile, BudgetFile, Name, OperationFile, Pool, PoolFile, StoreFile, TierFile,
            TotalFile,
        },
        limit::{Counter, Limit, Span, Unit},
        read::At,
        snapshot::{ShownKind, ShownLimit},
    },
    telemetry::Metrics,
    units::{self, NanoUsd, Quota, Rolling},
};

/// A limit, what is shown of it, and what holds while the store is away.
pub(super) type Line = (Limit, (ShownLimit, Rule));

/// The calendar of one period of a budget; `None` for a zone that nobody knows.
pub(super) fn calendar(period: Period, budget: &BudgetFile) -> Option<Calendar> {
    let calendar = Calendar::new(period, &budget.zone.value).ok()?;
    Some(calendar.with_week_start(budget.week_start.value.into()))
}

/// The quotas and budgets of one subject: what one operation meets in `tier`.
pub(super) fn own(
    tier: &TierFile,
    operation: &OperationFile,
    store: &StoreFile,
    metrics: &Metrics,
) -> Vec<Line> {
    let tier_name = shared(&tier.name.value);
    let rule = |written: AwayFile| Rule::of(written.below(tier.away), store);
    let mut lines = Vec::new();
    for (scope, quota, away) in quotas(&tier.quotas, &operation.name.value) {
        let former = operation.renamed_from.iter().map(|name| name.value.as_str());
        let counter = counter(scope, quota).renamed_from(former.filter(|_| scope != "*"));
        let (limit, shown) = quota_line(counter, scope, quota);
        lines.push((limit, (shown, rule(away))));
    }
    for spend in spends(&tier.budget) {
        let shown = ShownLimit {
            written: spend.written.clone(),
            phrase: format!("You have used your budget of {}", spend.phrase),
            excessive: format!("This request may cost more than your budget of {}", spend.phrase),
            unit: Unit::NanoUsd,
            amount: spend.amount.0,
            kind: ShownKind::Budget {
                daily: spend.daily,
                dollars: value(&spend.amount.dollars(4).to_string()),
                highest: metrics.budget_use(&tier_name, &spend.label),
            },
        };
        let counter = Counter::new("*", Unit::NanoUsd, spend.span);
        let limit = Limit { counter, amount: spend.amount.0 };
        lines.push((limit, (shown, rule(tier.budget.away))));
    }
    lines
}

/// What `operation` meets of the totals, in `tier`.
pub(super) fn shared_by_all(
    (tier, operation, store): (&TierFile, &OperationFile, &StoreFile),
    metrics: &Metrics,
) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(total) = &tier.total {
        let (former, away) = (&tier.renamed_from, total.away.below(tier.away));
        let pool = Shared { kind: "tier", name: &tier.name, former, away, store };
        lines.extend(pool.lines(total, operation, metrics));
    }
    if let Some(total) = &operation.total {
        let (former, away) = (&operation.renamed_from, total.away);
        let pool = Shared { kind: "operation", name: &operation.name, former, away, store };
        lines.extend(pool.lines(total, operation, metrics));
    }
    lines
}

/// Whose total it is.
struct Shared<'a> {
    kind: &'static str,
    name: &'a At<Name>,
    former: &'a [At<Name>],
    away: AwayFile,
    store: &'a StoreFile,
}

impl Shared<'_> {
    fn lines(&self, total: &TotalFile, operation: &OperationFile, metrics: &Metrics) -> Vec<Line> {
        let whose = format!("The {} {}", self.name.value, self.kind);
        let mut lines = Vec::new();
        for (scope, quota, away) in quotas(&total.quotas, &operation.name.value) {
            let span = Span::Window(quota.window);
            let within = (scope != "*").then_some(operation);
            let counter = self.counter(within, unit(quota), span);
            let (what, written) = (of_window(scope, quota), quota.to_string());
            let phrase = format!("{whose} has used all {} {what}", quota.amount);
            let excessive = excessive(quota.amount, &what);
            let said = (written, phrase, excessive);
            let (limit, shown) = line(counter, quota.amount.get(), said, metrics);
            lines.push((limit, (shown, self.rule(away))));
        }
        for spend in spends(&total.budget) {
            let phrase = format!("{whose} has used its budget of {}", spend.phrase);
            let excessive =
                format!("This request may cost more than the budget of {}", spend.phrase);
            let counter = self.counter(None, Unit::NanoUsd, spend.span);
            let said = (spend.written, phrase, excessive);
            let (limit, shown) = line(counter, spend.amount.0, said, metrics);
            lines.push((limit, (shown, self.rule(total.budget.away))));
        }
        if let Some(most) = &total.concurrency {
            let counter = self.counter(None, Unit::Requests, Span::InFlight);
            let phrase = format!("{whose} has {} requests in flight already", most.value);
            let said = (format!("{} at once", most.value), phrase.clone(), phrase);
            let (limit, shown) = line(counter, u64::from(most.value), said, metrics);
            lines.push((limit, (shown, self.rule(AwayFile::default()))));
        }
        lines
    }

    /// `kind:NAME`, or `kind:NAME/OPERATION` within it; under all former names of both.
    fn counter(&self, within: Option<&OperationFile>, unit: Unit, span: Span) -> Counter {
        let names = |name: &str, former: &[At<Name>]| {
            let former = former.iter().map(|name| name.value.as_str().to_owned());
            std::iter::once(name.to_owned()).chain(former).collect::<Vec<_>>()
        };
        let mut scopes = Vec::new();
        for name in names(self.name.value.as_str(), self.former) {
            match within {
                None => scopes.push(format!("{}:{name}", self.kind)),
                Some(operation) => {
                    let inner = names(operation.name.value.as_str(), &operation.renamed_from);
                    let scope = |inner| format!("{}:{name}/{inner}", self.kind);
                    scopes.extend(inner.into_iter().map(scope));
                }
            }
        }
        let present = scopes.first().map(String::as_str).unwrap_or_default();
        Counter::new(present, unit, span).renamed_from(scopes[1..].iter().map(String::as_str))
    }

    fn rule(&self, written: AwayFile) -> Rule {
        Rule::of(written.below(self.away), self.store)
    }
}

fn line(
    counter: Counter,
    amount: u64,
    (written, phrase, excessive): (String, String, String),
    metrics: &Metrics,
) -> (Limit, ShownLimit) {
    let kind = ShownKind::Shared {
        crowd: matches!(counter.span(), Span::InFlight),
        amount: HeaderValue::from(amount),
        used: metrics.pool_use(counter.scope(), &written),
    };
    let unit = counter.unit();
    (Limit { counter, amount }, ShownLimit { written, phrase, excessive, unit, amount, kind })
}

/// The quotas of pools that count `operation`, each with its scope.
fn quotas<'a>(
    pools: &'a [PoolFile],
    operation: &'a Name,
) -> impl Iterator<Item = (&'a str, &'a Quota, AwayFile)> {
    pools.iter().flat_map(move |written| {
        let scope = match &written.pool.value {
            Pool::All => Some("*"),
            Pool::Operation(name) => (name == operation).then_some(name.as_str()),
        };
        let bounds = move || written.quotas.iter().zip(&written.away);
        let each = move |scope| bounds().map(move |(quota, away)| (scope, &quota.value, *away));
        scope.into_iter().flat_map(each)
    })
}

fn unit(quota: &Quota) -> Unit {
    match quota.unit {
        units::Unit::Requests => Unit::Requests,
        units::Unit::Tokens => Unit::Tokens,
        units::Unit::Bytes => Unit::Bytes,
    }
}

fn counter(scope: &str, quota: &Quota) -> Counter {
    Counter::new(scope, unit(quota), Span::Window(quota.window))
}

/// `behavior_analysis requests of this hour`.
fn of_window(scope: &str, quota: &Quota) -> String {
    let (written, unit) = (quota.to_string(), unit(quota));
    let window = written.rsplit('/').next().unwrap_or_default();
    let what = if scope == "*" { format!("{unit}") } else { format!("{scope} {unit}") };
    match window {
        "second" | "minute" | "hour" | "day" => format!("{what} of this {window}"),
        _ => format!("{what} of any {window}"),
    }
}

fn excessive(amount: NonZeroU64, what: &str) -> String {
    format!("This request alone asks for more than all {amount} {what}")
}

fn quota_line(counter: Counter, scope: &str, quota: &Quota) -> (Limit, ShownLimit) {
    let (unit, written) = (counter.unit(), quota.to_string());
    let window = written.rsplit('/').next().unwrap_or_default();
    let own = if scope == "*" { "all" } else { scope };
    let kind = if unit == Unit::Requests { String::new() } else { format!("{unit}-") };
    let (amount, what) = (quota.amount.get(), of_window(scope, quota));
    let shown = ShownLimit {
        phrase: format!("You have used all {amount} {what}"),
        excessive: excessive(quota.amount, &what),
        unit,
        amount,
        kind: ShownKind::Quota {
            item: format!("\"{own}-{kind}{window}\";r="),
            amount: HeaderValue::from(amount),
        },
        written,
    };
    (Limit { counter, amount }, shown)
}

/// One bound of a budget.
struct Spend {
    amount: NanoUsd,
    span: Span,
    daily: bool,
    /// `$5/day`.
    written: String,
    /// `$5 for today`.
    phrase: String,
    /// `day`, or the window of a rolling one.
    label: Arc<str>,
}

/// The bounds of a budget, the calendar's first.
fn spends(budget: &BudgetFile) -> Vec<Spend> {
    let periods =
        [(Period::Day, "today"), (Period::Week, "this week"), (Period::Month, "this month")];
    let mut spends = Vec::new();
    for ((period, when), amount) in periods.into_iter().zip(budget.periods()) {
        let (Some(amount), Some(calendar)) = (amount, calendar(period, budget)) else { continue };
        let amount = amount.value;
        spends.push(Spend {
            amount,
            span: Span::Period(calendar),
            daily: period == Period::Day,
            written: format!("{amount}/{period}"),
            phrase: format!("{amount} for {when}"),
            label: period.to_string().into(),
        });
    }
    spends.extend(budget.rolling.iter().map(|rolling| of_rolling(&rolling.value)));
    spends
}

fn of_rolling(rolling: &Rolling) -> Spend {
    let written = rolling.to_string();
    let window = written.rsplit('/').next().unwrap_or_default();
    // `$5/day` and `$5/24h` are the same window, which is not the calendar's day.
    let hours = rolling.window == Duration::from_secs(86_400);
    let label: Arc<str> = if hours { "24h".into() } else { window.into() };
    Spend {
        amount: rolling.amount,
        span: Span::Window(rolling.window),
        daily: false,
        phrase: format!("{} for any {label}", rolling.amount),
        label,
        written,
    }
}
