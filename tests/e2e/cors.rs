//! Cross-origin rules as a browser meets them.

use crate::{
    client::{Answer, Ask},
    harness::run,
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
};

const HOME: &str = "https://app.example";
const FOREIGN: &str = "https://evil.example";

fn plan() -> Plan {
    Sidecar::with(
        r#"
        [cors]
        origins = ["https://app.example"]
        methods = ["GET", "POST", "DELETE"]
        headers = ["Content-Type", "Authorization"]
        credentials = true
        max_age = "10m"
        [request]
        max_body = "1KiB"
        [[identity]]
        from = "api_key"
        [[identity]]
        from = "address"
        tier = "free"
        [operations.few]
        routes = ["* /few"]
        [operations.known]
        routes = ["* /known/**"]
        [tiers.free]
        quotas = { few = "1/hour" }
        "#,
    )
}

fn preflight(sidecar: &Sidecar, origin: &str, path: &str) -> Ask {
    let ask = sidecar.client.ask(http::Method::OPTIONS, path).header("origin", origin);
    ask.header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type")
}

fn varies_by_origin(answer: &Answer) -> bool {
    answer.headers.get_all("vary").iter().any(|value| value.to_str().unwrap().contains("Origin"))
}

fn assert_permitted(answer: &Answer, what: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(HOME), "{what}: {answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{what}");
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
    let exposed = exposed.to_ascii_lowercase();
    for name in ["x-request-id", "retry-after", "ratelimit", "x-ratelimit-remaining"] {
        assert!(exposed.contains(name), "{what}: {name} is not exposed: {exposed}");
    }
    assert!(varies_by_origin(answer), "{what}: {answer:?}");
}

fn assert_no_permission(answer: &Answer) {
    let permissions =
        answer.headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
    assert_eq!(permissions.count(), 0, "{answer:?}");
}

#[test]
fn a_preflight_is_answered_here_and_counts_nothing() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan().before(&origin).start().await;

        for _ in 0..5 {
            let answer = preflight(&sidecar, HOME, "/few").send().await;
            assert_eq!(answer.status, 204, "{answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(HOME));
            assert_eq!(answer.header("access-control-allow-methods"), Some("GET, POST, DELETE"));
            let headers = answer.header("access-control-allow-headers").unwrap();
            assert_eq!(headers.to_ascii_lowercase(), "content-type, authorization");
            assert_eq!(answer.header("access-control-max-age"), Some("600"));
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
            assert!(varies_by_origin(&answer) && answer.header("x-request-id").is_some());
        }

        assert_eq!(origin.seen().len(), 0);
        assert_eq!(sidecar.client.get("/few").send().await.status, 200, "nothing was counted");
    });
}

#[test]
fn a_foreign_preflight_is_refused_without_any_permission() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan().before(&origin).start().await;

        for foreign in [FOREIGN, "https://app.example.evil.example", "http://app.example", "null"] {
            let answer = preflight(&sidecar, foreign, "/known/x").send().await;
            assert_eq!(answer.refusal(), (403, "origin_not_allowed".to_owned()), "{foreign}");
            assert_no_permission(&answer);
        }
        assert_eq!(origin.seen().len(), 0);
    });
}

#[test]
fn an_allowed_origin_can_read_every_answer_also_refusals() {
    run(async {
        let origin = Origin::start().await;
        origin.answers("/known/crash", 503, &[("retry-after", "7")], "x");
        let sidecar = plan().before(&origin).start().await;
        let client = &sidecar.client;
        let ask = |ask: Ask| ask.header("origin", HOME).send();

        let first = ask(client.get("/few")).await;
        assert_permitted(&first, "success");
        for (status, answer) in [
            (429, ask(client.get("/few")).await),
            (401, ask(client.get("/known/x").header("x-api-key", "wrong")).await),
            (404, ask(client.get("/nowhere")).await),
            (413, ask(client.post("/known/x", vec![b'x'; 2_000])).await),
            (400, ask(client.get("/known/%00")).await),
            (503, ask(client.get("/known/crash")).await),
        ] {
            assert_eq!(answer.status.as_u16(), status, "{answer:?}");
            assert_permitted(&answer, &status.to_string());
        }
        drop(origin);
        let away = ask(client.get("/known/x")).await;
        assert_eq!(away.status, 502);
        assert_permitted(&away, "502");
    });
}

#[test]
fn a_simple_request_from_elsewhere_is_forwarded_without_permission() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan().before(&origin).start().await;

        let answer = sidecar.client.get("/known/x").header("origin", FOREIGN).send().await;

        assert_eq!((answer.status.as_u16(), origin.count("/known/x")), (200, 1));
        assert_no_permission(&answer);
        assert!(varies_by_origin(&answer));
    });
}

#[test]
fn the_upstreams_own_permissions_are_dropped_and_its_vary_is_merged() {
    run(async {
        let origin = Origin::start().await;
        let own = [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-headers", "x-evil"),
            ("vary", "Accept-Encoding"),
        ];
        origin.answers("/known/x", 200, &own, "ok");
        let sidecar = plan().before(&origin).start().await;

        let foreign = sidecar.client.get("/known/x").header("origin", FOREIGN).send().await;
        let home = sidecar.client.get("/known/x").header("origin", HOME).send().await;

        assert_no_permission(&foreign);
        assert_permitted(&home, "home");
        assert_eq!(home.header("access-control-allow-headers"), None);
        let vary: Vec<_> =
            home.headers.get_all("vary").iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(vary.join(", "), "Accept-Encoding, Origin");
    });
}

#[test]
fn options_that_are_no_preflight_are_ordinary_requests() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan().before(&origin).start().await;

        let ask = sidecar.client.ask(http::Method::OPTIONS, "/known/x").header("origin", HOME);
        let answer = ask.send().await;

        assert_eq!(answer.status, 200);
        assert_eq!(origin.last().method, http::Method::OPTIONS);
    });
}
