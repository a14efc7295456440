//! To the upstream and back: [`Checked`] → [`Reply`].
//!
//! The head loses what is hop-by-hop or may only be set by us, and gains who
//! asked, the request's id and trace, and what the policy sets. Where the request
//! goes, and whether more than once, is for [`deliver`] to say.

use std::{sync::Arc, time::Instant};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, Version, header, request::Parts,
    uri::PathAndQuery,
};
use hyper::body::Incoming;

use super::{
    deliver,
    exchange::{Exchange, REQUEST_ID},
    headers,
    introduce::{self, Said},
    refusal::{Code, Refusal},
    settle::Permit,
    target,
    trace::TRACEPARENT,
    upload::{Progress, Upload},
    validate::Checked,
};
use crate::{
    policy::{metering::Metering, snapshot::Policy},
    upstream::{Lease, Pool},
};

const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The upstream's answer, its body still to be read.
pub struct Reply {
    /// Status and headers as the upstream sent them.
    pub head: http::response::Parts,
    /// The body.
    pub body: Incoming,
    /// The connection that it comes on.
    pub lease: Lease<Upload>,
    /// How far the request's body has come.
    pub progress: Arc<Progress>,
}

/// Sends the request and waits for the head of the answer.
///
/// # Errors
/// 502, 503 or 504, or what the caller's own body did wrong on the way.
///
/// # Cancellation
/// Dropping the future ends the request at the upstream.
pub async fn send(
    exchange: &mut Exchange,
    permit: &mut Permit,
    checked: Checked,
    pool: &Arc<Pool<Upload>>,
) -> Result<Reply, Box<Refusal>> {
    let Checked { mut head, body, progress } = checked;
    upstream_head(exchange, &mut head)?;
    let order = deliver::Order { request: Request::from_parts(*head, body), asked: Instant::now() };
    let asked = order.asked;
    let answer = deliver::request(exchange, permit, order, &progress, pool).await;
    exchange.facts.request_bytes += progress.bytes();
    if exchange.facts.attempts > 0 {
        let waited = asked.elapsed();
        exchange.facts.upstream_wait = Some(waited);
        if let Some(operation) = exchange.operation {
            exchange.policy.operation(operation).upstream_wait.observe(waited);
        }
    }
    let (response, lease) = answer?;
    let (head, body) = response.into_parts();
    check_head(exchange, &head)?;
    Ok(Reply { head, body, lease, progress })
}

/// A switch of protocols that nobody asked for is no answer.
fn check_head(exchange: &Exchange, head: &http::response::Parts) -> Result<(), Box<Refusal>> {
    let asked = exchange.upgrade.is_some() && head.status == StatusCode::SWITCHING_PROTOCOLS;
    if head.status.is_informational() && !asked {
        return Err(Refusal::new(Code::UpstreamInvalid).detail("an unasked switch of protocols"));
    }
    Ok(())
}

/// What the upstream gets in place of what the caller sent.
fn upstream_head(exchange: &Exchange, head: &mut Parts) -> Result<(), Box<Refusal>> {
    let policy = &exchange.policy;
    let host = target::host(&head.uri, &head.headers);
    // An absolute target wins over the field; else the field stays as it is.
    let names_host = head.uri.authority().is_some() || host.is_none();
    head.uri = upstream_target(policy, &exchange.path, head.uri.query())?;
    head.version = Version::HTTP_11;
    head.extensions.clear();
    let fields = &mut head.headers;
    let said = Said::keep(&exchange.address, fields);
    let trailers = headers::wants_trailers(fields, exchange.peer.protocol);
    let metering = exchange.operation.and_then(|id| policy.operation(id).metering.as_deref());
    headers::clean_request(fields, |name| {
        // The length is the body's to say; a wrong one would let the next request be smuggled.
        // And only the upstream may say what a request cost.
        matches!(*name, header::CONTENT_LENGTH | header::EXPECT)
            || !exchange.trace.continued && *name == TRACESTATE
            || metering.is_some_and(|metering| metering.headers.contains(name))
    });
    fields.reserve(8);
    if trailers {
        fields.insert(header::TE, HeaderValue::from_static("trailers"));
        fields.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(upgrade) = &exchange.upgrade {
        upgrade.ask(fields);
    }
    if policy.cleaning.redactor.is_some() || metering.is_some_and(Metering::reads_body) {
        // What cannot be read can be neither redacted nor priced.
        fields.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    let host = host.unwrap_or_else(|| authority(policy));
    introduce(exchange, fields, said, &host);
    if names_host {
        fields.insert(header::HOST, host);
    }
    for (name, value) in &policy.upstream.headers {
        fields.insert(name, value.clone());
    }
    Ok(())
}

fn introduce(exchange: &Exchange, fields: &mut HeaderMap, said: Said, host: &HeaderValue) {
    let peer = (exchange.peer.ip(), &exchange.peer.ip);
    let said = said.over(exchange.peer.is_secure);
    introduce::upstream(fields, &exchange.address, said, peer, host);
    fields.insert(REQUEST_ID, exchange.id.clone());
    fields.insert(TRACEPARENT, exchange.trace.header());
}

fn authority(policy: &Policy) -> HeaderValue {
    let authority = policy.upstream.authority();
    authority
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
        .unwrap_or(HeaderValue::from_static("upstream"))
}

/// The canonical path, behind the upstream's base, with the caller's query.
fn upstream_target(policy: &Policy, path: &str, query: Option<&str>) -> Result<Uri, Box<Refusal>> {
    let base = &policy.upstream.base;
    let target = match query {
        None if base.is_empty() => PathAndQuery::try_from(path),
        None => PathAndQuery::try_from(format!("{base}{path}")),
        Some(query) => PathAndQuery::try_from(format!("{base}{path}?{query}")),
    };
    let target = target.map_err(|_| Refusal::new(Code::BadRequest).detail("a bad target"))?;
    Ok(Uri::from(target))
}
