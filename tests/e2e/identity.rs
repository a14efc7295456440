//! Who is calling: keys, paths, addresses, and what becomes of credentials.

use crate::{
    harness::{eventually, run, until_async},
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
};
use std::time::Duration;

/// A key is known, or a user of the path, or an address; each has a tier of its own.
fn all_sources() -> Plan {
    Sidecar::with(
        r#"
        [[identity]]
        from = "api_key"
        keys = "keys.toml"
        [[identity]]
        from = "path"
        pattern = "/api/user/{user_id}/**"
        parameter = "user_id"
        tier = "free"
        [[identity]]
        from = "address"
        tier = "stranger"
        [operations.report]
        routes = ["* /report"]
        tiers = ["premium"]
        [operations.general]
        routes = ["* /**"]
        [tiers.free]
        quotas = { "*" = "2/hour" }
        [tiers.premium]
        quotas = { "*" = "1000/hour" }
        [tiers.stranger]
        quotas = { "*" = "1000/hour" }
        "#,
    )
}

/// Makes a key beside the running sidecar; the key and its id.
fn new_key(sidecar: &Sidecar, subject: &str) -> (String, String) {
    let made = sidecar.weir(&["keys", "new", "--subject", subject, "--tier", "premium"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let id = made.err.rsplit("Its id is ").next().unwrap().trim().trim_end_matches('.');
    (made.out.trim().to_owned(), id.to_owned())
}

#[test]
fn a_key_works_soon_after_it_is_made_and_stops_soon_after_it_is_revoked() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = all_sources().before(&origin).start().await;
        let status = async |key: &str| {
            sidecar.client.get("/").header("x-api-key", key).send().await.status.as_u16()
        };

        let (key, id) = new_key(&sidecar, "alice");
        let is_known = || async { (status(&key).await == 200).then_some(()) };
        until_async("the key is known", is_known).await;
        assert_eq!(sidecar.running.lines().iter().filter(|l| l.contains("serving")).count(), 1);

        assert_eq!(sidecar.weir(&["keys", "revoke", &id]).code, Some(0));
        let is_unknown = || async { (status(&key).await == 401).then_some(()) };
        until_async("the key works no more", is_unknown).await;
    });
}

#[test]
fn a_credential_decides_and_a_wrong_one_never_falls_through() {
    run(async {
        let origin = Origin::start().await;
        let home = all_sources().before(&origin).furnish();
        let made = crate::harness::weir_in(
            home.path(),
            &["keys", "new", "--subject", "alice", "--tier", "premium"],
        );
        let key = made.out.trim().to_owned();
        let sidecar = home.start().await;
        let (client, bearer) = (&sidecar.client, format!("Bearer {key}"));
        let path = "/api/user/u1/x";

        let by_key = client.get(path).header("x-api-key", &key).send().await;
        let by_bearer = client.get(path).header("authorization", &bearer).send().await;
        let by_path = client.get(path).send().await;
        let by_address = client.get("/x").send().await;
        let tiers = [&by_key, &by_bearer, &by_path, &by_address].map(|a| a.header("x-user-tier"));
        assert_eq!(tiers, [Some("premium"), Some("premium"), Some("free"), Some("stranger")]);
        assert_eq!(sidecar.record(&by_key).await["subject"], "alice");
        assert_eq!(sidecar.record(&by_path).await["subject"], "path:u1");
        assert_eq!(sidecar.record(&by_address).await["subject"], "address:127.0.0.1");

        let before = origin.seen().len();
        let jwt = "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
        for (name, value) in
            [("x-api-key", "weir_wrong"), ("x-api-key", ""), ("authorization", "Bearer weir_wrong")]
        {
            let answer = client.get(path).header(name, value).send().await;
            assert_eq!(answer.refusal(), (401, "unauthenticated".to_owned()), "{name}: {value}");
            assert!(answer.header("x-request-id").is_some());
        }
        let twice = client.get(path).header("x-api-key", &key).header("x-api-key", "weir_wrong");
        assert_eq!(twice.send().await.status, 401, "two credentials");
        assert_eq!(origin.seen().len(), before, "a refused request reached the origin");

        // No source reads JWTs here: the token is the upstream's business.
        let theirs = client.get("/x").header("authorization", jwt).send().await;
        assert_eq!(theirs.header("x-user-tier"), Some("stranger"));
        assert_eq!(origin.last().header("authorization"), Some(jwt));
    });
}

#[test]
fn a_jwt_that_cannot_be_verified_is_refused_where_jwts_are_read() {
    run(async {
        let origin = Origin::start().await;
        let home = Sidecar::with(
            r#"
            [[identity]]
            from = "jwt"
            issuer = "https://auth.example.com/"
            jwks = "jwks.json"
            [[identity]]
            from = "address"
            tier = "free"
            "#,
        )
        .before(&origin)
        .furnish();
        std::fs::write(home.path().join("jwks.json"), r#"{"keys":[]}"#).unwrap();
        let sidecar = home.start().await;

        let jwt = "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
        let answer = sidecar.client.get("/").header("authorization", jwt).send().await;

        assert_eq!(answer.refusal(), (401, "unauthenticated".to_owned()));
        assert_eq!(origin.seen().len(), 0);
        assert_eq!(sidecar.client.get("/").send().await.status, 200, "no credential at all");
    });
}

#[test]
fn a_credential_for_us_ends_here_and_one_for_the_upstream_passes() {
    run(async {
        let origin = Origin::start().await;
        let home = all_sources().before(&origin).furnish();
        let new = ["keys", "new", "--subject", "alice", "--tier", "premium"];
        let key = crate::harness::weir_in(home.path(), &new).out.trim().to_owned();
        let sidecar = home.start().await;
        let ask = || sidecar.client.get("/");

        ask().header("x-api-key", &key).header("x-other", "stays").send().await;
        let seen = origin.last();
        assert_eq!((seen.header("x-api-key"), seen.header("x-other")), (None, Some("stays")));
        ask().header("authorization", &format!("Bearer {key}")).send().await;
        assert_eq!(origin.last().header("authorization"), None);

        ask().header("authorization", "Basic dTpw").send().await;
        assert_eq!(origin.last().header("authorization"), Some("Basic dTpw"));
        let both = ask().header("x-api-key", &key).header("authorization", "Basic dTpw");
        both.send().await;
        assert_eq!(origin.last().header("authorization"), Some("Basic dTpw"));
        assert_eq!(origin.last().header("x-api-key"), None);
    });
}

#[test]
fn subjects_of_the_path_are_counted_apart() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = all_sources().before(&origin).start().await;
        let status = async |user: &str| {
            let path = format!("/api/user/{user}/x");
            sidecar.client.get(&path).send().await.status.as_u16()
        };

        let first = [status("u1").await, status("u1").await, status("u1").await];
        let spelled_otherwise = status("%751").await;

        assert_eq!(first, [200, 200, 429]);
        assert_eq!(spelled_otherwise, 429, "another spelling is the same subject");
        assert_eq!(status("u2").await, 200);
    });
}

#[test]
fn an_operation_that_names_its_tiers_is_forbidden_to_others() {
    run(async {
        let origin = Origin::start().await;
        let home = all_sources().before(&origin).furnish();
        let new = ["keys", "new", "--subject", "alice", "--tier", "premium"];
        let key = crate::harness::weir_in(home.path(), &new).out.trim().to_owned();
        let sidecar = home.start().await;

        let stranger = sidecar.client.get("/report").send().await;
        let premium = sidecar.client.get("/report").header("x-api-key", &key).send().await;

        assert_eq!(stranger.refusal(), (403, "forbidden".to_owned()));
        assert_eq!(premium.status, 200);
        assert_eq!(origin.count("/report"), 1);
    });
}

#[test]
fn a_key_that_has_ended_is_refused() {
    run(async {
        let origin = Origin::start().await;
        let home = all_sources().before(&origin).furnish();
        let new = ["keys", "new", "--subject", "a", "--tier", "premium", "--expires"];
        let key_until = |end: &str| {
            let made = crate::harness::weir_in(home.path(), &[&new[..], &[end]].concat());
            assert_eq!(made.code, Some(0), "{made:?}");
            made.out.trim().to_owned()
        };
        let (past, future) = (key_until("2020-01-01T00:00:00Z"), key_until("2999-01-01T00:00:00Z"));
        let sidecar = home.start().await;

        let ended = sidecar.client.get("/").header("x-api-key", &past).send().await;
        let good = sidecar.client.get("/").header("x-api-key", &future).send().await;

        assert_eq!((ended.status.as_u16(), good.status.as_u16()), (401, 200));
    });
}

#[test]
fn without_any_source_everybody_is_refused() {
    run(async {
        let origin = Origin::start().await;
        let sidecar =
            Sidecar::with("[[identity]]\nfrom = \"api_key\"\n").before(&origin).start().await;

        let answer = sidecar.client.get("/").send().await;

        assert_eq!(answer.refusal(), (401, "unauthenticated".to_owned()));
        let seen = eventually(Duration::ZERO, || origin.seen().first().cloned()).await;
        assert!(seen.is_none());
    });
}
