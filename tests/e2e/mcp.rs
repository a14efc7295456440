//! MCP over streamable HTTP: JSON or events for a POST, events for a GET, a session in the headers.

use crate::{client::Answer, harness::run, origin::Origin, sidecar::Sidecar};

const POLICY: &str = "[operations.tools]\nroutes = [\"* /mcp\"]\nforeign_origins = \"refuse\"\n\
    [operations.rest]\nroutes = [\"* /**\"]\n[sanitize]\n\
    [cors]\norigins = [\"https://app.example\"]\nmethods = [\"GET\", \"POST\", \"DELETE\"]\n\
    headers = [\"Content-Type\", \"Mcp-Session-Id\", \"MCP-Protocol-Version\", \"Last-Event-ID\"]\n";
/// A session may be named by a JWT, which looks like a credential that leaks.
const SESSION: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzaWQiOiJhYmMxMjMifQ.c2lnbmF0dXJlLXRoYXQtaXMtbG9uZw";

#[test]
fn a_session_of_mcp_passes_untouched() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(POLICY).before(&origin).start().await;
        let json = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}";
        let session = ("mcp-session-id", SESSION);
        origin.answers("/mcp", 200, &[("content-type", "application/json"), session], json);
        let mut connection = sidecar.client.h2().await;

        let initialize = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}";
        let ask = sidecar.client.post("/mcp", "").json(initialize);
        let ask = ask.header("accept", "application/json, text/event-stream");
        let answer: Answer = ask.header("origin", "https://app.example").on(&mut connection).await;
        assert_eq!(answer.text(), json);
        assert_eq!(answer.header("mcp-session-id"), Some(SESSION), "it must come back as it was");
        let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
        assert!(exposed.contains("mcp-session-id"), "{exposed}");

        // A POST that is answered with events, and a GET that goes on where it broke off.
        for method in ["POST", "GET"] {
            let feed = origin.paces_as("/mcp", &[("content-type", "text/event-stream"), session]);
            let ask = sidecar.client.ask(method.parse().unwrap(), "/mcp");
            let ask = ask.header("mcp-session-id", SESSION).header("last-event-id", "7");
            let ask = ask.header("mcp-protocol-version", "2025-11-25");
            let mut stream = ask.open(&mut connection).await;
            for number in 8..11 {
                let event = format!("id: {number}\ndata: {json}\n\n");
                feed.send(event.clone().into()).await.unwrap();
                assert_eq!(stream.text().await, event);
            }
            drop(feed);
            assert!(stream.next().await.is_none(), "a proper end");
            let seen = origin.last();
            assert_eq!(seen.header("mcp-session-id"), Some(SESSION));
            assert_eq!(seen.header("last-event-id"), Some("7"));
            assert_eq!(seen.header("mcp-protocol-version"), Some("2025-11-25"));
        }

        origin.answers("/mcp", 405, &[("allow", "GET, POST")], "");
        let ask = sidecar.client.ask(http::Method::DELETE, "/mcp");
        let answer = ask.header("mcp-session-id", SESSION).on(&mut connection).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, Some("GET, POST")));
        assert_eq!(origin.last().method, http::Method::DELETE);
    });
}

#[test]
fn a_page_that_the_policy_does_not_name_cannot_reach_the_tools() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(POLICY).before(&origin).start().await;
        // Rebound DNS: host and origin agree with each other, but not with the policy.
        let hosts = ["localhost", "evil.example"];
        for (host, from) in hosts.iter().flat_map(|host| {
            ["http://evil.example", "null", "https://app.example.evil.example"].map(|o| (host, o))
        }) {
            for method in ["GET", "POST", "DELETE"] {
                let ask = sidecar.client.ask(method.parse().unwrap(), "/mcp");
                let answer = ask.header("host", host).header("origin", from).send().await;
                let refused = (403, "origin_not_allowed".to_owned());
                assert_eq!(answer.refusal(), refused, "{method} {host} {from}");
            }
        }
        assert_eq!(origin.count("/mcp"), 0);
        let answer = sidecar.client.get("/mcp").header("origin", "https://app.example");
        assert_eq!(answer.send().await.status, 200);
        // Elsewhere a foreign page gets no permission, and nothing worse.
        let answer = sidecar.client.get("/other").header("origin", "http://evil.example").send();
        let answer = answer.await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    });
}

#[test]
fn a_stream_has_a_lifetime() {
    run(async {
        let origin = Origin::start().await;
        let policy = POLICY.replace("\"refuse\"\n", "\"refuse\"\nmax_lifetime = \"1s\"\n");
        let sidecar = Sidecar::with(&policy).before(&origin).start().await;
        for h2 in [false, true] {
            // Events end in order: whoever reads them comes back for more.
            let feed = origin.paces("/mcp");
            let mut connection =
                if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await };
            let mut stream = sidecar.client.get("/mcp").open(&mut connection).await;
            feed.send("data: 1\n\n".into()).await.unwrap();
            assert_eq!(stream.text().await, "data: 1\n\n");
            assert!(stream.next().await.is_none(), "a proper end");
            feed.closed().await;

            // Anything else would look whole.
            let feed = origin.paces_as("/mcp", &[("content-type", "text/plain")]);
            let mut stream = sidecar.client.get("/mcp").open(&mut connection).await;
            feed.send("half of ".into()).await.unwrap();
            assert_eq!(stream.text().await, "half of ");
            assert!(stream.next().await.expect("a word").is_err(), "it is cut");
        }
        let ended = |line: &serde_json::Value| line["detail"] == "max_lifetime is over";
        let record = sidecar.logged("why it ended", ended).await;
        assert_eq!(record["status"], 200);
    });
}
