//! Where a request really comes from, when trusted proxies stand in front of Weir.
//!
//! A proxy appends whom it was called by to `X-Forwarded-For`, or to `Forwarded`
//! (RFC 7239). The list is walked from its right end, where the proxies that are
//! trusted wrote, to the first address that is not a trusted proxy: that is the
//! caller's. What stands further left is the caller's own story. Where a proxy
//! sends `X-Forwarded-For`, `Forwarded` is not believed: it may have come through.
//!
//! From any other peer nothing of this is read; all of it is replaced.
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

use super::target;
use crate::policy::trusted::Trusted;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The most entries that are walked.
const MAX_HOPS: usize = 32;

type Hops = SmallVec<[IpAddr; 4]>;

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
    hops: Hops,
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
fn forwarded_for(element: &str) -> Option<IpAddr> {
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

/// What a trusted proxy said beside addresses, before the head is cleaned.
#[derive(Debug, Default)]
pub struct Said {
    proto: Option<HeaderValue>,
    host: Option<HeaderValue>,
    port: Option<HeaderValue>,
    forwarded: Option<HeaderValue>,
}

impl Said {
    /// Keeps what may be passed on; from a peer that is not trusted nothing.
    pub fn keep(origin: &CallerAddress, headers: &HeaderMap) -> Self {
        if !origin.vouched {
            return Self::default();
        }
        let proto = |value: &HeaderValue| value == "https" || value == "http";
        let host = |value: &HeaderValue| value.to_str().is_ok_and(target::is_host);
        let port = |value: &HeaderValue| {
            value.to_str().is_ok_and(|text| text.len() <= 5 && text.parse::<u16>().is_ok())
        };
        Self {
            proto: only(headers, &PROTO).filter(|value| proto(value)).cloned(),
            host: only(headers, &HOST).filter(|value| host(value)).cloned(),
            port: only(headers, &PORT).filter(|value| port(value)).cloned(),
            // A proxy that writes the other list has not looked at this one.
            forwarded: (!headers.contains_key(FOR)).then(|| elements(headers)).flatten(),
        }
    }
}

/// `Forwarded` as one list, if every element of it has an address.
fn elements(headers: &HeaderMap) -> Option<HeaderValue> {
    let values = headers.get_all(header::FORWARDED);
    let texts: Option<Vec<&str>> = values.iter().map(|value| value.to_str().ok()).collect();
    let list = texts.filter(|texts| !texts.is_empty())?.join(", ");
    let sound = list.split(',').count() <= MAX_HOPS
        && list.split(',').all(|element| forwarded_for(element.trim()).is_some());
    sound.then(|| value(&list)).flatten()
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Says who asked, in fields that [`super::headers::clean_request`] has emptied. `peer` is the
/// address of whoever is connected, `host` what was asked for.
pub fn introduce(
    fields: &mut HeaderMap,
    origin: &CallerAddress,
    said: Said,
    peer: (IpAddr, &HeaderValue),
    host: &HeaderValue,
) {
    fields.insert(HOST, said.host.unwrap_or_else(|| host.clone()));
    fields.insert(PROTO, said.proto.unwrap_or(HeaderValue::from_static("https")));
    if !origin.vouched {
        fields.insert(FOR, peer.1.clone());
        return;
    }
    fields.insert(FOR, continued(&origin.hops, peer.1));
    fields.insert(REAL_IP, origin.text.clone());
    if let Some(port) = said.port {
        fields.insert(PORT, port);
    }
    if let Some(list) = said.forwarded {
        let node = match peer.0 {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("\"[{ip}]\""),
        };
        let list = format!("{}, for={node}", list.to_str().unwrap_or_default());
        fields.extend(value(&list).map(|list| (header::FORWARDED, list)));
    }
}

/// The list with the peer at its end. Entries are written anew: nothing but addresses passes.
fn continued(hops: &Hops, peer: &HeaderValue) -> HeaderValue {
    if hops.is_empty() {
        return peer.clone();
    }
    let mut list: String = hops.iter().map(|hop| format!("{hop}, ")).collect();
    list.push_str(peer.to_str().unwrap_or("unknown"));
    value(&list).unwrap_or_else(|| peer.clone())
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    fn trusted() -> Trusted {
        let network = |text: &str| text.parse().expect("a network");
        Trusted { networks: vec![network("10.0.0.0/8"), network("fd00::/8")], unix: false }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn origin(peer: &str, headers: &HeaderMap) -> CallerAddress {
        let text = value(peer).expect("text");
        let connected = Connected { ip: ip(peer), text: &text, is_unix: false };
        CallerAddress::of(&trusted(), connected, headers)
    }

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
        let (text, headers) = (value("10.0.0.1").expect("text"), head(&STORY));
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

    fn introduced(peer: &str, headers: &HeaderMap) -> Vec<(String, String)> {
        let origin = origin(peer, headers);
        let said = Said::keep(&origin, headers);
        let mut fields = HeaderMap::new();
        let text = value(peer).expect("text");
        let host = HeaderValue::from_static("api.example");
        introduce(&mut fields, &origin, said, (ip(peer), &text), &host);
        let text = |value: &HeaderValue| value.to_str().expect("text").to_owned();
        let mut all: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        all.sort();
        all
    }

    const STORY: [(&str, &str); 5] = [
        ("x-forwarded-for", "6.6.6.6, 203.0.113.7:99"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-port", "80"),
        ("forwarded", "for=6.6.6.6"),
    ];

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn the_list_is_continued_for_a_trusted_proxy_and_replaced_for_others() {
        let trusted = introduced("10.0.0.1", &head(&STORY));
        assert_eq!(
            trusted,
            owned(&[
                ("x-forwarded-for", "6.6.6.6, 203.0.113.7, 10.0.0.1"),
                ("x-forwarded-host", "shop.example"),
                ("x-forwarded-port", "80"),
                ("x-forwarded-proto", "http"),
                ("x-real-ip", "203.0.113.7"),
            ])
        );
        let other = introduced("192.0.2.1", &head(&STORY));
        assert_eq!(
            other,
            owned(&[
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-host", "api.example"),
                ("x-forwarded-proto", "https"),
            ])
        );
    }

    #[test]
    fn what_a_trusted_proxy_says_must_be_sound() {
        let odd = head(&[
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "a/#@b"),
            ("x-forwarded-port", "99999"),
            ("forwarded", "for=203.0.113.7, for=\"[2001:db8::1]\""),
        ]);
        assert_eq!(
            introduced("fd00::1", &odd),
            owned(&[
                ("forwarded", "for=203.0.113.7, for=\"[2001:db8::1]\", for=\"[fd00::1]\""),
                ("x-forwarded-for", "203.0.113.7, 2001:db8::1, fd00::1"),
                ("x-forwarded-host", "api.example"),
                ("x-forwarded-proto", "https"),
                ("x-real-ip", "2001:db8::1"),
            ])
        );
    }
}
