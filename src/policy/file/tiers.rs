//! `[tiers.<name>]`: what each tier may do.

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Named, Table},
};
use super::{Name, name};
use crate::units::{NanoUsd, Quota, Unit};

/// A budget above this, for one subject, is probably a slip of the decimal point.
const PLAUSIBLE: NanoUsd = NanoUsd::dollars_whole(1_000_000);

/// One tier.
#[derive(Debug, Clone)]
pub struct TierFile {
    /// The name.
    pub name: At<Name>,
    /// Quotas, one entry per pool in file order. Default: none.
    pub quotas: Vec<PoolFile>,
    /// Bounds in money. Default: none.
    pub budget: BudgetFile,
    /// Requests in flight at once per subject, 1 to 100 000. Default: not bounded.
    pub concurrency: Option<At<u32>>,
}

/// The quotas of one pool.
#[derive(Debug, Clone)]
pub struct PoolFile {
    /// What is counted together.
    pub pool: At<Pool>,
    /// The bounds, in file order; no two of the same unit and window. At least one.
    pub quotas: Vec<At<Quota>>,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pool {
    /// `"*"`: all operations of a subject, beside their own quotas.
    All,
    /// One operation of a subject.
    Operation(Name),
}

/// Bounds in money, per subject.
#[derive(Debug, Clone)]
pub struct BudgetFile {
    /// Per calendar day, above $0. Default: not bounded.
    pub day: Option<At<NanoUsd>>,
    /// Per calendar month, above $0. Default: not bounded.
    pub month: Option<At<NanoUsd>>,
    /// The time zone in which days and months begin, an IANA name that is not looked up here. Default `UTC`.
    pub zone: At<String>,
}

pub(super) fn read(root: &mut Table<'_, '_>) -> (Vec<TierFile>, bool) {
    let none = Diagnostic::error("the policy has no tier");
    let none = none.help("add [tiers.<name>] with quotas = { \"*\" = \"60/minute\" }");
    super::each_named(root, "tiers", none, tier)
}

fn tier(table: &mut Table<'_, '_>, name: Option<At<Name>>) -> Option<TierFile> {
    if table.is_empty() {
        let warning = Diagnostic::warning("this tier has no limit at all").at(table.span(), "");
        table.reader().push_shape(
            warning.help("write quotas = { \"*\" = \"60/minute\" } or budget = { day = \"$1\" }"),
        );
    }
    let quotas = table.table("quotas", pools).unwrap_or_default();
    let budget = table.table_or_empty("budget", budget);
    let concurrency = table.optional_within("concurrency", 1..=100_000);
    Some(TierFile { name: name?, quotas, budget, concurrency })
}

fn pools(table: &mut Table<'_, '_>) -> Vec<PoolFile> {
    let entries = table.named();
    let read = |entry: &Named<'_, '_>| {
        let pool = pool(entry);
        let quotas = quotas(table, entry);
        Some(PoolFile { pool: pool?, quotas })
    };
    entries.iter().filter_map(read).collect()
}

fn pool(entry: &Named<'_, '_>) -> Option<At<Pool>> {
    match entry.name.value.as_str() {
        "*" => Some(At::default_in(entry.name.span, Pool::All)),
        _ => name::of(entry).map(|name| name.map(Pool::Operation)),
    }
}

fn quotas(table: &Table<'_, '_>, entry: &Named<'_, '_>) -> Vec<At<Quota>> {
    let values = entry.value.one_or_many();
    if values.is_empty() {
        entry.value.refuse(
            "this list has no quota in it",
            "write a quota such as \"60/minute\", or leave the key out",
        );
    }
    let quotas: Vec<At<Quota>> = values.iter().filter_map(|value| value.at()).collect();
    for quota in quotas.iter().filter(|quota| quota.value.unit != Unit::Requests) {
        table.not_yet_at(quota.span, "a quota in tokens or bytes");
    }
    let windows = quotas.iter().map(|quota| ((quota.value.unit, quota.value.window), quota.span));
    let message = "two quotas of one pool have the same unit and window";
    table.reader().refuse_repeated(windows, message, "keep the smaller one");
    quotas
}

fn budget(table: &mut Table<'_, '_>) -> BudgetFile {
    let budget = BudgetFile {
        day: amount(table, "day"),
        month: amount(table, "month"),
        zone: table.or("zone", "UTC".to_owned()),
    };
    if let (Some(day), Some(month)) = (&budget.day, &budget.month)
        && day.value > month.value
    {
        let warning = Diagnostic::warning("the day's budget is larger than the month's");
        let warning = warning.at(day.span, "never reached").at(month.span, "spent before");
        table.reader().push(warning.help("write a day's budget below the month's"));
    }
    budget
}

fn amount(table: &mut Table<'_, '_>, key: &'static str) -> Option<At<NanoUsd>> {
    let value = table.value(key)?;
    let amount: At<NanoUsd> = value.at()?;
    if amount.value == NanoUsd::ZERO {
        value.refuse("a budget is more than nothing", format!("leave `{key}` out for no bound"));
    }
    if amount.value > PLAUSIBLE {
        let warning = Diagnostic::warning(format!("one subject may spend more than {PLAUSIBLE}"));
        table.reader().push(warning.at(amount.span, "").help("look at the decimal point"));
    }
    Some(amount)
}
