//! Callers by signed tokens: who is let in, who is not, and where the keys come from.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    client::Answer,
    harness::{run, until, until_async, weir_in},
    issuer::{ISSUER, Publisher, Signer, claims, encode, input, seconds, set},
    origin::Origin,
    plan::{Home, Plan},
    port::Port,
    sidecar::Sidecar,
};

/// Tokens of the issuer whose keys are at `jwks`; everybody else is a stranger.
fn plan(jwks: &str, more: &str) -> Plan {
    Sidecar::with(&format!(
        "[[identity]]\nfrom = \"jwt\"\nissuer = \"{ISSUER}\"\njwks = \"{jwks}\"\n{more}\n\
         [[identity]]\nfrom = \"address\"\ntier = \"stranger\"\n\
         [tiers.stranger]\nquotas = {{ \"*\" = \"1000/hour\" }}\n\
         [tiers.gold]\nquotas = {{ \"*\" = \"1000/hour\" }}\n"
    ))
}

fn furnish(plan: Plan, signers: &[&Signer]) -> Home {
    let home = plan.furnish();
    std::fs::write(home.path().join("jwks.json"), set(signers)).unwrap();
    home
}

async fn ask(sidecar: &Sidecar, token: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    sidecar.client.get("/x").header("authorization", &bearer).send().await
}

fn refused() -> (u16, String) {
    (401, "unauthenticated".to_owned())
}

#[test]
fn a_good_token_lets_its_bearer_in_as_its_claims_say_and_ends_here() {
    run(async {
        let origin = Origin::start().await;
        let signers = [Signer::ed25519("e"), Signer::p256("p"), Signer::rsa("r")];
        let all: Vec<&Signer> = signers.iter().collect();
        let sidecar =
            furnish(plan("jwks.json", "audience = \"api\"").before(&origin), &all).start().await;

        for signer in &signers {
            let token = format!("bearer {}", signer.token(&claims("alice", "gold")));
            for _ in 0..2 {
                let ask = || sidecar.client.get("/x").header("authorization", &token);
                for answer in [ask().send().await, ask().send_h2().await] {
                    assert_eq!(answer.status, 200, "{}", signer.id);
                    assert_eq!(answer.header("x-user-tier"), Some("gold"));
                    assert_eq!(sidecar.record(&answer).await["subject"], "alice");
                    assert_eq!(origin.last().header("authorization"), None);
                }
            }
        }
        let stranger = sidecar.client.get("/x").send().await;
        assert_eq!(stranger.header("x-user-tier"), Some("stranger"));
        let lines = sidecar.running.lines().join("\n");
        assert!(!lines.contains("eyJ"), "a token is in the log");
    });
}

#[test]
fn a_token_may_be_passed_on_and_claims_may_lie_deeper() {
    run(async {
        let origin = Origin::start().await;
        let key = Signer::ed25519("k");
        let more = "forward = true\nsubject_claim = \"https://a.example/user\"\n\
                    tier_claim = \"realm.tier\"\ntier = \"stranger\"\nsubject_prefix = \"a:\"";
        let sidecar = furnish(plan("jwks.json", more).before(&origin), &[&key]).start().await;
        let mut said = json!({"iss": ISSUER, "https://a.example/user": "u7", "exp": seconds(60)});

        let plain = key.token(&said);
        let answer = ask(&sidecar, &plain).await;
        assert_eq!(answer.header("x-user-tier"), Some("stranger"), "the tier by default");
        assert_eq!(sidecar.record(&answer).await["subject"], "a:u7");
        let bearer = format!("Bearer {plain}");
        assert_eq!(origin.last().header("authorization"), Some(bearer.as_str()));

        said["realm"] = json!({"tier": "gold"});
        assert_eq!(ask(&sidecar, &key.token(&said)).await.header("x-user-tier"), Some("gold"));
        said["realm"] = json!({"tier": "platinum"});
        let unknown = ask(&sidecar, &key.token(&said)).await;
        assert_eq!(unknown.refusal(), (403, "forbidden".to_owned()));
    });
}

/// Tokens that are wrong in one thing each.
fn forgeries(key: &Signer, other: &Signer) -> Vec<(&'static str, String)> {
    let good = claims("alice", "gold");
    let but = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        key.token(&claims)
    };
    let header = |more: Value| {
        let mut header = json!({"alg": key.algorithm(), "kid": key.id});
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        header
    };
    let hs = input(&json!({"alg": "HS256", "kid": key.id}), &good);
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key.public());
    let mac = encode(aws_lc_rs::hmac::sign(&secret, hs.as_bytes()));
    let none = input(&json!({"alg": "none"}), &good);
    let (signed, signature) = key.token(&good).rsplit_once('.').map(owned).unwrap();
    let admin = input(&header(json!({"typ": "JWT"})), &claims("admin", "gold"));
    vec![
        ("no algorithm", format!("{none}.")),
        ("no algorithm, with a signature", format!("{none}.{signature}")),
        ("HMAC with the public key", format!("{hs}.{mac}")),
        ("no signature", format!("{signed}.")),
        ("a signature of something else", format!("{admin}.{signature}")),
        ("another's key", other.sign(&header(json!({})), &good)),
        ("a key in the header", other.sign(&header(json!({"jwk": other.jwk()})), &good)),
        ("keys elsewhere", other.sign(&header(json!({"jku": "http://127.0.0.1:1/"})), &good)),
        ("a critical extension", key.sign(&header(json!({"crit": ["exp"]})), &good)),
        ("a logout token", key.sign(&header(json!({"typ": "logout+jwt"})), &good)),
        ("a path as key id", key.sign(&header(json!({"kid": "../../etc/passwd"})), &good)),
        ("a query as key id", key.sign(&header(json!({"kid": "' OR 1=1 --"})), &good)),
        ("an object as key id", key.sign(&header(json!({"kid": {"$ne": ""}})), &good)),
        ("the wrong algorithm", key.sign(&header(json!({"alg": "ES384"})), &good)),
        ("an ended one", but("exp", json!(seconds(-61)))),
        ("one without end", but("exp", Value::Null)),
        ("one of tomorrow", but("nbf", json!(seconds(3_600)))),
        ("another issuer", but("iss", json!("https://evil.example/"))),
        ("no issuer", but("iss", Value::Null)),
        ("another audience", but("aud", json!(["other"]))),
        ("an unverified name", but("sub", json!("path:alice"))),
        ("an address as a name", but("sub", json!("address:127.0.0.1"))),
        ("an empty name", but("sub", json!(""))),
        ("a long name", but("sub", json!("a".repeat(300)))),
        ("a line break in the name", but("sub", json!("a\nb"))),
        ("a long token", but("x", json!("a".repeat(17 << 10)))),
    ]
}

fn owned((a, b): (&str, &str)) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

#[test]
fn a_wrong_token_never_lets_anybody_in() {
    run(async {
        let origin = Origin::start().await;
        let (key, other) = (Signer::p256("k"), Signer::p256("k"));
        let plan = plan("jwks.json", "audience = \"api\"").before(&origin);
        let sidecar = furnish(plan, &[&key]).start().await;

        for (what, token) in forgeries(&key, &other) {
            for round in 0..2 {
                assert_eq!(ask(&sidecar, &token).await.refusal(), refused(), "{what}, {round}");
            }
        }
        assert_eq!(origin.seen().len(), 0, "a refused request reached the origin");
        let doubled = sidecar
            .client
            .get("/x")
            .header("authorization", &format!("Bearer {}", key.token(&claims("alice", "gold"))))
            .header("authorization", "Bearer a.b.c");
        assert_eq!(doubled.send().await.refusal(), refused(), "two credentials");
        assert_eq!(ask(&sidecar, &key.token(&claims("alice", "gold"))).await.status, 200);
    });
}

#[test]
fn odd_credentials_are_refused_and_break_nothing() {
    run(async {
        let origin = Origin::start().await;
        let key = Signer::ed25519("k");
        let tables = plan("jwks.json", "").before(&origin).text();
        let tables = tables.split_once("[[identity]]").unwrap().1;
        let with_keys = format!("[[identity]]\nfrom = \"api_key\"\n[[identity]]{tables}");
        let plan = Sidecar::with(&with_keys).before(&origin);
        let sidecar = furnish(plan, &[&key]).start().await;

        let long = "a".repeat(20 << 10);
        for value in [
            "Bearer ' OR '1'='1",
            "Bearer \"; DROP TABLE keys; --",
            "Bearer ..",
            "Bearer a.b.c",
            "Bearer ${jndi:ldap://127.0.0.1/a}",
            "Bearer %00%0d%0a",
            "Bearer ",
            "Bearer\tx",
            "Bearer \u{e9}\u{ff}",
            "bEaReR \t x",
            "Bearer eyJhbGciOiJub25lIn0.e30.",
            &format!("Bearer {long}"),
            &format!("Bearer {long}.a.b"),
        ] {
            let request = [
                b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: ",
                latin1(value).as_slice(),
                b"\r\n\r\n",
            ]
            .concat();
            let answer = crate::raw::exchange(&sidecar.client, &request).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{value}: {answer}");
        }
        let nul = b"GET /x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer a\0b\r\n\r\n";
        let answer = crate::raw::exchange(&sidecar.client, nul).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(origin.seen().len(), 0);
        assert_eq!(ask(&sidecar, &key.token(&claims("alice", "gold"))).await.status, 200);
    });
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

#[test]
fn changed_keys_in_a_file_are_in_force_soon_and_broken_ones_never() {
    run(async {
        let origin = Origin::start().await;
        let (old, new) = (Signer::ed25519("old"), Signer::ed25519("new"));
        let sidecar = furnish(plan("jwks.json", "").before(&origin), &[&old]).start().await;
        let (by_old, by_new) =
            (old.token(&claims("alice", "gold")), new.token(&claims("alice", "gold")));
        assert_eq!(ask(&sidecar, &by_old).await.status, 200);
        assert_eq!(ask(&sidecar, &by_new).await.refusal(), refused());

        std::fs::write(sidecar.file("jwks.json"), set(&[&new])).unwrap();
        let is_in = || async { (ask(&sidecar, &by_new).await.status == 200).then_some(()) };
        until_async("the new key counts", is_in).await;
        assert_eq!(ask(&sidecar, &by_old).await.refusal(), refused(), "the old key is withdrawn");

        std::fs::write(sidecar.file("jwks.json"), "{\"keys\": [{\"kty\": \"oct\"").unwrap();
        let rejected = |line: &Value| line.to_string().contains("the new policy is rejected");
        sidecar.logged("the broken set is reported", rejected).await;
        assert_eq!(ask(&sidecar, &by_new).await.status, 200, "the last good keys stay");
    });
}

#[test]
fn keys_at_a_url_are_fetched_over_tls_and_again_when_a_key_is_not_known() {
    run(async {
        let origin = Origin::start().await;
        let (old, new) = (Signer::ed25519("old"), Signer::p256("new"));
        let home = plan("x", "").before(&origin).furnish();
        let publisher = Publisher::tls(home.path(), &set(&[&old])).await;
        let url = format!("https://localhost:{}/keys?secret=1", publisher.port);
        let text = plan(&url, "ca = \"certs/ca.crt\"").before(&origin).text();
        std::fs::write(home.path().join("policy.toml"), text).unwrap();
        let sidecar = home.start().await;

        let (by_old, by_new) =
            (old.token(&claims("alice", "gold")), new.token(&claims("alice", "gold")));
        assert_eq!(ask(&sidecar, &by_old).await.status, 200);
        assert_eq!(publisher.looks(), 1);

        let began = Instant::now();
        publisher.publish(&set(&[&new]));
        let first = ask(&sidecar, &by_new).await;
        assert_eq!(first.status, 200, "the first token of a new key waits for it: {first:?}");
        assert_eq!(
            ask(&sidecar, &by_old).await.refusal(),
            refused(),
            "withdrawn, though remembered"
        );
        for number in 0..20 {
            let stranger = Signer::ed25519(&format!("unknown-{number}"));
            assert_eq!(ask(&sidecar, &stranger.token(&claims("x", "gold"))).await.status, 401);
        }
        // Once for the new key, and on a slow machine once more each ten seconds.
        let looks = publisher.looks();
        let most = 2 + began.elapsed().as_secs() / 10;
        assert!((2..=most).contains(&(looks as u64)), "unknown keys drive nobody: {looks}");
        #[allow(clippy::cast_precision_loss)]
        sidecar.metric_is(r#"weir_jwks_fetches_total{result="fetched"}"#, looks as f64).await;
        assert!(!sidecar.running.lines().join("\n").contains("secret=1"));
    });
}

#[test]
fn an_issuer_that_cannot_be_reached_stops_nobody_but_its_own_bearers() {
    run(async {
        let origin = Origin::start().await;
        let key = Signer::ed25519("k");
        let token = key.token(&claims("alice", "gold"));
        let place = Port::free();
        let port = place.address.port();
        let url = format!("http://127.0.0.1:{port}/keys");
        let sidecar = plan(&url, "").before(&origin).start().await;

        let answer = ask(&sidecar, &token).await;
        assert_eq!(answer.refusal(), (503, "identity_unavailable".to_owned()));
        assert!(answer.header("retry-after").is_some());
        assert_eq!(sidecar.client.get("/x").send().await.status, 200, "a stranger needs no keys");
        assert_eq!(ask(&sidecar, "eyJhbGciOiJub25lIn0.e30.").await.refusal(), refused());

        let publisher = Publisher::plain(port, &set(&[&key])).await;
        let works = || async { (ask(&sidecar, &token).await.status == 200).then_some(()) };
        until_async("the keys are there", works).await;
        let failed = |line: &&Value| line.to_string().contains("cannot be fetched");
        let failures = sidecar.log().iter().filter(failed).count();
        assert_eq!(failures, 1, "a failure is logged once");

        publisher.publish("<html>down</html>");
        let unknown = Signer::ed25519("other").token(&claims("alice", "gold"));
        let asked = publisher.looks();
        let again = || async {
            assert_eq!(ask(&sidecar, &unknown).await.status, 401);
            (publisher.looks() > asked).then_some(())
        };
        until_async("it is asked again", again).await;
        until("the failure is logged", || {
            (sidecar.log().iter().filter(failed).count() == 2).then_some(())
        })
        .await;
        assert_eq!(ask(&sidecar, &token).await.status, 200, "the last good keys stay");
    });
}

#[test]
fn a_token_is_judged_by_its_own_issuer_alone() {
    run(async {
        let origin = Origin::start().await;
        let (ours, theirs) = (Signer::ed25519("k"), Signer::ed25519("k"));
        let more = "[[identity]]\nfrom = \"jwt\"\nissuer = \"https://partner.example/\"\n\
                    jwks = \"partner.json\"\nsubject_prefix = \"partner:\"\n";
        let home = furnish(plan("jwks.json", more).before(&origin), &[&ours]);
        std::fs::write(home.path().join("partner.json"), set(&[&theirs])).unwrap();
        let sidecar = home.start().await;
        let mut partner = claims("alice", "gold");
        partner["iss"] = json!("https://partner.example/");

        let answer = ask(&sidecar, &theirs.token(&partner)).await;
        assert_eq!(sidecar.record(&answer).await["subject"], "partner:alice");
        let answer = ask(&sidecar, &ours.token(&claims("alice", "gold"))).await;
        assert_eq!(sidecar.record(&answer).await["subject"], "alice");
        for crossed in [ours.token(&partner), theirs.token(&claims("alice", "gold"))] {
            assert_eq!(ask(&sidecar, &crossed).await.refusal(), refused());
        }
    });
}

#[test]
fn check_and_explain_say_what_becomes_of_keys_and_tokens() {
    let key = Signer::ed25519("k");
    let home = furnish(plan("jwks.json", ""), &[&key]);
    let explain = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        let printed = weir_in(home.path(), &["explain", "GET", "/x", "--header", &header]);
        assert_eq!(printed.code, Some(0), "{printed:?}");
        printed.out
    };
    let good = explain(&key.token(&claims("alice", "gold")));
    assert!(good.contains("subject    alice (its JWT is valid)\ntier       gold\n"), "{good}");
    let ended = explain(&key.token(&json!({"iss": ISSUER, "sub": "a", "exp": 1})));
    assert!(ended.contains("refused    401 unauthenticated: the token has ended"), "{ended}");

    let check = |set: &str| {
        std::fs::write(home.path().join("jwks.json"), set).unwrap();
        weir_in(home.path(), &["check"])
    };
    let symmetric = r#"{"kty": "oct", "kid": "shared", "k": "AAAA"}"#;
    let mixed = check(&format!("{{\"keys\": [{symmetric}, {}]}}", key.jwk()));
    assert_eq!(mixed.code, Some(0), "{mixed:?}");
    assert!(mixed.out.contains("key 1 (`shared`) is ignored: it is symmetric"), "{mixed:?}");
    for broken in [&format!("{{\"keys\": [{symmetric}]}}"), "{", "<html>"] {
        let printed = check(broken);
        assert_eq!(printed.code, Some(1), "{broken}");
        assert!(printed.out.contains("policy.toml:") && printed.out.contains("jwks.json"));
    }
    std::fs::remove_file(home.path().join("jwks.json")).unwrap();
    let missing = weir_in(home.path(), &["check"]);
    assert_eq!(missing.code, Some(0));
    assert!(missing.out.contains("is not there: every token is refused"), "{missing:?}");
}
