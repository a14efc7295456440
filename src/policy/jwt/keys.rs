//! Public keys of an issuer, from a JWK set (RFC 7517).
//!
//! Each key has one ready verifier per algorithm that it may be used with, so
//! that verifying parses nothing. Keys that are not for verifying, that are of
//! unknown kinds or broken are passed over and named (RFC 7517, 5). A symmetric
//! key is never usable: whoever can read the set could sign with it.
//!
//! # Failure
//! A set that is no JSON, too large, or whose keys are all unusable is an error.
//! A set without any key is none: it says that nobody can sign now.
//!
//! # Limits
//! [`MAX_SET`] bytes, [`MAX_KEYS`] keys.

use std::fmt;

use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

use super::{MAX_CANDIDATES, algorithm::Algorithm};

/// The largest set, in bytes.
pub const MAX_SET: usize = 256 << 10;
/// The most keys of a set, usable or not.
pub const MAX_KEYS: usize = 100;
/// How long the modulus of an RSA key may be, in bytes: 2048 to 8192 bits (RFC 7518, 3.3).
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// How much of a key's id is shown, in bytes.
const SHOWN_ID: usize = 64;

/// The keys of an issuer at one time.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
    digest: [u8; 32],
}

#[derive(Debug)]
struct Key {
    id: Option<Box<str>>,
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
}

/// A key that is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its place in the set, from 1.
    pub place: usize,
    /// Its id, cut short and safe to print.
    pub id: Option<String>,
    /// Why.
    pub why: &'static str,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "key {} (`{id}`) is ignored: {}", self.place, self.why),
            None => write!(f, "key {} is ignored: {}", self.place, self.why),
        }
    }
}

/// Why a JWK set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// More than [`MAX_SET`] bytes.
    #[error("the JWK set is larger than 256 KiB")]
    TooLarge,
    /// No JSON object with a list `keys`.
    #[error("this is no JWK set: {0}")]
    NotASet(String),
    /// More than [`MAX_KEYS`].
    #[error("the JWK set has more than 100 keys")]
    TooMany,
    /// There are keys, but none that could verify a token.
    #[error("the JWK set has no usable key: {}", listed(.0))]
    NoneUsable(Vec<Ignored>),
}

fn listed(ignored: &[Ignored]) -> String {
    let first: Vec<_> = ignored.iter().take(4).map(ToString::to_string).collect();
    first.join("; ")
}

impl KeySet {
    /// Reads a set; beside it what was passed over.
    ///
    /// # Errors
    /// When nothing in it can be used although something is there.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<Ignored>), KeySetError> {
        if bytes.len() > MAX_SET {
            return Err(KeySetError::TooLarge);
        }
        let not_a_set = |error: serde_json::Error| KeySetError::NotASet(error.to_string());
        let set: SetAsWritten = serde_json::from_slice(bytes).map_err(not_a_set)?;
        if set.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let (mut keys, mut ignored) = (Vec::new(), Vec::new());
        for (index, written) in set.keys.iter().enumerate() {
            match Key::parse(written) {
                Ok(key) => keys.push(key),
                Err(why) => ignored.push(Ignored { place: index + 1, id: shown_id(written), why }),
            }
        }
        if keys.is_empty() && !ignored.is_empty() {
            return Err(KeySetError::NoneUsable(ignored));
        }
        Ok((Self { keys, digest: crate::policy::identity::digest(bytes) }, ignored))
    }

    /// SHA-256 of the set as it was written: two sets with the same are the same.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// How many keys can verify.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can verify.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What may verify a token with this algorithm and key id: keys of that id; else, since a set
    /// need not name its keys, those without one.
    ///
    /// # Errors
    /// When no key fits, or so many that trying them would be work for a stranger's sake.
    pub(super) fn candidates(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
    ) -> Result<Vec<&ParsedPublicKey>, Unfit> {
        let named = |key: &&Key| id.is_none() || key.id.as_deref() == id;
        let unnamed = |key: &&Key| key.id.is_none();
        let mut keys: Vec<&Key> = self.keys.iter().filter(named).collect();
        if keys.is_empty() {
            keys = self.keys.iter().filter(unnamed).collect();
        }
        if keys.is_empty() {
            return Err(Unfit::Unknown);
        }
        let verifiers = keys.iter().flat_map(|key| &key.verifiers);
        let fit: Vec<_> =
            verifiers.filter(|(of, _)| *of == algorithm).map(|(_, key)| key).collect();
        match fit.len() {
            0 => Err(Unfit::Algorithm),
            1..=MAX_CANDIDATES => Ok(fit),
            _ => Err(Unfit::Many),
        }
    }
}

/// Why no key is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// No key has the id.
    Unknown,
    /// The keys of that id are for other algorithms.
    Algorithm,
    /// Too many keys fit a token that names none.
    Many,
}

#[derive(Deserialize)]
struct SetAsWritten {
    keys: Vec<Value>,
}

/// A key as written; members that no verifier needs are not read.
#[derive(Deserialize)]
struct KeyAsWritten {
    kty: String,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

fn shown_id(written: &Value) -> Option<String> {
    let id = written.get("kid")?.as_str()?;
    Some(id[..id.floor_char_boundary(SHOWN_ID)].escape_debug().to_string())
}

impl Key {
    fn parse(written: &Value) -> Result<Self, &'static str> {
        let key = KeyAsWritten::deserialize(written).map_err(|_| "a member is missing or wrong")?;
        if key.kty == "oct" {
            return Err("it is symmetric: who can check a signature with it could make one");
        }
        if key.r#use.as_deref().is_some_and(|r#use| r#use != "sig") {
            return Err("it is not for signatures");
        }
        if key.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("it is not for verifying");
        }
        let own: &[Algorithm] = match (key.kty.as_str(), key.crv.as_deref()) {
            ("RSA", _) => &Algorithm::RSA,
            ("EC", Some("P-256")) => &[Algorithm::Es256],
            ("EC", Some("P-384")) => &[Algorithm::Es384],
            ("OKP", Some("Ed25519")) => &[Algorithm::EdDsa],
            _ => return Err("keys of this kind are not supported"),
        };
        let algorithms: Vec<Algorithm> = match key.alg.as_deref() {
            None => own.to_vec(),
            Some(name) => {
                own.iter().copied().filter(|a| Algorithm::named(name) == Some(*a)).collect()
            }
        };
        if algorithms.is_empty() {
            return Err("its `alg` is not one that such a key may use here");
        }
        let verifier = |algorithm: Algorithm| Ok((algorithm, key.verifier(algorithm)?));
        let verifiers =
            algorithms.into_iter().map(verifier).collect::<Result<_, &'static str>>()?;
        Ok(Self { id: key.kid.map(String::into_boxed_str), verifiers })
    }
}

impl KeyAsWritten {
    fn verifier(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, &'static str> {
        let unusable = "it is not a valid public key, or an RSA key shorter than 2048 bits";
        if let Some(parameters) = algorithm.rsa() {
            let components = RsaPublicKeyComponents { n: bytes(&self.n)?, e: bytes(&self.e)? };
            // The library looks at the length only when it verifies.
            let zeros = components.n.iter().take_while(|byte| **byte == 0).count();
            if !RSA_BYTES.contains(&(components.n.len() - zeros)) {
                return Err(unusable);
            }
            return components.to_parsed_public_key(parameters).map_err(|_| unusable);
        }
        let curve = algorithm.curve().ok_or(unusable)?;
        let point = match algorithm {
            Algorithm::EdDsa => bytes(&self.x)?,
            // Uncompressed (SEC 1, 2.3.3); both halves have the curve's length (RFC 7518, 6.2.1.2).
            _ => [&[4][..], &bytes(&self.x)?, &bytes(&self.y)?].concat(),
        };
        ParsedPublicKey::new(curve, point).map_err(|_| unusable)
    }
}

fn bytes(member: &Option<String>) -> Result<Vec<u8>, &'static str> {
    let text = member.as_deref().ok_or("a member is missing or wrong")?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a member is no base64url")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, A.2.
    const ED25519: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn set(keys: &[&str]) -> Result<(KeySet, Vec<Ignored>), KeySetError> {
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    fn why(key: &str) -> &'static str {
        let Err(KeySetError::NoneUsable(ignored)) = set(&[key]) else { panic!("usable: {key}") };
        ignored[0].why
    }

    #[test]
    fn a_key_that_cannot_or_may_not_verify_is_passed_over_and_named() {
        let (keys, ignored) =
            set(&[r#"{"kty":"oct","kid":"shared","k":"AAAA"}"#, ED25519]).expect("one is usable");
        assert_eq!((keys.len(), ignored.len()), (1, 1));
        let text = ignored[0].to_string();
        assert!(text.starts_with("key 1 (`shared`) is ignored: it is symmetric"), "{text}");

        let with = |more: &str| ED25519.replace('{', &format!("{{{more},"));
        assert!(why(&with(r#""use":"enc""#)).contains("not for signatures"));
        assert!(why(&with(r#""key_ops":["sign"]"#)).contains("not for verifying"));
        for alg in ["ES256", "HS256", "none", "RS256"] {
            assert!(why(&with(&format!(r#""alg":"{alg}""#))).contains("`alg`"), "{alg}");
        }
        assert!(why(r#"{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}"#).contains("valid"));
        assert!(why(r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#).contains("kind"));
        assert!(why(r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#).contains("2048"));
        assert!(why(r#"{"kty":"RSA","n":"!","e":"AQAB"}"#).contains("base64url"));
        assert!(why(r#"{"kty":"RSA"}"#).contains("missing"));
        assert!(why("7").contains("wrong"));
    }

    #[test]
    fn a_set_that_is_none_is_an_error_and_an_empty_one_is_not() {
        assert!(set(&[]).expect("an empty set").0.is_empty());
        for text in ["", "{}", "[]", r#"{"keys":{}}"#, "not json"] {
            assert!(
                matches!(KeySet::parse(text.as_bytes()), Err(KeySetError::NotASet(_))),
                "{text}"
            );
        }
        let many = vec![ED25519; MAX_KEYS + 1];
        assert!(matches!(set(&many), Err(KeySetError::TooMany)));
        assert!(matches!(KeySet::parse(&vec![b' '; MAX_SET + 1]), Err(KeySetError::TooLarge)));
    }

    #[test]
    fn candidates_are_few_and_of_the_right_kind() {
        let named = |id: &str| ED25519.replace('{', &format!(r#"{{"kid":"{id}","#));
        let (a, b) = (named("a"), named("b"));
        let (keys, _) = set(&[&a, &b]).expect("a set");
        let fit =
            |keys: &KeySet, algorithm, id| keys.candidates(algorithm, id).map(|fit| fit.len());
        assert_eq!(fit(&keys, Algorithm::EdDsa, Some("a")), Ok(1));
        assert_eq!(fit(&keys, Algorithm::EdDsa, Some("c")), Err(Unfit::Unknown));
        assert_eq!(fit(&keys, Algorithm::EdDsa, None), Ok(2));
        assert_eq!(fit(&keys, Algorithm::Es256, Some("a")), Err(Unfit::Algorithm));
        let (nameless, _) = set(&[ED25519]).expect("a set");
        assert_eq!(fit(&nameless, Algorithm::EdDsa, Some("c")), Ok(1));
        let (many, _) = set(&[ED25519; MAX_CANDIDATES + 1]).expect("a set");
        assert_eq!(fit(&many, Algorithm::EdDsa, None), Err(Unfit::Many));
    }
}
