//! The socket of the agents of this machine: they say there what requests cost, without a token.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::{
    client::{Answer, Ask, Client, Connection},
    harness::{run, weir},
    origin::Origin,
    plan::Plan,
    sidecar::{Running, Sidecar},
};

fn plan(admin: &str) -> Plan {
    Sidecar::with(
        "[operations.agent]\nroutes = [\"* /**\"]\ncost = \"$0.02\"\nmeter = [\"callback\"]\n\
         [operations.probe]\nroutes = [\"GET /probe\"]\nmeter = \"flat\"\n\
         [tiers.free]\nbudget = { day = \"$1\" }\n",
    )
    .admin(admin)
}

async fn used(sidecar: &Sidecar) -> String {
    let answer = sidecar.client.get("/probe").send().await;
    answer.header("x-cost-used-today").unwrap_or("none").to_owned()
}

/// Asks over the socket at `path`.
async fn over(path: &Path, ask: Ask) -> Answer {
    let stream = UnixStream::connect(path).await.expect("somebody listens");
    ask.on(&mut Connection::over_h1(TokioIo::new(stream)).await).await
}

async fn tell(path: &Path, sidecar: &Sidecar, body: &Value) -> (u16, Value) {
    let ask = Client::plain(sidecar.admin).post("/admin/v1/settlements", body.to_string());
    let answer = over(path, ask).await;
    (answer.status.as_u16(), answer.json()["status"].clone())
}

#[test]
fn an_agent_tells_a_cost_over_the_socket_and_needs_no_token_but_the_right_to_open_it() {
    run(async {
        let origin = Origin::start().await;
        // With a token for operators, and without: the socket asks for none.
        for admin in ["socket = \"agents.sock\"", "socket = \"agents.sock\"\ntoken = \"t0ken\""] {
            let home = plan(admin).before(&origin).furnish();
            let path = home.path().join("agents.sock");
            // Left behind by a process that was killed.
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let mut sidecar = home.start().await;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let serving = sidecar.logged("it serves", |line| line["message"] == "serving").await;
            assert!(serving["admin_socket"].as_str().unwrap().ends_with("agents.sock"));

            sidecar.client.get("/a").send().await;
            let id = origin.last().header("x-request-id").unwrap().to_owned();
            assert_eq!(used(&sidecar).await, "0.0200", "the hold stays");

            let told = json!({"request_id": id, "cost_usd": "0.0123"});
            assert_eq!(tell(&path, &sidecar, &told).await, (200, json!("settled")));
            assert_eq!(tell(&path, &sidecar, &told).await, (200, json!("settled")));
            let other = json!({"request_id": id, "cost_usd": "0.5"});
            assert_eq!(tell(&path, &sidecar, &other).await.0, 409);
            assert_eq!(tell(&path, &sidecar, &json!({"request_id": id})).await.0, 400);
            assert_eq!(used(&sidecar).await, "0.0123");

            sidecar.signal("TERM");
            assert_eq!(sidecar.running.ended().await, Some(0));
            assert!(!path.exists(), "the file is removed at the end");
        }
    });
}

#[test]
fn the_socket_shows_nothing_of_other_callers_and_changes_nothing_else() {
    run(async {
        let origin = Origin::start().await;
        let admin = "socket = \"agents.sock\"\nsocket_mode = \"0660\"";
        let sidecar = plan(admin).before(&origin).start().await;
        let path = sidecar.file("agents.sock");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        let client = Client::plain(sidecar.admin);

        for open in ["/livez", "/readyz", "/api/health"] {
            assert_eq!(over(&path, client.get(open)).await.status, 200, "{open}");
        }
        for closed in ["/", "/metrics", "/admin/v1/usage"] {
            assert_eq!(over(&path, client.get(closed)).await.status, 404, "{closed}");
        }
        assert_eq!(over(&path, client.post("/admin/v1/drain", "")).await.status, 404);
        assert_eq!(sidecar.client.get("/probe").send().await.status, 200, "it still serves");
    });
}

#[test]
fn another_socket_waits_for_the_next_start_and_the_log_says_so() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan("socket = \"agents.sock\"").before(&origin).start().await;

        let text = sidecar.home.plan.clone().admin("socket = \"other.sock\"").text();
        sidecar.write_policy(&text);

        let is = |line: &Value| line["message"].to_string().contains("at the next start");
        let said = sidecar.logged("it waits", is).await;
        assert!(said["tables"].to_string().contains("admin"), "{said}");
        assert!(sidecar.file("agents.sock").exists() && !sidecar.file("other.sock").exists());
        let sidecar = sidecar.restart().await;
        assert_eq!(
            over(&sidecar.file("other.sock"), Client::plain(sidecar.admin).get("/livez"))
                .await
                .status,
            200
        );
    });
}

#[test]
fn a_place_that_is_taken_is_named_and_left_alone() {
    run(async {
        let home = plan("socket = \"agents.sock\"").furnish();
        let path = home.path().join("agents.sock");
        fs::write(&path, "precious").unwrap();

        let mut command = weir();
        command.current_dir(home.path()).arg("run");
        let mut running = Running::of(command);

        assert_eq!(running.ended().await, Some(1));
        let said = running.lines().join("\n");
        assert!(said.contains("cannot listen on unix:") && said.contains("agents.sock"), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    });
}
