//! Proxies in front of Weir: the word of those that the policy trusts counts, nobody else's.

use crate::{
    client::Answer,
    harness::{run, weir_in},
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
};

/// Everybody is known by address; `trusted` is a list of networks.
fn by_address(trusted: &str, quota: &str) -> Plan {
    Sidecar::with(&format!(
        "[[identity]]\nfrom = \"address\"\ntier = \"free\"\n\
         [tiers.free]\nquotas = {{ \"*\" = \"{quota}\" }}\n"
    ))
    .listen(&format!("trusted_proxies = [{trusted}]"))
}

/// A trusted proxy says who is calling, and in which tier.
fn by_proxy(trusted: &str, more: &str) -> Plan {
    Sidecar::with(&format!(
        "[[identity]]\nfrom = \"trusted_proxy\"\ntier_header = \"X-Tier\"\ntier = \"free\"\n{more}\n\
         [[identity]]\nfrom = \"address\"\ntier = \"stranger\"\n\
         [tiers.free]\nquotas = {{ \"*\" = \"1000/hour\" }}\n\
         [tiers.gold]\nquotas = {{ \"*\" = \"1000/hour\" }}\n\
         [tiers.stranger]\nquotas = {{ \"*\" = \"1000/hour\" }}\n"
    ))
    .listen(&format!("trusted_proxies = [{trusted}]"))
}

async fn ask(sidecar: &Sidecar, headers: &[(&str, &str)]) -> Answer {
    let mut ask = sidecar.client.get("/x");
    for (name, value) in headers {
        ask = ask.header(name, value);
    }
    ask.send().await
}

#[test]
fn the_caller_behind_a_trusted_proxy_is_who_is_counted_and_logged() {
    run(async {
        let origin = Origin::start().await;
        let plan = by_address("\"127.0.0.0/8\", \"fd00::/8\"", "1/hour").before(&origin);
        let sidecar = plan.start().await;

        let story = [("x-forwarded-for", "6.6.6.6, 203.0.113.7, fd00::5")];
        let first = ask(&sidecar, &story).await;
        assert_eq!(first.status, 200);
        let record = sidecar.record(&first).await;
        assert_eq!(record["subject"], "address:203.0.113.7");
        assert_eq!(
            (&record["address"], &record["peer"]),
            (&"203.0.113.7".into(), &"127.0.0.1".into())
        );

        // The caller's own story further left changes nothing.
        let other_story = [("x-forwarded-for", "7.7.7.7, 203.0.113.7")];
        assert_eq!(ask(&sidecar, &other_story).await.status, 429);
        let neighbour = [("x-forwarded-for", "203.0.113.8")];
        assert_eq!(ask(&sidecar, &neighbour).await.status, 200);
        let broken = ask(&sidecar, &[("x-forwarded-for", "203.0.113.9, unknown")]).await;
        assert_eq!(sidecar.record(&broken).await["subject"], "address:127.0.0.1");
    });
}

#[test]
fn the_list_goes_on_behind_a_trusted_proxy_and_begins_anew_for_others() {
    run(async {
        let origin = Origin::start().await;
        let story = [
            ("x-forwarded-for", "203.0.113.7:4711"),
            ("x-forwarded-for", "127.0.0.9"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-port", "8080"),
            ("x-real-ip", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            // A caller must not be able to make the proxy's own word hop-by-hop.
            ("connection", "x-forwarded-for, x-forwarded-proto"),
        ];
        let names = [
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-real-ip",
            "forwarded",
        ];
        let told = |trusted: &'static str| {
            let (story, names, origin) = (&story, &names, &origin);
            async move {
                let sidecar = by_address(trusted, "1000/hour").before(origin).start().await;
                assert_eq!(ask(&sidecar, story).await.status, 200);
                let seen = origin.last();
                names
                    .map(|name| seen.header(name).map(str::to_owned))
                    .map(Option::unwrap_or_default)
            }
        };

        let list = "203.0.113.7, 127.0.0.9, 127.0.0.1";
        let trusted = [list, "http", "shop.example", "8080", "203.0.113.7", ""];
        assert_eq!(told("\"127.0.0.0/8\"").await, trusted);
        let others = ["127.0.0.1", "https", "localhost", "", "", ""];
        assert_eq!(told("\"10.0.0.0/8\", \"unix\"").await, others);
        assert_eq!(told("").await, others);
    });
}

#[test]
fn the_standard_field_is_understood_too() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = by_address("\"127.0.0.1\"", "1000/hour").before(&origin).start().await;

        let answer = ask(&sidecar, &[("forwarded", "for=\"[2001:db8::7]:443\";proto=http")]).await;

        assert_eq!(sidecar.record(&answer).await["subject"], "address:2001:db8::/64");
        let seen = origin.last();
        assert_eq!(
            seen.header("forwarded"),
            Some("for=\"[2001:db8::7]:443\";proto=http, for=127.0.0.1")
        );
        assert_eq!(seen.header("x-forwarded-for"), Some("2001:db8::7, 127.0.0.1"));
    });
}

#[test]
fn a_trusted_proxy_names_the_caller_and_its_tier() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = by_proxy("\"127.0.0.0/8\"", "").before(&origin).start().await;
        let named = ("x-authenticated-user", "alice@example.com");

        let answer = ask(&sidecar, &[named, ("x-tier", "gold")]).await;
        assert_eq!(answer.header("x-user-tier"), Some("gold"));
        assert_eq!(sidecar.record(&answer).await["subject"], "alice@example.com");
        let seen = origin.last();
        assert_eq!((seen.header("x-authenticated-user"), seen.header("x-tier")), (None, None));

        assert_eq!(ask(&sidecar, &[named]).await.header("x-user-tier"), Some("free"));
        assert_eq!(ask(&sidecar, &[]).await.header("x-user-tier"), Some("stranger"));
        let unknown = ask(&sidecar, &[named, ("x-tier", "platinum")]).await;
        assert_eq!(unknown.refusal(), (403, "forbidden".to_owned()));
        for odd in ["", "path:alice", "address:10.0.0.1", &"a".repeat(300)] {
            let answer = ask(&sidecar, &[("x-authenticated-user", odd)]).await;
            assert_eq!(answer.refusal(), (401, "unauthenticated".to_owned()), "{odd}");
        }
        let twice = ask(&sidecar, &[named, ("x-authenticated-user", "bob")]).await;
        assert_eq!(twice.refusal(), (401, "unauthenticated".to_owned()));
    });
}

#[test]
fn nobody_else_can_name_a_caller() {
    run(async {
        let origin = Origin::start().await;
        for forward in ["", "forward = true"] {
            let plan = by_proxy("\"10.0.0.0/8\"", forward).before(&origin);
            let sidecar = plan.start().await;
            let spoofed = [
                ("x-authenticated-user", "alice"),
                ("X-Authenticated-User", "bob"),
                ("x_authenticated_user", "carol"),
                ("x-tier", "gold"),
                ("x_tier", "gold"),
                ("x-forwarded-for", "10.0.0.1"),
            ];

            let answer = ask(&sidecar, &spoofed).await;

            assert_eq!(answer.header("x-user-tier"), Some("stranger"));
            assert_eq!(sidecar.record(&answer).await["subject"], "address:127.0.0.1");
            let seen = origin.last();
            for name in ["x-authenticated-user", "x-tier", "x_authenticated_user", "x_tier"] {
                assert_eq!(seen.header(name), None, "{name}");
            }
        }
    });
}

#[test]
fn what_a_trusted_proxy_said_may_be_passed_on() {
    run(async {
        let origin = Origin::start().await;
        let plan = by_proxy("\"127.0.0.1\"", "forward = true\nheader = \"X-User\"");
        let sidecar = plan.before(&origin).start().await;

        ask(&sidecar, &[("x-user", "alice"), ("x-tier", "gold")]).await;

        let seen = origin.last();
        assert_eq!((seen.header("x-user"), seen.header("x-tier")), (Some("alice"), Some("gold")));
    });
}

#[test]
fn explain_says_whom_a_trusted_proxy_names_and_check_what_cannot_work() {
    let home = by_proxy("\"10.0.0.0/8\"", "").furnish();
    let explain = |address: &str| {
        let headers =
            ["--header", "X-Authenticated-User: alice", "-H", "X-Forwarded-For: 192.0.2.7"];
        let ask = [&["explain", "GET", "/x", "--address", address][..], &headers].concat();
        let printed = weir_in(home.path(), &ask);
        assert_eq!(printed.code, Some(0), "{printed:?}");
        printed.out
    };
    let trusted = explain("10.1.2.3");
    assert!(
        trusted.contains("address    192.0.2.7 (says the trusted proxy 10.1.2.3)"),
        "{trusted}"
    );
    let why =
        "subject    alice (a trusted proxy says so in `x-authenticated-user`)\ntier       free\n";
    assert!(trusted.contains(why), "{trusted}");
    assert!(explain("192.0.2.1").contains("subject    address:192.0.2.1 "));

    let text = home.plan.text().replace("\"10.0.0.0/8\"", "\"10.0.0.1/8\"");
    std::fs::write(home.path().join("policy.toml"), &text).unwrap();
    let printed = weir_in(home.path(), &["check"]);
    assert_eq!(printed.code, Some(1));
    assert!(printed.out.contains("write \"10.0.0.0/8\""), "{printed:?}");
    std::fs::write(home.path().join("policy.toml"), text.replace("\"10.0.0.1/8\"", "")).unwrap();
    let printed = weir_in(home.path(), &["check"]);
    assert!(printed.out.contains("no proxy is trusted"), "{printed:?}");
}
