//! Chromium, headless and unchanged: what scripts of other origins may do and know.
//!
//! The pages come through the sidecar as well, under other host names, so that everything is
//! TLS. The certificate is trusted by the hash of its key; all other errors would count.

use std::{fs, process::Command, time::Duration};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    harness::{run, soon},
    origin::Origin,
    sidecar::{Running, Sidecar},
    tools::chromium,
};

/// The longest that a page may take, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
const PAGE: &str = include_str!("pages/app.html");

/// The policy, once the port is known that is part of the origins.
fn tables(port: u16) -> String {
    format!(
        r#"
        [cors]
        origins = ["https://app.example.com:{port}"]
        methods = ["GET", "POST"]
        headers = ["Content-Type", "X-API-Key", "X-App"]
        credentials = true
        [[identity]]
        from = "api_key"
        [[identity]]
        from = "address"
        tier = "free"
        [operations.once]
        routes = ["* /once"]
        [operations.rest]
        routes = ["* /**"]
        [tiers.free]
        quotas = {{ once = "1/hour", rest = "1000/hour" }}
        "#
    )
}

/// A sidecar that knows the application's origin, before a service with what the page asks for.
async fn open() -> (Origin, Sidecar) {
    let origin = Origin::start().await;
    let sidecar = Sidecar::with(&tables(1)).before(&origin).start().await;
    sidecar.edit(&tables(sidecar.address.port()));
    sidecar.metric_is("weir_policy_reloads_total{result=\"applied\"}", 1.0).await;
    origin.answers("/page", 200, &[("content-type", "text/html")], PAGE);
    let json = ("content-type", "application/json");
    let cookie = ("set-cookie", "session=s1; Secure; HttpOnly; SameSite=Lax");
    origin.answers("/login", 200, &[json, cookie, ("x-hidden", "1")], "{}");
    origin.answers("/failing", 500, &[json], r#"{"secret": "postgres://root:pw@10.0.0.1"}"#);
    let stream = [("content-type", "text/event-stream")];
    origin.answers("/ticks", 200, &stream, "retry: 50\nid: 7\ndata: tick\n\n");
    (origin, sidecar)
}

/// Opens the page under this host name; the browser ends with what is returned.
fn browse(sidecar: &Sidecar, host: &str) -> Running {
    let port = sidecar.address.port();
    let mut command = chromium();
    let trusted = spki_hash(&fs::read(sidecar.file("certs/server.key")).unwrap());
    command.env("HOME", sidecar.file(""));
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--no-first-run", "--disable-background-networking", "--disable-extensions"]);
    argument(&mut command, "--user-data-dir=", &sidecar.file("profile").display().to_string());
    argument(&mut command, "--ignore-certificate-errors-spki-list=", &trusted);
    argument(&mut command, "--host-resolver-rules=", "MAP * 127.0.0.1");
    // Keeps the browser alive: without it, it would end when the page has loaded.
    command.arg("--remote-debugging-port=0");
    let api = format!("https://api.example.com:{port}");
    command.arg(format!("https://{host}:{port}/page?api={api}"));
    Running::of(command)
}

fn argument(command: &mut Command, name: &str, value: &str) {
    command.arg(format!("{name}{value}"));
}

/// What the page found, as soon as it says so.
async fn found(origin: &Origin, browser: &Running) -> Value {
    let mut result = origin.watches("/result");
    let mut whole = Vec::new();
    let read = async {
        while let Some(piece) = result.recv().await.filter(|piece| !piece.is_empty()) {
            whole.extend_from_slice(&piece);
        }
    };
    let read = tokio::time::timeout(PATIENCE, read).await;
    assert!(read.is_ok(), "the page is not done: {:#?}", browser.lines());
    serde_json::from_slice(&whole).unwrap()
}

#[test]
fn a_page_of_an_allowed_origin_uses_the_service_with_credentials() {
    run(async {
        let (origin, sidecar) = open().await;
        let feed = origin.paces("/events");
        let browser = browse(&sidecar, "app.example.com");
        let events = tokio::spawn(async move {
            for event in ["data: one\n\n", "data: two\n\n: nothing\n\ndata: thr", "ee\n\n"] {
                feed.send(event.into()).await.unwrap();
            }
            feed
        });

        let found = found(&origin, &browser).await;

        assert_eq!(found["login"]["status"], 200, "{found:#}");
        assert_eq!(found["login"]["headers"]["x-hidden"], Value::Null, "{found:#}");
        assert_echoes(&found);
        assert_eq!(found["put"]["failed"], "TypeError", "not among the methods: {found:#}");
        assert_refusals(&found);
        assert_eq!(found["ticks"], json!(["tick", "tick"]));
        let seen = origin.seen();
        let ticks: Vec<_> = seen.iter().filter(|seen| seen.target == "/ticks").collect();
        assert_eq!(ticks[1].header("last-event-id"), Some("7"), "where the browser went on");
        assert_eq!(found["events"], json!(["one", "two", "three"]));
        let feed = soon("all events are sent", events).await.unwrap();
        soon("the stream that the page closed ends at the upstream", feed.closed()).await;
        let events = seen.iter().find(|seen| seen.target == "/events").unwrap();
        assert_eq!(events.header("cookie"), Some("session=s1"));
        let is = |line: &Value| line["path"] == "/echo" && line["protocol"] == "h2";
        sidecar.logged("the browser spoke HTTP/2", is).await;
    });
}

fn assert_echoes(found: &Value) {
    for (name, method, body) in [("echo", "GET", ""), ("post", "POST", r#"{"a":1}"#)] {
        let answer = &found[name];
        let echo = &answer["body"];
        assert_eq!(answer["status"], 200, "{name}: {answer:#}");
        assert_eq!((&echo["method"], &echo["body"]), (&json!(method), &json!(body)), "{name}");
        let headers = echo["headers"].as_array().unwrap();
        assert!(headers.contains(&json!(["cookie", "session=s1"])), "{name}: {answer:#}");
        for header in ["x-request-id", "ratelimit", "x-ratelimit-remaining"] {
            assert!(answer["headers"][header].is_string(), "{name} {header}: {answer:#}");
        }
    }
}

/// Scripts can read what they are told, not just that something went wrong.
fn assert_refusals(found: &Value) {
    assert_eq!(found["first"]["status"], 200, "{found:#}");
    let wait = found["second"]["headers"]["retry-after"].as_str().unwrap();
    assert!((3_000..=3_600).contains(&wait.parse::<u32>().unwrap()), "{found:#}");
    for (name, status, code) in [
        ("wrong", 401, "unauthenticated"),
        ("second", 429, "quota_exceeded"),
        ("failed", 500, "internal_error"),
    ] {
        let answer = &found[name];
        assert_eq!(answer["status"], status, "{name}: {answer:#}");
        assert_eq!(answer["body"]["error_code"], code, "{name}: {answer:#}");
        let id = &answer["headers"]["x-request-id"];
        assert_eq!(&answer["body"]["request_id"], id, "{name}: {answer:#}");
    }
}

#[test]
fn a_page_of_a_foreign_origin_learns_nothing_and_sends_nothing_unsafe() {
    run(async {
        let (origin, sidecar) = open().await;
        let stream = [("content-type", "text/event-stream")];
        origin.answers("/events", 200, &stream, "data: one\n\ndata: two\n\ndata: three\n\n");

        let browser = browse(&sidecar, "app.example.org");
        let found = found(&origin, &browser).await;

        for name in ["login", "echo", "post", "put", "wrong", "first", "second", "failed"] {
            assert_eq!(found[name], json!({"failed": "TypeError"}), "{name}: {found:#}");
        }
        assert_eq!(found["ticks"], "closed", "{found:#}");
        assert_eq!(found["events"], "closed", "{found:#}");
        assert_eq!(origin.count("/echo"), 0, "what needs a preflight never left");
    });
}

/// The SHA-256 of a key's public half, in base64, as Chromium wants it.
fn spki_hash(pem: &[u8]) -> String {
    let key = PrivateKeyDer::from_pem_slice(pem).unwrap();
    let pair =
        EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, key.secret_der());
    let public: PublicKeyX509Der<'_> = pair.unwrap().public_key().as_der().unwrap();
    base64(&Sha256::digest(public.as_ref()))
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        let bits = bits << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[bits >> (18 - 6 * place) & 63];
            text.push(if place > three.len() { '=' } else { char::from(letter) });
        }
    }
    text
}
