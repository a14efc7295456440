//! Sizes in bytes.
//!
//! `KiB`, `MiB` and `GiB` are powers of 1024, `KB`, `MB` and `GB` powers of
//! 1000. The case matters, because `Mb` would be read as megabits by some.

use std::{fmt, str::FromStr};

use super::{UnitError, split_number};

/// Units that are read, and their bytes; largest first among those that are written.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A size in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Makes `amount` times 1024 bytes; a size beyond the type becomes the largest one.
    pub const fn kib(amount: u64) -> Self {
        Self(amount.saturating_mul(1 << 10))
    }

    /// Makes `amount` times 1024² bytes; a size beyond the type becomes the largest one.
    pub const fn mib(amount: u64) -> Self {
        Self(amount.saturating_mul(1 << 20))
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_number(text);
        if number.is_empty() {
            return Err(UnitError::NotSize);
        }
        if unit.is_empty() {
            return Err(UnitError::NoSizeUnit);
        }
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(UnitError::NotSize)?;
        let number: u64 = number.parse().map_err(|_| UnitError::TooLarge)?;
        number.checked_mul(*size).map(Self).ok_or(UnitError::TooLarge)
    }
}

/// Writes the largest unit that divides the size: `2MiB`, `1500KB`, `7B`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, size): &&(&str, u64)| self.0 >= *size && self.0.is_multiple_of(*size);
        let (name, size) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let expected = [
            ("2MiB", 2_097_152),
            ("32KiB", 32_768),
            ("512B", 512),
            ("1GiB", 1 << 30),
            ("2MB", 2_000_000),
            ("0B", 0),
        ];
        for (text, bytes) in expected {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn sizes_without_a_known_unit_are_refused() {
        assert_eq!("512".parse::<Bytes>(), Err(UnitError::NoSizeUnit));
        assert_eq!("99999999999999999999B".parse::<Bytes>(), Err(UnitError::TooLarge));
        assert_eq!("18446744073709551615KiB".parse::<Bytes>(), Err(UnitError::TooLarge));
        for text in ["", "MiB", "2mib", "2Mb", "1.5MiB", "-1B", "2 MiB"] {
            assert_eq!(text.parse::<Bytes>(), Err(UnitError::NotSize), "{text}");
        }
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for text in ["2MiB", "32KiB", "512B", "1GiB", "2MB", "0B", "1500B"] {
            let written = text.parse::<Bytes>().map(|size| size.to_string().parse::<Bytes>());
            assert_eq!(written, Ok(text.parse()), "{text}");
        }
        assert_eq!(Bytes::mib(2).to_string(), "2MiB");
        assert_eq!(Bytes::kib(1536).to_string(), "1536KiB");
    }
}
