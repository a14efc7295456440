//! Units as they are written in the policy, and as numbers that are safe to compute with.
//!
//! Money is [`NanoUsd`], sizes are [`Bytes`], shares are [`Percent`], bounds per
//! sliding window are [`Quota`] and [`Rolling`], ranges of addresses [`Network`]; lengths of
//! time are the standard library's `Duration`, read by [`duration`] and written by [`written`]. Every parser is
//! exact: no binary floats, no rounding, no silent overflow.
//!
//! # Failure
//! [`UnitError`] names what is wrong, [`UnitError::hint`] what would be right
//! and [`UnitError::mended`], where the intention is plain, the text to write.

use thiserror::Error;

mod money;
mod network;
mod percent;
mod quota;
mod rate;
mod rolling;
mod size;
mod time;

pub use money::{Dollars, NanoUsd};
pub use network::Network;
pub use percent::Percent;
pub use quota::{Quota, Unit};
pub use rate::Rate;
pub use rolling::Rolling;
pub use size::Bytes;
pub use time::{DurationRange, Written, duration, written};

/// Why a text is not the unit it should be.
///
/// The text itself is no part of the error, so that a value which came from the
/// environment cannot appear in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnitError {
    /// `0.03` where `$0.03` is meant.
    #[error("an amount of money begins with a dollar sign")]
    NoDollarSign,
    /// `$-1`, `$1,000`, `$.5`, `$abc`.
    #[error("this is not an amount of money")]
    NotMoney,
    /// More than nine decimals.
    #[error("an amount of money has at most 9 decimals")]
    TooManyDecimals,
    /// `30` where `30s` is meant.
    #[error("a length of time needs a unit")]
    NoTimeUnit,
    /// `soon`, `1.5s`, `1h30m`, `3w`.
    #[error("this is not a length of time")]
    NotTime,
    /// No two lengths of time with `..` between them.
    #[error("this is not a range of time")]
    NotRange,
    /// The first length of a range is longer than the second.
    #[error("the range runs backwards")]
    BackwardRange,
    /// `512` where `512B` is meant.
    #[error("a size needs a unit")]
    NoSizeUnit,
    /// `big`, `1.5MiB`, `3XB`.
    #[error("this is not a size")]
    NotSize,
    /// `240` or `240B` where `240B/s` is meant.
    #[error("this is not a rate")]
    NotRate,
    /// `25` or `0.25` where `25%` is meant.
    #[error("a share needs a percent sign")]
    NoPercentSign,
    /// Not a number, more than two decimals, or above 100 %.
    #[error("this is not a share between 0% and 100%")]
    NotPercent,
    /// No amount, slash and window.
    #[error("this is not a quota")]
    NotQuota,
    /// A quota of nothing.
    #[error("a quota admits at least 1")]
    ZeroQuota,
    /// `$5` where `$5/24h` is meant.
    #[error("a rolling budget is an amount of money and a window")]
    NotRolling,
    /// `$0/day`.
    #[error("a budget is more than nothing")]
    ZeroRolling,
    /// `3 apples/hour`.
    #[error("a quota counts requests, tokens or bytes")]
    UnknownUnit,
    /// `3/fortnight`, `3/1500ms`.
    #[error("this is not a window of time")]
    NotWindow,
    /// Shorter than a second or longer than 31 days.
    #[error("a window lasts 1 second to 31 days")]
    WindowOutOfRange,
    /// `10.0.0/8`, `10.0.0.0/33`, `localhost`.
    #[error("this is not a network or an address")]
    NotNetwork,
    /// `10.1.2.3/8`: an address with bits behind the prefix.
    #[error("this network does not begin where its prefix says")]
    HostBits,
    /// More than the type can hold.
    #[error("this number is too large")]
    TooLarge,
}

impl UnitError {
    /// Says what would be right, by example: one phrase without a dot.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NoDollarSign | Self::NotMoney | Self::TooManyDecimals => {
                "write dollars with up to 9 decimals, such as \"$0.03\", \"$5\" or \"$0.0000015\""
            }
            Self::NoTimeUnit | Self::NotTime => {
                "write a whole number and ms, s, m, h or d, such as \"100ms\", \"30s\" or \"2d\""
            }
            Self::NotRange | Self::BackwardRange => {
                "write the shorter length first, such as \"100ms..2s\""
            }
            Self::NoSizeUnit | Self::NotSize => {
                "write a whole number and B, KB, MB, GB, KiB, MiB or GiB, such as \"512B\" or \"2MiB\""
            }
            Self::NotRate => "write a size a second, such as \"240B/s\" or \"1KiB/s\"",
            Self::NoPercentSign | Self::NotPercent => {
                "write a share of at most 100%, such as \"25%\" or \"0.5%\""
            }
            Self::NotRolling | Self::ZeroRolling => {
                "write money, a slash and a window of time, such as \"$5/24h\" or \"$1/5h\""
            }
            Self::NotQuota | Self::ZeroQuota => {
                "write an amount and a window, such as \"3/hour\", \"20000 tokens/minute\" or \"5/10s\""
            }
            Self::UnknownUnit => {
                "write \"3/hour\" for requests, \"20000 tokens/minute\" or \"10MiB/hour\""
            }
            Self::NotWindow | Self::WindowOutOfRange => {
                "write second, minute, hour, day or whole seconds to 31 days, such as \"10s\" or \"7d\""
            }
            Self::NotNetwork => "write \"10.0.0.0/8\", \"fd00::/8\" or one address",
            Self::HostBits => "write the network's first address, or one address without a prefix",
            Self::TooLarge => "write a smaller number",
        }
    }

    /// Gives the text that was probably meant, when that is plain.
    pub fn mended(self, text: &str) -> Option<String> {
        let text = text.trim();
        let numeric = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match self {
            Self::NoDollarSign => {
                format!("${text}").parse::<NanoUsd>().ok().map(|_| format!("${text}"))
            }
            Self::NoTimeUnit if numeric => Some(format!("{text}s")),
            Self::NoSizeUnit if numeric => Some(format!("{text}B")),
            Self::NotRate if numeric => Some(format!("{text}B/s")),
            Self::NotRate => format!("{text}/s").parse::<Rate>().ok().map(|_| format!("{text}/s")),
            Self::NoPercentSign => {
                format!("{text}%").parse::<Percent>().ok().map(|_| format!("{text}%"))
            }
            Self::HostBits => network::mended(text),
            Self::NotRolling => text.parse::<NanoUsd>().ok().map(|amount| format!("{amount}/24h")),
            Self::NotQuota if numeric => Some(format!("{text}/hour")),
            Self::BackwardRange => {
                text.split_once("..").map(|(a, b)| format!("{}..{}", b.trim(), a.trim()))
            }
            _ => None,
        }
    }
}

/// Splits `text` after its leading digits.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Reads an unsigned decimal as an integer of 10⁻ᵖˡᵃᶜᵉˢ.
///
/// # Errors
/// `NotMoney` for anything but digits with at most one inner dot,
/// `TooManyDecimals` and `TooLarge` as they say.
fn decimal(text: &str, places: usize) -> Result<u64, UnitError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(UnitError::NotMoney);
    }
    if fraction.len() > places {
        return Err(UnitError::TooManyDecimals);
    }
    let padding = std::iter::repeat_n(b'0', places - fraction.len());
    whole
        .bytes()
        .chain(fraction.bytes())
        .chain(padding)
        .try_fold(0_u64, push_digit)
        .ok_or(UnitError::TooLarge)
}

/// Appends one decimal digit.
fn push_digit(number: u64, digit: u8) -> Option<u64> {
    number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
}
