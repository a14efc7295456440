//! Where a request really comes from, when trusted proxies stand in front of Weir.
//!
//! A proxy appends whom it was called by to `X-Forwarded-For`, or to `Forwarded`
//! (RFC 7239). The list is walked from its right end, where the proxies that are
//! trusted wrote, to the first address that is not a trusted proxy: that is the
//! caller's. What stands further left is the caller's own story. Where a proxy
//! sends `X-Forwarded-For`, `Forwarded` is not believed: it may have come through.
//!
//! From any other peer nothing of this is read. What the upstream is told stands in
//! [`super::introduce`].
//!
//! # Failure
//! An entry that is no address ends the walk at the last good one: the proxy that
//! wrote it then stands for the caller.
//!
//! # Limits
//! [`MAX_HOPS`] entries, from the right.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use crate::policy::trusted::Trusted;

pub(super) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The most entries that are walked.
pub(super) const MAX_HOPS: usize = 32;

pub(super) type Hops = SmallVec<[IpAddr; 4]>;

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Connected<'a> {
    /// Its address.
    pub ip: IpAddr,
    /// The same as text.
    pub text: &'a HeaderValue,
    /// Whether it came over a unix socket, which has no address of its own.
    pub is_unix: bool,
}

/// Where a request comes from.
#[derive(Clone, Debug)]
pub struct CallerAddress {
    /// The caller's address.
    pub ip: IpAddr,
    /// The same, ready to be forwarded and logged.
    pub text: HeaderValue,
    /// Whether a trusted proxy is the peer: its word counts.
    pub vouched: bool,
    /// What the trusted proxy sent, from left to right.
    pub(super) hops: Hops,
}

impl CallerAddress {
    /// What `headers` say of the caller, as far as the peer is believed.
    pub fn of(trusted: &Trusted, peer: Connected<'_>, headers: &HeaderMap) -> Self {
        let Connected { ip, text, is_unix } = peer;
        let believed = if is_unix { trusted.unix } else { trusted.has(ip) };
        if !believed {
            return Self { ip, text: text.clone(), vouched: false, hops: Hops::new() };
        }
        let hops = hops(headers);
        let mut found = ip;
        for hop in hops.iter().rev() {
            found = *hop;
            if !trusted.has(*hop) {
                break;
            }
        }
        let text = if found == ip { Some(text.clone()) } else { value(&found.to_string()) };
        let text = text.unwrap_or(HeaderValue::from_static("unknown"));
        Self { ip: found, text, vouched: true, hops }
    }

    /// The address as text.
    pub fn text(&self) -> &str {
        self.text.to_str().unwrap_or("unknown")
    }
}

/// The good entries at the right end of the list, from left to right.
fn hops(headers: &HeaderMap) -> Hops {
    let mut hops = Hops::new();
    let lists = headers.get_all(FOR);
    match lists.iter().next() {
        Some(_) => walk(lists.iter(), address, &mut hops),
        None => walk(headers.get_all(header::FORWARDED).iter(), forwarded_for, &mut hops),
    }
    hops.reverse();
    hops
}

fn walk<'h>(
    lists: impl DoubleEndedIterator<Item = &'h HeaderValue>,
    read: fn(&str) -> Option<IpAddr>,
    hops: &mut Hops,
) {
    for list in lists.rev() {
        let Ok(list) = list.to_str() else { return };
        for entry in list.rsplit(',') {
            let Some(ip) = read(entry.trim()) else { return };
            hops.push(ip.to_canonical());
            if hops.len() == MAX_HOPS {
                return;
            }
        }
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(entry: &str) -> Option<IpAddr> {
    if let Ok(ip) = entry.parse::<IpAddr>() {
        return Some(ip);
    }
    if let Ok(socket) = entry.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6)
}

/// The address in `for=…` of one element of `Forwarded`; names and `unknown` are none.
pub(super) fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, node) = pair.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("for") {
            let node = node.trim();
            let plain = node.strip_prefix('"').and_then(|node| node.strip_suffix('"'));
            let ip = address(plain.unwrap_or(node))?;
            if found.replace(ip).is_some() {
                return None;
            }
        }
    }
    found
}

pub(super) fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
pub(super) mod samples;

#[cfg(test)]
mod tests {
    use super::{
        samples::{head, ip, origin, trusted},
        *,
    };

    #[test]
    fn the_walk_goes_from_the_right_past_trusted_proxies() {
        for (list, found) in [
            ("203.0.113.7", "203.0.113.7"),
            ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
            ("6.6.6.6,203.0.113.7,10.1.1.1 ,fd00::1", "203.0.113.7"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("10.9.9.9", "10.9.9.9"),
            ("10.9.9.9, 10.8.8.8", "10.9.9.9"),
            // What is no address ends the walk at the last good hop.
            ("203.0.113.7, unknown", "10.0.0.1"),
            ("203.0.113.7, , 10.2.2.2", "10.2.2.2"),
            ("203.0.113.7, 10.2.2.2,", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("203.0.113.7;10.2.2.2", "10.0.0.1"),
            ("203.0.113.256", "10.0.0.1"),
        ] {
            let found_here = origin("10.0.0.1", &head(&[("x-forwarded-for", list)]));
            assert_eq!((found_here.ip, found_here.vouched), (ip(found), true), "{list}");
            assert_eq!(found_here.text(), found, "{list}");
            let elsewhere = origin("192.0.2.1", &head(&[("x-forwarded-for", list)]));
            assert_eq!((elsewhere.ip, elsewhere.vouched), (ip("192.0.2.1"), false), "{list}");
        }
    }

    #[test]
    fn a_unix_socket_is_trusted_by_its_name_and_not_by_the_address_it_stands_for() {
        let (text, headers) =
            (value("10.0.0.1").expect("text"), head(&[("x-forwarded-for", "203.0.113.7")]));
        let vouched = |trusted: &Trusted| {
            let connected = Connected { ip: ip("10.0.0.1"), text: &text, is_unix: true };
            CallerAddress::of(trusted, connected, &headers).vouched
        };
        assert!(!vouched(&trusted()));
        assert!(vouched(&Trusted { unix: true, ..Trusted::default() }));
    }

    #[test]
    fn several_fields_are_one_list_and_its_length_is_bounded() {
        let two = head(&[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "10.2.2.2")]);
        assert_eq!(origin("10.0.0.1", &two).ip, ip("203.0.113.7"));
        let mut long = HeaderMap::new();
        let list = format!("203.0.113.7{}", ", 10.2.2.2".repeat(MAX_HOPS));
        long.insert(FOR, value(&list).expect("a value"));
        assert_eq!(origin("10.0.0.1", &long).ip, ip("10.2.2.2"));
    }

    #[test]
    fn forwarded_is_read_where_the_other_list_is_not_there() {
        for (list, found) in [
            ("for=203.0.113.7", "203.0.113.7"),
            ("for=6.6.6.6, For=\"203.0.113.7:80\";proto=https, for=10.2.2.2", "203.0.113.7"),
            ("for=\"[2001:db8::1]:443\"", "2001:db8::1"),
            ("for=203.0.113.7, for=unknown", "10.0.0.1"),
            ("for=203.0.113.7, for=_hidden", "10.0.0.1"),
            ("for=203.0.113.7, by=10.2.2.2", "10.0.0.1"),
            ("for=203.0.113.7;for=6.6.6.6", "10.0.0.1"),
            ("for=\"203.0.113.7", "10.0.0.1"),
        ] {
            assert_eq!(origin("10.0.0.1", &head(&[("forwarded", list)])).ip, ip(found), "{list}");
        }
        let both = head(&[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "203.0.113.7")]);
        assert_eq!(origin("10.0.0.1", &both).ip, ip("203.0.113.7"));
    }
}
