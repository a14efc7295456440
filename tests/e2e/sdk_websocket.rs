//! WebSocket libraries of Python and Node on either side of the sidecar.

use serde_json::{Value, json};

use crate::{harness::run, site::Site, tools::Language};

const TABLES: &str = r#"
    [[identity]]
    from = "api_key"
    [operations.talk]
    routes = ["GET /talk"]
    upgrade = ["websocket"]
    [operations.plain]
    routes = ["* /**"]
    [tiers.free]
    quotas = { talk = "1000/hour", plain = "1000/hour" }
    [tiers.tiny]
    quotas = { talk = "1/hour" }
"#;

async fn said(site: &Site, language: Language, path: &str, key: &str) -> Vec<Value> {
    let url = format!("wss://{}{path}", site.host());
    site.said(language.script("websocket_client"), &[&url, key]).await
}

#[test]
fn websocket_libraries_talk_and_close_through_the_sidecar() {
    run(async {
        let site = Site::open("websocket_server", TABLES, "").await;
        for language in [Language::Python, Language::Node] {
            let said = said(&site, language, "/talk", &site.free).await;

            let wanted = [
                json!({"protocol": "talk.v1"}),
                json!({"text": "hello"}),
                json!({"bytes": 512_000}),
                json!({"text": "in three pieces"}),
                json!({"many": true}),
                json!({"pong": true}),
                json!({"closed": 4001, "reason": "as you wish"}),
            ];
            assert_eq!(said, wanted, "{language:?} {:#?}", site.server.lines());
        }
    });
}

#[test]
fn websocket_libraries_are_told_why_they_are_refused() {
    run(async {
        let site = Site::open("websocket_server", TABLES, "").await;
        let first = said(&site, Language::Python, "/talk", &site.tiny).await;
        assert_eq!(first.len(), 7, "the only one of this hour: {first:?}");
        for language in [Language::Python, Language::Node] {
            for (path, key, status, code) in [
                ("/talk", "weir_wrong", 401, "unauthenticated"),
                ("/talk", &*site.tiny, 429, "quota_exceeded"),
                ("/other", &*site.free, 403, "upgrade_not_allowed"),
            ] {
                let said = said(&site, language, path, key).await;
                assert_eq!(said, [json!({"status": status, "code": code})], "{language:?} {path}");
            }
        }
    });
}
