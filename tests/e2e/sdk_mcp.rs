//! The official MCP SDK on both sides of the sidecar: streamable HTTP with its sessions,
//! notifications, broken and resumed streams, and its newest form without sessions.

use serde_json::{Value, json};

use crate::{
    harness::{run, until, weir_in},
    sidecar::{Running, Sidecar},
    tools::{Language, said_at, trust, values},
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

/// A server of the SDK, a sidecar before it, and keys of two tiers.
struct Site {
    _server: Running,
    sidecar: Sidecar,
    keys: [String; 2],
}

impl Site {
    async fn open() -> Self {
        let server = Running::of(Language::Python.script("mcp_server"));
        let port = said_at(&server, 0).await.as_u64().unwrap();
        let address = format!("127.0.0.1:{port}").parse().unwrap();
        let home = Sidecar::with(TABLES).before_address(address).furnish();
        let keys = ["free", "tiny"].map(|tier| {
            let made = weir_in(home.path(), &["keys", "new", "--subject", tier, "--tier", tier]);
            made.out.trim().to_owned()
        });
        Self { _server: server, sidecar: home.start().await, keys }
    }

    /// What the client prints.
    async fn said(&self, mode: &str, key: &str) -> Vec<Value> {
        let mut command = Language::Python.script("mcp_client");
        let url = format!("https://localhost:{}/mcp", self.sidecar.address.port());
        command.args([mode, &url, key]);
        trust(&mut command, &self.sidecar);
        values(command).await
    }
}

#[test]
fn an_mcp_client_uses_a_server_with_a_session() {
    run(async {
        let site = Site::open().await;

        let said = site.said("legacy", &site.keys[0]).await;

        let wanted = [
            json!({"tools": ["add", "count", "grow", "nap"]}),
            json!({"add": "5"}),
            json!({"progress": "at 1"}),
            json!({"progress": "at 2"}),
            json!({"progress": "at 3"}),
            json!({"count": "counted"}),
            json!({"nap": "slept"}),
            json!({"notified": "tools"}),
        ];
        assert_eq!(said, wanted, "{:#?}", site.sidecar.log());
        let records = until("the session's end is recorded", || {
            let log = site.sidecar.log();
            let records: Vec<_> =
                log.into_iter().filter(|line| line["message"] == "exchange").collect();
            records.iter().any(|record| record["method"] == "DELETE").then_some(records)
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
        let site = Site::open().await;

        let said = site.said("auto", &site.keys[0]).await;

        let wanted = [
            json!({"tools": ["add", "count", "grow", "nap"]}),
            json!({"add": "5"}),
            json!({"progress": "at 1"}),
            json!({"progress": "at 2"}),
            json!({"progress": "at 3"}),
            json!({"count": "counted"}),
        ];
        assert_eq!(said, wanted, "{:#?}", site.sidecar.log());
    });
}

#[test]
fn an_mcp_client_is_told_that_it_may_not() {
    run(async {
        let site = Site::open().await;
        for (key, status) in [("weir_wrong", 401), (&*site.keys[1], 429)] {
            let said = site.said("legacy", key).await;

            assert_eq!(said.last().unwrap()["error"], "MCPError", "{said:#?}");
            let refused = |line: &Value| line["message"] == "exchange" && line["status"] == status;
            site.sidecar.logged(&format!("a refusal with {status}"), refused).await;
        }
    });
}
