//! Times as providers write them: spans of several forms, and moments, which become spans from now.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::Timestamp;

/// The units of a Go duration, in nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Seconds, whole or with decimals: `20`, `1.5`.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    decimal(text, 1_000_000_000).map(Duration::from_nanos)
}

/// Milliseconds: `1500`, `0.5`.
pub(super) fn millis(text: &str) -> Option<Duration> {
    decimal(text, 1_000_000).map(Duration::from_nanos)
}

/// A duration as Go writes it: `1h2m3.5s`, `20ms`. A bare number is none.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(end);
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(decimal(number, *nanos)?)?;
        rest = behind;
    }
    (!text.is_empty()).then(|| Duration::from_nanos(total))
}

/// The span to a moment of RFC 3339; zero when that is over.
pub(super) fn rfc3339(text: &str, now: Timestamp) -> Option<Duration> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    Some(until(u64::try_from(moment.as_millisecond()).ok()?, now))
}

/// The span to a date of RFC 9110, 5.6.7; zero when that is over.
pub(super) fn http_date(text: &str, now: Timestamp) -> Option<Duration> {
    let date = httpdate::parse_http_date(text).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    Some(until(u64::try_from(since.as_millis()).ok()?, now))
}

/// The span to a second since the Unix epoch; zero when that is over.
pub(super) fn epoch(text: &str, now: Timestamp) -> Option<Duration> {
    let seconds = u64::try_from(seconds(text)?.as_millis()).ok()?;
    Some(until(seconds, now))
}

fn until(millis: u64, now: Timestamp) -> Duration {
    Timestamp(millis).since(now)
}

/// A decimal number of `unit`s; decimals beyond what the unit holds are cut.
fn decimal(text: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let mut total = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        total = total.checked_add(place.checked_mul(u64::from(digit - b'0'))?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn spans_as_go_writes_them_are_read() {
        for (text, millis) in [
            ("1s", 1_000),
            ("6m0s", 360_000),
            ("20ms", 20),
            ("2m59.56s", 179_560),
            ("1h2m3.5s", 3_723_500),
            ("0s", 0),
            ("1.5h", 5_400_000),
            ("500us", 0),
            ("1000µs", 1),
        ] {
            let read = go_duration(text).map(|span| span.as_millis());
            assert_eq!(read, Some(millis), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_spans() {
        for text in
            ["", "1", "s", "1.s", ".5s", "-1s", "1s ", "1d", "1ss", "1s2", "1..5s", "1e3s", "９s"]
        {
            assert_eq!(go_duration(text), None, "{text}");
        }
        assert_eq!(go_duration("99999999999999h"), None);
        for text in ["", "-1", "+1", " 1", "1.", ".1", "1e3", "0x1", "NaN", "inf"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn moments_become_spans_from_now() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(rfc3339("2023-11-14T22:13:21Z", NOW), second);
        assert_eq!(rfc3339("2023-11-14T23:13:21+01:00", NOW), second);
        assert_eq!(rfc3339("2023-11-14T22:13:00Z", NOW), Some(Duration::ZERO));
        assert_eq!(rfc3339("2023-11-14", NOW), None);
        assert_eq!(http_date("Tue, 14 Nov 2023 22:13:21 GMT", NOW), second);
        assert_eq!(http_date("Tue, 14 Nov 1969 22:13:21 GMT", NOW), None);
        assert_eq!(epoch("1700000001", NOW), second);
        assert_eq!(epoch("99999999999999999999", NOW), None);
    }
}
