//! A place in a JSON document, as RFC 6901 writes it: `/usage/cost_usd`.
//!
//! Parsed when the policy is read. While an answer passes, each key costs one
//! comparison with the token at its depth.
//!
//! # Failure
//! [`PointerError`] says what is wrong with the text.
//!
//! # Limits
//! At most [`DEEPEST`] tokens of at most [`LONGEST_TOKEN`] bytes. `-`, the place behind
//! the last element of an array, never exists in an answer and is read as a key.

/// The most tokens.
pub const DEEPEST: usize = 16;
/// The longest token, in bytes.
pub const LONGEST_TOKEN: usize = 64;

/// Why a text is not a JSON pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// `usage/cost`, or empty: the whole document is no amount.
    #[error("a JSON pointer begins with a slash")]
    NoSlash,
    /// A `~` that is neither `~0` nor `~1`.
    #[error("in a JSON pointer, ~ is written ~0 and / within a key ~1")]
    BadEscape,
    /// More than [`DEEPEST`] tokens.
    #[error("a JSON pointer has at most {DEEPEST} parts")]
    TooDeep,
    /// A token of more than [`LONGEST_TOKEN`] bytes.
    #[error("a part of a JSON pointer has at most {LONGEST_TOKEN} bytes")]
    TooLong,
}

/// A place in a JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    tokens: Box<[Token]>,
}

/// One step: the key, and the index that it also names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    key: Box<str>,
    index: Option<u64>,
}

impl Pointer {
    /// How many steps lead to the place; at least 1.
    pub fn depth(&self) -> usize {
        self.tokens.len()
    }

    /// Whether step `at`, counted from 0, goes to this key of an object.
    pub(super) fn is_key(&self, at: usize, key: &[u8]) -> bool {
        self.tokens.get(at).is_some_and(|token| token.key.as_bytes() == key)
    }

    /// Whether step `at`, counted from 0, goes to this index of an array.
    pub(super) fn is_index(&self, at: usize, index: u64) -> bool {
        self.tokens.get(at).is_some_and(|token| token.index == Some(index))
    }
}

impl std::str::FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let tokens = text.strip_prefix('/').ok_or(PointerError::NoSlash)?;
        if tokens.split('/').count() > DEEPEST {
            return Err(PointerError::TooDeep);
        }
        let tokens = tokens.split('/').map(token).collect::<Result<_, _>>()?;
        Ok(Self { tokens })
    }
}

fn token(written: &str) -> Result<Token, PointerError> {
    let mut tildes = written.split('~').skip(1);
    if !tildes.all(|behind| behind.starts_with(['0', '1'])) {
        return Err(PointerError::BadEscape);
    }
    // In this order, or `~01` would become a slash (RFC 6901, 4).
    let key = written.replace("~1", "/").replace("~0", "~");
    if key.len() > LONGEST_TOKEN {
        return Err(PointerError::TooLong);
    }
    // No leading zeros (RFC 6901, 4).
    let index = key.parse().ok().filter(|index: &u64| index.to_string() == key);
    Ok(Token { key: key.into(), index })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_keys_and_indices() {
        let pointer: Pointer = "/a~1b/m~0n/0/~01/01".parse().expect("a pointer");
        assert_eq!(pointer.depth(), 5);
        assert!(pointer.is_key(0, b"a/b") && pointer.is_key(1, b"m~n"));
        assert!(pointer.is_index(2, 0) && pointer.is_key(2, b"0"));
        assert!(pointer.is_key(3, b"~1") && !pointer.is_index(4, 1));
        assert!(!pointer.is_key(5, b""));
    }

    #[test]
    fn what_is_no_pointer_is_named() {
        let deep = "/a".repeat(17);
        let long = format!("/{}", "a".repeat(65));
        let expected = [
            ("", PointerError::NoSlash),
            ("usage/cost", PointerError::NoSlash),
            ("/a~2", PointerError::BadEscape),
            ("/a~", PointerError::BadEscape),
            (&deep, PointerError::TooDeep),
            (&long, PointerError::TooLong),
        ];
        for (text, error) in expected {
            assert_eq!(text.parse::<Pointer>(), Err(error), "{text}");
        }
    }
}
