//! A token as it arrives: three parts in base64url (RFC 7515, 7.1), nothing of it believed yet.
//!
//! Of the header only `alg`, `kid`, `typ` and `crit` are read. Keys and places of
//! keys in it (`jwk`, `jku`, `x5c`, `x5u`) are the sender's and never looked at.

use std::borrow::Cow;

use aws_lc_rs::signature::ParsedPublicKey;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::{TokenError, algorithm::Algorithm, claims::Claims};

/// The longest token, in bytes: past it, it is not even decoded.
pub const MAX_TOKEN: usize = 16 << 10;
/// The longest `kid`, in bytes. It is only compared.
const MAX_KEY_ID: usize = 256;

/// A token in its parts.
#[derive(Debug)]
pub(super) struct Signed<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    /// Unverified until one of [`Signed::is_by`] says so.
    pub(super) claims: Claims,
    input: &'t str,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header<'t> {
    #[serde(borrow)]
    alg: Cow<'t, str>,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

/// True for any value, `null` included.
fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl<'t> Signed<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// When it is not well formed, or asks for what is never done.
    pub(super) fn parse(token: &'t [u8]) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        let token = std::str::from_utf8(token).map_err(|_| TokenError::Malformed)?;
        let (input, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = input.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        let header = decode(header)?;
        // A member that stands twice is an error here (RFC 7515, 4).
        let header: Header<'_> =
            serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
        if header.crit {
            return Err(TokenError::Critical);
        }
        if header.typ.as_deref().is_some_and(|typ| !is_access_token(typ)) {
            return Err(TokenError::Kind);
        }
        if header.kid.as_ref().is_some_and(|id| id.len() > MAX_KEY_ID) {
            return Err(TokenError::Malformed);
        }
        Ok(Self {
            algorithm: Algorithm::named(&header.alg).ok_or(TokenError::Algorithm)?,
            key_id: header.kid,
            claims: serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)?,
            input,
            signature: decode(signature)?,
        })
    }

    /// Whether the holder of `key` signed it.
    pub(super) fn is_by(&self, key: &ParsedPublicKey) -> bool {
        key.verify_sig(self.input.as_bytes(), &self.signature).is_ok()
    }
}

/// `typ` keeps tokens for other ends (logout, DPoP, security events), which an issuer signs with
/// the same keys, from being taken for one that lets its bearer in (RFC 8725, 3.11).
fn is_access_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::jwt::keys::KeySet;

    fn parse(header: &str, claims: &str) -> Result<Option<String>, String> {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.AAAA", part(header), part(claims));
        let signed = Signed::parse(token.as_bytes()).map_err(|error| error.to_string())?;
        Ok(signed.key_id)
    }

    /// RFC 8037, A.1 to A.4; its payload is no JSON, so the parts are put together by hand.
    #[test]
    fn the_vector_of_rfc_8037_verifies() {
        let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let (keys, _) = KeySet::parse(set.as_bytes()).expect("a set");
        let key = keys.candidates(Algorithm::EdDsa, None).expect("a key")[0];
        let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt\
                         9g7sVvpAr_MuM0KAg";
        let signed = |input| Signed {
            algorithm: Algorithm::EdDsa,
            key_id: None,
            claims: Claims::new(),
            input,
            signature: URL_SAFE_NO_PAD.decode(signature).expect("base64url"),
        };
        assert!(signed("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc").is_by(key));
        assert!(!signed("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmd").is_by(key));
    }

    /// RFC 7515, A.3: ECDSA on P-256.
    #[test]
    fn the_vector_of_rfc_7515_verifies() {
        let set = r#"{"keys":[{"kty":"EC","crv":"P-256",
            "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
        let (keys, _) = KeySet::parse(set.as_bytes()).expect("a set");
        let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6\
                     Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmX\
                     FCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let signed = Signed::parse(token.as_bytes()).expect("a token");
        let key = keys.candidates(signed.algorithm, None).expect("a key")[0];
        assert!(signed.is_by(key));
        assert_eq!(signed.claims["iss"], "joe");
    }

    #[test]
    fn what_a_header_may_not_ask_for_is_refused() {
        let good = parse(r#"{"alg":"RS256","kid":"k","typ":"at+JWT"}"#, "{}");
        assert_eq!(good, Ok(Some("k".to_owned())));
        let embedded = r#"{"alg":"RS256","jwk":{"kty":"oct"},"jku":"http://evil/","x5u":7}"#;
        assert_eq!(parse(embedded, "{}"), Ok(None), "not looked at");
        let refused = |error: TokenError| Err(error.to_string());
        for alg in ["none", "HS256", "nOnE", "ES512K", ""] {
            let header = format!(r#"{{"alg":"{alg}"}}"#);
            assert_eq!(parse(&header, "{}"), refused(TokenError::Algorithm), "{alg}");
        }
        for crit in [r#"["exp"]"#, "null", "[]", "7"] {
            let header = format!(r#"{{"alg":"RS256","crit":{crit}}}"#);
            assert_eq!(parse(&header, "{}"), refused(TokenError::Critical), "{crit}");
        }
        for typ in ["logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE"] {
            let header = format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#);
            assert_eq!(parse(&header, "{}"), refused(TokenError::Kind), "{typ}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        let refused = Err(TokenError::Malformed.to_string());
        for header in [
            "{}",
            "[]",
            "null",
            "{",
            r#"{"alg":7}"#,
            r#"{"alg":"RS256","alg":"none"}"#,
            r#"{"alg":"RS256","kid":7}"#,
            r#"{"alg":"RS256","kid":{"$ne":1}}"#,
        ] {
            assert_eq!(parse(header, "{}"), refused, "{header}");
        }
        let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(257));
        assert_eq!(parse(&long, "{}"), refused);
        let deep = format!("{{\"a\":{}", "[".repeat(5_000));
        for claims in ["", "[]", "7", "\"x\"", deep.as_str()] {
            assert_eq!(parse(r#"{"alg":"RS256"}"#, claims), refused, "{claims}");
        }
        for token in [&b"a.b.c"[..], b"..", b"", b".", b"a", b"\xff.\xff.\xff", b"e30=.e30=.AA=="] {
            assert!(matches!(Signed::parse(token), Err(TokenError::Malformed)), "{token:?}");
        }
        let huge = vec![b'a'; MAX_TOKEN + 1];
        assert!(matches!(Signed::parse(&huge), Err(TokenError::TooLong)));
    }
}
