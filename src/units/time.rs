//! Lengths of time: `100ms`, `30s`, `10m`, `1h`, `2d`, and ranges of them.
//!
//! One whole number and one unit: `90m`, not `1h30m` or `1.5h`, so that each
//! length has few spellings and none is ambiguous. A day is 24 hours.

use std::{fmt, str::FromStr, time::Duration};

use super::{UnitError, split_number};

/// Units and their milliseconds, largest first.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// The longest that is read, in milliseconds: ten years. Far beyond any use, far below any overflow.
const LONGEST: u64 = 3_650 * 86_400_000;

/// Reads a length of time.
///
/// # Errors
/// `NoTimeUnit`, `NotTime`, or `TooLarge` above ten years.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split_number(text);
    if number.is_empty() {
        return Err(UnitError::NotTime);
    }
    if unit.is_empty() {
        return Err(UnitError::NoTimeUnit);
    }
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::NotTime)?;
    let number: u64 = number.parse().map_err(|_| UnitError::TooLarge)?;
    let millis = number.checked_mul(*length).filter(|millis| *millis <= LONGEST);
    millis.map(Duration::from_millis).ok_or(UnitError::TooLarge)
}

/// Writes a length of time as the policy would, cut to milliseconds.
pub fn written(length: Duration) -> Written {
    Written(length)
}

/// A length of time as the policy would write it; made by [`written`].
#[derive(Debug, Clone, Copy)]
pub struct Written(Duration);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis == 0 {
            return f.write_str("0s");
        }
        let divides = |(_, length): &&(&str, u64)| millis.is_multiple_of(u128::from(*length));
        let (name, length) = UNITS.iter().find(divides).unwrap_or(&("ms", 1));
        write!(f, "{}{name}", millis / u128::from(*length))
    }
}

/// A range of lengths of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationRange {
    /// The shorter end.
    pub shortest: Duration,
    /// The longer end; never below `shortest`.
    pub longest: Duration,
}

impl FromStr for DurationRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (first, second) = text.split_once("..").ok_or(UnitError::NotRange)?;
        let (shortest, longest) = (duration(first.trim())?, duration(second.trim())?);
        if shortest > longest {
            return Err(UnitError::BackwardRange);
        }
        Ok(Self { shortest, longest })
    }
}

impl fmt::Display for DurationRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", written(self.shortest), written(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_written() {
        let expected = [
            ("100ms", 100),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
        ];
        for (text, millis) in expected {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
            assert_eq!(written(Duration::from_millis(millis)).to_string(), text);
        }
        assert_eq!(written(Duration::ZERO).to_string(), "0s");
        assert_eq!(written(Duration::from_secs(5400)).to_string(), "90m");
    }

    #[test]
    fn lengths_without_a_known_unit_are_refused() {
        assert_eq!(duration("30"), Err(UnitError::NoTimeUnit));
        assert_eq!(duration("99999999999999999999s"), Err(UnitError::TooLarge));
        assert_eq!(duration("4000d"), Err(UnitError::TooLarge));
        for text in ["", "s", "1.5s", "-1s", "1h30m", "3w", "30 s", "30S"] {
            assert_eq!(duration(text), Err(UnitError::NotTime), "{text}");
        }
    }

    #[test]
    fn ranges_run_forward() {
        let range: Result<DurationRange, _> = "100ms..2s".parse();

        assert_eq!(range.map(|range| range.to_string()).as_deref(), Ok("100ms..2s"));
        assert_eq!("2s..100ms".parse::<DurationRange>(), Err(UnitError::BackwardRange));
        assert_eq!("2s".parse::<DurationRange>(), Err(UnitError::NotRange));
        assert_eq!("1..2s".parse::<DurationRange>(), Err(UnitError::NoTimeUnit));
        assert_eq!(UnitError::BackwardRange.mended("2s..100ms").as_deref(), Some("100ms..2s"));
    }
}
