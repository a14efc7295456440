//! Names that link the tables of a policy.

use std::fmt;

use super::super::read::{At, Named, Parsed, Wrong};

/// The longest name, in bytes. Names become metric labels and header text.
const MAX_NAME: usize = 64;
/// What would be right.
const HINT: &str = "write 1 to 64 letters, digits, `_` or `-`, such as \"premium\"";

/// The name of an operation, tier or dependency: 1 to 64 ASCII letters, digits, `_` or `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Parsed for Name {
    const WANTED: &'static str = "a name such as \"premium\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(plain) {
            return Err(Wrong::new("this is not a name", HINT));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Reads the key of an entry as a name.
pub(super) fn of(entry: &Named<'_, '_>) -> Option<At<Name>> {
    match Name::parse(&entry.name.value) {
        Ok(name) => Some(At::default_in(entry.name.span, name)),
        Err(wrong) => {
            entry.refuse_name(&wrong);
            None
        }
    }
}
