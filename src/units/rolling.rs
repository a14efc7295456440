//! Money per sliding window: `$5/24h`, `$1/5h`, `$20/7d`.

use std::{fmt, str::FromStr, time::Duration};

use super::{
    NanoUsd, UnitError,
    quota::{window_name, window_of},
};

/// How much money may be spent within one sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rolling {
    /// Upper bound per window, above $0.
    pub amount: NanoUsd,
    /// Length of the sliding window, whole seconds, 1 s to 31 d.
    pub window: Duration,
}

impl FromStr for Rolling {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (amount, window) = text.split_once('/').ok_or(UnitError::NotRolling)?;
        let amount: NanoUsd = amount.trim().parse()?;
        if amount == NanoUsd::ZERO {
            return Err(UnitError::ZeroRolling);
        }
        Ok(Self { amount, window: window_of(window.trim())? })
    }
}

/// Writes the bound as the policy would.
impl fmt::Display for Rolling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.amount, window_name(self.window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(u64, u64), UnitError> {
        text.parse::<Rolling>().map(|rolling| (rolling.amount.0, rolling.window.as_secs()))
    }

    #[test]
    fn rolling_budgets_are_read_and_written() {
        assert_eq!(parsed("$5/24h"), Ok((5_000_000_000, 86_400)));
        assert_eq!(parsed("$0.50/hour"), Ok((500_000_000, 3_600)));
        for text in ["$0.50/hour", "$5/day", "$1/5h", "$20/7d"] {
            assert_eq!(text.parse::<Rolling>().map(|it| it.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn rolling_budgets_that_are_none_are_refused_with_the_cause() {
        assert_eq!(parsed("$5"), Err(UnitError::NotRolling));
        assert_eq!(parsed("$0/day"), Err(UnitError::ZeroRolling));
        assert_eq!(parsed("5/day"), Err(UnitError::NoDollarSign));
        assert_eq!(parsed("$5/32d"), Err(UnitError::WindowOutOfRange));
        assert_eq!(UnitError::NotRolling.mended("$5").as_deref(), Some("$5/24h"));
    }
}
