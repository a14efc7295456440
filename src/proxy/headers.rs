//! Which header fields may pass, in both directions.
//!
//! Hop-by-hop fields end at each side (RFC 9110, 7.6.1), also those that
//! `Connection` names. Fields that carry identity, routing or cost may only be
//! set by Weir: from a caller they are dropped, with their spellings that use
//! `_`, which some servers read as `-`.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use smallvec::SmallVec;

type Names = SmallVec<[HeaderName; 8]>;

/// Removes from a caller's head what must not reach the upstream.
pub fn clean_request(headers: &mut HeaderMap) {
    let mut doomed = named_by_connection(headers);
    doomed.extend(headers.keys().filter(|name| is_ours(name.as_str())).cloned());
    remove(headers, &doomed);
    remove_hop_by_hop(headers);
    join_cookies(headers);
}

/// Removes from an upstream's head what must not reach the caller.
pub fn clean_response(headers: &mut HeaderMap) {
    let mut doomed = named_by_connection(headers);
    let ours = |name: &&HeaderName| is_answer_ours(name.as_str());
    doomed.extend(headers.keys().filter(ours).cloned());
    remove(headers, &doomed);
    remove_hop_by_hop(headers);
}

fn remove(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::PROXY_AUTHORIZATION,
        header::PROXY_AUTHENTICATE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("http2-settings"),
    ] {
        headers.remove(name);
    }
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
    matches!(name, "x-user-tier" | "x-agent-cost-usd" | "x-request-id")
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
        clean_request(&mut headers);
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
        clean_request(&mut headers);
        let left = names(&headers);
        assert_eq!(left, ["content-length", "host"]);
    }

    #[test]
    fn cookies_are_joined() {
        let mut headers = head(&[("cookie", "a=1"), ("cookie", "b=2")]);
        clean_request(&mut headers);
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
        clean_response(&mut headers);
        let left = names(&headers);
        assert_eq!(left, ["retry-after", "x-other"]);
    }
}
