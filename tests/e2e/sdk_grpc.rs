//! gRPC's own library for Python on either side of the sidecar.

use serde_json::{Value, json};

use crate::{
    harness::run,
    site::Site,
    tools::{Language, said_at},
};

const TABLES: &str = r#"
    [[identity]]
    from = "api_key"
    [operations.once]
    routes = ["POST /sample.Talk/Once"]
    [operations.talk]
    routes = ["POST /sample.Talk/{method}"]
    [tiers.free]
    quotas = { once = "1/hour", talk = "1000/hour" }
    [tiers.tiny]
    quotas = { "*" = "1000/hour" }
"#;
/// gRPC is HTTP/2 to the end.
const UPSTREAM: &str = "protocol = \"http2\"";

async fn said(site: &Site, key: &str) -> Vec<Value> {
    site.said(Language::Python.script("grpc_client"), &[&site.host(), key]).await
}

#[test]
fn grpc_calls_of_every_kind_pass_with_their_trailers_deadlines_and_errors() {
    run(async {
        let site = Site::open("grpc_server", TABLES, UPSTREAM).await;

        let said = said(&site, &site.free).await;

        assert_eq!(said.len(), 9, "{said:#?} {:#?}", site.sidecar.log());
        let code = |entry: &Value, name: &str| entry[name]["code"].as_str().map(str::to_owned);
        let wanted = [
            json!({"echo": 1_000_000, "length": "1000000", "heard": "hi"}),
            json!({"count": true}),
            json!({"total": 124_750}),
            json!({"chat": ["ZERO", "ONE", "TWO", "THREE"]}),
        ];
        assert_eq!(said[..4], wanted, "{:#?} {:#?}", said, site.sidecar.log());
        assert_eq!(code(&said[4], "Wait").as_deref(), Some("DEADLINE_EXCEEDED"));
        assert_eq!(said_at(&site.server, 1).await, "given up", "the server hears of it");
        let failed = json!({"code": "FAILED_PRECONDITION", "details": "not today"});
        assert_eq!(said[5]["Fail"], failed);
        assert_eq!(code(&said[6], "None").as_deref(), Some("UNIMPLEMENTED"));
        assert_eq!(said[7]["Once"], "answered");
        assert_eq!(code(&said[8], "Once").as_deref(), Some("RESOURCE_EXHAUSTED"), "{said:#?}");
    });
}

#[test]
fn a_grpc_caller_without_a_key_is_unauthenticated() {
    run(async {
        let site = Site::open("grpc_server", TABLES, UPSTREAM).await;

        let said = said(&site, "weir_wrong").await;

        assert_eq!(said[0]["code"], "UNAUTHENTICATED", "{said:#?}");
    });
}
