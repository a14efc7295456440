//! Dollars that a service names itself: in a header, or at a place in its answer.
//!
//! # Failure
//! An amount that cannot be believed is refused with a reason and never becomes 0:
//! the caller goes on to the next source of the truth.
//!
//! # Limits
//! At most [`DEAREST`] for one request.

use super::decimal::{self, NotDecimal};
use crate::units::NanoUsd;

/// The most that one request may be said to cost: 10,000 dollars.
///
/// No request costs near as much; an amount above it is a fault (cents for dollars,
/// nano-dollars for dollars, an overflow) and would empty every budget at once.
pub const DEAREST: NanoUsd = NanoUsd::dollars_whole(10_000);

/// Reads dollars as services write them: `0.0123`, `1.2e-05`; spaces around do not count.
///
/// Exact, rounded up once to a nano-dollar.
///
/// # Errors
/// Not a number, negative, or above [`DEAREST`].
pub fn dollars(text: &str) -> Result<NanoUsd, NotDecimal> {
    let text = text.trim_matches([' ', '\t']);
    decimal::scaled(text, 9, DEAREST.0).map(NanoUsd)
}

/// Reads the value of a cost header, such as `X-Agent-Cost-Usd: 0.0123`.
///
/// # Errors
/// As [`dollars`]; bytes that are not visible ASCII are no number.
pub fn header(value: &[u8]) -> Result<NanoUsd, NotDecimal> {
    dollars(str::from_utf8(value).map_err(|_| NotDecimal::NotNumber)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_dollars() {
        assert_eq!(header(b"0.0123"), Ok(NanoUsd(12_300_000)));
        assert_eq!(header(b"1.2e-05"), Ok(NanoUsd(12_000)));
        assert_eq!(header(b" 0 "), Ok(NanoUsd::ZERO));
        assert_eq!(header(b"10000"), Ok(DEAREST));
    }

    #[test]
    fn a_header_that_cannot_be_believed_is_refused_with_a_reason() {
        assert_eq!(header(b"-0.01"), Err(NotDecimal::Negative));
        assert_eq!(header(b"10000.000000001"), Err(NotDecimal::TooLarge));
        for value in [&b"NaN"[..], b"", b"free", b"0.01, 0.02", b"$1", b"\xff"] {
            assert_eq!(header(value), Err(NotDecimal::NotNumber), "{value:?}");
        }
    }
}
