//! Decimal numbers, read digit by digit: an amount never passes through a binary float.
//!
//! Reads what JSON calls a number (RFC 8259, 6), such as `0.0123` and `1.25e-05`, and
//! nothing else: no sign in front but a minus, no spaces, no `NaN`.
//!
//! # Failure
//! [`NotDecimal`] says what is wrong. The text is no part of it: it came from the network.
//!
//! # Limits
//! At most [`LONGEST`] characters; exponents beyond ±[`FARTHEST`] only of the number 0.

/// The longest text that is read as a number.
pub const LONGEST: usize = 128;
/// The farthest exponent that can matter within [`LONGEST`] digits.
const FARTHEST: i64 = 400;

/// Why a text is not a usable amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDecimal {
    /// Empty, letters, `NaN`, `Infinity`, `1,5`, `$1`, spaces.
    #[error("not a number")]
    NotNumber,
    /// Below zero.
    #[error("negative")]
    Negative,
    /// Above the bound.
    #[error("larger than any that is believed")]
    TooLarge,
    /// More than [`LONGEST`] characters.
    #[error("longer than any number needs to be")]
    TooLong,
}

/// Reads `text` as a whole number of 10⁻ᵖˡᵃᶜᵉˢ, at most `most`; rounds up, once.
///
/// # Errors
/// See [`NotDecimal`].
pub fn scaled(text: &str, places: u8, most: u64) -> Result<u64, NotDecimal> {
    if text.len() > LONGEST {
        return Err(NotDecimal::TooLong);
    }
    let parts = Parts::of(text).ok_or(NotDecimal::NotNumber)?;
    if parts.is_zero() {
        return Ok(0);
    }
    if parts.negative {
        return Err(NotDecimal::Negative);
    }
    parts.rounded_up(places).filter(|number| *number <= most).ok_or(NotDecimal::TooLarge)
}

/// A number as it is written.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    /// Held within a range that no sum can overflow.
    exponent: i64,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, power(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if is_digits(fraction) => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        is_digits(whole).then_some(Self { negative, whole, fraction, exponent })
    }

    fn is_zero(&self) -> bool {
        self.digits().all(|digit| digit == 0)
    }

    fn digits(&self) -> impl Iterator<Item = u64> + '_ {
        self.whole.bytes().chain(self.fraction.bytes()).map(|byte| u64::from(byte - b'0'))
    }

    /// The number times 10^places, up to the next whole one; `None` when it does not fit.
    fn rounded_up(&self, places: u8) -> Option<u64> {
        let whole = i64::try_from(self.whole.len()).ok()?;
        // How many of the digits stand before the point once it has been moved.
        let kept = whole + self.exponent + i64::from(places);
        let (mut number, mut rest, mut seen) = (0_u64, 0, 0);
        for digit in self.digits() {
            if seen < kept {
                number = number.checked_mul(10)?.checked_add(digit)?;
            } else {
                rest |= digit;
            }
            seen += 1;
        }
        while seen < kept && number > 0 {
            number = number.checked_mul(10)?;
            seen += 1;
        }
        number.checked_add(u64::from(rest > 0))
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads an exponent; one that is out of all bounds counts as the farthest.
fn power(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, text.get(1..)?),
        b'+' => (1, text.get(1..)?),
        _ => (1, text),
    };
    is_digits(digits).then(|| sign * digits.parse().unwrap_or(FARTHEST).min(FARTHEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nano(text: &str) -> Result<u64, NotDecimal> {
        scaled(text, 9, u64::MAX)
    }

    #[test]
    fn amounts_are_read_exactly() {
        let expected = [
            ("0.0123", 12_300_000),
            ("1.25e-05", 12_500),
            ("1.2E-5", 12_000),
            ("3", 3_000_000_000),
            ("0", 0),
            ("-0.0", 0),
            ("0e999999999999999999999", 0),
            ("12.5e+2", 1_250_000_000_000),
            ("0.000000001", 1),
            ("00.1", 100_000_000),
            ("18446744073.709551615", u64::MAX),
            ("184467440737095516150000e-13", 18_446_744_073_709_551_615),
        ];
        for (text, amount) in expected {
            assert_eq!(nano(text), Ok(amount), "{text}");
        }
    }

    #[test]
    fn what_is_finer_than_a_unit_is_rounded_up_once() {
        assert_eq!(nano("0.0000000001"), Ok(1));
        assert_eq!(nano("0.1234567891"), Ok(123_456_790));
        assert_eq!(nano("0.1234567890"), Ok(123_456_789));
        assert_eq!(nano("1e-300"), Ok(1));
        assert_eq!(nano("1e-99999999999999999999"), Ok(1));
        // As a binary float, 0.1 + 0.2 times 10⁹ would be a nano-dollar more.
        assert_eq!(nano("0.30000000000000004"), Ok(300_000_001));
        assert_eq!(nano("0.3"), Ok(300_000_000));
    }

    #[test]
    fn what_is_no_amount_is_named() {
        for text in [
            "", " 1", "1 ", "+1", "NaN", "inf", "Infinity", "0x1", "1,5", "$1", "1.", ".5", "1e",
            "1e+", "1.2.3", "--1", "-",
        ] {
            assert_eq!(nano(text), Err(NotDecimal::NotNumber), "{text}");
        }
        assert_eq!(nano("-0.01"), Err(NotDecimal::Negative));
        assert_eq!(nano("18446744073.709551616"), Err(NotDecimal::TooLarge));
        assert_eq!(nano("1e300"), Err(NotDecimal::TooLarge));
        assert_eq!(nano("1e99999999999999999999"), Err(NotDecimal::TooLarge));
        assert_eq!(nano(&"1".repeat(129)), Err(NotDecimal::TooLong));
        assert_eq!(scaled("11", 0, 10), Err(NotDecimal::TooLarge));
        assert_eq!(scaled("9.1", 0, 10), Ok(10));
    }
}
