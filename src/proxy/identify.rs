//! Who is calling: request → [`Caller`].
//!
//! Sources are tried in the order of the policy; the first that finds its kind
//! of credential decides, also when the credential is wrong. Whatever a
//! configured source reads is taken out of the request, so that the upstream
//! never sees a credential that was meant for us.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    exchange::Exchange,
    refusal::{Code, Refusal},
};
use crate::{
    clock::Timestamp,
    policy::{
        identity::{Caller, Identity, Keys, Source, address_subject, is_jwt, path_subject},
        route::Pattern,
        snapshot::TierId,
    },
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The longest identifier that a path may name, in bytes.
const MAX_PATH_SUBJECT: usize = 256;

/// What the request's headers present.
struct Presented {
    api_key: Option<HeaderValue>,
    bearer: Option<HeaderValue>,
    doubled: bool,
}

/// What else a caller may be known by, beside its headers.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The canonical path.
    pub path: &'a str,
    /// Where the connection comes from.
    pub ip: IpAddr,
    /// Now.
    pub now: Timestamp,
}

/// Finds the caller of an exchange and takes the credential out of `headers`.
///
/// # Errors
/// 401 when a credential is wrong, or no source finds one.
pub fn caller(exchange: &mut Exchange, headers: &mut HeaderMap) -> Result<Caller, Box<Refusal>> {
    let seen = Seen { path: &exchange.path, ip: exchange.peer.ip(), now: exchange.began };
    let (_, caller) = find(&exchange.policy.identity, seen, headers)?;
    exchange.tier = Some(caller.tier);
    exchange.subject = Some(caller.subject.clone());
    Ok(caller)
}

/// The source that decides, by its place in the policy, and whom it finds.
///
/// # Errors
/// 401 when a credential is wrong, or no source finds one.
pub fn find(
    identity: &Identity,
    seen: Seen<'_>,
    headers: &mut HeaderMap,
) -> Result<(usize, Caller), Box<Refusal>> {
    let presented = take_credentials(identity, headers);
    if presented.doubled {
        return Err(unauthenticated("a credential is given twice"));
    }
    for (index, source) in identity.sources.iter().enumerate() {
        let found = match source {
            Source::ApiKey(keys) => by_key(keys, &presented, seen.now)?,
            Source::Jwt => by_jwt(&presented)?,
            Source::Path { pattern, parameter, tier } => {
                by_path(pattern, parameter, *tier, seen.path)?
            }
            Source::Address { tier } => {
                Some(Caller { subject: address_subject(seen.ip), tier: *tier })
            }
        };
        if let Some(caller) = found {
            return Ok((index, caller));
        }
    }
    Err(unauthenticated("no source found a credential"))
}

fn by_key(
    keys: &Keys,
    presented: &Presented,
    now: Timestamp,
) -> Result<Option<Caller>, Box<Refusal>> {
    let bearer = presented.bearer.as_ref().and_then(token).filter(|token| !looks_like_jwt(token));
    let Some(text) = presented.api_key.as_ref().map(HeaderValue::as_bytes).or(bearer) else {
        return Ok(None);
    };
    let holder = keys.holder(text, now);
    holder.cloned().map(Some).ok_or_else(|| unauthenticated("the API key is unknown or has ended"))
}

/// A JWT is refused until it can be verified: it must never fall through to a weaker source.
fn by_jwt(presented: &Presented) -> Result<Option<Caller>, Box<Refusal>> {
    match presented.bearer.as_ref().and_then(token).filter(|token| looks_like_jwt(token)) {
        Some(_) => Err(unauthenticated("JWTs are not accepted yet")),
        None => Ok(None),
    }
}

fn by_path(
    pattern: &Pattern,
    parameter: &str,
    tier: TierId,
    path: &str,
) -> Result<Option<Caller>, Box<Refusal>> {
    let Some(value) = pattern.capture(path, parameter) else { return Ok(None) };
    if value.len() > MAX_PATH_SUBJECT {
        return Err(Refusal::new(Code::BadRequest).detail("the subject in the path is too long"));
    }
    Ok(Some(Caller { subject: path_subject(&value), tier }))
}

fn unauthenticated(why: &'static str) -> Box<Refusal> {
    Refusal::new(Code::Unauthenticated).detail(why)
}

/// Takes out what configured sources read, and nothing else.
fn take_credentials(identity: &Identity, headers: &mut HeaderMap) -> Presented {
    let (keys, jwt) = (identity.reads_keys(), identity.reads_jwt());
    let mut doubled = false;
    let mut take = |name: &HeaderName| {
        let http::header::Entry::Occupied(entry) = headers.entry(name) else { return None };
        let (_, mut values) = entry.remove_entry_mult();
        let first = values.next();
        doubled |= values.next().is_some();
        first
    };
    let api_key = if keys { take(&API_KEY) } else { None };
    let mut bearer = if keys || jwt { take(&header::AUTHORIZATION) } else { None };
    // Other schemes, and tokens of a kind that no source reads, belong to the upstream.
    let ours = bearer
        .as_ref()
        .and_then(token)
        .is_some_and(|token| if looks_like_jwt(token) { jwt } else { keys });
    if !ours && let Some(theirs) = bearer.take() {
        headers.insert(header::AUTHORIZATION, theirs);
    }
    Presented { api_key, bearer, doubled }
}

/// The token of a `Bearer` credential (RFC 6750, 2.1).
fn token(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn looks_like_jwt(token: &[u8]) -> bool {
    std::str::from_utf8(token).is_ok_and(is_jwt)
}
