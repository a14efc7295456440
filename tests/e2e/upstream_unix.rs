//! An upstream behind a unix socket.

use crate::{door::Door, harness::run, origin::Origin, plan::Plan};

#[test]
fn a_unix_socket_is_an_upstream_with_or_without_a_base() {
    run(async {
        for (base, target) in [("", "/a?b=c"), (":/base/", "/base/a?b=c")] {
            let home = Plan::new("").before_url(&format!("unix:app.sock{base}")).furnish();
            let origin = Origin::behind(Door::unix(&home.path().join("app.sock"))).await;
            let sidecar = home.start().await;

            let answer = sidecar.client.get("/a?b=c").header("host", "caller.example").send().await;

            assert_eq!(answer.status, 200, "{answer:?}");
            let seen = origin.last();
            assert_eq!((&*seen.target, seen.header("host")), (target, Some("caller.example")));
            sidecar.metric_is("weir_upstream_up", 1.0).await;
        }
    });
}

#[test]
fn http2_with_prior_knowledge_works_over_a_unix_socket() {
    run(async {
        let plan = Plan::new("").before_url("unix:app.sock").upstream("protocol = \"http2\"");
        let home = plan.furnish();
        let origin = Origin::behind(Door::unix(&home.path().join("app.sock")).http2()).await;
        let sidecar = home.start().await;

        let answer = sidecar.client.post("/", "body").send_h2().await;

        assert_eq!((answer.status.as_u16(), origin.last().version), (200, http::Version::HTTP_2));
    });
}

#[test]
fn a_socket_that_is_not_there_is_an_upstream_that_is_away() {
    run(async {
        let sidecar = Plan::new("").before_url("unix:gone.sock").start().await;

        let answer = sidecar.client.get("/").send().await;

        assert_eq!(answer.refusal(), (502, "upstream_unreachable".to_owned()));
    });
}
