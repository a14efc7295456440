//! Shares between nothing and all.

use std::{fmt, str::FromStr};

use super::{UnitError, decimal};

/// Decimals of a percent that are kept.
const PLACES: usize = 2;
/// All of it, in hundredths of a percent.
const WHOLE: u16 = 10_000;

/// A share from 0 % to 100 %, in steps of a hundredth of a percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// Makes whole percents; more than 100 counts as 100.
    pub const fn whole(percent: u16) -> Self {
        let hundredths = percent.saturating_mul(100);
        Self(if hundredths > WHOLE { WHOLE } else { hundredths })
    }

    /// Hundredths of a percent, 0 to 10 000.
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// Takes this share of `amount`, rounded down.
    #[must_use]
    pub fn of(self, amount: u64) -> u64 {
        let share = u128::from(amount) * u128::from(self.0) / u128::from(WHOLE);
        // A share of at most all of it fits wherever the amount did.
        u64::try_from(share).unwrap_or(amount)
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let number = text.strip_suffix('%').ok_or(UnitError::NoPercentSign)?;
        let hundredths = decimal(number, PLACES).map_err(|_| UnitError::NotPercent)?;
        u16::try_from(hundredths)
            .ok()
            .filter(|h| *h <= WHOLE)
            .map(Self)
            .ok_or(UnitError::NotPercent)
    }
}

/// Writes the share as the policy would: `25%`, `0.5%`.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole}%"),
            _ if rest.is_multiple_of(10) => write!(f, "{whole}.{}%", rest / 10),
            _ => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_written() {
        for text in ["0%", "25%", "0.5%", "0.05%", "99.99%", "100%"] {
            assert_eq!(text.parse::<Percent>().map(|share| share.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn shares_outside_the_whole_are_refused() {
        assert_eq!("25".parse::<Percent>(), Err(UnitError::NoPercentSign));
        for text in ["%", "101%", "-1%", "0.001%", "x%", "99999999999999999999%"] {
            assert_eq!(text.parse::<Percent>(), Err(UnitError::NotPercent), "{text}");
        }
    }

    #[test]
    fn a_share_of_an_amount_is_rounded_down() {
        assert_eq!(Percent::whole(25).of(10), 2);
        assert_eq!(Percent::whole(100).of(u64::MAX), u64::MAX);
        assert_eq!(Percent::whole(0).of(u64::MAX), 0);
        assert_eq!(Percent::whole(700), Percent::whole(100));
    }
}
