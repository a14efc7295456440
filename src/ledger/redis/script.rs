//! The script that decides on the server, and what is said to it.
//!
//! One script holds every command, so a decision is one round trip. Servers know
//! it by its SHA-1; one that does not (`NOSCRIPT`) is given the text.

use std::sync::LazyLock;

use aws_lc_rs::digest;

use super::resp::{begin, put};
use crate::id;

/// The script's text: one part after the other, as one chunk of Lua.
static TEXT: &str = concat!(
    include_str!("counters.lua"),
    include_str!("account.lua"),
    include_str!("commands.lua"),
    include_str!("shares.lua"),
);

static SHA: LazyLock<String> = LazyLock::new(|| {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, TEXT.as_bytes());
    id::hex(digest.as_ref())
});

/// One call of the script, about one or two accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invocation {
    /// What it is about; says where it goes in a cluster.
    pub(super) key: Box<str>,
    /// Arguments in `body`.
    count: usize,
    body: Vec<u8>,
}

impl Invocation {
    /// A command of the script; `now` stands in for the server's clock in tests.
    pub(super) fn new(command: &str, accounts: &[&str], now: Option<u64>) -> Self {
        let key = accounts.first().copied().unwrap_or_default().into();
        let mut call = Self { key, count: 0, body: Vec::with_capacity(512) };
        call.number(accounts.len() as u64);
        for account in accounts {
            call.text(account);
        }
        call.text(command);
        call.optional(now)
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.count += 1;
        put(&mut self.body, text.as_bytes());
        self
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }

    pub(super) fn flag(&mut self, flag: bool) -> &mut Self {
        self.text(if flag { "1" } else { "0" })
    }

    fn optional(mut self, number: Option<u64>) -> Self {
        match number {
            Some(number) => self.number(number),
            None => self.text(""),
        };
        self
    }

    /// The bytes to send to a server that knows the script.
    pub(super) fn short(&self) -> Vec<u8> {
        self.with("EVALSHA", &SHA)
    }

    /// The bytes to send to a server that does not.
    pub(super) fn whole(&self) -> Vec<u8> {
        self.with("EVAL", TEXT)
    }

    fn with(&self, command: &str, script: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + script.len() + 40);
        begin(&mut out, self.count + 2);
        put(&mut out, command.as_bytes());
        put(&mut out, script.as_bytes());
        out.extend_from_slice(&self.body);
        out
    }

    /// The call as it is written down to be made later.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + self.key.len() + 8);
        out.extend_from_slice(&(self.count as u32).to_le_bytes());
        out.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.body);
        out
    }

    /// Reads what [`Invocation::to_bytes`] wrote; `None` when it is something else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (key, body) = rest.split_at_checked(length)?;
        let key = std::str::from_utf8(key).ok()?.into();
        Some(Self { key, count: u32::from_le_bytes(*count) as usize, body: body.to_vec() })
    }
}

/// The name of an account's hash.
pub(super) fn account(subject: &str) -> String {
    let mut name = String::with_capacity(subject.len() + 7);
    name.push_str("weir:{");
    for c in subject.chars() {
        match c {
            '{' | '}' | '%' => name.push_str(&format!("%{:02x}", c as u32)),
            c => name.push(c),
        }
    }
    name.push('}');
    name
}

/// The subject of an account; `None` when the key is something else's.
pub(super) fn subject(account: &str) -> Option<String> {
    let text = account.strip_prefix("weir:{")?.strip_suffix('}')?;
    Some(text.replace("%7b", "{").replace("%7d", "}").replace("%25", "%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_named_by_their_subject_and_back() {
        for name in ["ada", "", "a}b{c", "%7b", "ü:{}%"] {
            let key = account(name);
            assert_eq!(subject(&key).as_deref(), Some(name), "{key}");
            assert_eq!((key.matches('{').count(), key.matches('}').count()), (1, 1), "{key}");
        }
        assert_eq!(subject("weir:books"), None);
    }

    #[test]
    fn a_call_survives_being_written_down() {
        let mut call = Invocation::new("settle", &["weir:{ada}"], Some(5));
        call.text("id").number(7).flag(true);
        assert_eq!(Invocation::from_bytes(&call.to_bytes()), Some(call));
        assert_eq!(Invocation::from_bytes(b"1234"), None);
    }
}
