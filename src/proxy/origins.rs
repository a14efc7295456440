//! Requests that a foreign page makes a browser send.
//!
//! Most are harmless: without permission headers the page cannot read the answer,
//! and so they are forwarded. Two kinds are not. A WebSocket has no such headers: a
//! page of any origin may open one and talk, with the user's cookies. And an
//! operation may say that it refuses them all, as MCP wants it against DNS rebinding.

use http::{HeaderMap, header, request::Parts};

use super::{
    exchange::Exchange,
    refusal::{Code, Refusal},
    target,
};
use crate::policy::cors::Verdict;

/// Refuses an origin that the policy does not name, where that matters.
///
/// # Errors
/// 403.
pub fn check(exchange: &mut Exchange, head: &Parts) -> Result<(), Box<Refusal>> {
    if exchange.origin != Verdict::Foreign {
        return Ok(());
    }
    let refuses = |id| exchange.policy.operation(id).refuses_foreign;
    let refused = exchange.operation.is_some_and(refuses)
        || exchange.upgrade.is_some() && !is_own(&head.headers, head);
    if refused { exchange.enforce(Refusal::new(Code::OriginNotAllowed)) } else { Ok(()) }
}

/// Whether the page came from the host that it now talks to.
fn is_own(headers: &HeaderMap, head: &Parts) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
    let Some(host) = target::host(&head.uri, headers) else { return false };
    let (Ok(origin), Ok(host)) = (origin.to_str(), host.to_str()) else { return false };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return false,
    };
    let bare = |name: &str| name.strip_suffix(port).unwrap_or(name).to_ascii_lowercase();
    bare(authority) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(origin: &str, host: &str) -> bool {
        let request = http::Request::builder().uri("/x").header("origin", origin);
        let (head, ()) = request.header("host", host).body(()).expect("a request").into_parts();
        is_own(&head.headers, &head)
    }

    #[test]
    fn a_page_may_talk_to_its_own_host_only() {
        assert!(own("https://a.example", "a.example"));
        assert!(own("https://a.example:443", "A.example"));
        assert!(own("https://a.example:8443", "a.example:8443"));
        assert!(own("http://localhost", "localhost:80"));
        assert!(!own("https://a.example", "b.example"));
        assert!(!own("https://a.example", "a.example:8443"));
        assert!(!own("null", "null"));
        assert!(!own("file://a.example", "a.example"));
    }
}
