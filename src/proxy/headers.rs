//! Which header fields may pass, in both directions.
//!
//! Hop-by-hop fields end at each side (RFC 9110, 7.6.1), also those that
//! `Connection` names. Fields that carry identity, routing or cost may only be
//! set by Weir: from a caller they are dropped, with their spellings that use
//! `_`, which some servers read as `-`.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

use crate::telemetry::Protocol;

type Names = SmallVec<[HeaderName; 4]>;

/// Whether a field is there. A head has few: to look at each name costs less than to hash one, and
/// what is looked for is mostly absent.
pub fn has(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.keys().any(|known| known == name)
}

/// Removes from a caller's head what must not reach the upstream, and what `also` names.
pub fn clean_request(headers: &mut HeaderMap, also: impl Fn(&HeaderName) -> bool) {
    let mut cookies = false;
    clean(headers, |name| {
        cookies |= *name == header::COOKIE;
        is_ours(name.as_str()) || also(name)
    });
    if cookies {
        join_cookies(headers);
    }
}

/// Removes from an upstream's head what must not reach the caller, and what `also` names.
pub fn clean_response(headers: &mut HeaderMap, mut also: impl FnMut(&HeaderName) -> bool) {
    clean(headers, |name| is_answer_ours(name.as_str()) || also(name));
}

/// Looks at each name once: a removal of one that is not there costs a hash.
fn clean(headers: &mut HeaderMap, mut dies: impl FnMut(&HeaderName) -> bool) {
    let (mut doomed, mut connects) = (Names::new(), false);
    for name in headers.keys() {
        connects |= *name == header::CONNECTION;
        if is_hop_by_hop(name) || dies(name) {
            doomed.push(name.clone());
        }
    }
    if connects {
        doomed.append(&mut named_by_connection(headers));
    }
    remove(headers, &doomed);
}

/// Removes from trailers what must stand in a head or nowhere: framing, routing, identity, and what
/// says how the body is to be read (RFC 9110, 6.5.1).
pub fn clean_trailers(trailers: &mut HeaderMap) {
    let doomed: Names = trailers
        .keys()
        .filter(|name| {
            let text = name.as_str();
            NEVER_TRAILERS.contains(name)
                || is_hop_by_hop(name)
                || is_ours(text)
                || is_answer_ours(text)
                || ["content-", "if-", "proxy-", "sec-"].iter().any(|begin| text.starts_with(begin))
        })
        .cloned()
        .collect();
    remove(trailers, &doomed);
}

const NEVER_TRAILERS: [HeaderName; 20] = [
    header::AGE,
    header::AUTHORIZATION,
    header::CACHE_CONTROL,
    header::COOKIE,
    header::DATE,
    header::EXPECT,
    header::EXPIRES,
    header::HOST,
    header::LOCATION,
    header::MAX_FORWARDS,
    header::ORIGIN,
    header::PRAGMA,
    header::RANGE,
    header::RETRY_AFTER,
    header::SET_COOKIE,
    header::TRAILER,
    header::VARY,
    header::WARNING,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("x-api-key"),
];

/// Whether a caller can do with trailers (RFC 9110, 10.1.4). In HTTP/1.1 the field is the caller's
/// own only when `Connection` names it; HTTP/2 knows no such option.
pub fn wants_trailers(headers: &HeaderMap, protocol: Protocol) -> bool {
    if !has(headers, &header::TE) {
        return false;
    }
    let lists = |name: HeaderName, wanted: &[u8]| {
        headers.get_all(name).iter().any(|value| {
            let items = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            items.into_iter().any(|item| item.eq_ignore_ascii_case(wanted))
        })
    };
    lists(header::TE, b"trailers")
        && (protocol == Protocol::Http2 || lists(header::CONNECTION, b"te"))
}

fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHORIZATION
            | header::PROXY_AUTHENTICATE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Fields that `Connection` names, but never those that frame or address the message:
/// a caller must not be able to take those away (Akamai, CVE-2026-26365).
fn named_by_connection(headers: &HeaderMap) -> Names {
    let mut names = Names::new();
    for value in headers.get_all(header::CONNECTION) {
        let listed = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.extend(listed.filter_map(|name| HeaderName::from_bytes(name).ok()).filter(|name| {
            ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::HOST].contains(name)
        }));
    }
    names
}

/// Fields of a request that only Weir may set, and every name with `_`: they say who calls, which
/// way the request went, or that another path or method is meant than the one that was judged.
fn is_ours(name: &str) -> bool {
    let first = name.as_bytes().first().copied().unwrap_or_default();
    if !matches!(first, b'x' | b'r' | b'f' | b't' | b'c') {
        return name.contains('_');
    }
    name.contains('_')
        || matches!(
            name,
            "x-user-tier"
                | "x-agent-cost-usd"
                | "x-litellm-response-cost"
                | "x-real-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "true-client-ip"
                | "cf-connecting-ip"
                | "cf-connecting-ipv6"
                | "fastly-client-ip"
                | "x-host"
                | "x-rewrite-url"
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
                | "x-request-id"
                | "forwarded"
        )
        || ["x-forwarded-", "x-original-", "x-envoy-", "x-cost-", "x-ratelimit-", "ratelimit"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Fields of an answer that only Weir may set.
fn is_answer_ours(name: &str) -> bool {
    let first = name.as_bytes().first().copied().unwrap_or_default();
    if !matches!(first, b'x' | b'r' | b'a') {
        return false;
    }
    matches!(name, "x-user-tier" | "x-agent-cost-usd" | "x-litellm-response-cost" | "x-request-id")
        || ["access-control-", "x-cost-", "x-ratelimit-", "ratelimit"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// HTTP/2 may split cookies over fields; HTTP/1.1 wants them in one (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: SmallVec<[HeaderValue; 2]> =
        headers.get_all(header::COOKIE).iter().cloned().collect();
    if cookies.len() < 2 {
        return;
    }
    let joined = cookies.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_caller_cannot_speak_for_us() {
        let mut headers = head(&[
            ("x-user-tier", "admin"),
            ("x_user_tier", "admin"),
            ("x-cost-used-today", "0"),
            ("x-agent-cost-usd", "0"),
            ("x-ratelimit-limit", "9"),
            ("ratelimit-policy", "x"),
            ("x-real-ip", "127.0.0.1"),
            ("x_forwarded_for", "127.0.0.1"),
            ("x-forwarded-client-cert", "x"),
            ("forwarded", "for=127.0.0.1"),
            ("x-original-url", "/admin"),
            ("x-original-host", "admin"),
            ("x-http-method-override", "DELETE"),
            ("x-envoy-external-address", "127.0.0.1"),
            ("true-client-ip", "127.0.0.1"),
            ("cf-connecting-ip", "127.0.0.1"),
            ("x-request-id", "mine"),
            ("x-mine", "stays"),
            ("range", "bytes=0-1"),
        ]);
        clean_request(&mut headers, |_| false);
        let left = names(&headers);
        assert_eq!(left, ["range", "x-mine"]);
    }

    #[test]
    fn connection_takes_its_own_fields_but_no_framing() {
        let mut headers = head(&[
            ("connection", "close, X-Secret, content-length, host"),
            ("x-secret", "1"),
            ("content-length", "5"),
            ("host", "a"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
        ]);
        clean_request(&mut headers, |_| false);
        let left = names(&headers);
        assert_eq!(left, ["content-length", "host"]);
    }

    #[test]
    fn trailers_neither_frame_nor_route_nor_identify() {
        let mut trailers = head(&[
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("content-type", "text/html"),
            ("host", "evil.example"),
            ("authorization", "Bearer x"),
            ("x-api-key", "x"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x_user_tier", "admin"),
            ("x-user-tier", "admin"),
            ("x-ratelimit-limit", "9"),
            ("set-cookie", "a=b"),
            ("connection", "x-checksum"),
            ("trailer", "x-checksum"),
            ("te", "trailers"),
            ("grpc-status", "0"),
            ("grpc-message", "fine"),
            ("x-checksum", "abc"),
            ("server-timing", "db;dur=1"),
        ]);
        clean_trailers(&mut trailers);
        let left = names(&trailers);
        assert_eq!(left, ["grpc-message", "grpc-status", "server-timing", "x-checksum"]);
    }

    #[test]
    fn trailers_are_wanted_by_name() {
        let (http1, http2) = (Protocol::Http1, Protocol::Http2);
        assert!(wants_trailers(&head(&[("te", "gzip, Trailers")]), http2));
        assert!(!wants_trailers(&head(&[("te", "trailers;q=0.5")]), http2));
        assert!(!wants_trailers(&head(&[]), http2));
        assert!(!wants_trailers(&head(&[("te", "trailers")]), http1));
        assert!(wants_trailers(&head(&[("te", "trailers"), ("connection", "x, TE")]), http1));
    }

    #[test]
    fn cookies_are_joined() {
        let mut headers = head(&[("cookie", "a=1"), ("cookie", "b=2")]);
        clean_request(&mut headers, |_| false);
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn an_upstream_cannot_speak_for_us_either() {
        let mut headers = head(&[
            ("access-control-allow-origin", "*"),
            ("x-ratelimit-remaining", "1"),
            ("x-cost-used-today", "1"),
            ("x-agent-cost-usd", "0.1"),
            ("x-request-id", "theirs"),
            ("retry-after", "3"),
            ("x-other", "stays"),
        ]);
        clean_response(&mut headers, |_| false);
        let left = names(&headers);
        assert_eq!(left, ["retry-after", "x-other"]);
    }
}
