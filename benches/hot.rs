//! Measures what one request pays for the policy, step by step: `cargo bench --bench hot`.
//!
//! The policy is the example that the tests load, compiled as a running process does it. Each figure
//! is the best of many short runs, so that other work on the machine counts little. The decision
//! itself is `--bench ledger`, cleaning `--bench redact`.
// A bench that cannot go on has failed.
#![allow(clippy::expect_used)]

use std::{
    error::Error,
    hint::black_box,
    io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    time::{Duration, Instant},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use weir::{
    clock::{Clock, Timestamp},
    policy::{
        identity::digest,
        load::Loader,
        path::canonical,
        snapshot::{OperationId, Policy, TierId},
    },
    proxy::{
        CODES,
        forwarded::{CallerAddress, Connected},
        identify::{self, Seen},
    },
    telemetry::{Cost, LogFormat, Output, Record, Telemetry},
    units::NanoUsd,
};

const POLICY: &str = include_str!("../tests/policy/fixtures/policy.toml");
const ISSUER: &str = "https://auth.yourdomain.com/";
const KEY: &str = "weir_0123456789abcdef0123456789abcdef";
const PATH: &str = "/api/user/u-48213/behavior/analyze";
/// Calls in one run.
const CALLS: u32 = 1_000;
const RUNS: u32 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let telemetry = Telemetry::new(CODES, Output::to(Box::new(io::sink())), LogFormat::Json);
    let token = furnish(directory.path())?;
    let loaded = Loader::new(directory.path().join("policy.toml")).load(&telemetry.metrics);
    let report = format!("{:?}", loaded.report.diagnostics());
    let policy = loaded.compiled.ok_or(report)?.policy;
    matching(&policy);
    cors(&policy);
    identity(&policy, &token);
    record(&policy, &telemetry);
    Ok(())
}

/// Writes the policy and what it names; returns a token that it believes.
fn furnish(directory: &Path) -> Result<String, Box<dyn Error>> {
    let key = Ed25519KeyPair::generate()?;
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": encode(key.public_key())});
    let hash: String = digest(KEY.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::create_dir(directory.join("certs"))?;
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text);
    write("policy.toml", POLICY)?;
    write("certs/jwks.json", &json!({"keys": [jwk]}).to_string())?;
    write(
        "keys.toml",
        &format!(
            "[[key]]\nid = \"k1\"\nsubject = \"alice\"\ntier = \"premium\"\nsha256 = \"{hash}\"\n\
             created = \"2026-01-31T12:00:00Z\"\n"
        ),
    )?;
    let now = Clock::System.now().as_millis() / 1_000;
    let claims = json!({"iss": ISSUER, "sub": "bob", "tier": "premium", "exp": now + 86_400});
    let signed = format!(
        "{}.{}",
        encode(json!({"alg": "EdDSA", "kid": "1"}).to_string()),
        encode(claims.to_string())
    );
    let signature = encode(key.sign(signed.as_bytes()));
    Ok(format!("{signed}.{signature}"))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn matching(policy: &Policy) {
    measure("path: canonical", || drop(black_box(canonical(black_box(PATH)))));
    measure("path: canonical, with escapes", || {
        drop(black_box(canonical(black_box("/api/user/%C3%A9mile/./behavior/analyze"))));
    });
    for (name, path) in [
        ("a route with a parameter", PATH),
        ("a fixed route", "/api/analyze"),
        ("the catch-all", "/a/b/c/d"),
    ] {
        assert!(policy.router.find(&Method::POST, path).is_some());
        measure(&format!("matching: {name}"), || {
            black_box(policy.router.find(&Method::POST, black_box(path)));
        });
    }
}

fn cors(policy: &Policy) {
    for (name, origin) in [
        ("none", None),
        ("allowed", Some("https://yourdomain.com")),
        ("foreign", Some("https://evil.example")),
    ] {
        let mut request = HeaderMap::new();
        request.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
        let mut answer = HeaderMap::with_capacity(16);
        measure(&format!("cors: origin {name}"), || {
            let verdict = policy.cors.judge(black_box(&request));
            policy.cors.apply(verdict, &mut answer);
            answer.clear();
        });
    }
}

fn identity(policy: &Policy, token: &str) {
    let bearer = HeaderValue::from_str(&format!("Bearer {token}")).expect("a token is ASCII");
    for (name, path, field, subject) in [
        ("API key", "/x", Some(("x-api-key", HeaderValue::from_static(KEY))), "alice"),
        ("JWT, remembered", "/x", Some(("authorization", bearer)), "bob"),
        ("path", PATH, None, "path:u-48213"),
        ("address", "/x", None, "address:192.0.2.1"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("api.example.com"));
        headers.extend(field.map(|(name, value)| (header::HeaderName::from_static(name), value)));
        let address = address(policy, &headers);
        let find = || {
            let seen = Seen::new(path, &address, Clock::System.now());
            // The credential is taken out, so each call needs a head of its own.
            identify::find(&policy.identity, seen, &mut headers.clone())
        };
        assert!(find().is_ok_and(|(_, caller)| &*caller.subject == subject), "{name}");
        measure(&format!("identity: {name}, and a copy of the head"), || drop(black_box(find())));
    }
}

fn address(policy: &Policy, headers: &HeaderMap) -> CallerAddress {
    let text = HeaderValue::from_static("192.0.2.1");
    let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    CallerAddress::of(&policy.trusted, Connected { ip, text: &text, is_unix: false }, headers)
}

fn record(policy: &Policy, telemetry: &Telemetry) {
    let cell = &policy.terms(Some(OperationId(0)), Some(TierId(0))).cell;
    measure("record: counters of the metrics", || {
        cell.request(black_box(&Method::POST), StatusCode::OK);
        cell.duration.observe(Duration::from_micros(1_250));
        cell.cost.add(30_000_000);
    });
    measure("record: log line", || telemetry.record(black_box(&finished(&policy.sha256))));
    telemetry.output.close();
    println!("record: {} lines did not fit", telemetry.output.dropped());
}

fn finished(id: &str) -> Record<'_> {
    Record {
        began: Timestamp(1_773_144_000_000),
        request_id: &id[..32],
        client_request_id: None,
        trace_id: &id[..32],
        method: &Method::POST,
        path: PATH,
        operation: "behavior_analysis",
        tier: "free",
        subject: Some("path:u-48213"),
        peer: "192.0.2.1",
        address: "192.0.2.1",
        protocol: "h2",
        status: 200,
        error_code: None,
        shadow_code: None,
        detail: None,
        duration: Duration::from_micros(1_250),
        upstream: Some(Duration::from_micros(1_100)),
        attempts: 1,
        endpoint: None,
        request_bytes: 120,
        response_bytes: 4_096,
        redactions: 0,
        cost: Cost { amount: NanoUsd(30_000_000), metered: None },
        generation: 1,
    }
}

/// Prints the time of one call.
fn measure(name: &str, mut call: impl FnMut()) {
    let timed = (0..RUNS).map(|_| {
        let begin = Instant::now();
        (0..CALLS).for_each(|_| call());
        begin.elapsed()
    });
    let best = timed.min().unwrap_or_default();
    println!("{name}: {:.1} ns/op", best.as_secs_f64() * 1e9 / f64::from(CALLS));
}
