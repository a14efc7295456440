//! TLS towards the upstream: whom Weir believes, what it shows, and files that change.

use std::{fs, path::Path};

use rustls::ServerConfig;

use crate::{
    client::Answer,
    door::Door,
    harness::{run, until_async, weir_in},
    origin::Origin,
    pki::{Authority, Issued},
    plan::{Home, Plan},
    sidecar::Sidecar,
};

const TRUSTING: &str = "[upstream.tls]\nca = \"upstream.pem\"\n";

async fn origin(config: ServerConfig) -> Origin {
    Origin::behind(Door::free().await.tls(config)).await
}

fn plan(origin: &Origin, upstream: &str) -> Plan {
    let url = format!("https://localhost:{}", origin.address.port());
    Plan::new("").upstream(upstream).before_url(&url)
}

fn furnish(plan: Plan, files: &[(&str, &str)]) -> Home {
    let home = plan.furnish();
    for (name, content) in files {
        write(home.path(), name, content);
    }
    home
}

fn write(directory: &Path, name: &str, content: &str) {
    let beside = directory.join(format!("{name}.new"));
    fs::write(&beside, content).unwrap();
    fs::rename(beside, directory.join(name)).unwrap();
}

/// Asks once; what the log says of it, if it was refused.
async fn ask(sidecar: &Sidecar) -> (Answer, String) {
    let answer = sidecar.client.get("/").send().await;
    let record = sidecar.record(&answer).await;
    (answer, record["detail"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_server_that_the_authority_vouches_for_is_spoken_with_in_the_best_protocol() {
    run(async {
        let authority = Authority::new();
        for (alpn, version) in [
            (&["h2", "http/1.1"][..], http::Version::HTTP_2),
            (&["http/1.1"], http::Version::HTTP_11),
            (&[], http::Version::HTTP_11),
        ] {
            let origin = origin(authority.server(&["localhost"]).config(alpn)).await;
            let home = furnish(plan(&origin, TRUSTING), &[("upstream.pem", &authority.pem())]);
            let sidecar = home.start().await;

            let mut connection = sidecar.client.h2().await;
            for body in ["", "a body"] {
                let answer = sidecar.client.post("/echo", body).on(&mut connection).await;
                assert_eq!((answer.status.as_u16(), &answer.json()["body"]), (200, &body.into()));
            }

            assert_eq!(origin.last().version, version);
            // One connection serves both.
            sidecar.metric_is("weir_upstream_connects_total{result=\"ok\"}", 1.0).await;
        }
    });
}

#[test]
fn the_protocol_can_be_fixed() {
    run(async {
        let (authority, pem) = (Authority::new(), "upstream.pem");
        let both = origin(authority.server(&["localhost"]).config(&["h2", "http/1.1"])).await;
        let old = origin(authority.server(&["localhost"]).config(&[])).await;

        let upstream = format!("protocol = \"http1\"\n{TRUSTING}");
        let home = furnish(plan(&both, &upstream), &[(pem, &authority.pem())]);
        let (answer, _) = ask(&home.start().await).await;
        let upstream = format!("protocol = \"http2\"\n{TRUSTING}");
        let home = furnish(plan(&old, &upstream), &[(pem, &authority.pem())]);
        let (refused, detail) = ask(&home.start().await).await;

        assert_eq!((answer.status.as_u16(), both.last().version), (200, http::Version::HTTP_11));
        assert_eq!(refused.refusal(), (502, "upstream_unreachable".to_owned()));
        assert_eq!(detail, "the upstream does not speak HTTP/2");
    });
}

#[test]
fn a_server_that_cannot_prove_who_it_is_gets_no_request() {
    run(async {
        let (authority, foreign) = (Authority::new(), Authority::new());
        for (why, issued, tls, detail) in [
            ("expired", authority.expired(&["localhost"]), TRUSTING, "expired"),
            ("another name", authority.server(&["elsewhere"]), TRUSTING, "not valid for"),
            ("a foreign authority", foreign.server(&["localhost"]), TRUSTING, "certificate"),
            ("nobody but itself", Issued::by_itself(&["localhost"]), TRUSTING, "certificate"),
            ("no public authority", authority.server(&["localhost"]), "", "UnknownIssuer"),
        ] {
            let origin = origin(issued.config(&["http/1.1"])).await;
            let home = furnish(plan(&origin, tls), &[("upstream.pem", &authority.pem())]);
            let sidecar = home.start().await;

            let (answer, found) = ask(&sidecar).await;

            assert_eq!(answer.refusal(), (502, "upstream_unreachable".to_owned()), "{why}");
            assert!(
                found.starts_with("no TLS with the upstream: ") && found.contains(detail),
                "{why}: {found}"
            );
            assert!(origin.seen().is_empty(), "{why}");
            sidecar.metric_is("weir_upstream_connects_total{result=\"no_tls\"}", 1.0).await;
        }
    });
}

#[test]
fn another_name_may_be_asked_for_and_verified() {
    run(async {
        let authority = Authority::new();
        let origin = origin(authority.server(&["agent.internal"]).config(&[])).await;
        let upstream = format!("{TRUSTING}server_name = \"agent.internal\"\n");
        let home = furnish(plan(&origin, &upstream), &[("upstream.pem", &authority.pem())]);

        let (answer, detail) = ask(&home.start().await).await;

        assert_eq!(answer.status, 200, "{detail}");
    });
}

#[test]
fn a_certificate_is_shown_to_a_server_that_demands_one() {
    run(async {
        let (authority, clients) = (Authority::new(), Authority::new());
        let server = authority.server(&["localhost"]);
        let own = clients.client("weir");
        let with = format!("{TRUSTING}certificate = \"client.crt\"\nkey = \"client.key\"\n");
        for (upstream, right) in [(with.as_str(), true), (TRUSTING, false)] {
            let origin = origin(server.demanding(&["h2", "http/1.1"], clients.demands())).await;
            let files = [
                ("upstream.pem", &*authority.pem()),
                ("client.crt", &own.chain),
                ("client.key", &own.key),
            ];
            let sidecar = furnish(plan(&origin, upstream), &files).start().await;

            let (answer, detail) = ask(&sidecar).await;

            assert_eq!(answer.status.is_success(), right, "{detail}");
            assert_eq!(answer.status.as_u16() == 502, !right);
        }
    });
}

#[test]
fn pins_are_demanded_on_top_of_the_authority() {
    run(async {
        let authority = Authority::new();
        let (now, next) = (authority.server(&["localhost"]), authority.server(&["localhost"]));
        let (key, certificate) = (now.key_pin(), now.certificate_pin());
        for (pins, right) in [
            (vec![&key], true),
            (vec![&certificate], true),
            (vec![&next.key_pin(), &key], true),
            (vec![&next.key_pin()], false),
        ] {
            let origin = origin(now.config(&[])).await;
            let upstream = format!("{TRUSTING}pin = {pins:?}\n");
            let home = furnish(plan(&origin, &upstream), &[("upstream.pem", &authority.pem())]);

            let (answer, detail) = ask(&home.start().await).await;

            assert_eq!(answer.status.is_success(), right, "{detail}");
            assert_eq!(detail.contains("none of the pinned"), !right, "{detail}");
        }
    });
}

#[test]
fn files_that_change_are_followed_and_broken_ones_are_not() {
    run(async {
        let (old, new, clients) = (Authority::new(), Authority::new(), Authority::new());
        let server = new.server(&["localhost"]);
        let origin = origin(server.demanding(&["http/1.1"], clients.demands())).await;
        let upstream = format!("{TRUSTING}certificate = \"client.crt\"\nkey = \"client.key\"\n");
        let (stranger, own) = (old.client("weir"), clients.client("weir"));
        let files = [
            ("upstream.pem", &*old.pem()),
            ("client.crt", &stranger.chain),
            ("client.key", &stranger.key),
        ];
        let sidecar = furnish(plan(&origin, &upstream), &files).start().await;
        assert_eq!(ask(&sidecar).await.0.status, 502);

        let home = sidecar.home.path();
        write(home, "upstream.pem", &new.pem());
        write(home, "client.key", &own.key);
        write(home, "client.crt", &own.chain);
        let works = || async { ask(&sidecar).await.0.status.is_success().then_some(()) };
        until_async("the new files are in force", works).await;

        write(home, "upstream.pem", "no certificate");
        let refused = sidecar.logged("the broken file is reported", |line| {
            line["problems"].as_str().is_some_and(|text| text.contains("upstream.pem holds no"))
        });
        refused.await;
        assert_eq!(ask(&sidecar).await.0.status, 200, "the last good file stays");
    });
}

#[test]
fn connections_made_under_other_trust_are_not_used() {
    run(async {
        let (old, new) = (Authority::new(), Authority::new());
        for alpn in [&["h2"][..], &["http/1.1"]] {
            let origin = origin(old.server(&["localhost"]).config(alpn)).await;
            let home = furnish(plan(&origin, TRUSTING), &[("upstream.pem", &old.pem())]);
            let sidecar = home.start().await;
            assert_eq!(ask(&sidecar).await.0.status, 200);

            write(sidecar.home.path(), "upstream.pem", &new.pem());

            let refused = || async { (ask(&sidecar).await.0.status == 502).then_some(()) };
            until_async("the old authority is no longer believed", refused).await;
            let closed = || async { (origin.connections().1 == 0).then_some(()) };
            until_async("the connection under the old trust is closed", closed).await;
        }
    });
}

#[test]
fn what_cannot_be_used_is_reported_where_it_is_named() {
    let authority = Authority::new();
    let (one, other) = (authority.client("a"), authority.client("b"));
    let pair = "certificate = \"client.crt\"\nkey = \"client.key\"\n";
    for (tls, place, problem) in [
        ("ca = \"gone.pem\"", "gone.pem", "cannot be read"),
        ("ca = \"client.key\"", "client.key", "holds no certificate"),
        (pair, "client.key", "does not fit"),
        ("certificate = \"client.crt\"", "[upstream.tls]", "`upstream.tls.key` is missing"),
        ("pin = [\"sha256/short\"]", "sha256/short", "this is no pin"),
        ("server_name = \"a b\"", "a b", "this is no server name"),
        ("verify = false", "verify", "unknown key"),
    ] {
        let plan = Plan::new("").before_url("https://agent.example");
        let plan = plan.upstream(&format!("[upstream.tls]\n{tls}\n"));
        let files = [("client.crt", &*one.chain), ("client.key", &other.key)];
        let home = furnish(plan, &files);

        let checked = weir_in(home.path(), &["check", "policy.toml"]);

        let said = format!("{}{}", checked.out, checked.err);
        assert_eq!(checked.code, Some(1), "{tls}: {said}");
        assert!(said.contains(place) && said.contains(problem), "{tls}: {said}");
    }
}
