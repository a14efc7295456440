//! Heads and callers that the tests of forwarding headers begin from.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{CallerAddress, Connected, value};
use crate::policy::trusted::Trusted;

/// A head with these fields.
pub fn head(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

/// Proxies in 10.0.0.0/8 and fd00::/8.
pub fn trusted() -> Trusted {
    let network = |text: &str| text.parse().expect("a network");
    Trusted { networks: vec![network("10.0.0.0/8"), network("fd00::/8")], unix: false }
}

/// An address.
pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Where a request of `peer` comes from, as far as proxies in 10.0.0.0/8 and fd00::/8 say.
pub fn origin(peer: &str, headers: &HeaderMap) -> CallerAddress {
    let text = value(peer).expect("text");
    let connected = Connected { ip: ip(peer), text: &text, is_unix: false };
    CallerAddress::of(&trusted(), connected, headers)
}
