//! Calendar days, weeks and months in a named zone.
//!
//! [`Calendar::bounds`] tells in which period an instant lies. A day begins at
//! the first instant that bears its date, so days have 23 or 25 hours when the
//! clocks change, and a day that a zone skipped does not exist. Where the clocks
//! go back over midnight the date returns for a while; the new period has begun
//! then and stays. Periods therefore partition time, without gap or overlap.
//!
//! The current period is cached in one atomic word: between two rollovers a call
//! takes no lock, allocates nothing and does not touch the zone's rules.
//!
//! # Failure
//! An unknown zone is refused by [`Calendar::new`]. [`Calendar::bounds`] is total:
//! beyond the year 9999 it counts in plain days of 24 h and months of 30 d.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Span;
use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::clock::Timestamp;

/// A day, week or month, repeated for ever, in one zone.
pub struct Calendar {
    period: Period,
    /// On which day weeks begin.
    week_start: Weekday,
    zone: TimeZone,
    /// The period last asked for: end in seconds, then its length in seconds; 0 for none.
    current: AtomicU64,
}

/// Which stretch of the calendar a budget covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// Seven days, from the midnight of the day that the calendar says.
    Week,
    /// From the first of a month to the first of the next.
    Month,
}

/// One period: `start <= t < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First instant of the period.
    pub start: Timestamp,
    /// First instant of the next one.
    pub end: Timestamp,
}

/// A zone that the bundled IANA database does not have.
#[derive(Debug, thiserror::Error)]
#[error("unknown time zone {name:?}")]
pub struct UnknownZone {
    /// The name as written.
    pub name: String,
    #[source]
    source: jiff::Error,
}

/// 22 bits hold 48 days, the remaining 42 an end until the year 139,000.
const LENGTH_BITS: u32 = 22;

impl Calendar {
    /// Looks up an IANA zone, such as `Europe/Berlin`.
    ///
    /// # Errors
    /// The name is not in the database that is compiled in.
    pub fn new(period: Period, zone: &str) -> Result<Self, UnknownZone> {
        let zone =
            TimeZone::get(zone).map_err(|source| UnknownZone { name: zone.into(), source })?;
        Ok(Self { period, week_start: Weekday::Monday, zone, current: AtomicU64::new(0) })
    }

    /// Begins weeks on another day than Monday. Like the zone, it is no part of a counter's name.
    #[must_use]
    pub fn with_week_start(self, week_start: Weekday) -> Self {
        Self { week_start, current: AtomicU64::new(0), ..self }
    }

    /// The kind of period.
    pub fn period(&self) -> Period {
        self.period
    }

    /// The zone's IANA name.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The period in which `now` lies.
    pub fn bounds(&self, now: Timestamp) -> Bounds {
        let second = now.0 / 1000;
        // Relaxed: the word is the whole message, nothing else is published with it.
        let packed = self.current.load(Ordering::Relaxed);
        let (start, end) = unpack(packed);
        if (start..end).contains(&second) {
            return Bounds::of_seconds(start, end);
        }
        let (start, end) = self.compute(second);
        self.current.store(pack(start, end), Ordering::Relaxed);
        Bounds::of_seconds(start, end)
    }

    fn compute(&self, second: u64) -> (u64, u64) {
        self.in_zone(second).unwrap_or_else(|| {
            let length = match self.period {
                Period::Day => 86_400,
                Period::Week => 7 * 86_400,
                Period::Month => 30 * 86_400,
            };
            let start = second - second % length;
            (start, start.saturating_add(length))
        })
    }

    /// `None` outside of the years that the zone database covers.
    fn in_zone(&self, second: u64) -> Option<(u64, u64)> {
        let now = i64::try_from(second).ok()?;
        let local = self.zone.to_datetime(jiff::Timestamp::from_second(now).ok()?);
        let mut first = self.first(local.date())?;
        let mut end = self.start_of(self.period.next(first)?)?;
        // The clocks went back over midnight: the date is yesterday's again, the period is not.
        while end <= now {
            first = self.period.next(first)?;
            end = self.start_of(self.period.next(first)?)?;
        }
        let start = self.start_of(first)?.max(0);
        Some((u64::try_from(start).ok()?, u64::try_from(end).ok()?))
    }

    /// The first date of the period that has `date`.
    fn first(&self, date: Date) -> Option<Date> {
        match self.period {
            Period::Day => Some(date),
            Period::Week => {
                let days = date.weekday().since(self.week_start);
                date.checked_sub(Span::new().days(i64::from(days))).ok()
            }
            Period::Month => Some(date.first_of_month()),
        }
    }

    /// The first instant, in seconds, at which the zone's date is `date` or later.
    fn start_of(&self, date: Date) -> Option<i64> {
        let midnight = DateTime::from_parts(date, Time::midnight());
        let instant = match self.zone.to_ambiguous_timestamp(midnight).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(midnight).ok()?,
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(midnight).ok()?,
            // Midnight was skipped: the day begins with the jump, which may lie before
            // the instant that adding the gap would give (23:30 to 00:30, Toronto 1919).
            AmbiguousOffset::Gap { after, .. } => {
                let before_jump = after.to_timestamp(midnight).ok()?;
                self.zone.following(before_jump).next()?.timestamp()
            }
        };
        Some(instant.as_second())
    }
}

impl Clone for Calendar {
    fn clone(&self) -> Self {
        let current = AtomicU64::new(self.current.load(Ordering::Relaxed));
        let (period, week_start) = (self.period, self.week_start);
        Self { period, week_start, zone: self.zone.clone(), current }
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.period, self.zone())
    }
}

impl Period {
    fn next(self, first: Date) -> Option<Date> {
        match self {
            Self::Day => first.tomorrow().ok(),
            Self::Week => first.checked_add(Span::new().days(7)).ok(),
            Self::Month => first.last_of_month().tomorrow().ok(),
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        })
    }
}

impl Bounds {
    fn of_seconds(start: u64, end: u64) -> Self {
        Self {
            start: Timestamp(start.saturating_mul(1000)),
            end: Timestamp(end.saturating_mul(1000)),
        }
    }
}

/// A period too long or too late for the word is not cached.
fn pack(start: u64, end: u64) -> u64 {
    let length = end - start;
    let fits = length < 1 << LENGTH_BITS && end < 1 << (u64::BITS - LENGTH_BITS);
    if fits { end << LENGTH_BITS | length } else { 0 }
}

fn unpack(packed: u64) -> (u64, u64) {
    let end = packed >> LENGTH_BITS;
    (end - (packed & ((1 << LENGTH_BITS) - 1)), end)
}

#[cfg(test)]
mod zones;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZONES: &[&str] = &[
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/St_Johns",
        "America/Havana",
        "America/Sao_Paulo",
        "America/Asuncion",
        "America/Toronto",
        "Africa/Cairo",
        "Asia/Beirut",
        "Asia/Kathmandu",
        "Asia/Tehran",
        "Asia/Amman",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Pacific/Kwajalein",
        "Pacific/Kiritimati",
        "Atlantic/Azores",
        "America/Scoresbysund",
        "Antarctica/Troll",
    ];

    fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().unwrap();
        Timestamp(instant.as_millisecond().try_into().unwrap())
    }

    fn hours(bounds: Bounds) -> u64 {
        (bounds.end.0 - bounds.start.0) / 3_600_000
    }

    #[test]
    fn days_have_23_and_25_hours_when_clocks_change() {
        let berlin = Calendar::new(Period::Day, "Europe/Berlin").unwrap();
        assert_eq!(hours(berlin.bounds(at("2026-03-29T12:00:00Z"))), 23);
        assert_eq!(hours(berlin.bounds(at("2026-10-25T12:00:00Z"))), 25);
        assert_eq!(hours(berlin.bounds(at("2026-10-26T12:00:00Z"))), 24);
    }

    #[test]
    fn months_end_on_their_last_day_leap_years_too() {
        let month = Calendar::new(Period::Month, "UTC").unwrap();
        let february = month.bounds(at("2028-02-29T23:59:59.999Z"));
        assert_eq!(
            february,
            Bounds { start: at("2028-02-01T00:00:00Z"), end: at("2028-03-01T00:00:00Z") }
        );
        let march = month.bounds(at("2028-03-01T00:00:00Z"));
        assert_eq!(march.start, february.end);
        assert_eq!(hours(month.bounds(at("2026-02-10T00:00:00Z"))), 28 * 24);
    }

    #[test]
    fn weeks_begin_on_monday_unless_another_day_is_asked_for() {
        let week = Calendar::new(Period::Week, "Europe/Berlin").unwrap();
        let around = week.bounds(at("2026-03-29T12:00:00Z"));
        assert_eq!((around.start, hours(around)), (at("2026-03-22T23:00:00Z"), 7 * 24 - 1));
        let week = week.with_week_start(Weekday::Sunday);
        assert_eq!(week.bounds(at("2026-03-29T12:00:00Z")).start, at("2026-03-28T23:00:00Z"));
        let over_leap_day = Calendar::new(Period::Week, "UTC").unwrap();
        let bounds = over_leap_day.bounds(at("2028-02-29T12:00:00Z"));
        assert_eq!((bounds.start, hours(bounds)), (at("2028-02-28T00:00:00Z"), 7 * 24));
    }

    #[test]
    fn a_skipped_midnight_starts_the_day_at_the_jump() {
        let beirut = Calendar::new(Period::Day, "Asia/Beirut").unwrap();
        let day = beirut.bounds(at("2022-03-27T09:00:00Z"));
        assert_eq!(day.start, at("2022-03-26T22:00:00Z"));
        assert_eq!(hours(day), 23);
    }

    #[test]
    fn a_doubled_midnight_starts_the_day_once() {
        let havana = Calendar::new(Period::Day, "America/Havana").unwrap();
        let day = havana.bounds(at("2025-11-02T12:00:00Z"));
        assert_eq!(day.start, at("2025-11-02T04:00:00Z"));
        assert_eq!(hours(day), 25);
    }

    #[test]
    fn a_date_that_returns_after_midnight_does_not_reopen_the_day() {
        // 2005-10-30 00:01 became 2005-10-29 23:01.
        let st_johns = Calendar::new(Period::Day, "America/St_Johns").unwrap();
        let day = st_johns.bounds(at("2005-10-30T02:45:00Z"));
        assert_eq!(day.start, at("2005-10-30T02:30:00Z"));
        assert_eq!(hours(day), 25);
    }

    #[test]
    fn a_day_that_the_zone_skipped_does_not_exist() {
        let apia = Calendar::new(Period::Day, "Pacific/Apia").unwrap();
        let before = apia.bounds(at("2011-12-30T09:59:59Z"));
        let after = apia.bounds(at("2011-12-30T10:00:00Z"));
        assert_eq!((hours(before), hours(after)), (24, 24));
        assert_eq!(before.end, after.start);
    }

    #[test]
    fn unknown_zones_are_refused_by_name() {
        let error = Calendar::new(Period::Day, "Mars/Olympus").unwrap_err();
        assert_eq!(error.to_string(), "unknown time zone \"Mars/Olympus\"");
    }

    #[test]
    fn the_end_of_time_has_bounds_too() {
        let calendar = Calendar::new(Period::Month, "Europe/Berlin").unwrap();
        let bounds = calendar.bounds(Timestamp(u64::MAX));
        assert!(bounds.start.0 < bounds.end.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn periods_partition_time(
            zone in prop::sample::select(ZONES),
            period in prop::sample::select(&[Period::Day, Period::Week, Period::Month][..]),
            now in 0u64..7_000_000_000_000,
        ) {
            let calendar = Calendar::new(period, zone).unwrap();
            let here = calendar.bounds(Timestamp(now));
            prop_assert!(here.start.0 <= now && now < here.end.0);
            prop_assert_eq!(calendar.bounds(here.start), here);
            prop_assert_eq!(calendar.bounds(Timestamp(here.end.0 - 1)), here);
            prop_assert_eq!(calendar.bounds(here.end).start, here.end);
            prop_assert_eq!(calendar.clone().bounds(Timestamp(now)), here);
        }

        #[test]
        fn transitions_are_seamless(zone in prop::sample::select(ZONES), now in 0i64..4_000_000_000) {
            let calendar = Calendar::new(Period::Day, zone).unwrap();
            let start = jiff::Timestamp::from_second(now).unwrap();
            let Some(jump) = calendar.zone.following(start).next() else { return Ok(()) };
            let jump = u64::try_from(jump.timestamp().as_second()).unwrap();
            for second in (jump - 7200..jump + 7200).step_by(60) {
                let fresh = Calendar::new(Period::Day, zone).unwrap().bounds(Timestamp(second * 1000));
                prop_assert_eq!(calendar.bounds(Timestamp(second * 1000)), fresh);
                prop_assert_eq!(Calendar::new(Period::Day, zone).unwrap().bounds(fresh.end).start, fresh.end);
            }
        }
    }
}
