//! Rates in bytes a second.

use std::{fmt, str::FromStr};

use super::{Bytes, UnitError};

/// Bytes a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub u64);

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let size = text.strip_suffix("/s").ok_or(UnitError::NotRate)?;
        match size.parse() {
            Ok(Bytes(bytes)) => Ok(Self(bytes)),
            Err(UnitError::TooLarge) => Err(UnitError::TooLarge),
            Err(_) => Err(UnitError::NotRate),
        }
    }
}

/// Writes the largest unit that divides the rate: `240B/s`, `1KiB/s`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for (text, bytes) in [("240B/s", 240), ("1KiB/s", 1_024), ("2MB/s", 2_000_000), ("0B/s", 0)]
        {
            assert_eq!(text.parse(), Ok(Rate(bytes)), "{text}");
            assert_eq!(Rate(bytes).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_size_a_second_is_refused() {
        for text in ["", "/s", "240", "240B", "240/s", "240B/m", "240B/s ", "-1B/s", "1.5KiB/s"] {
            assert_eq!(text.parse::<Rate>(), Err(UnitError::NotRate), "{text}");
        }
        assert_eq!("99999999999999999999B/s".parse::<Rate>(), Err(UnitError::TooLarge));
    }

    #[test]
    fn what_was_probably_meant_is_shown() {
        assert_eq!(UnitError::NotRate.mended("240"), Some("240B/s".to_owned()));
        assert_eq!(UnitError::NotRate.mended("1KiB"), Some("1KiB/s".to_owned()));
        assert_eq!(UnitError::NotRate.mended("fast"), None);
    }
}
