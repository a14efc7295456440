//! The pack `private_addresses`: where the inner network's machines are.
//!
//! The patterns take whole runs of digits, letters and dots, so that a version
//! number or a public name is never cut in two; the judges parse them.
//!
//! # Limits
//! `name.local` is also how code names things; well-known such names pass.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Secret;
use super::judge::{Site, Verdict, border, pass, whole};

#[rustfmt::skip]
pub(super) const SECRETS: &[Secret] = &[
    Secret { pattern: r"<left>(?:10|127|172|192|169|100)(?:\.[0-9]+){3}[\w.]*(?::[0-9]+)?", judge: v4 },
    Secret { pattern: r"<left>(?i:f[cd][0-9a-f]{2}|fe[89ab][0-9a-f]):[0-9A-Fa-f:.]+(?:%\w+)?", judge: v6 },
    Secret { pattern: r"<left>(?i:localhost):[0-9]+", judge: whole },
    Secret { pattern: r"<left>[\w-]+(?:\.[\w-]+)*\.(?i:internal|local|lan|corp)(?:\.[\w-]+)*(?::[0-9]+|\()?", judge: host },
];

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
    let start = border(site.bytes);
    let name = &site.bytes[start..];
    let end = name.iter().position(|byte| b":(".contains(byte)).unwrap_or(name.len());
    let mut labels = name[..end].split(|byte| *byte == b'.');
    let first = labels.next().unwrap_or_default();
    let last = labels.next_back().unwrap_or_default();
    let inner = ["internal", "local", "lan", "corp"]
        .iter()
        .any(|zone| last.eq_ignore_ascii_case(zone.as_bytes()));
    let code = NOT_HOSTS.iter().any(|word| first.eq_ignore_ascii_case(word.as_bytes()))
        || name.ends_with(b"(");
    let inside = start == 0 && site.before.is_some_and(|byte| b".$-".contains(&byte));
    if inner && !code && !inside { whole(site) } else { pass(site) }
}

fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
