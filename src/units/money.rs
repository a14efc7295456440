//! Money as a whole number of nano-dollars.
//!
//! One nano-dollar is 10⁻⁹ US dollar: fine enough for the price of one token
//! (`$0.15` per million is 150 nano-dollars), and a `u64` of them still holds
//! more than 18 billion dollars.

use std::{fmt, str::FromStr};

use super::{UnitError, decimal};

/// Decimals that a nano-dollar has.
const PLACES: usize = 9;
/// Nano-dollars in a dollar.
const DOLLAR: u64 = 1_000_000_000;

/// An amount of money in billionths of a US dollar, 0 to about 18.4 billion dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Makes whole dollars; an amount beyond the type becomes the largest one.
    pub const fn dollars_whole(dollars: u64) -> Self {
        Self(dollars.saturating_mul(DOLLAR))
    }

    /// Adds, or gives `None` when the sum does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Subtracts, or gives `None` when `other` is larger.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    /// Subtracts, stopping at nothing.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Reads dollars without their sign: `0.15`.
    ///
    /// # Errors
    /// What is no plain decimal, has more than 9 decimals, or does not fit.
    pub fn from_dollars(text: &str) -> Result<Self, UnitError> {
        decimal(text, PLACES).map(Self)
    }

    /// Writes dollars with a fixed number of decimals and no sign, as headers want them.
    ///
    /// Rounds to the nearest, a half upward. `decimals` above 9 counts as 9. Allocates nothing.
    pub fn dollars(self, decimals: u8) -> Dollars {
        Dollars { amount: self, decimals: usize::from(decimals).min(PLACES) }
    }
}

impl FromStr for NanoUsd {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        Self::from_dollars(text.strip_prefix('$').ok_or(UnitError::NoDollarSign)?)
    }
}

/// Writes the amount as the policy would: `$5`, `$0.50`, `$0.0000015`.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, mut fraction) = (self.0 / DOLLAR, self.0 % DOLLAR);
        if fraction == 0 {
            return write!(f, "${whole}");
        }
        let mut places = PLACES;
        while places > 2 && fraction.is_multiple_of(10) {
            fraction /= 10;
            places -= 1;
        }
        write!(f, "${whole}.{fraction:0places$}")
    }
}

/// Dollars with a fixed number of decimals; made by [`NanoUsd::dollars`].
#[derive(Debug, Clone, Copy)]
pub struct Dollars {
    amount: NanoUsd,
    decimals: usize,
}

impl Dollars {
    /// Room for the longest of them: 11 digits, a point, 9 decimals.
    pub const MAX_LEN: usize = 24;

    /// Writes the digits into `space`; returns them.
    // By hand: every answer carries two of them, and a formatter costs ten times as much.
    pub fn write(self, space: &mut [u8; Self::MAX_LEN]) -> &[u8] {
        let dropped = (self.decimals..PLACES).fold(1, |power, _| power * 10);
        // What is dropped is a power of ten: half of it is exact, or nothing is dropped.
        let up = dropped > 1 && self.amount.0 % dropped >= dropped / 2;
        let mut left = self.amount.0 / dropped + u64::from(up);
        let mut start = Self::MAX_LEN;
        let mut decimals = self.decimals;
        loop {
            start -= 1;
            space[start] = b'0' + (left % 10) as u8;
            left /= 10;
            match decimals {
                0 if left == 0 => return &space[start..],
                0 => {}
                1 => {
                    start -= 1;
                    space[start] = b'.';
                    decimals = 0;
                }
                _ => decimals -= 1,
            }
        }
    }
}

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = [0; Self::MAX_LEN];
        // Digits and a point are text.
        f.write_str(std::str::from_utf8(self.write(&mut space)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<u64, UnitError> {
        text.parse::<NanoUsd>().map(|amount| amount.0)
    }

    #[test]
    fn money_is_read_exactly() {
        assert_eq!(parsed("$0.03"), Ok(30_000_000));
        assert_eq!(parsed("$5"), Ok(5_000_000_000));
        assert_eq!(parsed("$0.0000015"), Ok(1_500));
        assert_eq!(parsed("$0.000000001"), Ok(1));
        assert_eq!(parsed("$18446744073.709551615"), Ok(u64::MAX));
    }

    #[test]
    fn money_that_is_not_exact_is_refused() {
        assert_eq!(parsed("$0.0000000001"), Err(UnitError::TooManyDecimals));
        assert_eq!(parsed("$18446744073.709551616"), Err(UnitError::TooLarge));
        assert_eq!(parsed("$99999999999999999999"), Err(UnitError::TooLarge));
        assert_eq!(parsed("0.03"), Err(UnitError::NoDollarSign));
        for text in ["$", "$.5", "$5.", "$-1", "$1e3", "$1,000", "$ 5", "$5 ", "$1.2.3", "$٣"] {
            assert_eq!(parsed(text), Err(UnitError::NotMoney), "{text}");
        }
    }

    #[test]
    fn money_is_written_as_it_is_read() {
        for text in ["$0", "$5", "$0.50", "$0.03", "$0.005", "$0.0000015", "$1.000000001"] {
            assert_eq!(
                text.parse::<NanoUsd>().map(|amount| amount.to_string()).as_deref(),
                Ok(text)
            );
        }
        for amount in [0, 1, 10, 999_999_999, 1_000_000_000, 1_100_000_000, u64::MAX] {
            assert_eq!(parsed(&NanoUsd(amount).to_string()), Ok(amount));
        }
    }

    #[test]
    fn dollars_have_the_decimals_that_were_asked_for() {
        assert_eq!(NanoUsd(30_000_000).dollars(4).to_string(), "0.0300");
        assert_eq!(NanoUsd(49_999).dollars(4).to_string(), "0.0000");
        assert_eq!(NanoUsd(50_000).dollars(4).to_string(), "0.0001");
        assert_eq!(NanoUsd(999_950_000).dollars(4).to_string(), "1.0000");
        assert_eq!(NanoUsd(1_500_000_000).dollars(0).to_string(), "2");
        assert_eq!(NanoUsd(1).dollars(200).to_string(), "0.000000001");
        assert_eq!(NanoUsd(u64::MAX).dollars(4).to_string(), "18446744073.7096");
    }

    #[test]
    fn sums_that_do_not_fit_are_noticed() {
        assert_eq!(NanoUsd(u64::MAX).checked_add(NanoUsd(1)), None);
        assert_eq!(NanoUsd(1).checked_add(NanoUsd(2)), Some(NanoUsd(3)));
        assert_eq!(NanoUsd(1).checked_sub(NanoUsd(2)), None);
        assert_eq!(NanoUsd(1).saturating_sub(NanoUsd(2)), NanoUsd::ZERO);
        assert_eq!(NanoUsd::dollars_whole(2), NanoUsd(2_000_000_000));
    }
}
