//! `budget`: bounds in money, of one subject or of all of them together.

use jiff::civil::Weekday;

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Table, words},
};
use super::{AwayFile, away};
use crate::units::{NanoUsd, Rolling};

/// A budget above this is probably a slip of the decimal point.
const PLAUSIBLE: NanoUsd = NanoUsd::dollars_whole(1_000_000);

/// Bounds in money.
#[derive(Debug, Clone)]
pub struct BudgetFile {
    /// Per calendar day, above $0. Default: not bounded.
    pub day: Option<At<NanoUsd>>,
    /// Per calendar week, above $0. Default: not bounded.
    pub week: Option<At<NanoUsd>>,
    /// Per calendar month, above $0. Default: not bounded.
    pub month: Option<At<NanoUsd>>,
    /// Per sliding window, in file order; no two of the same window. Default: none.
    pub rolling: Vec<At<Rolling>>,
    /// The time zone in which periods begin, an IANA name that is not looked up here. Default `UTC`.
    pub zone: At<String>,
    /// The day on which weeks begin. Default `monday`, as ISO 8601 has it.
    pub week_start: At<WeekStart>,
    /// What holds for all of them while the store is away. Default: as for the tier.
    pub away: AwayFile,
}

words! {
    /// The first day of a week.
    "a day such as \"monday\""
    pub enum WeekStart {
        /// Monday, as ISO 8601 has it.
        Monday = "monday",
        /// Tuesday.
        Tuesday = "tuesday",
        /// Wednesday.
        Wednesday = "wednesday",
        /// Thursday.
        Thursday = "thursday",
        /// Friday.
        Friday = "friday",
        /// Saturday.
        Saturday = "saturday",
        /// Sunday.
        Sunday = "sunday",
    }
}

impl From<WeekStart> for Weekday {
    fn from(start: WeekStart) -> Self {
        match start {
            WeekStart::Monday => Self::Monday,
            WeekStart::Tuesday => Self::Tuesday,
            WeekStart::Wednesday => Self::Wednesday,
            WeekStart::Thursday => Self::Thursday,
            WeekStart::Friday => Self::Friday,
            WeekStart::Saturday => Self::Saturday,
            WeekStart::Sunday => Self::Sunday,
        }
    }
}

impl BudgetFile {
    /// The calendar bounds, the shortest period first.
    pub fn periods(&self) -> [Option<At<NanoUsd>>; 3] {
        [self.day, self.week, self.month]
    }
}

/// Reads a budget whose periods begin in `zone` and on `week_start` unless it says otherwise.
pub(super) fn read(table: &mut Table<'_, '_>, like: Option<&BudgetFile>) -> BudgetFile {
    let zone = like.map_or("UTC", |like| like.zone.value.as_str()).to_owned();
    let week_start = like.map_or(WeekStart::Monday, |like| like.week_start.value);
    let budget = BudgetFile {
        day: amount(table, "day"),
        week: amount(table, "week"),
        month: amount(table, "month"),
        rolling: rolling(table),
        zone: table.or("zone", zone),
        week_start: table.or("week_start", week_start),
        away: away::read(table),
    };
    let names = ["day's", "week's", "month's"];
    let mut written =
        budget.periods().into_iter().zip(names).filter_map(|(at, of)| at.zip(Some(of)));
    let mut smaller = written.next();
    for larger in written {
        if let Some(smaller) = smaller.filter(|smaller| smaller.0.value > larger.0.value) {
            never_reached(table, smaller, larger);
        }
        smaller = Some(larger);
    }
    budget
}

type Bound = (At<NanoUsd>, &'static str);

fn never_reached(table: &Table<'_, '_>, (short, of): Bound, (long, than): Bound) {
    let warning = Diagnostic::warning(format!("the {of} budget is larger than the {than}"));
    let warning = warning.at(short.span, "never reached").at(long.span, "spent before");
    table.reader().push(warning.help(format!("write a {of} budget below the {than}")));
}

fn rolling(table: &mut Table<'_, '_>) -> Vec<At<Rolling>> {
    let Some(value) = table.value("rolling") else { return Vec::new() };
    let values = value.one_or_many();
    if values.is_empty() {
        value.refuse("this list has no budget in it", "write \"$5/24h\", or leave the key out");
    }
    let bounds: Vec<At<Rolling>> = values.iter().filter_map(|value| value.at()).collect();
    for bound in &bounds {
        warn_of_much(table, &bound.map(|bound| bound.amount));
    }
    let windows = bounds.iter().map(|bound| (bound.value.window, bound.span));
    let message = "two rolling budgets have the same window";
    table.reader().refuse_repeated(windows, message, "keep the smaller one");
    bounds
}

fn amount(table: &mut Table<'_, '_>, key: &'static str) -> Option<At<NanoUsd>> {
    let value = table.value(key)?;
    let amount: At<NanoUsd> = value.at()?;
    if amount.value == NanoUsd::ZERO {
        value.refuse("a budget is more than nothing", format!("leave `{key}` out for no bound"));
    }
    warn_of_much(table, &amount);
    Some(amount)
}

fn warn_of_much(table: &Table<'_, '_>, amount: &At<NanoUsd>) {
    if amount.value > PLAUSIBLE {
        let warning = Diagnostic::warning(format!("one budget is more than {PLAUSIBLE}"));
        table.reader().push(warning.at(amount.span, "").help("look at the decimal point"));
    }
}
