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

    fn put(&self, out: &mut Vec<u8>) {
        for length in [self.count, self.key.len(), self.body.len()] {
            out.extend_from_slice(&(length as u32).to_le_bytes());
        }
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.body);
    }

    /// Reads what [`Invocation::put`] wrote, and what is behind it.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (count, bytes) = number(bytes)?;
        let (key, bytes) = number(bytes)?;
        let (body, bytes) = number(bytes)?;
        let (key, bytes) = bytes.split_at_checked(key)?;
        let (body, bytes) = bytes.split_at_checked(body)?;
        let key = std::str::from_utf8(key).ok()?.into();
        Some((Self { key, count, body: body.to_vec() }, bytes))
    }
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number) as usize, rest))
}

/// Calls as they are written down to be made later, one after the other.
pub(super) fn to_bytes(calls: &[Invocation]) -> Vec<u8> {
    let mut out = Vec::with_capacity(calls.iter().map(|call| call.body.len() + 64).sum());
    calls.iter().for_each(|call| call.put(&mut out));
    out
}

/// Reads what [`to_bytes`] wrote; `None` when it is something else.
pub(super) fn from_bytes(mut bytes: &[u8]) -> Option<Vec<Invocation>> {
    let mut calls = Vec::new();
    while !bytes.is_empty() {
        let (call, rest) = Invocation::read(bytes)?;
        calls.push(call);
        bytes = rest;
    }
    Some(calls)
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
    fn calls_survive_being_written_down() {
        let mut one = Invocation::new("settle", &["weir:{ada}"], Some(5));
        one.text("id").number(7).flag(true);
        let two = Invocation::new("report", &["weir:{ada}", "weir:{pool:*}"], None);
        for calls in [vec![], vec![one.clone()], vec![two.clone(), one.clone(), two]] {
            let bytes = to_bytes(&calls);
            for cut in 1..bytes.len() {
                let read = from_bytes(&bytes[..cut]);
                assert!(read.is_none_or(|read| read.len() < calls.len()), "{cut}");
            }
            assert_eq!(from_bytes(&bytes), Some(calls));
        }
        assert_eq!(from_bytes(b"1234"), None);
    }
}
