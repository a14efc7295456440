//! The official MCP SDK on both sides of the sidecar: streamable HTTP with its sessions,
//! notifications, broken and resumed streams, and its newest form without sessions.

use serde_json::{Value, json};

use crate::{
    harness::{run, until},
    site::Site,
    tools::Language,
};

const TABLES: &str = r#"
    [[identity]]
    from = "api_key"
    [operations.tools]
    routes = ["* /mcp"]
    [tiers.free]
    quotas = { tools = "1000/hour" }
    [tiers.tiny]
    quotas = { tools = "1/hour" }
"#;

async fn open() -> Site {
    Site::open("mcp_server", TABLES, "").await
}

/// What the client prints.
async fn said(site: &Site, mode: &str, key: &str) -> Vec<Value> {
    let url = format!("https://{}/mcp", site.host());
    site.said(Language::Python.script("mcp_client"), &[mode, &url, key]).await
}

/// What a client finds with a session and without.
fn common() -> Vec<Value> {
    vec![
        json!({"tools": ["add", "count", "grow", "nap"]}),
        json!({"add": "5"}),
        json!({"progress": "at 1"}),
        json!({"progress": "at 2"}),
        json!({"progress": "at 3"}),
        json!({"count": "counted"}),
    ]
}

#[test]
fn an_mcp_client_uses_a_server_with_a_session() {
    run(async {
        let site = open().await;

        let said = said(&site, "legacy", &site.free).await;

        let mut wanted = common();
        wanted.extend([json!({"nap": "slept"}), json!({"notified": "tools"})]);
        assert_eq!(said, wanted, "{:#?} {:#?}", site.server.lines(), site.sidecar.log());
        let records = until("the session's end is recorded", || {
            let log = site.sidecar.log();
            let records: Vec<_> =
                log.into_iter().filter(|line| line["message"] == "exchange").collect();
            // Streams that end with the session may be recorded after it.
            let count = |method: &str| records.iter().filter(|it| it["method"] == method).count();
            (count("DELETE") > 0 && count("GET") > 1).then_some(records)
        });
        let records = records.await;
        let ended = records.iter().find(|record| record["method"] == "DELETE").unwrap();
        assert_eq!(ended["status"], 200, "{records:#?}");
        let streams = records.iter().filter(|record| record["method"] == "GET").count();
        assert_eq!(
            streams, 2,
            "one for notifications, and the broken stream was resumed: {records:#?}"
        );
    });
}

#[test]
fn an_mcp_client_uses_a_server_without_a_session() {
    run(async {
        let site = open().await;

        let said = said(&site, "auto", &site.free).await;

        assert_eq!(said, common(), "{:#?} {:#?}", site.server.lines(), site.sidecar.log());
    });
}

#[test]
fn an_mcp_client_is_told_that_it_may_not() {
    run(async {
        let site = open().await;
        for (key, status) in [("weir_wrong", 401), (&*site.tiny, 429)] {
            let said = said(&site, "legacy", key).await;

            assert_eq!(said.last().unwrap()["error"], "MCPError", "{said:#?}");
            let refused = |line: &Value| line["message"] == "exchange" && line["status"] == status;
            site.sidecar.logged(&format!("a refusal with {status}"), refused).await;
        }
    });
}
