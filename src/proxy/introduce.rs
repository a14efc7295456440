//! What the upstream is told of who asks.
//!
//! Behind a trusted proxy its own story is continued, as far as it is sound: its
//! list of addresses written anew with the peer at its end, the scheme, host and
//! port that it was asked for. For every other peer all of this begins here.
//!
//! # Failure
//! None: what is not sound is replaced by what Weir itself knows, or left out.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    forwarded::{CallerAddress, FOR, Hops, MAX_HOPS, forwarded_for, value},
    target,
};

const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

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

impl Said {
    /// Without TLS, and without a better word, the scheme is http.
    pub fn over(mut self, is_secure: bool) -> Self {
        if !is_secure {
            self.proto.get_or_insert(HeaderValue::from_static("http"));
        }
        self
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
pub fn upstream(
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

#[cfg(test)]
mod tests {
    use super::{
        super::forwarded::samples::{head, ip, origin},
        *,
    };

    fn introduced(peer: &str, headers: &HeaderMap) -> Vec<(String, String)> {
        let origin = origin(peer, headers);
        let said = Said::keep(&origin, headers);
        let mut fields = HeaderMap::new();
        let text = value(peer).expect("text");
        let host = HeaderValue::from_static("api.example");
        upstream(&mut fields, &origin, said, (ip(peer), &text), &host);
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
