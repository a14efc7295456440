//! The pack `private_addresses`: where the inner network's machines are.
//!
//! The patterns take whole runs of digits, letters and dots, so that a version
//! number or a public name is never cut in two; the judges parse them.
//!
//! # Limits
//! `name.local` is also how code names things; well-known such names pass.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::judge::{Site, Verdict, border, pass, whole};
use super::{Secret, bytes};

#[rustfmt::skip]
pub(super) const SECRETS: &[Secret] = &[
    Secret::new(&["10.", "127.", "172.", "192.168.", "169.254.", "100."], r"[0-9]+(?:\.[0-9]+)+[\w.]*(?::[0-9]+)?", v4),
    Secret::new(UNIQUE_LOCAL, r"[0-9a-fA-F]:[0-9A-Fa-f:.]+(?:%\w+)?", v6).any_case(),
    Secret::new(&["localhost:"], r"[0-9]+", whole).any_case(),
    Secret::inside(&[".internal", ".local", ".lan", ".corp"], r"[\w-]*(?:\.[\w-]+){0,8}(?::[0-9]+|\()?", host).any_case().reaching(&NAME),
];

/// The beginnings of fc00::/7 and fe80::/10.
#[rustfmt::skip]
const UNIQUE_LOCAL: &[&str] = &[
    "fc0", "fc1", "fc2", "fc3", "fc4", "fc5", "fc6", "fc7", "fc8", "fc9", "fca", "fcb", "fcc", "fcd", "fce", "fcf",
    "fd0", "fd1", "fd2", "fd3", "fd4", "fd5", "fd6", "fd7", "fd8", "fd9", "fda", "fdb", "fdc", "fdd", "fde", "fdf",
    "fe8", "fe9", "fea", "feb",
];

static NAME: [bool; 256] = bytes(b"_.-");

/// First labels that tell an identifier of code, or a file, from a host.
const NOT_HOSTS: &[&str] = &[
    "threading",
    "env",
    "gevent",
    "config",
    "settings",
    "self",
    "this",
    "cls",
    "super",
    "module",
    "package",
    "com",
    "org",
    "io",
    "java",
    "javax",
    "jdk",
    "sun",
    "kotlin",
    "scala",
    "github",
    "google",
    "application",
    "appsettings",
    "docker-compose",
    "contextvars",
    "werkzeug",
    "asyncio",
    "np",
    "tf",
    "torch",
    "std",
    "crate",
    "usr",
    "override",
];

fn v4(site: Site<'_>) -> Verdict {
    let start = border(site.bytes);
    let bytes = &site.bytes[start..];
    let digits = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
    let dots = bytes[..digits].iter().rev().take_while(|byte| **byte == b'.').count();
    let address = parse::<Ipv4Addr>(&bytes[..digits - dots]);
    let inner = site.before != Some(b'.') && address.is_some_and(is_private);
    match (inner, dots) {
        (false, _) => pass(site),
        (true, 0) => Verdict::Mask(start..site.bytes.len()),
        (true, _) => Verdict::Mask(start..start + digits - dots),
    }
}

fn is_private(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let shared = a == 100 && (64..128).contains(&b);
    // 127.0.0.0 is no machine, but a version of a browser.
    let loopback = a == 127 && address != Ipv4Addr::new(127, 0, 0, 0);
    address.is_private() || loopback || address.is_link_local() || shared
}

fn v6(site: Site<'_>) -> Verdict {
    let start = border(site.bytes);
    let bytes = &site.bytes[start..];
    let zone = bytes.iter().position(|byte| *byte == b'%').unwrap_or(bytes.len());
    let whole = parse::<Ipv6Addr>(&bytes[..zone]).map(|_| bytes.len());
    let end = whole.or_else(|| {
        let last = bytes[..zone].iter().rposition(|byte| !b":.".contains(byte))? + 1;
        parse::<Ipv6Addr>(&bytes[..last]).map(|_| last)
    });
    match end {
        Some(end) if site.before != Some(b':') => Verdict::Mask(start..start + end),
        _ => pass(site),
    }
}

fn host(site: Site<'_>) -> Verdict {
    let name = site.bytes;
    let end = name.iter().position(|byte| b":(".contains(byte)).unwrap_or(name.len());
    let mut labels = name[..end].split(|byte| *byte == b'.');
    let first = labels.next().unwrap_or_default();
    let last = labels.next_back().unwrap_or_default();
    let inner = ["internal", "local", "lan", "corp"]
        .iter()
        .any(|zone| last.eq_ignore_ascii_case(zone.as_bytes()));
    let code = NOT_HOSTS.iter().any(|word| first.eq_ignore_ascii_case(word.as_bytes()))
        || name.ends_with(b"(");
    let stray = first.is_empty() || first.starts_with(b"-");
    if inner && !code && !stray { Verdict::Mask(0..name.len()) } else { Verdict::Pass(0) }
}

fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
