//! Bounds per sliding window: `3/hour`, `20000 tokens/minute`, `10MiB/day`, `5/10s`.

use std::{borrow::Cow, fmt, num::NonZeroU64, str::FromStr, time::Duration};

use super::{Bytes, UnitError, duration, split_number, written};

/// Windows that have a name.
const NAMED: [(&str, u64); 4] = [("second", 1), ("minute", 60), ("hour", 3_600), ("day", 86_400)];
/// The shortest window.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest window.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Requests that were admitted.
    Requests,
    /// Tokens of input and output together.
    Tokens,
    /// Bytes of request and response bodies.
    Bytes,
}

/// How much may be used within one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Upper bound per window, in `unit`. At least 1.
    pub amount: NonZeroU64,
    /// What is counted.
    pub unit: Unit,
    /// Length of the sliding window, whole seconds, 1 s to 31 d: no interval of this length admits more than `amount`.
    pub window: Duration,
}

impl FromStr for Quota {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (amount, window) = text.split_once('/').ok_or(UnitError::NotQuota)?;
        let (amount, unit) = counted(amount.trim())?;
        let amount = NonZeroU64::new(amount).ok_or(UnitError::ZeroQuota)?;
        Ok(Self { amount, unit, window: window_of(window.trim())? })
    }
}

/// Reads the part before the slash.
fn counted(text: &str) -> Result<(u64, Unit), UnitError> {
    let (number, unit) = split_number(text);
    if number.is_empty() {
        return Err(UnitError::NotQuota);
    }
    let unit = match unit.trim() {
        "" | "request" | "requests" => Unit::Requests,
        "token" | "tokens" => Unit::Tokens,
        "byte" | "bytes" => Unit::Bytes,
        _ => return sized(text),
    };
    Ok((number.parse().map_err(|_| UnitError::TooLarge)?, unit))
}

/// Reads an amount that is a size.
fn sized(text: &str) -> Result<(u64, Unit), UnitError> {
    match text.parse::<Bytes>() {
        Ok(size) => Ok((size.0, Unit::Bytes)),
        Err(UnitError::TooLarge) => Err(UnitError::TooLarge),
        Err(_) => Err(UnitError::UnknownUnit),
    }
}

/// Reads the part after the slash.
pub(super) fn window_of(text: &str) -> Result<Duration, UnitError> {
    if let Some((_, seconds)) = NAMED.iter().find(|(name, _)| *name == text) {
        return Ok(Duration::from_secs(*seconds));
    }
    match duration(text) {
        Ok(window) if !(SHORTEST..=LONGEST).contains(&window) => Err(UnitError::WindowOutOfRange),
        Ok(window) if window.subsec_nanos() != 0 => Err(UnitError::NotWindow),
        Ok(window) => Ok(window),
        Err(UnitError::TooLarge) => Err(UnitError::WindowOutOfRange),
        Err(_) => Err(UnitError::NotWindow),
    }
}

/// Writes the quota as the policy would: `3/hour`, `20000 tokens/minute`, `10MiB/day`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::Requests => write!(f, "{}/", self.amount)?,
            Unit::Tokens => write!(f, "{} tokens/", self.amount)?,
            Unit::Bytes => write!(f, "{}/", Bytes(self.amount.get()))?,
        }
        f.write_str(&window_name(self.window))
    }
}

/// A window as the part after the slash.
pub(super) fn window_name(window: Duration) -> Cow<'static, str> {
    match NAMED.iter().find(|(_, seconds)| window == Duration::from_secs(*seconds)) {
        Some((name, _)) => Cow::Borrowed(name),
        None => Cow::Owned(written(window).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(u64, Unit, u64), UnitError> {
        text.parse::<Quota>().map(|quota| (quota.amount.get(), quota.unit, quota.window.as_secs()))
    }

    #[test]
    fn quotas_are_read() {
        assert_eq!(parsed("3/hour"), Ok((3, Unit::Requests, 3_600)));
        assert_eq!(parsed("20000 tokens/minute"), Ok((20_000, Unit::Tokens, 60)));
        assert_eq!(parsed("5/10s"), Ok((5, Unit::Requests, 10)));
        assert_eq!(parsed("1 request / day"), Ok((1, Unit::Requests, 86_400)));
        assert_eq!(parsed("10MiB/second"), Ok((10_485_760, Unit::Bytes, 1)));
        assert_eq!(parsed("9 bytes/31d"), Ok((9, Unit::Bytes, 2_678_400)));
    }

    #[test]
    fn quotas_that_are_none_are_refused_with_the_cause() {
        let expected = [
            ("3", UnitError::NotQuota),
            ("3 per hour", UnitError::NotQuota),
            ("/hour", UnitError::NotQuota),
            ("0/hour", UnitError::ZeroQuota),
            ("3 apples/hour", UnitError::UnknownUnit),
            ("3/fortnight", UnitError::NotWindow),
            ("3/60", UnitError::NotWindow),
            ("3/1500ms", UnitError::NotWindow),
            ("3/100ms", UnitError::WindowOutOfRange),
            ("3/32d", UnitError::WindowOutOfRange),
            ("99999999999999999999/hour", UnitError::TooLarge),
            ("-3/hour", UnitError::NotQuota),
        ];
        for (text, error) in expected {
            assert_eq!(parsed(text), Err(error), "{text}");
        }
    }

    #[test]
    fn quotas_are_written_as_they_are_read() {
        for text in ["3/hour", "20000 tokens/minute", "5/10s", "10MiB/day", "7B/second", "1/7d"] {
            assert_eq!(text.parse::<Quota>().map(|quota| quota.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn every_error_says_what_would_be_right() {
        assert_eq!(UnitError::NotQuota.mended("3").as_deref(), Some("3/hour"));
        assert_eq!(UnitError::NoTimeUnit.mended("30").as_deref(), Some("30s"));
        assert_eq!(UnitError::NoDollarSign.mended("0.03").as_deref(), Some("$0.03"));
        assert_eq!(UnitError::NoDollarSign.mended("money").as_deref(), None);
        assert_eq!(UnitError::NoSizeUnit.mended("512").as_deref(), Some("512B"));
        assert_eq!(UnitError::NoPercentSign.mended("25").as_deref(), Some("25%"));
        assert!(UnitError::UnknownUnit.hint().contains("tokens"));
    }
}
