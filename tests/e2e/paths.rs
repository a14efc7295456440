//! One spelling for every path: what is matched is what is forwarded.

use crate::{harness::run, origin::Origin, raw, sidecar::Sidecar};

#[test]
fn every_spelling_of_a_path_is_matched_and_forwarded_in_one() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with(
            r#"
            [operations.secret]
            routes = ["* /secret/**"]
            tiers = ["staff"]
            [operations.general]
            routes = ["* /**"]
            [tiers.free]
            quotas = { "*" = "1000/hour" }
            [tiers.staff]
            quotas = { "*" = "1000/hour" }
            "#,
        );
        let sidecar = plan.before(&origin).start().await;

        for (sent, forwarded) in [
            ("/a/../b", "/b"),
            ("/a/./b", "/a/b"),
            ("/a//b", "/a/b"),
            ("/%61/b", "/a/b"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/b?q=%2f&x=;", "/a/b?q=%2f&x=;"),
            ("/a%20b", "/a%20b"),
            ("/%c3%a9", "/%C3%A9"),
        ] {
            let request = format!("GET {sent} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let answer = raw::exchange(&sidecar.client, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{sent}: {answer}");
            assert_eq!(origin.last().target, forwarded, "{sent}");
        }
        let before = origin.seen().len();
        for sent in ["/secret/x", "/a/../secret/x", "/%73ecret/x", "//secret/x", "/x/..//secret/x"]
        {
            let request = format!("GET {sent} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let answer = raw::exchange(&sidecar.client, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{sent}: {answer}");
        }
        assert_eq!(origin.seen().len(), before);
    });
}

#[test]
fn paths_that_servers_read_in_two_ways_are_refused() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        for sent in [
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%00b",
            "/a%252eb",
            "/a%25%32%66b",
            "/a;x=1",
            "/a%zz",
            "/a%",
            "/%ff",
        ] {
            let answer = sidecar.client.get(sent).send().await;
            assert_eq!(answer.refusal(), (400, "bad_request".to_owned()), "{sent}");
            let answer = sidecar.client.get(sent).send_h2().await;
            assert_eq!(answer.refusal(), (400, "bad_request".to_owned()), "{sent} over h2");
        }
        assert_eq!(origin.seen().len(), 0);
    });
}

#[test]
fn a_path_that_no_operation_has_is_not_found_and_not_forwarded() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("[operations.only]\nroutes = [\"GET /known/**\"]\n");
        let sidecar = plan.before(&origin).start().await;

        let unknown = sidecar.client.get("/unknown").send().await;
        let other_method = sidecar.client.post("/known/x", "").send().await;

        assert_eq!(unknown.refusal(), (404, "not_found".to_owned()));
        assert_eq!(other_method.refusal(), (404, "not_found".to_owned()));
        assert_eq!(sidecar.client.get("/known/x").send().await.status, 200);
        assert_eq!(origin.seen().len(), 1);
    });
}

#[test]
fn the_base_of_the_upstream_stands_before_every_path() {
    run(async {
        let origin = Origin::start().await;
        let home = Sidecar::with("").before(&origin).furnish();
        let text = home.plan.text().replace(
            &format!("http://{}", origin.address),
            &format!("http://{}/base/", origin.address),
        );
        std::fs::write(home.path().join("policy.toml"), text).unwrap();
        let sidecar = home.start().await;

        sidecar.client.get("/a/../b?c=d").send().await;

        assert_eq!(origin.last().target, "/base/b?c=d");
    });
}
