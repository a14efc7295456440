//! What a token says about its bearer, and when it says so.
//!
//! A claim is named whole or as a path of names with dots between them. The
//! whole name comes first: names that are URLs have dots of their own.

use std::time::Duration;

use serde_json::{Map, Value};

use super::TokenError;
use crate::clock::Timestamp;

/// The claims of a token (RFC 7519, 4).
pub(super) type Claims = Map<String, Value>;

/// Where a claim is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath {
    whole: Box<str>,
    steps: Vec<Box<str>>,
}

impl ClaimPath {
    /// The claim called `name`, or else the one that `name` leads to step by step.
    pub fn new(name: &str) -> Self {
        let steps = name.split('.').map(Box::from).collect();
        Self { whole: name.into(), steps }
    }

    pub(super) fn find<'c>(&self, claims: &'c Claims) -> Option<&'c Value> {
        if let Some(value) = claims.get(&*self.whole) {
            return Some(value);
        }
        let (first, rest) = self.steps.split_first()?;
        let start = claims.get(&**first);
        rest.iter().fold(start, |value, step| value?.as_object()?.get(&**step))
    }
}

/// When the token ends, with `leeway` for clocks that differ; `exp` must be there.
///
/// # Errors
/// When it has ended, has not begun, or says neither in numbers.
pub(super) fn end(
    claims: &Claims,
    now: Timestamp,
    leeway: Duration,
) -> Result<Timestamp, TokenError> {
    let end = time(claims, "exp")?.ok_or(TokenError::NoExpiry)?.after(leeway);
    if now >= end {
        return Err(TokenError::Expired);
    }
    for begin in ["nbf", "iat"] {
        if time(claims, begin)?.is_some_and(|begin| now.after(leeway) < begin) {
            return Err(TokenError::TooEarly);
        }
    }
    Ok(end)
}

/// Seconds since 1970, which may have a fraction (RFC 7519, 2, "NumericDate").
fn time(claims: &Claims, name: &str) -> Result<Option<Timestamp>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0).ok_or(TokenError::BadTime)?;
    // A cast of a float stops at the ends of the range: the end of time is after everything.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    Ok(Some(Timestamp((seconds * 1_000.0) as u64)))
}

/// Whether `aud`, one text or a list of texts, has `wanted` in it (RFC 7519, 4.1.3).
pub(super) fn is_for(claims: &Claims, wanted: &str) -> bool {
    match claims.get("aud") {
        Some(Value::String(one)) => one == wanted,
        Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(wanted)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        let Value::Object(claims) = value else { panic!("no object: {value}") };
        claims
    }

    #[test]
    fn a_claim_is_found_by_its_whole_name_or_step_by_step() {
        let claims = claims(json!({
            "sub": "u", "realm": {"tier": "gold", "deep": {"x": 1}}, "https://a.example/tier": "t",
            "a.b": "whole", "a": {"b": "steps"},
        }));
        let find = |name: &str| ClaimPath::new(name).find(&claims).cloned();
        assert_eq!(find("sub"), Some(json!("u")));
        assert_eq!(find("realm.tier"), Some(json!("gold")));
        assert_eq!(find("realm.deep.x"), Some(json!(1)));
        assert_eq!(find("https://a.example/tier"), Some(json!("t")));
        assert_eq!(find("a.b"), Some(json!("whole")));
        for absent in ["", ".", "realm.", "realm.tier.x", "sub.x", "nobody"] {
            assert_eq!(find(absent), None, "{absent}");
        }
    }

    #[test]
    fn a_token_counts_between_its_times_with_leeway() {
        let (now, leeway) = (Timestamp(1_000_000), Duration::from_secs(60));
        let end =
            |value: Value| end(&claims(value), now, leeway).map_err(|error| error.to_string());
        let refused = |error: TokenError| Err(error.to_string());
        assert_eq!(end(json!({"exp": 1_000})), Ok(Timestamp(1_060_000)));
        assert_eq!(end(json!({"exp": 940.5})), Ok(Timestamp(1_000_500)));
        assert_eq!(end(json!({"exp": 940})), refused(TokenError::Expired));
        assert_eq!(end(json!({"exp": 1e300})), Ok(Timestamp(u64::MAX)));
        assert_eq!(end(json!({})), refused(TokenError::NoExpiry));
        for exp in [json!("1000"), json!(-1), json!(null), json!([1_000]), json!(true)] {
            assert_eq!(end(json!({ "exp": exp })), refused(TokenError::BadTime), "{exp}");
        }
        for begin in ["nbf", "iat"] {
            assert!(end(json!({"exp": 2_000, begin: 1_060})).is_ok());
            assert_eq!(end(json!({"exp": 2_000, begin: 1_061})), refused(TokenError::TooEarly));
            assert_eq!(end(json!({"exp": 2_000, begin: "x"})), refused(TokenError::BadTime));
        }
    }

    #[test]
    fn an_audience_is_one_text_or_a_list() {
        for (aud, is) in [
            (json!("api"), true),
            (json!(["x", "api"]), true),
            (json!(["x", 7, null]), false),
            (json!("api2"), false),
            (json!({"api": 1}), false),
            (json!(null), false),
        ] {
            assert_eq!(is_for(&claims(json!({ "aud": aud })), "api"), is, "{aud}");
        }
        assert!(!is_for(&Claims::new(), "api"));
    }
}
