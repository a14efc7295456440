//! First things first: is the head sound, and what kind of work is it?

use std::net::Ipv6Addr;

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, request::Parts};

use regex_automata::meta::Regex;

use super::{
    exchange::Exchange,
    headers,
    refusal::{Code, Refusal},
};
use crate::policy::{
    path,
    route::Route,
    snapshot::{HeadRules, OperationId, RequestRules},
};

/// What HPACK and RFC 9113 (6.5.2) count beside a field's octets; used for both
/// protocols so that one limit means one thing.
const FIELD_OVERHEAD: usize = 32;

/// Checks the head, canonicalises the path and matches the operation.
///
/// # Errors
/// Malformed or oversize heads, and paths that no operation claims.
pub fn resolve(exchange: &mut Exchange, head: &Parts) -> Result<(), Box<Refusal>> {
    check_size(exchange.policy.head, head)?;
    if head.method == Method::CONNECT {
        // Of what CONNECT names, nothing is served.
        return Err(not_allowed("CONNECT is not served", ""));
    }
    check_host(head)?;
    check_tenant(exchange, head)?;
    let bad = |error: path::PathError| Refusal::new(Code::BadRequest).detail(error.to_string());
    let path = path::canonical(head.uri.path()).map_err(bad)?;
    exchange.path = path.into_owned();
    let policy = std::sync::Arc::clone(&exchange.policy);
    let found = policy.router.find(&head.method, &exchange.path);
    let Some(found) = found else { return exchange.enforce(Refusal::new(Code::NotFound)) };
    // Its answer is an echo of the request, with what the policy adds for the upstream alone
    // (RFC 9110, 9.3.8), such as a provider's key: only a route that names it means it.
    if head.method == Method::TRACE && found.route.method.is_none() {
        let others = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        return Err(not_allowed("no route names TRACE", others));
    }
    exchange.operation = Some(OperationId(found.operation));
    let rules = &policy.operation(OperationId(found.operation)).rules;
    match unmet(rules, found.route, &exchange.path) {
        Some(name) => {
            let message = format!("The path parameter `{name}` is not as it should be.");
            exchange.enforce(Refusal::new(Code::BadRequest).message(message))
        }
        None => Ok(()),
    }
}

/// RFC 9110, 15.5.6 wants the methods that are allowed.
fn not_allowed(detail: &'static str, allowed: &'static str) -> Box<Refusal> {
    let mut refusal = Refusal::new(Code::MethodNotAllowed).detail(detail);
    refusal.field = Some((header::ALLOW, HeaderValue::from_static(allowed)));
    refusal
}

/// The only expectation there is (RFC 9110, 10.1.1): a server that passes over others leaves the
/// client waiting, or the next request behind a body that nobody asked for.
pub fn check_expectation(fields: &HeaderMap) -> Result<(), Box<Refusal>> {
    if !headers::has(fields, &header::EXPECT) {
        return Ok(());
    }
    let mut expectations = fields.get_all(header::EXPECT).iter();
    let sound = expectations.next().is_none_or(|value| {
        value.as_bytes().eq_ignore_ascii_case(b"100-continue") && expectations.next().is_none()
    });
    if sound { Ok(()) } else { Err(Refusal::new(Code::ExpectationFailed)) }
}

fn check_size(rules: HeadRules, head: &Parts) -> Result<(), Box<Refusal>> {
    let fields = &head.headers;
    let field = |(name, value): (&http::HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + FIELD_OVERHEAD
    };
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let total = target + fields.iter().map(field).sum::<usize>();
    if fields.len() > rules.max_fields || total > rules.max_bytes {
        return Err(Refusal::new(Code::HeadersTooLarge));
    }
    Ok(())
}

/// Exactly one host, made of the characters of RFC 3986; an absolute target wins (RFC 9112, 3.2.2).
fn check_host(head: &Parts) -> Result<(), Box<Refusal>> {
    let bad = |why: &'static str| Refusal::new(Code::BadRequest).detail(why);
    if head.uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(bad("the target holds user information"));
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("two Host headers"));
    }
    if let Some(host) = host {
        if !host.to_str().is_ok_and(is_host) {
            return Err(bad("the Host header is no host"));
        }
    } else if head.uri.authority().is_none() && head.version == Version::HTTP_11 {
        return Err(bad("no Host header"));
    }
    if head.uri.authority().is_some_and(|authority| !is_host(authority.as_str())) {
        return Err(bad("the target's authority is no host"));
    }
    Ok(())
}

/// A host and perhaps a port (RFC 3986, 3.2.2 and 3.2.3), and nothing that anybody could take for
/// more: no user in front, no escapes, nothing behind (LiteLLM, CVE-2026-49468).
pub(super) fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let name = |byte: u8| {
        matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'!'
            | b'$' | b'&'..=b',' | b';' | b'=')
    };
    let host = match literal {
        Some(ip) => ip.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(name),
    };
    let digits = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    host && port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok())
}

/// A connection that was shown one tenant's certificate carries no requests for another (RFC 9110, 15.5.20).
fn check_tenant(exchange: &Exchange, head: &Parts) -> Result<(), Box<Refusal>> {
    if !exchange.peer.has_tenants() {
        return Ok(());
    }
    let host = host(&head.uri, &head.headers);
    match host.as_ref().and_then(|host| host.to_str().ok()) {
        Some(host) if !exchange.peer.owns(host) => Err(Refusal::new(Code::MisdirectedRequest)),
        _ => Ok(()),
    }
}

/// The host that the caller asked for.
pub fn host(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    let absolute = uri.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    absolute.or_else(|| headers.get(header::HOST).cloned())
}

/// The first of the route's parameters that does not match the operation's rule as a whole.
pub fn unmet<'r>(rules: &'r RequestRules, route: &Route, path: &str) -> Option<&'r str> {
    let broken = |(name, wanted): &&(String, Regex)| {
        route.pattern.parameters().any(|parameter| parameter == name)
            && !route
                .pattern
                .capture(path, name)
                .is_some_and(|value| wanted.is_match(value.as_bytes()))
    };
    rules.parameters.iter().find(broken).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in [
            "a",
            "localhost:4000",
            "api.example.com",
            "my_service",
            "192.0.2.1:80",
            "[::1]",
            "[2001:db8::1]:65535",
            "EXAMPLE.com",
            "a-b.c",
            "a.b.",
        ] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "",
            ":",
            ":80",
            "a:",
            "a:x",
            "a:65536",
            "a:000080",
            "a:+80",
            "localhost:4000/#@evil",
            "user@host",
            "user:pass@host",
            "a/b",
            "a?b",
            "a#b",
            "a b",
            "a\\b",
            "a%2fb",
            "a%00",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "[::1%25eth0]",
            "[v1.x]",
            "[]",
            "a,b:1:2",
            "\"a\"",
            "<a>",
            "a|b",
            "a^b",
            "{a}",
            "a\tb",
            "é",
        ] {
            assert!(!is_host(host), "{host}");
        }
    }
}
