//! What an answer loses before it leaves: fields, addresses, and whatever the policy redacts.
//!
//! The redaction itself is [`sanitize`]'s; this is where it is held against heads,
//! trailers and bodies of answers, and where its matches are counted.
//!
//! # Failure
//! A body that must be read and cannot be, because the upstream encoded it, is not
//! passed on.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    exchange::Exchange,
    grpc, headers, media,
    refusal::{Code, Refusal},
};
use crate::{
    policy::snapshot::Policy,
    sanitize::{self, Hits},
};

/// Names a session of MCP; may be a JWT, and must come back as it was.
const MCP_SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Takes off what must not leave, and redacts what stays.
pub fn head(exchange: &mut Exchange, fields: &mut HeaderMap) {
    let policy = Arc::clone(&exchange.policy);
    let mut redirects = false;
    headers::clean_response(fields, |name| {
        redirects |= *name == header::LOCATION;
        policy.cleaning.remove.contains(name)
    });
    if redirects {
        localise(&policy, fields);
    }
    redact_fields(exchange, fields);
}

/// Cleans the fields that may follow a body.
pub fn trailers(exchange: &mut Exchange, fields: &mut HeaderMap) {
    headers::clean_trailers(fields);
    headers::clean_response(fields, |name| exchange.policy.cleaning.remove.contains(name));
    redact_fields(exchange, fields);
}

fn redact_fields(exchange: &mut Exchange, fields: &mut HeaderMap) {
    if exchange.grpc {
        grpc::clean_status(exchange, fields);
    }
    let Some(redactor) = &exchange.policy.cleaning.redactor else { return };
    let mut hits = Hits::new();
    redact_values(redactor, fields, &mut hits);
    exchange.facts.redactions += count(&exchange.policy, &hits);
}

fn redact_values(redactor: &sanitize::Redactor, fields: &mut HeaderMap, hits: &mut Hits) {
    for (name, value) in fields.iter_mut() {
        // A cookie and a session are meant to be credentials; the others have no room for a secret.
        if matches!(
            *name,
            header::SET_COOKIE
                | header::CONTENT_TYPE
                | header::CONTENT_LENGTH
                | header::DATE
                | header::ETAG
                | header::LAST_MODIFIED
                | header::CACHE_CONTROL
        ) || *name == MCP_SESSION
            || *name == grpc::DETAILS
        {
            continue;
        }
        if let Cow::Owned(clean) = redactor.redact(value.as_bytes(), hits) {
            *value =
                HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static("[redacted]"));
        }
    }
}

/// A redirect to the upstream's own address becomes one to the same path here.
fn localise(policy: &Policy, fields: &mut HeaderMap) {
    let Some(location) = fields.get(header::LOCATION).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let at = |name: &str| location.strip_prefix(name).filter(|rest| rest.starts_with('/'));
    let path = policy.upstream.endpoints.iter().find_map(|endpoint| at(&endpoint.name));
    if let Some(Ok(path)) = path.map(HeaderValue::from_str) {
        fields.insert(header::LOCATION, path);
    }
}

/// What the body must pass. What cannot be read cannot be cleaned, and is not passed on.
pub fn text(policy: &Policy, fields: &HeaderMap) -> Result<Option<sanitize::Stream>, Box<Refusal>> {
    let Some(redactor) = policy.cleaning.redactor.as_ref().filter(|_| media::is_text(fields))
    else {
        return Ok(None);
    };
    let encoded = headers::has(fields, &header::CONTENT_ENCODING)
        && fields
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        let detail = "the upstream encoded a body that must be read";
        return Err(Refusal::new(Code::UpstreamInvalid).detail(detail));
    }
    Ok(Some(sanitize::Stream::new(Arc::clone(redactor))))
}

/// Redacts a body that is at hand.
pub fn whole(exchange: &mut Exchange, whole: Bytes) -> Bytes {
    let Some(redactor) = &exchange.policy.cleaning.redactor else { return whole };
    let mut hits = Hits::new();
    let clean = match redactor.redact(&whole, &mut hits) {
        Cow::Borrowed(_) => None,
        Cow::Owned(clean) => Some(Bytes::from(clean)),
    };
    exchange.facts.redactions += count(&exchange.policy, &hits);
    clean.unwrap_or(whole)
}

/// Adds `hits` to the metrics; returns their sum.
pub fn count(policy: &Policy, hits: &Hits) -> u64 {
    for (rule, times) in hits.iter() {
        if let Some(counter) = policy.cleaning.redactions.get(rule) {
            counter.add(times);
        }
    }
    hits.total()
}
