//! Tokens that are believed, and many that are not.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PSS_SHA512, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp(1_000_000_000);
const ISSUER: &str = "https://auth.example/";

struct Ed(Ed25519KeyPair);

impl Ed {
    fn new() -> Self {
        Self(Ed25519KeyPair::generate().expect("a key"))
    }

    fn jwk(&self, id: &str) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = input(header, claims);
        let signature = self.0.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

fn input(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn claims() -> Value {
    json!({"iss": ISSUER, "sub": "alice", "tier": "gold", "exp": NOW.0 / 1_000 + 600})
}

fn changed(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn header(id: &str) -> Value {
    json!({"alg": "EdDSA", "kid": id})
}

fn set(keys: &[Value]) -> Arc<KeySet> {
    Arc::new(KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a set").0)
}

fn issuer(keys: IssuerKeys) -> Issuer {
    Issuer {
        name: ISSUER.into(),
        audience: None,
        keys,
        leeway: Duration::from_secs(60),
        subject: ClaimPath::new("sub"),
        prefix: String::new(),
        tier: ClaimPath::new("tier"),
        default_tier: None,
        source: 3,
    }
}

fn tokens(issuers: Vec<Issuer>) -> Tokens {
    let tiers = HashMap::from([("gold".into(), TierId(1)), ("free".into(), TierId(0))]);
    Tokens::new(issuers, tiers, 100)
}

fn why(tokens: &Tokens, token: &str) -> String {
    match tokens.bearer(token.as_bytes(), NOW) {
        Ok((_, caller)) => format!("{} in {}", caller.subject, caller.tier.0),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_token_names_its_bearer_and_tier() {
    let key = Ed::new();
    let tokens = tokens(vec![issuer(IssuerKeys::Fixed(set(&[key.jwk("a")])))]);
    let token = key.sign(&header("a"), &claims());

    for _ in 0..2 {
        let (source, caller) = tokens.bearer(token.as_bytes(), NOW).expect("it is believed");
        assert_eq!((source, &*caller.subject, caller.tier), (3, "alice", TierId(1)));
    }
    let end = Timestamp(NOW.0 + 660_000);
    assert!(tokens.bearer(token.as_bytes(), Timestamp(end.0 - 1)).is_ok());
    assert!(matches!(tokens.bearer(token.as_bytes(), end), Err(TokenError::Expired)));
}

#[test]
fn claims_that_do_not_let_in_are_refused_for_their_own_reason() {
    let key = Ed::new();
    let mut strict = issuer(IssuerKeys::Fixed(set(&[key.jwk("a")])));
    strict.audience = Some("api".into());
    let tokens = tokens(vec![strict]);
    let with = |name: &str, value: Value| {
        let mut claims = changed(name, value);
        if name != "aud" {
            claims["aud"] = json!(["other", "api"]);
        }
        why(&tokens, &key.sign(&header("a"), &claims))
    };
    assert_eq!(with("x", json!(1)), "alice in 1");
    let cases = [
        ("iss", json!("https://evil.example/"), TokenError::Issuer),
        ("iss", json!(["https://auth.example/"]), TokenError::Issuer),
        ("iss", Value::Null, TokenError::Issuer),
        ("exp", Value::Null, TokenError::NoExpiry),
        ("exp", json!(NOW.0 / 1_000 - 60), TokenError::Expired),
        ("nbf", json!(NOW.0 / 1_000 + 61), TokenError::TooEarly),
        ("aud", Value::Null, TokenError::Audience),
        ("aud", json!("api.evil"), TokenError::Audience),
        ("sub", Value::Null, TokenError::Subject),
        ("sub", json!(""), TokenError::Subject),
        ("sub", json!(7), TokenError::Subject),
        ("sub", json!("path:alice"), TokenError::Subject),
        ("sub", json!("address:127.0.0.1"), TokenError::Subject),
        ("sub", json!("a\nb"), TokenError::Subject),
        ("sub", json!("a".repeat(MAX_SUBJECT + 1)), TokenError::Subject),
        ("tier", Value::Null, TokenError::Tier),
        ("tier", json!("platinum"), TokenError::Tier),
        ("tier", json!(["gold"]), TokenError::Tier),
    ];
    for (name, value, reason) in cases {
        assert_eq!(with(name, value.clone()), reason.to_string(), "{name}: {value}");
    }
}

#[test]
fn a_missing_tier_has_a_default_and_a_wrong_one_has_none() {
    let key = Ed::new();
    let mut generous = issuer(IssuerKeys::Fixed(set(&[key.jwk("a")])));
    generous.default_tier = Some(TierId(0));
    generous.tier = ClaimPath::new("realm.tier");
    generous.prefix = "partner:".into();
    let tokens = tokens(vec![generous]);
    let with = |realm: Value| why(&tokens, &key.sign(&header("a"), &changed("realm", realm)));
    assert_eq!(with(Value::Null), "partner:alice in 0");
    assert_eq!(with(json!({"tier": "gold"})), "partner:alice in 1");
    assert_eq!(with(json!({"tier": "platinum"})), TokenError::Tier.to_string());
}

#[test]
fn a_forged_token_is_never_believed() {
    let (key, other) = (Ed::new(), Ed::new());
    let tokens = tokens(vec![issuer(IssuerKeys::Fixed(set(&[key.jwk("a")])))]);
    let good = key.sign(&header("a"), &claims());
    let signature = TokenError::Signature.to_string();

    assert_eq!(why(&tokens, &other.sign(&header("a"), &claims())), signature);
    let (input, _) = good.rsplit_once('.').expect("parts");
    assert_eq!(why(&tokens, &format!("{input}.")), signature, "without a signature");
    let (_, theirs) = good.rsplit_once('.').expect("parts");
    let admin = self::input(&header("a"), &changed("sub", json!("admin")));
    assert_eq!(why(&tokens, &format!("{admin}.{theirs}")), signature, "other claims");

    let none = self::input(&json!({"alg": "none"}), &claims());
    assert_eq!(why(&tokens, &format!("{none}.")), TokenError::Algorithm.to_string());
    // The classic: an HMAC with the public key as the secret.
    let hs = self::input(&json!({"alg": "HS256", "kid": "a"}), &claims());
    let secret =
        aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.0.public_key().as_ref());
    let mac = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&secret, hs.as_bytes()).as_ref());
    assert_eq!(why(&tokens, &format!("{hs}.{mac}")), TokenError::Algorithm.to_string());
    // A key of the sender's own in the header.
    let own = json!({"alg": "EdDSA", "jwk": other.jwk("a"), "kid": "a"});
    assert_eq!(why(&tokens, &other.sign(&own, &claims())), signature);
    // The header names an algorithm of another kind of key.
    let wrong = json!({"alg": "ES256", "kid": "a"});
    assert_eq!(why(&tokens, &key.sign(&wrong, &claims())), TokenError::Algorithm.to_string());
    for id in ["b", "../../etc/passwd", "' OR 1=1 --", ""] {
        let unknown = TokenError::UnknownKey(None).to_string();
        assert_eq!(why(&tokens, &key.sign(&header(id), &claims())), unknown, "{id}");
    }
    assert_eq!(why(&tokens, &good), "alice in 1");
}

#[test]
fn each_issuer_has_its_own_keys_and_subjects() {
    let (ours, theirs) = (Ed::new(), Ed::new());
    let first = issuer(IssuerKeys::Fixed(set(&[ours.jwk("a")])));
    let mut second = issuer(IssuerKeys::Fixed(set(&[theirs.jwk("a")])));
    (second.name, second.prefix, second.source) = ("https://b.example/".into(), "b:".into(), 4);
    let tokens = tokens(vec![first, second]);
    let of_b = changed("iss", json!("https://b.example/"));

    assert_eq!(why(&tokens, &ours.sign(&header("a"), &claims())), "alice in 1");
    assert_eq!(why(&tokens, &theirs.sign(&header("a"), &of_b)), "b:alice in 1");
    let crossed = [ours.sign(&header("a"), &of_b), theirs.sign(&header("a"), &claims())];
    for token in crossed {
        assert_eq!(why(&tokens, &token), TokenError::Signature.to_string());
    }
}

#[test]
fn a_remembered_token_is_judged_anew_by_new_keys() {
    let (old, new) = (Ed::new(), Ed::new());
    let place = KeysUrl {
        url: http::Uri::from_static("https://auth.example/jwks"),
        ca: None,
        refresh: Duration::from_secs(300),
    };
    let remote = RemoteKeys::new(place, None);
    let tokens = tokens(vec![issuer(IssuerKeys::Remote(Arc::clone(&remote)))]);
    let token = old.sign(&header("old"), &claims());
    let keys = |key: Value| {
        let text = json!({ "keys": [key] }).to_string();
        remote.end(Some(KeySet::parse(text.as_bytes()).expect("a set").0));
    };
    assert!(matches!(tokens.bearer(token.as_bytes(), NOW), Err(TokenError::NoKeys(Some(_)))));
    keys(old.jwk("old"));
    assert_eq!(why(&tokens, &token), "alice in 1");
    keys(new.jwk("new"));
    let revoked = tokens.bearer(token.as_bytes(), NOW);
    assert!(matches!(revoked, Err(TokenError::UnknownKey(Some(_)))), "{revoked:?}");
    assert_eq!(why(&tokens, &new.sign(&header("new"), &claims())), "alice in 1");
}

#[test]
fn rsa_and_ecdsa_keys_verify_with_their_own_algorithms_only() {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    // A sequence of two integers (RFC 8017, A.1.1): 256 octets behind a zero, then 65537.
    let der = rsa.public_key().as_ref();
    let (n, e) = (&der[9..265], &der[267..]);
    let point = ec.public_key().as_ref();
    let mut rsa_key = json!({"kty": "RSA", "kid": "r", "n": encode(n), "e": encode(e)});
    let ec_key = json!({"kty": "EC", "crv": "P-256", "kid": "e", "x": encode(&point[1..33]),
        "y": encode(&point[33..])});

    let rsa_token = |alg: &str, padding: &'static dyn aws_lc_rs::signature::RsaEncoding| {
        let input = input(&json!({"alg": alg, "kid": "r"}), &claims());
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(padding, &random, input.as_bytes(), &mut signature).expect("signed");
        format!("{input}.{}", encode(&signature))
    };
    let ec_token = |alg: &str| {
        let input = input(&json!({"alg": alg, "kid": "e"}), &claims());
        let signature = ec.sign(&random, input.as_bytes()).expect("signed");
        format!("{input}.{}", encode(signature.as_ref()))
    };
    let believed = tokens(vec![issuer(IssuerKeys::Fixed(set(&[rsa_key.clone(), ec_key.clone()])))]);
    assert_eq!(why(&believed, &rsa_token("RS256", &RSA_PKCS1_SHA256)), "alice in 1");
    assert_eq!(why(&believed, &rsa_token("PS512", &RSA_PSS_SHA512)), "alice in 1");
    assert_eq!(why(&believed, &ec_token("ES256")), "alice in 1");
    let wrong = TokenError::Signature.to_string();
    assert_eq!(why(&believed, &rsa_token("RS512", &RSA_PKCS1_SHA256)), wrong);
    assert_eq!(why(&believed, &rsa_token("PS256", &RSA_PKCS1_SHA256)), wrong);
    let disallowed = TokenError::Algorithm.to_string();
    assert_eq!(why(&believed, &ec_token("ES384")), disallowed);
    assert_eq!(why(&believed, &rsa_token("ES256", &RSA_PKCS1_SHA256)), disallowed);

    rsa_key["alg"] = json!("PS512");
    let narrow = tokens(vec![issuer(IssuerKeys::Fixed(set(&[rsa_key])))]);
    assert_eq!(why(&narrow, &rsa_token("RS256", &RSA_PKCS1_SHA256)), disallowed);
    assert_eq!(why(&narrow, &rsa_token("PS512", &RSA_PSS_SHA512)), "alice in 1");
}
