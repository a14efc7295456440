//! `total` and `renamed_from`: what all subjects share, and what a thing was called before.

use super::super::read::{At, Table};
use super::{AwayFile, BudgetFile, Name, Pool, PoolFile, away, budget, tiers};

/// What all subjects of a tier, or of an operation, may use together.
#[derive(Debug, Clone)]
pub struct TotalFile {
    /// Quotas in file order; an operation has at most the pool of its own. Default: none.
    pub quotas: Vec<PoolFile>,
    /// Bounds in money. Zone and week are the tier's own unless said. Default: none.
    pub budget: BudgetFile,
    /// Requests in flight at once, 1 to 1 000 000. Default: not bounded.
    pub concurrency: Option<At<u32>>,
    /// What holds while the store is away, for whichever limit says nothing else. Default: as for
    /// the tier, or for the store.
    pub away: AwayFile,
}

/// Reads `total` of a tier, which may name operations.
pub(super) fn of_tier(table: &mut Table<'_, '_>, own: &BudgetFile) -> Option<TotalFile> {
    table.table("total", |table| {
        let quotas = table.table("quotas", tiers::pools).unwrap_or_default();
        rest(table, quotas, Some(own))
    })
}

/// Reads `total` of an operation, whose quotas need no name.
pub(super) fn of_operation(table: &mut Table<'_, '_>) -> Option<TotalFile> {
    table.table("total", |table| {
        let mut quotas = Vec::new();
        if let Some(value) = table.value("quotas") {
            if value.is_table() {
                value.refuse(
                    "the total of an operation has one pool only",
                    "write quotas = \"1000/minute\" or a list of them",
                );
            } else {
                let pool = At::default_in(value.span(), Pool::All);
                let (bounds, away) = tiers::quotas(table, &value).into_iter().unzip();
                quotas.push(PoolFile { pool, quotas: bounds, away });
            }
        }
        rest(table, quotas, None)
    })
}

fn rest(table: &mut Table<'_, '_>, quotas: Vec<PoolFile>, like: Option<&BudgetFile>) -> TotalFile {
    TotalFile {
        quotas,
        budget: table.table_or_empty("budget", |table| budget::read(table, like)),
        concurrency: table.optional_within("concurrency", 1..=1_000_000),
        away: away::read(table),
    }
}

/// Reads the names that a thing had before, the latest first.
pub(super) fn former(table: &mut Table<'_, '_>) -> Vec<At<Name>> {
    let Some(value) = table.value("renamed_from") else { return Vec::new() };
    let names: Vec<At<Name>> = value.one_or_many().iter().filter_map(|value| value.at()).collect();
    let places = names.iter().map(|name| (name.value.clone(), name.span));
    table.reader().refuse_repeated(places, "this name stands here twice", "keep one of them");
    names
}
