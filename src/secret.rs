//! Text that must not be seen.
//!
//! [`Secret`] wraps a credential so that it cannot be printed by accident: both
//! `Debug` and `Display` write `[secret]`, and nothing compares, hashes or
//! orders it. Whoever needs the text calls [`Secret::expose`], which is easy to
//! search for.
//!
//! # Limits
//! The memory is not locked and not wiped on drop: an attacker who reads the
//! memory of the process also sees the requests that carry the credential.

use std::fmt;

/// What `Debug` and `Display` write in place of the text.
const SHOWN: &str = "[secret]";

/// A credential: UTF-8, never printed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives the text to the code that must send or compare it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Tells whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("hunter2");

        let printed =
            format!("{secret} {secret:?} {:?} {:#?}", Some(&secret), vec![secret.clone()]);

        assert!(!printed.contains("hunter2"));
        assert_eq!(format!("{secret}"), "[secret]");
        assert_eq!(secret.expose(), "hunter2");
    }
}
