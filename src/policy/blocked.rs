//! Subjects that may not come in, whatever they ask.
//!
//! Hashed when the policy is read; a policy that blocks nobody costs a look at a length.

use std::collections::HashSet;

/// The subjects that a policy blocks.
#[derive(Debug, Default)]
pub struct Blocked(HashSet<Box<str>>);

impl Blocked {
    /// Whether `subject` is blocked.
    pub fn has(&self, subject: &str) -> bool {
        !self.0.is_empty() && self.0.contains(subject)
    }
}

impl<'s> FromIterator<&'s str> for Blocked {
    fn from_iter<I: IntoIterator<Item = &'s str>>(subjects: I) -> Self {
        Self(subjects.into_iter().map(Into::into).collect())
    }
}
