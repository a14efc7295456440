//! `[enforcement]`: whether decisions are enforced, and who may not come in at all.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use super::super::{
    diagnostic::Diagnostic,
    identity::address_subject,
    read::{At, Parsed, Table, Wrong, words},
};

/// Longest subject that any source gives out, with the source's name in front, in bytes.
const MAX_SUBJECT: usize = 512;

/// Whether decisions are enforced, and who is blocked.
#[derive(Debug, Clone)]
pub struct EnforcementFile {
    /// The mode. Default `enforce`.
    pub mode: At<Mode>,
    /// Subjects that are refused whatever they ask. Default none.
    pub blocked: Vec<At<SubjectFile>>,
}

words! {
    /// Whether decisions are enforced.
    "a mode such as \"enforce\""
    pub enum Mode {
        /// What is refused is refused.
        Enforce = "enforce",
        /// Decisions are counted and logged, but nothing is refused.
        Shadow = "shadow",
        /// The emergency bypass: nothing is decided.
        Off = "off",
    }
}

/// A subject as logs name it: `u1`, `path:u7`, `address:192.0.2.1`, `address:2001:db8::/64`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubjectFile(String);

impl SubjectFile {
    /// The subject.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubjectFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Parsed for SubjectFile {
    const WANTED: &'static str = "a subject such as \"u1\" or \"path:u7\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |message: &str| Err(Wrong::new(message, "write a subject as the logs name it"));
        if text.is_empty() || text.len() > MAX_SUBJECT || text.chars().any(char::is_control) {
            return wrong("no subject is called this");
        }
        match text.strip_prefix("address:") {
            Some(address) => match known_as(address) {
                Some(known) if known == text => {}
                Some(known) => {
                    let wrong = Wrong::new(
                        "no subject is called this",
                        "write the address as the logs do; IPv6 callers are known by their /64",
                    );
                    return Err(Wrong { mended: Some(known), ..wrong });
                }
                None => return wrong("this is not an address"),
            },
            None if text == "path:" => return wrong("no subject is called this"),
            None => {}
        }
        Ok(Self(text.to_owned()))
    }
}

/// What the subject of an address, or of an IPv6 network of the usual size, is called.
fn known_as(address: &str) -> Option<String> {
    let network = address.strip_suffix("/64").and_then(|text| text.parse::<Ipv6Addr>().ok());
    let ip = network.map(IpAddr::V6).or_else(|| address.parse().ok())?;
    Some(address_subject(ip).to_string())
}

pub(super) fn read(table: &mut Table<'_, '_>) -> EnforcementFile {
    let mode = table.or("mode", Mode::Enforce);
    if mode.value == Mode::Off {
        let warning =
            Diagnostic::warning("nothing is enforced: quotas, budgets and rules are bypassed");
        table
            .reader()
            .push(warning.at(mode.span, "").help("write \"enforce\" when the emergency is over"));
    }
    let blocked: Option<At<Vec<At<SubjectFile>>>> = table.optional("blocked");
    let blocked = blocked.map(|list| list.value).unwrap_or_default();
    let places = blocked.iter().map(|entry| (entry.value.clone(), entry.span));
    table.reader().refuse_repeated(places, "this subject is blocked twice", "keep one of them");
    EnforcementFile { mode, blocked }
}
