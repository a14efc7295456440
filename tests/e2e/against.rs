//! `weir check --against`: whom an edit would cut off now, asked before it is made.

use std::fs;

use crate::{
    harness::{Printed, run},
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
};

fn tables(quota: &str, budget: &str, total: &str) -> String {
    format!(
        r#"
        [[identity]]
        from = "path"
        pattern = "/u/{{id}}/**"
        parameter = "id"
        tier = "free"
        [operations.chat]
        routes = ["* /u/{{id}}/chat"]
        cost = "$0.10"
        [operations.other]
        routes = ["* /**"]
        [tiers.free]
        quotas = {{ chat = "{quota}" }}
        budget = {{ day = "{budget}" }}
        {total}
        [tiers.plus]
        quotas = {{ "*" = "1/hour" }}
        "#
    )
}

fn plan() -> Plan {
    let plan = Sidecar::with(&tables("3/hour", "$5", "")).admin("token = \"${WEIR_ADMIN_TOKEN}\"");
    plan.environment("WEIR_ADMIN_TOKEN", "a-token-of-operators")
}

/// Writes the edited policy beside the one in force, and asks.
async fn check(sidecar: &Sidecar, tables: &str, token: &str) -> Printed {
    let text = fs::read_to_string(sidecar.file("policy.toml")).unwrap();
    let kept = text.split("[[identity]]").next().unwrap().replace("${WEIR_ADMIN_TOKEN}", token);
    fs::write(sidecar.file("edited.toml"), format!("{kept}{tables}")).unwrap();
    let url = format!("http://{}", sidecar.admin);
    let arguments = ["check", "edited.toml", "--against", &url].map(str::to_owned);
    let home = sidecar.file("");
    let asked = tokio::task::spawn_blocking(move || {
        crate::harness::weir_in(&home, &arguments.each_ref().map(String::as_str))
    });
    asked.await.unwrap()
}

async fn chat(sidecar: &Sidecar, who: &str, times: usize) {
    for _ in 0..times {
        sidecar.client.get(&format!("/u/{who}/chat")).send().await;
    }
}

#[test]
fn check_says_whom_an_edit_would_cut_off_and_whom_it_would_let_in() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan().before(&origin).start().await;
        chat(&sidecar, "ada", 1).await;
        chat(&sidecar, "bob", 2).await;
        chat(&sidecar, "eve", 3).await;

        let same = check(&sidecar, &tables("3/hour", "$5", ""), "a-token-of-operators").await;
        assert_eq!(same.code, Some(0), "{same:?}");
        assert!(
            same.out.contains("3 subjects looked at: 0 would be cut off, 0 let in"),
            "{same:?}"
        );

        let raised = check(&sidecar, &tables("5/hour", "$5", ""), "a-token-of-operators").await;
        assert_eq!(raised.code, Some(0), "{raised:?}");
        let wanted = "path:eve (free) would be let in to chat, refused now by 3/hour\n";
        assert!(raised.out.contains(wanted), "{raised:?}");
        assert!(raised.out.contains("0 would be cut off, 1 let in"), "{raised:?}");

        let lowered = check(&sidecar, &tables("5/hour", "$0.20", ""), "a-token-of-operators").await;
        assert_eq!(lowered.code, Some(1), "{lowered:?}");
        for wanted in [
            "path:bob (free) would be cut off from chat by $0.20/day\n",
            "1 would be cut off, 0 let in",
        ] {
            assert!(lowered.out.contains(wanted), "{wanted} {lowered:?}");
        }
        assert!(!lowered.out.contains("path:ada"), "{lowered:?}");
        assert!(!lowered.out.contains("plus"), "nobody here is in that tier: {lowered:?}");
    });
}

#[test]
fn what_all_share_is_compared_once_it_is_counted() {
    run(async {
        let origin = Origin::start().await;
        let before = tables("3/hour", "$5", "total = { budget = { day = \"$9\" } }");
        let sidecar = Sidecar::with(&before).before(&origin).start().await;
        chat(&sidecar, "ada", 2).await;
        let total = "total = { budget = { day = \"$0.25\" } }";
        let printed = check(&sidecar, &tables("3/hour", "$5", total), "").await;
        assert_eq!(printed.code, Some(1), "{printed:?}");
        let wanted = "path:ada (free) would be cut off from chat by $0.25/day of all callers\n";
        assert!(printed.out.contains(wanted), "{printed:?}");
    });
}

/// Something that says this to whoever asks it first, and ends.
fn says(text: &'static str) -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut asked, mut bytes) = (Vec::new(), [0; 4096]);
        while !asked.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut bytes).unwrap();
            assert!(read > 0, "nothing was asked");
            asked.extend_from_slice(&bytes[..read]);
        }
        stream.write_all(text.as_bytes()).unwrap();
    });
    address
}

#[test]
fn what_stands_in_the_way_of_asking_is_said_with_its_cure() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan().before(&origin).start().await;
        let edited = tables("3/hour", "$5", "");

        let wrong = check(&sidecar, &edited, "another-token-of-operators").await;
        assert_eq!(wrong.code, Some(1), "{wrong:?}");
        assert!(wrong.err.contains("wants another token; set WEIR_ADMIN_TOKEN"), "{wrong:?}");
        assert!(!wrong.err.contains("another-token-of-operators"), "{wrong:?}");

        for (url, wanted) in [
            ("http://127.0.0.1:1", "no proxy answers at 127.0.0.1:1"),
            ("https://127.0.0.1:1", "is not where operators ask; write http://127.0.0.1:9901"),
            ("nowhere.invalid", "cannot be looked up"),
        ] {
            let printed = sidecar.weir(&["check", "edited.toml", "--against", url]);
            assert_eq!(printed.code, Some(1), "{printed:?}");
            assert!(printed.err.contains(wanted), "{printed:?}");
        }
        let refused = sidecar.operator("/admin/v1/usage").send().await;
        assert_eq!(refused.status, 401);

        // Whatever else may listen there.
        for (head, wanted) in [
            (
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
                "is no operators' listener of this version",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"subjects\":[]}",
                "is no proxy of this version",
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", "breaks off in its answer"),
            (
                "HTTP/1.1 500 X\r\ncontent-length: 8\r\n\r\n\u{1b}[31mred",
                "says 500 Internal Server Error: \\u{1b}[31mred",
            ),
            ("SSH-2.0-OpenSSH_9.9\r\n", "gives no answer of HTTP"),
        ] {
            let url = format!("http://{}", says(head));
            let printed = sidecar.weir(&["check", "edited.toml", "--against", &url]);
            assert_eq!(printed.code, Some(1), "{printed:?}");
            assert!(printed.err.contains(wanted), "{printed:?}");
        }
    });
}

#[test]
fn usage_is_told_by_subject_counter_and_pool() {
    run(async {
        let origin = Origin::start().await;
        let tables = tables("3/hour", "$5", "total = { quotas = { \"*\" = \"9/minute\" } }");
        let sidecar = Sidecar::with(&tables).before(&origin).start().await;
        chat(&sidecar, "ada", 2).await;
        chat(&sidecar, "adam", 1).await;
        chat(&sidecar, "eve", 1).await;

        let usage = sidecar.operator("/admin/v1/usage?prefix=path%3Aad&limit=1").send().await;
        assert_eq!(usage.status, 200);
        let usage = usage.json();
        assert_eq!(usage["more"], true);
        assert_eq!(usage["subjects"].as_array().unwrap().len(), 1);
        assert_eq!(usage["subjects"][0]["subject"], "path:ada");
        let counters = usage["subjects"][0]["counters"].as_array().unwrap();
        let window = counters.iter().find(|counter| counter["unit"] == "requests").unwrap();
        assert_eq!((&window["scope"], &window["used"]), (&"chat".into(), &2.into()));
        assert_eq!(window["span"], "3600000ms");
        assert_eq!(usage["pools"][0]["scope"], "tier:free");
        assert_eq!(usage["pools"][0]["used"], 4);
        assert_eq!(usage["generation"], 1);
    });
}
