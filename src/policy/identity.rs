//! Who is calling, as compiled: sources in their order, keys by their hash.
//!
//! Subjects of sources that prove nothing carry the source's name in front
//! (`path:u1`, `address:192.0.2.1`), so that nobody can spend the budget of a
//! verified subject by writing its name into a path.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use http::HeaderName;
use regex_automata::meta::Regex;

pub use super::file::CertificateField;
use super::{jwt::Tokens, route::Pattern, snapshot::TierId};
use crate::clock::Timestamp;

/// Who is counted, and what they may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// An id, unique over all sources.
    pub subject: Arc<str>,
    /// The tier that a verified source, or the policy itself, names.
    pub tier: TierId,
}

/// All identity sources of a policy.
#[derive(Debug, Default)]
pub struct Identity {
    /// In the order in which they are tried.
    pub sources: Vec<Source>,
    /// What all sources of JWTs believe; `None` without any.
    pub tokens: Option<Box<Tokens>>,
}

/// One place where a caller's identity may be found.
#[derive(Debug)]
pub enum Source {
    /// `X-API-Key`, or a Bearer that is not a JWT.
    ApiKey(Keys),
    /// A Bearer that is a JWT, see [`Identity::tokens`]. The first such source decides for all.
    Jwt {
        /// Whether the token is passed on to the upstream.
        forward: bool,
    },
    /// What a trusted proxy says.
    TrustedProxy(ProxyHeaders),
    /// A parameter of the path.
    Path {
        /// Matched by itself.
        pattern: Pattern,
        /// Which of its parameters is the subject.
        parameter: String,
        /// For everybody found here.
        tier: TierId,
    },
    /// What the client proved in the TLS handshake.
    ClientCertificate(CertificateSource),
    /// The client's address.
    Address {
        /// For everybody found here.
        tier: TierId,
    },
}

/// Header fields in which a trusted proxy names whom it has authenticated.
#[derive(Clone, Debug)]
pub struct ProxyHeaders {
    /// Names the subject.
    pub subject: HeaderName,
    /// Names the tier.
    pub tier: Option<HeaderName>,
    /// The tier when no header names one.
    pub default_tier: Option<TierId>,
    /// The tiers that a header may name, by name.
    pub tiers: HashMap<Box<str>, TierId>,
    /// Whether the fields are passed on to the upstream.
    pub forward: bool,
}

/// A source that reads the client's certificate.
#[derive(Debug)]
pub struct CertificateSource {
    /// The part of the certificate that names the subject.
    pub field: CertificateField,
    /// What it must match, whole; `None` takes anything.
    pub pattern: Option<Regex>,
    /// For everybody found here.
    pub tier: TierId,
    /// Whether no later source reads certificates: one that nobody found is then wrong.
    pub is_last: bool,
}

/// API keys by the SHA-256 of their text.
///
/// A plain hash suffices because `weir keys new` draws keys of 256 random bits:
/// there is no dictionary to try, and looking up a digest tells nothing by its time.
#[derive(Debug, Default)]
pub struct Keys(HashMap<[u8; 32], Key>);

/// What a key stands for.
#[derive(Clone, Debug)]
pub struct Key {
    /// Who holds it.
    pub caller: Caller,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

impl Keys {
    /// Adds a key; `false` if the same digest is there already.
    pub fn insert(&mut self, digest: [u8; 32], key: Key) -> bool {
        self.0.insert(digest, key).is_none()
    }

    /// The holder of the key with this text, unless it has ended.
    pub fn holder(&self, text: &[u8], now: Timestamp) -> Option<&Caller> {
        let key = self.0.get(&digest(text))?;
        key.expires.is_none_or(|end| now < end).then_some(&key.caller)
    }
}

impl Keys {
    /// The tiers that keys of this subject name.
    pub fn tiers_of(&self, subject: &str) -> impl Iterator<Item = TierId> {
        let own = self.0.values().filter(move |key| *key.caller.subject == *subject);
        own.map(|key| key.caller.tier)
    }
}

/// SHA-256 of a key's text.
pub fn digest(text: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text);
    out.copy_from_slice(digest.as_ref());
    out
}

impl Identity {
    /// Whether API keys are looked for.
    pub fn reads_keys(&self) -> bool {
        self.sources.iter().any(|source| matches!(source, Source::ApiKey(_)))
    }

    /// Whether JWTs are looked for.
    pub fn reads_jwt(&self) -> bool {
        self.tokens.is_some()
    }

    /// The header fields of trusted proxies, if they are read.
    pub fn proxy_headers(&self) -> Option<&ProxyHeaders> {
        self.sources.iter().find_map(|source| match source {
            Source::TrustedProxy(headers) => Some(headers),
            _ => None,
        })
    }
}

/// Three parts separated by dots, each base64url and none empty but the signature (RFC 7515, 3.1).
pub fn is_jwt(token: &str) -> bool {
    let base64url = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let mut parts = token.split('.');
    let (Some(head), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    !head.is_empty() && !claims.is_empty() && [head, claims, signature].into_iter().all(base64url)
}

/// The subject of an address: IPv4 whole, IPv6 by its /64, which one customer commonly holds.
pub fn address_subject(ip: IpAddr) -> Arc<str> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => format!("address:{ip}").into(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            let network = std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0);
            format!("address:{network}/64").into()
        }
    }
}

/// The subject of a path parameter.
pub fn path_subject(value: &str) -> Arc<str> {
    format!("path:{value}").into()
}

/// Whether a verified source may give `subject` out: not a name of an unverified one, nor of what is shared.
pub fn is_verified_name(subject: &str) -> bool {
    !["path:", "address:", "pool:"].iter().any(|taken| subject.starts_with(taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwt_is_three_base64url_parts() {
        for (token, is) in [
            ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", true),
            ("a.b.c", true),
            ("weir_abc", false),
            ("a.b", false),
            ("a.b.c.d", false),
            ("a..c", false),
            ("a.b+.c", false),
        ] {
            assert_eq!(is_jwt(token), is, "{token}");
        }
    }

    #[test]
    fn one_ipv6_network_is_one_subject() {
        let subject = |text: &str| address_subject(text.parse().expect("an address"));
        assert_eq!(subject("2001:db8::1"), subject("2001:db8::ffff"));
        assert_ne!(subject("2001:db8:0:1::1"), subject("2001:db8::1"));
        assert_eq!(&*subject("::ffff:192.0.2.1"), "address:192.0.2.1");
    }

    #[test]
    fn an_expired_key_has_no_holder() {
        let caller = Caller { subject: "alice".into(), tier: TierId(0) };
        let mut keys = Keys::default();
        let key = Key { caller: caller.clone(), expires: Some(Timestamp(10)) };
        assert!(keys.insert(digest(b"k"), key));
        assert_eq!(keys.holder(b"k", Timestamp(9)), Some(&caller));
        assert_eq!(keys.holder(b"k", Timestamp(10)), None);
        assert_eq!(keys.holder(b"K", Timestamp(9)), None);
    }
}
