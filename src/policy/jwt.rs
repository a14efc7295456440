//! Callers by signed tokens (JWT, RFC 7519; RFC 8725 says what to beware of).
//!
//! The unverified `iss` only selects the issuer. Then the issuer's keys say
//! whether the token is theirs, its times whether it counts now, and its claims
//! who bears it. What has verified is remembered until it ends.
//!
//! A signature is always checked, with an algorithm that the key allows; the
//! token can choose neither to go without nor a key of its own.
//!
//! # Failure
//! [`TokenError`] has one variant per cause, for the log. A token is never
//! accepted in part, and never falls through to a weaker source.
//!
//! # Limits
//! [`MAX_TOKEN`] bytes a token, [`MAX_CANDIDATES`] keys tried, [`MAX_SUBJECT`]
//! bytes a subject, and as many remembered tokens as the policy says.

mod algorithm;
mod cache;
mod claims;
#[cfg(fuzzing)]
pub mod fuzz;
mod keys;
mod remote;
mod signed;

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::Value;

use cache::{Cache, Verified};
pub use claims::ClaimPath;
use claims::Claims;
use keys::Unfit;
pub use keys::{Ignored, KeySet, KeySetError, MAX_SET};
pub(in crate::policy) use remote::Remotes;
pub use remote::{KeysUrl, RemoteKeys, SPACING};
pub use signed::MAX_TOKEN;
use signed::Signed;

use super::{
    identity::{Caller, digest, is_verified_name},
    snapshot::TierId,
};
use crate::clock::Timestamp;

/// The most keys that are tried on a token that names none.
const MAX_CANDIDATES: usize = 4;
/// The longest subject, in bytes.
pub const MAX_SUBJECT: usize = 256;

/// One issuer that is believed.
#[derive(Debug)]
pub struct Issuer {
    /// What `iss` must be, exactly.
    pub name: String,
    /// What `aud` must contain, if it is compared.
    pub audience: Option<String>,
    /// Its public keys.
    pub keys: IssuerKeys,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The claim that names the subject.
    pub subject: ClaimPath,
    /// Put before the subject, so that two issuers' subjects are not one.
    pub prefix: String,
    /// The claim that names the tier.
    pub tier: ClaimPath,
    /// The tier of tokens without that claim.
    pub default_tier: Option<TierId>,
    /// Which source of the policy it is, by index.
    pub source: usize,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub enum IssuerKeys {
    /// A file, read with the policy.
    Fixed(Arc<KeySet>),
    /// A URL, followed in the background.
    Remote(Arc<RemoteKeys>),
}

impl IssuerKeys {
    fn now(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::Fixed(keys) => Some(Arc::clone(keys)),
            Self::Remote(remote) => remote.keys(),
        }
    }

    fn remote(&self) -> Option<Arc<RemoteKeys>> {
        match self {
            Self::Fixed(_) => None,
            Self::Remote(remote) => Some(Arc::clone(remote)),
        }
    }
}

/// Why a token does not let its bearer in.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// More than [`MAX_TOKEN`] bytes.
    #[error("the token is too long")]
    TooLong,
    /// Not base64url, not JSON, or members of wrong types.
    #[error("the token is malformed")]
    Malformed,
    /// `alg` is none that is taken, or none that its key may use.
    #[error("the token's algorithm is not allowed")]
    Algorithm,
    /// `crit` is there.
    #[error("the token asks for an extension")]
    Critical,
    /// `typ` says that it is for something else.
    #[error("the token is of another kind")]
    Kind,
    /// No source has this issuer.
    #[error("the token's issuer is not known")]
    Issuer,
    /// Keys at a URL were never had.
    #[error("the issuer's keys are not there yet")]
    NoKeys(Option<Arc<RemoteKeys>>),
    /// No key of the issuer has the token's key id.
    #[error("the token's key is not known")]
    UnknownKey(Option<Arc<RemoteKeys>>),
    /// Too many keys fit a token that names none.
    #[error("the token names no key, and too many fit")]
    Ambiguous,
    /// No key of the issuer made the signature.
    #[error("the token's signature is wrong")]
    Signature,
    /// No `exp`.
    #[error("the token has no end")]
    NoExpiry,
    /// A time that is no number.
    #[error("a time of the token is no number")]
    BadTime,
    /// `exp` is past.
    #[error("the token has ended")]
    Expired,
    /// `nbf` or `iat` is to come.
    #[error("the token does not count yet")]
    TooEarly,
    /// `aud` does not have the audience.
    #[error("the token is for another audience")]
    Audience,
    /// No usable subject.
    #[error("the token names no usable subject")]
    Subject,
    /// No tier, or one that the policy does not have.
    #[error("the token names no tier of the policy")]
    Tier,
}

/// Everything that reads tokens.
#[derive(Debug)]
pub struct Tokens {
    issuers: Vec<Issuer>,
    tiers: HashMap<Box<str>, TierId>,
    cache: Cache,
}

impl Tokens {
    /// Believes `issuers`; remembers about `remembered` tokens.
    pub fn new(issuers: Vec<Issuer>, tiers: HashMap<Box<str>, TierId>, remembered: usize) -> Self {
        Self { issuers, tiers, cache: Cache::new(remembered) }
    }

    /// The keys that are to be followed.
    pub fn remotes(&self) -> impl Iterator<Item = Arc<RemoteKeys>> {
        self.issuers.iter().filter_map(|issuer| issuer.keys.remote())
    }

    /// Which source's token it is, and who bears it.
    ///
    /// # Errors
    /// Whatever keeps it from being believed.
    pub fn bearer(&self, token: &[u8], now: Timestamp) -> Result<(usize, Caller), TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        let digest = digest(token);
        if let Some(found) = self.remembered(&digest, now) {
            return Ok(found);
        }
        let (index, verified) = self.verify(token, now)?;
        let caller = verified.caller.clone();
        self.cache.insert(digest, verified);
        Ok((index, caller))
    }

    fn remembered(&self, digest: &[u8; 32], now: Timestamp) -> Option<(usize, Caller)> {
        let found = self.cache.find(digest, now)?;
        let issuer = self.issuers.get(found.issuer)?;
        let current = match &issuer.keys {
            // A file's keys change only with the policy, and the cache goes with it.
            IssuerKeys::Fixed(_) => true,
            IssuerKeys::Remote(remote) => {
                remote.keys().is_some_and(|keys| *keys.digest() == found.keys)
            }
        };
        current.then_some((issuer.source, found.caller))
    }

    fn verify(&self, token: &[u8], now: Timestamp) -> Result<(usize, Verified), TokenError> {
        let signed = Signed::parse(token)?;
        let named = signed.claims.get("iss").and_then(Value::as_str);
        let by_name = |issuer: &Issuer| Some(issuer.name.as_str()) == named;
        let index = self.issuers.iter().position(by_name).ok_or(TokenError::Issuer)?;
        let issuer = &self.issuers[index];
        let keys = issuer.check(&signed)?;
        let end = claims::end(&signed.claims, now, issuer.leeway)?;
        let caller = self.caller(issuer, &signed.claims)?;
        Ok((issuer.source, Verified { caller, issuer: index, end, keys }))
    }

    fn caller(&self, issuer: &Issuer, claims: &Claims) -> Result<Caller, TokenError> {
        if issuer.audience.as_ref().is_some_and(|wanted| !claims::is_for(claims, wanted)) {
            return Err(TokenError::Audience);
        }
        let name = issuer.subject.find(claims).and_then(Value::as_str);
        let name = name.filter(|name| !name.is_empty()).ok_or(TokenError::Subject)?;
        let subject = format!("{}{name}", issuer.prefix);
        if !is_usable(&subject) {
            return Err(TokenError::Subject);
        }
        let tier = match issuer.tier.find(claims) {
            // A claim that is there but wrong is no claim that is missing.
            Some(claim) => claim.as_str().and_then(|name| self.tiers.get(name)).copied(),
            None => issuer.default_tier,
        };
        Ok(Caller { subject: subject.into(), tier: tier.ok_or(TokenError::Tier)? })
    }
}

impl Issuer {
    /// Checks the signature; the key set that did it.
    fn check(&self, signed: &Signed<'_>) -> Result<[u8; 32], TokenError> {
        let keys = self.keys.now().ok_or_else(|| TokenError::NoKeys(self.keys.remote()))?;
        let fit = keys.candidates(signed.algorithm, signed.key_id.as_deref());
        let fit = fit.map_err(|unfit| match unfit {
            Unfit::Unknown => TokenError::UnknownKey(self.keys.remote()),
            Unfit::Algorithm => TokenError::Algorithm,
            Unfit::Many => TokenError::Ambiguous,
        })?;
        match fit.into_iter().any(|key| signed.is_by(key)) {
            true => Ok(*keys.digest()),
            false => Err(TokenError::Signature),
        }
    }
}

/// A verified name that can stand in a log and in a key of the store.
pub fn is_usable(subject: &str) -> bool {
    !subject.is_empty()
        && subject.len() <= MAX_SUBJECT
        && !subject.chars().any(char::is_control)
        && is_verified_name(subject)
}

#[cfg(test)]
mod tests;
