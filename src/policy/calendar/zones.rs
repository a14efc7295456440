//! Every zone of the bundled database: periods partition its time, and begin when its clocks say so.

use jiff::Timestamp as Instant;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use super::{Bounds, Calendar, Period};
use crate::clock::Timestamp;

const PERIODS: [Period; 3] = [Period::Day, Period::Week, Period::Month];
const STARTS: [Weekday; 3] = [Weekday::Monday, Weekday::Sunday, Weekday::Thursday];
/// 1970 to 2100, in seconds.
const SECONDS: u64 = 4_102_444_800;

/// Numbers that look random and are the same in each run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 20) % bound
    }
}

fn zones() -> Vec<String> {
    let names = jiff::tz::db().available().map(|name| name.to_string());
    // Zones of the machine are not ours: only what is compiled in is always there.
    let zones: Vec<String> = names.filter(|name| TimeZone::get(name).is_ok()).collect();
    assert!(zones.len() > 400, "{} zones", zones.len());
    zones
}

fn instant(at: Timestamp) -> Instant {
    Instant::from_millisecond(i64::try_from(at.0).unwrap()).unwrap()
}

/// A few instants of the zone: anywhere, and close to where its clocks change.
fn instants(zone: &TimeZone, draw: &mut Draw) -> Vec<Timestamp> {
    let mut seconds = vec![draw.below(SECONDS), draw.below(SECONDS)];
    let from = Instant::from_second(draw.below(SECONDS) as i64).unwrap();
    for jump in zone.following(from).take(2).chain(zone.preceding(from).take(2)) {
        let jump = jump.timestamp().as_second();
        for around in [-86_400, -3_600, -1, 0, 1, 1_800, 3_600, 86_400] {
            seconds.extend(u64::try_from(jump + around).ok());
        }
    }
    seconds.into_iter().map(|second| Timestamp(second * 1_000 + draw.below(1_000))).collect()
}

/// The date of the period, by the zone's clocks: the first instant that bears it begins the period.
fn begins_with_its_date(zone: &TimeZone, bounds: Bounds, what: &str) {
    if bounds.start.0 == 0 {
        return;
    }
    let first = zone.to_datetime(instant(bounds.start));
    let before = zone.to_datetime(instant(Timestamp(bounds.start.0 - 1_000)));
    assert!(before.date() < first.date(), "{what}: {before} and {first} are one day");
    // Midnight, unless the clocks jumped over it.
    let jumped = before.date().tomorrow().unwrap() < first.date()
        || zone.to_offset(instant(bounds.start))
            != zone.to_offset(instant(Timestamp(bounds.start.0 - 1_000)));
    assert!(first.time() == Time::midnight() || jumped, "{what}: {first}");
}

fn is_on_its_day(zone: &TimeZone, period: Period, start: Weekday, bounds: Bounds, what: &str) {
    let (first, next) = (instant(bounds.start), instant(bounds.end));
    let days = (bounds.end.0 - bounds.start.0) as f64 / 86_400_000.0;
    let (first, next) = (zone.to_datetime(first), zone.to_datetime(next));
    let (shortest, longest) = match period {
        Period::Day => (0.5, 1.6),
        Period::Week => (5.9, 7.6),
        Period::Month => (26.9, 31.6),
    };
    // The first period of time is cut off where time begins.
    assert!(bounds.start.0 == 0 || (shortest..longest).contains(&days), "{what}: {days} days");
    // A date that a zone skipped as a whole begins with the next one.
    let skips = |date: jiff::civil::Date| date.day() == 2 || date.weekday() == start.next();
    match period {
        Period::Month => {
            assert!(next.day() == 1 || skips(next.date()), "{what}: {first} to {next}")
        }
        Period::Week => {
            assert!(next.weekday() == start || skips(next.date()), "{what}: {first} to {next}");
        }
        Period::Day => {}
    }
}

#[test]
fn every_zone_is_partitioned_into_days_weeks_and_months() {
    let mut draw = Draw(7);
    for name in zones() {
        let zone = TimeZone::get(&name).unwrap();
        for at in instants(&zone, &mut draw) {
            for period in PERIODS {
                let start = STARTS[draw.below(3) as usize];
                let calendar = Calendar::new(period, &name).unwrap().with_week_start(start);
                let here = calendar.bounds(at);
                let what = format!("{name}, {period} of {start:?}, {}", instant(at));
                assert!(here.start <= at && at < here.end, "{what}: {here:?}");
                assert_eq!(calendar.bounds(here.start), here, "{what}: its first instant");
                let last = Timestamp(here.end.0 - 1);
                assert_eq!(calendar.clone().bounds(last), here, "{what}: its last instant");
                let next = calendar.bounds(here.end);
                assert_eq!(next.start, here.end, "{what}: neither gap nor overlap");
                assert!(next.end > next.start, "{what}: time goes on");
                begins_with_its_date(&zone, here, &what);
                is_on_its_day(&zone, period, start, here, &what);
            }
        }
    }
}

#[test]
fn weeks_and_months_begin_with_a_day_and_weeks_on_the_day_that_was_asked_for() {
    let mut draw = Draw(11);
    for name in zones() {
        let days = Calendar::new(Period::Day, &name).unwrap();
        let at = Timestamp(draw.below(SECONDS) * 1_000);
        for (period, start) in [(Period::Week, Weekday::Sunday), (Period::Month, Weekday::Monday)] {
            let calendar = Calendar::new(period, &name).unwrap().with_week_start(start);
            let bounds = calendar.bounds(at);
            assert_eq!(days.bounds(bounds.end).start, bounds.end, "{name}: {period} at {at:?}");
        }
    }
}
