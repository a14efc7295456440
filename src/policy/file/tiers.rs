//! `[tiers.<name>]`: what each tier may do.

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Named, Table, Value},
};
use super::{AwayFile, BudgetFile, Name, TotalFile, away, budget, name, total};
use crate::units::Quota;

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
    /// What holds while the store is away, for whichever limit says nothing else. Default: as for the store.
    pub away: AwayFile,
    /// What all subjects of the tier share. Default: nothing.
    pub total: Option<TotalFile>,
    /// What the tier was called before, the latest first: its total keeps its use. Default: nothing.
    pub renamed_from: Vec<At<Name>>,
}

/// The quotas of one pool.
#[derive(Debug, Clone)]
pub struct PoolFile {
    /// What is counted together.
    pub pool: At<Pool>,
    /// The bounds, in file order; no two of the same unit and window. At least one.
    pub quotas: Vec<At<Quota>>,
    /// What holds for each of them while the store is away. One entry per quota.
    pub away: Vec<AwayFile>,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pool {
    /// `"*"`: all operations of a subject, beside their own quotas.
    All,
    /// One operation of a subject.
    Operation(Name),
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
    let budget = table.table_or_empty("budget", |table| budget::read(table, None));
    let concurrency = table.optional_within("concurrency", 1..=100_000);
    let away = away::read(table);
    let total = total::of_tier(table, &budget);
    let renamed_from = total::former(table);
    Some(TierFile { name: name?, quotas, budget, concurrency, away, total, renamed_from })
}

pub(super) fn pools(table: &mut Table<'_, '_>) -> Vec<PoolFile> {
    let entries = table.named();
    let read = |entry: &Named<'_, '_>| {
        let pool = pool(entry);
        let (quotas, away) = quotas(table, &entry.value).into_iter().unzip();
        Some(PoolFile { pool: pool?, quotas, away })
    };
    entries.iter().filter_map(read).collect()
}

fn pool(entry: &Named<'_, '_>) -> Option<At<Pool>> {
    match entry.name.value.as_str() {
        "*" => Some(At::default_in(entry.name.span, Pool::All)),
        _ => name::of(entry).map(|name| name.map(Pool::Operation)),
    }
}

/// Reads one quota or several.
pub(super) fn quotas(table: &Table<'_, '_>, value: &Value<'_, '_>) -> Vec<(At<Quota>, AwayFile)> {
    let values = value.one_or_many();
    if values.is_empty() {
        value.refuse(
            "this list has no quota in it",
            "write a quota such as \"60/minute\", or leave the key out",
        );
    }
    let read: Vec<_> = values.iter().filter_map(quota).collect();
    let quotas: Vec<At<Quota>> = read.iter().map(|(quota, _)| *quota).collect();
    let windows = quotas.iter().map(|quota| ((quota.value.unit, quota.value.window), quota.span));
    let message = "two quotas of one pool have the same unit and window";
    table.reader().refuse_repeated(windows, message, "keep the smaller one");
    read
}

/// `"3/hour"`, or a table with more to say of it.
fn quota(value: &Value<'_, '_>) -> Option<(At<Quota>, AwayFile)> {
    if !value.is_table() {
        return Some((value.at()?, AwayFile::default()));
    }
    let read = |table: &mut Table<'_, '_>| {
        let quota = table.required("limit", "limit = \"3/hour\"");
        let away = away::read(table);
        Some((quota?, away))
    };
    value.table(read)?
}
