//! What a caller says of itself in fields that are not its to set decides nothing and goes nowhere;
//! which host and which path are meant is never in doubt.

use crate::{
    client::Client,
    harness::run,
    origin::{Origin, Seen},
    raw,
    sidecar::Sidecar,
};

/// Fields that carry identity, route, tier or cost.
const SPOOFED: [&str; 34] = [
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Server",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-User",
    "Forwarded",
    "X-Real-IP",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Original-Host",
    "X-Host",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "X-Envoy-External-Address",
    "X-Envoy-Original-Path",
    "X-User-Tier",
    "X-Cost-Used-Today",
    "X-Cost-Limit-Daily",
    "X-Agent-Cost-Usd",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "RateLimit",
    "RateLimit-Policy",
    "X-Request-Id",
    "X-Authenticated-User",
];

/// The values that would pay: another address, another path, a better tier.
const VALUES: [&str; 4] = ["10.66.66.66", "for=10.66.66.66", "/secret/x", "staff"];

async fn sidecar(origin: &Origin) -> Sidecar {
    Sidecar::with(
        r#"
        [[identity]]
        from = "trusted_proxy"
        tier_header = "X-User-Tier"
        [[identity]]
        from = "address"
        tier = "free"
        [operations.secret]
        routes = ["* /secret/**"]
        tiers = ["staff"]
        [operations.open]
        routes = ["GET /open"]
        [tiers.free]
        quotas = { "*" = "100000/hour" }
        [tiers.staff]
        quotas = { "*" = "100000/hour" }
        "#,
    )
    .listen("trusted_proxies = [\"10.0.0.0/8\"]")
    .before(origin)
    .start()
    .await
}

/// Fails if any field that the origin got has something of what was spoofed.
#[track_caller]
fn assert_clean(seen: &Seen, what: &str) {
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("GET", "/open"), "{what}");
    for (name, value) in &seen.headers {
        let value = value.to_str().unwrap();
        assert!(!VALUES.iter().any(|bad| value.contains(bad)), "{what}: {name}: {value}");
    }
}

#[test]
fn a_spoofed_field_changes_no_decision_and_reaches_nobody() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = sidecar(&origin).await;
        let (mut h1, mut h2) = (sidecar.client.h1().await, sidecar.client.h2().await);
        for name in SPOOFED {
            let twin = name.replace('-', "_");
            for value in VALUES {
                let spellings: [&[(&str, &str)]; 5] = [
                    &[(name, value)],
                    &[(&twin, value)],
                    &[(name, value), (name, value)],
                    &[(name, value), (&twin, value)],
                    &[(name, value), ("te", "trailers")],
                ];
                for (index, fields) in spellings.into_iter().enumerate() {
                    for (what, connection) in [("h1", &mut h1), ("h2", &mut h2)] {
                        let mut ask = sidecar.client.get("/open");
                        for (name, value) in fields {
                            ask = ask.header(name, value);
                        }
                        let answer = ask.on(connection).await;
                        let what = format!("{name}, spelling {index}, {value}, {what}");
                        assert_eq!(answer.status, 200, "{what}");
                        assert_eq!(answer.header("x-user-tier"), Some("free"), "{what}");
                        assert_clean(&origin.last(), &what);
                    }
                }
            }
        }
        let refused = sidecar.client.get("/secret/x").header("x-user-tier", "staff").send().await;
        assert_eq!(refused.status, 403);
        let subjects: Vec<_> = sidecar
            .log()
            .iter()
            .filter_map(|line| line["subject"].as_str().map(str::to_owned))
            .collect();
        assert!(subjects.len() > 100 && subjects.iter().all(|who| who == "address:127.0.0.1"));
    });
}

/// Names on the wire as they are written, which no client library sends, and named in Connection.
#[test]
fn odd_spellings_on_the_wire_are_the_same_fields() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = sidecar(&origin).await;
        for name in SPOOFED {
            let upper = name.to_uppercase();
            for lines in [
                format!("{upper}: 10.66.66.66\r\n"),
                format!("{name}:10.66.66.66\r\n{upper}:\tstaff \r\n"),
                format!("Connection: {name}, close\r\n{name}: staff\r\n"),
                format!("Connection: close\r\n{}: staff\r\n", upper.replacen('-', "_", 1)),
            ] {
                let answer = get(&sidecar.client, "/open", "localhost", &lines).await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{lines:?}: {answer}");
                assert_clean(&origin.last(), &lines);
            }
        }
        // A space before the colon makes it another name for some servers: refused.
        let answer = get(&sidecar.client, "/open", "localhost", "X-User-Tier : staff\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    });
}

async fn get(client: &Client, target: &str, host: &str, lines: &str) -> String {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n");
    raw::exchange(client, request.as_bytes()).await
}

#[test]
fn a_host_that_is_more_than_a_host_is_refused() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = sidecar(&origin).await;
        let status = async |bytes: &str| {
            let answer = raw::exchange(&sidecar.client, bytes.as_bytes()).await;
            answer.split(' ').nth(1).unwrap_or("none").to_owned()
        };
        for host in [
            "localhost:4000/#@evil",
            "user@localhost",
            "localhost/secret/x",
            "localhost?x",
            "localhost#x",
            "localhost, evil.example",
            "local host",
            "localhost\\evil",
            "localhost%2fevil",
            "localhost:x",
            "localhost:99999",
            "[::1",
            "::1",
            "",
        ] {
            let request = format!("GET /open HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(status(&request).await, "400", "{host}");
        }
        for head in [
            "GET /open HTTP/1.1\r\n\r\n",
            "GET /open HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET /open HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET /open HTTP/1.1\r\nHost: a\r\nHost : b\r\n\r\n",
            "GET https://user@a/open HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET https://a%2f@b/open HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(status(head).await, "400", "{head:?}");
        }
        assert_eq!(origin.seen().len(), 0);

        for (host, sent) in [("api.example:8443", "api.example:8443"), ("[::1]:80", "[::1]:80")] {
            get(&sidecar.client, "/open", host, "").await;
            assert_eq!(origin.last().header("host"), Some(sent));
        }
    });
}

#[test]
fn the_targets_own_authority_wins_and_one_host_goes_on() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = sidecar(&origin).await;

        get(&sidecar.client, "https://target.example/open", "host.example", "").await;
        let seen = origin.last();
        assert_eq!(seen.headers.get_all("host").iter().count(), 1);
        assert_eq!(seen.header("host"), Some("target.example"));
        assert_eq!(seen.header("x-forwarded-host"), Some("target.example"));
        assert_eq!(seen.target, "/open");

        // Over HTTP/2 the authority is `localhost`; the field beside it says something else.
        let answer = sidecar.client.get("/open").header("host", "evil.example").send_h2().await;
        assert_eq!(answer.status, 200);
        let seen = origin.last();
        assert_eq!(seen.headers.get_all("host").iter().count(), 1);
        assert_eq!(seen.header("host"), Some("localhost"));
        let answer = sidecar.client.get("/open").header("host", "a/#@evil").send_h2().await;
        assert_eq!(answer.refusal(), (400, "bad_request".to_owned()));
    });
}

#[test]
fn a_path_that_two_servers_could_read_in_two_ways_opens_no_guarded_route() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = sidecar(&origin).await;
        for path in [
            "/open%2f..%2fsecret%2fx",
            "/open/..%2fsecret/x",
            "/open%5c..%5csecret",
            "/open\\..\\secret",
            "/secret%00/x",
            "/%252e%252e/secret/x",
            "/open;/../secret/x",
            "/secret;x=1/x",
            "/open/..;/secret/x",
            "/%c0%ae%c0%ae/secret/x",
            "/%e0%80%ae/secret/x",
            "/%c0%afsecret/x",
            "/secret/%f0%80%80%af",
            "/secret%",
            "/secret%2",
            "/secret/%u002e",
        ] {
            let answer = get(&sidecar.client, path, "a", "Connection: close\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        }
        for path in [
            "/secret/x",
            "/open/../secret/x",
            "//secret/x",
            "/./secret/x",
            "/%73ecret/x",
            "/open/%2e%2e/secret/x",
            "/open/.%2E/secret/x",
            "https://a/open/../secret/x",
        ] {
            let answer = get(&sidecar.client, path, "a", "Connection: close\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
        }
        assert_eq!(origin.seen().len(), 0);
    });
}
