//! What the policy writes as a string, and how it is read.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use http::{HeaderName, Method};

use super::suggest;
use crate::units::{
    Bytes, DurationRange, NanoUsd, Network, Percent, Quota, Rate, Rolling, UnitError, duration,
};

/// Why a string is not what it should be. Neither text contains the string.
#[derive(Debug)]
pub(in crate::policy) struct Wrong {
    /// What is wrong: one phrase.
    pub(in crate::policy) message: String,
    /// What would be right, in general.
    pub(in crate::policy) hint: String,
    /// What was probably meant; may contain the string, so it is shown only for strings without references.
    pub(in crate::policy) mended: Option<String>,
}

impl Wrong {
    /// Says what is wrong, and what would be right in general.
    pub(in crate::policy) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), mended: None }
    }

    fn unit(error: UnitError, text: &str) -> Self {
        Self { mended: error.mended(text), ..Self::new(error.to_string(), error.hint()) }
    }
}

/// A type that is written as a string.
pub(in crate::policy) trait Parsed: Sized {
    /// What the value should be, with an article and an example.
    const WANTED: &'static str;

    /// Parses the text, its references resolved.
    fn parse(text: &str) -> Result<Self, Wrong>;

    /// What a number without quotes should have been.
    fn mend(_number: &str) -> Option<String> {
        None
    }
}

impl Parsed for String {
    const WANTED: &'static str = "a string";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.is_empty() {
            return Err(Wrong::new("this is empty", "write some text, or leave the key out"));
        }
        Ok(text.to_owned())
    }

    fn mend(number: &str) -> Option<String> {
        Some(number.to_owned())
    }
}

impl Parsed for Duration {
    const WANTED: &'static str = "a length of time such as \"30s\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        duration(text).map_err(|error| Wrong::unit(error, text))
    }

    fn mend(number: &str) -> Option<String> {
        duration(number).err()?.mended(number)
    }
}

/// Implements [`Parsed`] for types whose parser fails with a `UnitError`.
macro_rules! unit {
    ($type:ty, $wanted:literal) => {
        impl Parsed for $type {
            const WANTED: &'static str = $wanted;

            fn parse(text: &str) -> Result<Self, Wrong> {
                text.parse().map_err(|error| Wrong::unit(error, text))
            }

            fn mend(number: &str) -> Option<String> {
                number.parse::<Self>().err()?.mended(number)
            }
        }
    };
}

unit!(Bytes, "a size such as \"2MiB\"");
unit!(Rate, "a rate such as \"240B/s\"");
unit!(NanoUsd, "an amount of money such as \"$0.03\"");
unit!(Percent, "a share such as \"25%\"");
unit!(Quota, "a quota such as \"3/hour\"");
unit!(Rolling, "a rolling budget such as \"$5/24h\"");
unit!(Network, "a network such as \"10.0.0.0/8\"");
unit!(DurationRange, "a range of time such as \"100ms..2s\"");

impl Parsed for SocketAddr {
    const WANTED: &'static str = "an address such as \"127.0.0.1:8443\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|_| Wrong {
            mended: Self::mend(text),
            ..Wrong::new(
                "this is not an address and a port",
                "write \"127.0.0.1:8443\", \"0.0.0.0:8443\" or \"[::1]:8443\"",
            )
        })
    }

    fn mend(text: &str) -> Option<String> {
        let text = text.strip_prefix("localhost").unwrap_or(text);
        let port: u16 = text.strip_prefix(':').unwrap_or(text).parse().ok()?;
        Some(format!("127.0.0.1:{port}"))
    }
}

impl Parsed for HeaderName {
    const WANTED: &'static str = "a header name";

    fn parse(text: &str) -> Result<Self, Wrong> {
        Self::from_str(text).map_err(|_| {
            Wrong::new(
                "this is not a header name",
                "write letters, digits and dashes, such as \"X-Request-Id\"",
            )
        })
    }
}

impl Parsed for Method {
    const WANTED: &'static str = "a method such as \"GET\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        const KNOWN: [&str; 9] =
            ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
        let wrong = |mended: Option<&str>| Wrong {
            mended: mended.map(str::to_owned),
            ..Wrong::new("this is not a method", "write a method in capitals, such as \"POST\"")
        };
        // Methods are case-sensitive: `post` would be a method of its own that nobody sends.
        let known = KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(text));
        if known == Some(text) {
            return Self::from_bytes(text.as_bytes()).map_err(|_| wrong(None));
        }
        // A method that is one slip away from a known one is a slip; others, such as PURGE, are somebody's own.
        let meant = known.or_else(|| suggest::closest(text, KNOWN));
        let lower = text.bytes().any(|b| b.is_ascii_lowercase());
        match Self::from_bytes(text.as_bytes()) {
            Ok(method) if meant.is_none() && !lower => Ok(method),
            _ => Err(wrong(meant)),
        }
    }
}

/// Says which words are known, and which one was probably meant.
pub(in crate::policy) fn unknown_word(text: &str, words: &[&'static str]) -> Wrong {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let quoted: Vec<&str> = quoted.iter().map(String::as_str).collect();
    Wrong {
        mended: suggest::closest(text, words.iter().copied()).map(str::to_owned),
        ..Wrong::new(
            "this word is not known here",
            format!("write {}", suggest::listed(&quoted, "or")),
        )
    }
}

/// Defines an enum whose variants are words of the policy.
macro_rules! words {
    ($(#[$meta:meta])* $wanted:literal pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in the policy.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl $crate::policy::read::Parsed for $name {
            const WANTED: &'static str = $wanted;

            fn parse(text: &str) -> Result<Self, $crate::policy::read::Wrong> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::policy::read::unknown_word(text, &[$($word),+])),
                }
            }
        }
    };
}

pub(in crate::policy) use words;
