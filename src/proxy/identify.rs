//! Who is calling: request → [`Caller`].
//!
//! Sources are tried in the order of the policy; the first that finds its kind
//! of credential decides, also when the credential is wrong. Whatever a
//! configured source reads is taken out of the request, so that the upstream
//! never sees a credential that was meant for us, unless the source says so.
//!
//! Header fields of a trusted proxy are credentials only on its connections; on
//! any other they are taken out unread.
//!
//! # Failure
//! 401 for whatever is wrong with a credential, 403 when a verified one names no
//! tier of the policy, 503 when an issuer's keys were never had.
//!
//! # Limits
//! [`PATIENCE`] while an issuer's keys are fetched for a key that is not known.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    certificate,
    exchange::Exchange,
    forwarded::CallerAddress,
    headers::has,
    refusal::{Code, Refusal},
};
use crate::{
    clock::Timestamp,
    policy::{
        identity::{
            Caller, Identity, Keys, ProxyHeaders, Source, address_subject, is_jwt, path_subject,
        },
        jwt::{self, RemoteKeys, TokenError, Tokens},
        route::Pattern,
        snapshot::TierId,
    },
    server::PeerCertificate,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The longest identifier that a path may name, in bytes.
const MAX_PATH_SUBJECT: usize = 256;
/// How long a request waits for keys: a rotation that nobody notices is worth it, a hang is not.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the request's headers present. Not `Debug`: these are credentials.
#[derive(Default)]
pub struct Presented {
    api_key: Option<HeaderValue>,
    bearer: Option<HeaderValue>,
    /// Whom a trusted proxy names, and in which tier.
    named: Option<HeaderValue>,
    named_tier: Option<HeaderValue>,
    doubled: bool,
}

/// What else a caller may be known by, beside its headers.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The canonical path.
    pub path: &'a str,
    /// Where the request comes from.
    pub ip: IpAddr,
    /// Whether a trusted proxy is connected.
    pub vouched: bool,
    /// What the connection proved in its handshake.
    pub certificate: Option<&'a PeerCertificate>,
    /// Now.
    pub now: Timestamp,
}

impl<'a> Seen<'a> {
    /// A request for `path` from `address`.
    pub fn new(path: &'a str, address: &CallerAddress, now: Timestamp) -> Self {
        Self { path, ip: address.ip, vouched: address.vouched, certificate: None, now }
    }

    /// The same, over a connection that proved this in its handshake.
    pub fn with(self, certificate: Option<&'a PeerCertificate>) -> Self {
        Self { certificate, ..self }
    }
}

/// Why nobody was found.
pub struct Unidentified {
    /// What the caller gets.
    pub refusal: Box<Refusal>,
    /// Keys that may know better when they have been fetched again.
    awaited: Option<Arc<RemoteKeys>>,
}

impl From<Box<Refusal>> for Unidentified {
    fn from(refusal: Box<Refusal>) -> Self {
        Self { refusal, awaited: None }
    }
}

/// Finds the caller of an exchange and takes the credential out of `headers`.
///
/// # Errors
/// When a credential is wrong, or no source finds one.
pub async fn caller(
    exchange: &mut Exchange,
    headers: &mut HeaderMap,
) -> Result<Caller, Box<Refusal>> {
    let policy = Arc::clone(&exchange.policy);
    let seen = Seen::new(&exchange.path, &exchange.address, exchange.began);
    let seen = seen.with(exchange.peer.certificate.as_deref());
    let presented = take_credentials(&policy.identity, seen.vouched, headers);
    let found = look_twice(&policy.identity, seen, &presented).await;
    give_back(&policy.identity, seen.vouched, &found, &presented, headers);
    exchange.presented = presented;
    let (_, caller) = found.map_err(|unidentified| unidentified.refusal)?;
    exchange.tier = Some(caller.tier);
    exchange.subject = Some(caller.subject.clone());
    Ok(caller)
}

/// Finds whom credentials that were kept name by now.
///
/// # Errors
/// As [`caller`].
pub async fn again(
    identity: &Identity,
    seen: Seen<'_>,
    presented: &Presented,
) -> Result<Caller, Box<Refusal>> {
    let found = look_twice(identity, seen, presented).await;
    found.map(|(_, caller)| caller).map_err(|unidentified| unidentified.refusal)
}

/// As [`again`], with the keys that are at hand.
///
/// # Errors
/// As [`caller`].
pub fn at_once(
    identity: &Identity,
    seen: Seen<'_>,
    presented: &Presented,
) -> Result<Caller, Box<Refusal>> {
    let found = look(identity, seen, presented);
    found.map(|(_, caller)| caller).map_err(|unidentified| unidentified.refusal)
}

/// Looks, and once more when keys that are not known yet could be fetched.
async fn look_twice(
    identity: &Identity,
    seen: Seen<'_>,
    presented: &Presented,
) -> Result<(usize, Caller), Unidentified> {
    let found = look(identity, seen, presented);
    if let Err(Unidentified { awaited: Some(keys), .. }) = &found
        && keys.look_again(PATIENCE).await
    {
        return look(identity, seen, presented);
    }
    found
}

/// The source that decides, by its place in the policy, and whom it finds. Waits for nothing.
///
/// # Errors
/// When a credential is wrong, or no source finds one.
pub fn find(
    identity: &Identity,
    seen: Seen<'_>,
    headers: &mut HeaderMap,
) -> Result<(usize, Caller), Unidentified> {
    look(identity, seen, &take_credentials(identity, seen.vouched, headers))
}

fn look(
    identity: &Identity,
    seen: Seen<'_>,
    presented: &Presented,
) -> Result<(usize, Caller), Unidentified> {
    if presented.doubled {
        return Err(unauthenticated("a credential is given twice").into());
    }
    for (index, source) in identity.sources.iter().enumerate() {
        let found = match source {
            Source::ApiKey(keys) => by_key(keys, presented, seen.now)?,
            Source::Jwt { .. } => match by_jwt(identity.tokens.as_deref(), presented, seen.now)? {
                Some(found) => return Ok(found),
                None => None,
            },
            Source::TrustedProxy(names) => by_proxy(names, presented)?,
            Source::Path { pattern, parameter, tier } => {
                by_path(pattern, parameter, *tier, seen.path)?
            }
            Source::ClientCertificate(source) => certificate::caller(source, seen.certificate)?,
            Source::Address { tier } => {
                Some(Caller { subject: address_subject(seen.ip), tier: *tier })
            }
        };
        if let Some(caller) = found {
            return Ok((index, caller));
        }
    }
    Err(unauthenticated("no source found a credential").into())
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

fn by_jwt(
    tokens: Option<&Tokens>,
    presented: &Presented,
    now: Timestamp,
) -> Result<Option<(usize, Caller)>, Unidentified> {
    let bearer = presented.bearer.as_ref().and_then(token);
    let (Some(token), Some(tokens)) = (bearer.filter(|token| looks_like_jwt(token)), tokens) else {
        return Ok(None);
    };
    match tokens.bearer(token, now) {
        Ok(found) => Ok(Some(found)),
        Err(error) => Err(disbelieved(error)),
    }
}

fn disbelieved(error: TokenError) -> Unidentified {
    let refusal = match &error {
        TokenError::NoKeys(_) => Refusal::new(Code::IdentityUnavailable),
        TokenError::Tier => {
            Refusal::new(Code::Forbidden).message("Your token names no tier of this service.")
        }
        _ => Refusal::new(Code::Unauthenticated),
    };
    let refusal = refusal.detail(error.to_string());
    match error {
        TokenError::NoKeys(awaited) | TokenError::UnknownKey(awaited) => {
            Unidentified { refusal, awaited }
        }
        _ => refusal.into(),
    }
}

fn by_proxy(names: &ProxyHeaders, presented: &Presented) -> Result<Option<Caller>, Box<Refusal>> {
    let Some(named) = &presented.named else { return Ok(None) };
    let subject = std::str::from_utf8(named.as_bytes()).ok().filter(|name| jwt::is_usable(name));
    let subject =
        subject.ok_or_else(|| unauthenticated("the proxy's name of the caller is odd"))?;
    let tier = match &presented.named_tier {
        Some(name) => name.to_str().ok().and_then(|name| names.tiers.get(name)).copied(),
        None => names.default_tier,
    };
    let tier = tier.ok_or_else(|| {
        Refusal::new(Code::Forbidden).detail("the proxy names no tier of the policy")
    })?;
    Ok(Some(Caller { subject: subject.into(), tier }))
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
fn take_credentials(identity: &Identity, vouched: bool, headers: &mut HeaderMap) -> Presented {
    let (keys, jwt) = (identity.reads_keys(), identity.reads_jwt());
    let mut found = Presented::default();
    if keys {
        found.api_key = take(headers, &API_KEY, &mut found.doubled);
    }
    if keys || jwt {
        found.bearer = take(headers, &header::AUTHORIZATION, &mut found.doubled);
    }
    if let Some(names) = identity.proxy_headers() {
        let mut doubled = false;
        let named = take(headers, &names.subject, &mut doubled);
        let tier = names.tier.as_ref().and_then(|name| take(headers, name, &mut doubled));
        // Whatever a stranger sends there is not even wrong.
        if vouched {
            (found.named, found.named_tier) = (named, tier);
            found.doubled |= doubled;
        }
    }
    // Other schemes, and tokens of a kind that no source reads, belong to the upstream.
    let ours = found
        .bearer
        .as_ref()
        .and_then(token)
        .is_some_and(|token| if looks_like_jwt(token) { jwt } else { keys });
    if !ours && let Some(theirs) = found.bearer.take() {
        headers.insert(header::AUTHORIZATION, theirs);
    }
    found
}

/// Removes a field; its first value.
fn take(headers: &mut HeaderMap, name: &HeaderName, doubled: &mut bool) -> Option<HeaderValue> {
    if !has(headers, name) {
        return None;
    }
    let header::Entry::Occupied(entry) = headers.entry(name) else { return None };
    let (_, mut values) = entry.remove_entry_mult();
    let first = values.next();
    *doubled |= values.next().is_some();
    first
}

/// Puts back what the policy wants the upstream to have too: a token that was believed, and what
/// a trusted proxy said.
fn give_back(
    identity: &Identity,
    vouched: bool,
    found: &Result<(usize, Caller), Unidentified>,
    presented: &Presented,
    headers: &mut HeaderMap,
) {
    let decided = found.as_ref().ok().and_then(|(index, _)| identity.sources.get(*index));
    if let Some(Source::Jwt { forward: true }) = decided {
        headers.extend(presented.bearer.clone().map(|token| (header::AUTHORIZATION, token)));
    }
    if let Some(names) = identity.proxy_headers().filter(|names| names.forward && vouched) {
        headers.extend(presented.named.clone().map(|value| (names.subject.clone(), value)));
        let tier = names.tier.clone().zip(presented.named_tier.clone());
        headers.extend(tier);
    }
}

/// The token of a `Bearer` credential (RFC 6750, 2.1); an empty one is one too.
fn token(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(6)?;
    let ends = token.first().is_none_or(|byte| matches!(byte, b' ' | b'\t'));
    (ends && scheme.eq_ignore_ascii_case(b"bearer")).then(|| token.trim_ascii())
}

fn looks_like_jwt(token: &[u8]) -> bool {
    std::str::from_utf8(token).is_ok_and(is_jwt)
}
