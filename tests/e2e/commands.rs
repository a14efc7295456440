//! The commands as people type them: what they print, and how they end.

use std::fs;

use crate::{
    harness::{Printed, run, weir_in},
    origin::Origin,
    plan::Home,
    sidecar::Sidecar,
};

/// A directory with the project's own policy and what it names.
fn project() -> Home {
    let home = Sidecar::with("").furnish();
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/policy.toml");
    fs::copy(policy, home.path().join("policy.toml")).unwrap();
    fs::write(home.path().join("certs/jwks.json"), r#"{"keys":[]}"#).unwrap();
    home
}

fn ok(home: &Home, arguments: &[&str]) -> String {
    let printed = weir_in(home.path(), arguments);
    assert_eq!(printed.code, Some(0), "{arguments:?}: {printed:?}");
    printed.out
}

#[track_caller]
fn assert_has(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

#[test]
fn check_finds_the_projects_own_policy_valid() {
    let home = project();

    let out = ok(&home, &["check"]);

    assert_has(&out, &["policy.toml is valid: 5 operations, 3 tiers"]);
    assert!(!home.path().join("data").exists(), "it never opens the store");
}

#[test]
fn check_shows_every_problem_with_its_place_and_what_would_be_right() {
    let home = project();
    let good = fs::read_to_string(home.path().join("policy.toml")).unwrap();
    let bad = good
        .replacen("max_body    =", "max_bdy     =", 1)
        .replacen("\"3/hour\"", "\"3 per hour\"", 1)
        .replacen("tier = \"free\"", "tier = \"fre\"", 1)
        .replacen("cost   = \"$0.03\"", "cost   = 0.03", 1);
    fs::write(home.path().join("bad.toml"), &bad).unwrap();
    let place = |text: &str| {
        let line = bad.lines().position(|line| line.contains(text)).unwrap();
        let column = bad.lines().nth(line).unwrap().find(text).unwrap();
        format!("bad.toml:{}:{}", line + 1, column + 1)
    };

    let printed = weir_in(home.path(), &["check", "bad.toml"]);

    assert_eq!(printed.code, Some(1), "{printed:?}");
    let out = printed.out;
    assert_has(&out, &[&place("max_bdy"), "^^^^^^^", "did you mean `max_body`?"]);
    assert_has(&out, &[&place("\"3 per hour\""), "^^^^^^^^^^^^", "\"3/hour\""]);
    assert_has(&out, &[&place("\"fre\""), "^^^^^", "did you mean `free`?"]);
    assert_has(&out, &[&place("0.03"), "\"$0.03\""]);
    assert!(!out.contains("is valid"));
}

#[test]
fn check_does_not_mind_a_running_proxy() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        assert_eq!(sidecar.weir(&["check"]).code, Some(0));
        assert_eq!(sidecar.weir(&["explain", "GET", "/"]).code, Some(0));
        assert_eq!(sidecar.client.get("/").send().await.status, 200);
    });
}

#[test]
fn explain_says_what_a_request_would_meet_and_why() {
    let home = project();
    let new = ["keys", "new", "--subject", "alice", "--tier", "premium"];
    let key = ok(&home, &new).trim().to_owned();
    let explain = |more: &[&str]| ok(&home, &[&["explain"], more].concat());

    let by_path = explain(&["POST", "/api/user/u1/behavior/analyze"]);
    assert_has(
        &by_path,
        &[
            "operation  behavior_analysis",
            "POST /api/user/{user_id}/behavior/analyze",
            "subject    path:u1",
            "tier       free",
            "limit      3/hour",
            "limit      $0.50/day",
            "limit      4 at once",
            "cost       $0.03",
        ],
    );
    let header = format!("X-API-Key: {key}");
    let by_key = explain(&["get", "/a/../x?q=1", "--header", &header]);
    assert_has(
        &by_key,
        &["path       /x", "general_api", "subject    alice", "premium", "150/hour"],
    );
    assert!(!by_key.contains(&key), "the key is not repeated");
    let by_address = explain(&["GET", "/x", "--address", "192.0.2.7"]);
    assert_has(&by_address, &["subject    address:192.0.2.7"]);
    let rules = explain(&["POST", "/api/user/u1/insights/generate"]);
    assert_has(&rules, &["application/json", "20 levels", "`user_id` matches"]);
    assert_has(&explain(&["GET", "/a%2fb"]), &["refused    400 bad_request"]);
    let wrong = explain(&["GET", "/x", "-H", "X-API-Key: wrong"]);
    assert_has(&wrong, &["refused    401 unauthenticated"]);
    let preflight =
        ["-H", "Origin: https://yourdomain.com", "-H", "Access-Control-Request-Method: POST"];
    let preflight = explain(&[&["OPTIONS", "/x"], &preflight[..]].concat());
    assert_has(&preflight, &["origin     allowed", "preflight"]);
    for output in [by_path, by_key, by_address, rules] {
        assert!(!output.contains("nano"), "money is in dollars:\n{output}");
    }
}

#[test]
fn keys_are_shown_once_and_stored_hashed() {
    let home = project();
    let keys = home.path().join("keys.toml");
    fs::write(&keys, "# ours\n").unwrap();

    let made = weir_in(home.path(), &["keys", "new", "--subject", "alice", "--tier", "free"]);
    let key = made.out.trim();
    assert!(key.starts_with("weir_") && key.len() == 48, "{made:?}");
    ok(
        &home,
        &[
            "keys",
            "new",
            "--subject",
            "bob",
            "--tier",
            "admin",
            "--expires",
            "2020-01-01T00:00:00Z",
        ],
    );

    let stored = fs::read_to_string(&keys).unwrap();
    assert!(stored.starts_with("# ours\n") && !stored.contains(key), "{stored}");
    let list = ok(&home, &["keys", "list"]);
    assert_has(&list, &["alice", "active", "bob", "expired"]);
    assert!(!list.contains(key));

    let id = list.lines().find(|line| line.contains("alice")).unwrap().split(' ').next().unwrap();
    ok(&home, &["keys", "revoke", id]);
    assert_has(&ok(&home, &["keys", "list"]), &["revoked"]);
    assert_has(&ok(&home, &["keys", "revoke", id]), &["is revoked already"]);
    assert!(fs::read_to_string(&keys).unwrap().starts_with("# ours\n"));
    let unknown = weir_in(home.path(), &["keys", "revoke", "k_nobody"]);
    assert_eq!(unknown.code, Some(1));
    assert_has(&unknown.err, &["k_nobody"]);
    let reserved = weir_in(home.path(), &["keys", "new", "--subject", "path:u1", "--tier", "free"]);
    assert_eq!(reserved.code, Some(1), "such a subject would be counted with strangers");
    ok(&home, &["check"]);
}

#[test]
fn certificates_for_development_are_good_for_the_names_that_were_asked_for() {
    let home = project();

    let out = ok(&home, &["cert", "dev", "--dir", "more/certs", "--name", "weir.test"]);

    assert_has(&out, &["more/certs/ca.crt", "more/certs/server.crt", "more/certs/server.key"]);
    let key = fs::metadata(home.path().join("more/certs/server.key")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.permissions());
    assert_eq!(mode & 0o777, 0o600, "only its owner reads the key");
    let wrong = weir_in(home.path(), &["cert", "dev", "--dir", "x", "--name", "not a name\u{e9}"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
}

#[test]
fn health_tells_whether_the_proxy_is_ready() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let admin = sidecar.admin.to_string();
        let ready = sidecar.weir(&["health", "--admin", &admin]);
        assert_eq!((ready.code, ready.out.as_str()), (Some(0), "ready\n"), "{ready:?}");

        drop(sidecar);
        let away = crate::harness::weir().args(["health", "--admin", &admin]).output().unwrap();
        let away = Printed::from(away);
        assert_eq!(away.code, Some(1));
        assert_has(&away.err, &[&admin]);
    });
}

#[test]
fn help_names_every_command_and_its_arguments() {
    let home = project();
    let help = ok(&home, &["--help"]);
    for command in ["run", "demo", "check", "explain", "keys", "cert", "health", "drain"] {
        assert_has(&help, &[&format!("\n  {command} ")]);
        let own = ok(&home, &[command, "--help"]);
        assert_has(&own, &["Usage: weir ", "-h, --help"]);
    }
    assert_has(&ok(&home, &["--version"]), &["weir ", env!("CARGO_PKG_VERSION")]);
    let unknown = weir_in(home.path(), &["chek"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert_has(&unknown.err, &["check"]);
}

#[test]
fn no_command_shows_a_secret_of_the_environment() {
    let home = project();
    let policy = home.path().join("policy.toml");
    let text = fs::read_to_string(&policy).unwrap();
    let headers = "headers = { Authorization = \"Bearer ${PROVIDER_KEY}\" }\nconnect_timeout";
    let text = text.replacen("connect_timeout", headers, 1);
    fs::write(&policy, &text).unwrap();
    // The same with an error beside each secret, and with secrets that are wrong themselves.
    fs::write(home.path().join("bad.toml"), text.replace("connect_timeout", "conect_timeout"))
        .unwrap();

    for secret in ["canary", "canary\nwith a line break", "canary \u{1}"] {
        for arguments in [
            &["check"][..],
            &["check", "bad.toml"],
            &["explain", "GET", "/x"],
            &["explain", "GET", "/x", "--policy", "bad.toml"],
            &["health", "--admin", "127.0.0.1:9"],
            &["health"],
            &["run", "--policy", "bad.toml"],
        ] {
            let mut command = crate::harness::weir();
            command.current_dir(home.path()).args(arguments);
            for name in ["PROVIDER_KEY", "WEIR_ADMIN_TOKEN", "SLACK_WEBHOOK_URL", "REDIS_URL"] {
                command.env(name, secret);
            }
            let printed = Printed::from(command.output().unwrap());
            let shown = format!("{}{}", printed.out, printed.err);
            assert!(!shown.contains("canary"), "{arguments:?} with {secret:?}: {shown}");
        }
    }
}
