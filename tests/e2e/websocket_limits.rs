//! What ends a WebSocket before its sides do: limits, silence, and a policy that changes its mind.

use std::fs;

use crate::{
    harness::run,
    sidecar::Sidecar,
    talk::{BINARY, CLOSE, Service, TEXT, Talk, open, open_h2, try_open},
};

const KEYS: &str =
    "[[identity]]\nfrom = \"api_key\"\n[[identity]]\nfrom = \"address\"\ntier = \"free\"\n";

fn policy(lines: &str) -> String {
    format!(
        "[operations.talk]\nroutes = [\"GET /talk\"]\nupgrade = [\"websocket\"]\n{lines}\n\
         [operations.rest]\nroutes = [\"* /**\"]\ncost = \"$0.05\"\n"
    )
}

/// A WebSocket over HTTP/1.1 through the sidecar, and both of its ends.
async fn opened(sidecar: &Sidecar, service: &Service, lines: &str) -> (Talk, Talk) {
    tokio::join!(open(&sidecar.client, "/talk", lines), service.agrees(""))
}

/// Both sides are told this, and then end.
async fn told(mut caller: Talk, mut upstream: Talk, code: u16, reason: &str) {
    for side in [&mut caller, &mut upstream] {
        let (told, why) = side.next().await.close();
        assert_eq!(told, code, "{why}");
        assert!(why.starts_with(reason), "{why}");
        side.send(CLOSE, told.to_be_bytes()).await;
        side.ended().await;
    }
}

#[test]
fn messages_have_a_size_in_both_directions() {
    run(async {
        let service = Service::start().await;
        let policy = policy("messages = { max_size = \"100B\" }");
        let sidecar = Sidecar::with(&policy).before_address(service.address).start().await;

        let (mut caller, mut upstream) = opened(&sidecar, &service, "").await;
        caller.send(TEXT, [b'x'; 100]).await;
        assert_eq!(upstream.next().await.payload.len(), 100);
        caller.send_part(TEXT, &"x".repeat(60)).await;
        assert_eq!(upstream.next().await.payload.len(), 60);
        caller.send(0, [b'x'; 41]).await;
        told(caller, upstream, 1009, "a message is too large").await;

        let (caller, mut upstream) = opened(&sidecar, &service, "").await;
        upstream.send(BINARY, [0; 101]).await;
        told(caller, upstream, 1009, "a message is too large").await;

        // What breaks the protocol is told as well.
        let (mut caller, upstream) = opened(&sidecar, &service, "").await;
        caller.raw(&[0x83, 0x80, 0, 0, 0, 0]).await;
        told(caller, upstream, 1002, "a frame breaks the protocol").await;
        let refused = |line: &serde_json::Value| line["error_code"] == "payload_too_large";
        let record = sidecar.logged("why it ended", refused).await;
        assert_eq!(record["detail"], "of the caller: a message is too large");
    });
}

#[test]
fn messages_are_counted_on_a_connection_and_in_a_minute() {
    run(async {
        let service = Service::start().await;
        for (lines, reason) in [
            ("max_count = 3", "quota_exceeded: You have sent all 3 messages of this connection."),
            ("per_minute = 3", "quota_exceeded: You have sent all 3 messages of this minute."),
        ] {
            let policy = policy(&format!("messages = {{ {lines} }}"));
            let sidecar = Sidecar::with(&policy).before_address(service.address).start().await;
            let (mut caller, mut upstream) = opened(&sidecar, &service, "").await;
            // Fragments are one message, and what the service says is not counted.
            caller.send_part(TEXT, "1").await;
            caller.send(0, "1").await;
            for _ in 0..2 {
                caller.send(TEXT, "more").await;
                upstream.send(TEXT, "answer").await;
                assert_eq!(caller.next().await.text(), "answer");
            }
            for _ in 0..4 {
                upstream.next().await;
            }
            caller.send(TEXT, "one too many").await;
            told(caller, upstream, 1008, reason).await;
        }
    });
}

#[test]
fn each_message_may_be_charged_like_a_request() {
    run(async {
        let service = Service::start().await;
        let tiers = "[tiers.free]\nquotas = { talk = \"4/hour\" }\nconcurrency = 1\n";
        let policy = policy("cost = \"$0.01\"\nmessages = { charged = true }") + tiers;
        let sidecar = Sidecar::with(&policy).before_address(service.address).start().await;

        let (mut caller, mut upstream) = opened(&sidecar, &service, "").await;
        for _ in 0..3 {
            caller.send(TEXT, "more").await;
            assert_eq!(upstream.next().await.text(), "more");
        }
        // As long as it is open it is one request in flight.
        let second = try_open(&sidecar.client, "/talk", "").await;
        assert!(second.head.starts_with("HTTP/1.1 429 "), "{}", second.head);
        caller.send(TEXT, "one too many").await;
        told(caller, upstream, 1008, "quota_exceeded: You have used all 4 talk requests").await;

        let record = sidecar.logged("one record", |line| line["status"] == 101).await;
        assert_eq!(record["error_code"], "quota_exceeded");
        assert_eq!(record["cost_nano_usd"], 40_000_000);
        let third = try_open(&sidecar.client, "/talk", "").await;
        assert!(third.head.contains("x-ratelimit-remaining: 0\r\n"), "{}", third.head);
    });
}

#[test]
fn a_place_is_held_until_the_end() {
    run(async {
        let service = Service::start().await;
        let policy = policy("") + "[tiers.free]\nconcurrency = 1\n";
        let sidecar = Sidecar::with(&policy).before_address(service.address).start().await;
        for _ in 0..2 {
            let (caller, upstream) = opened(&sidecar, &service, "").await;
            let second = try_open(&sidecar.client, "/talk", "").await;
            assert!(second.head.starts_with("HTTP/1.1 429 "), "{}", second.head);
            drop((caller, upstream));
            sidecar.metric_is("weir_tunnels", 0.0).await;
        }
    });
}

#[test]
fn a_connection_has_a_lifetime_and_must_not_fall_silent() {
    run(async {
        let service = Service::start().await;
        let policy = policy("max_lifetime = \"1s\"");
        let sidecar = Sidecar::with(&policy).before_address(service.address).start().await;
        let (caller, upstream) = opened(&sidecar, &service, "").await;
        told(caller, upstream, 1008, "the connection has lasted long enough").await;

        let plan = Sidecar::with(&self::policy("")).before_address(service.address);
        let sidecar = plan.upstream("idle_timeout = \"1s\"").start().await;
        let (caller, upstream) = opened(&sidecar, &service, "").await;
        told(caller, upstream, 1001, "nothing was said for too long").await;
    });
}

#[test]
fn a_caller_whose_key_is_revoked_is_told_to_go() {
    run(async {
        let service = Service::start().await;
        let tables = policy("") + KEYS;
        let sidecar = Sidecar::with(&tables).before_address(service.address).start().await;
        let new = sidecar.weir(&["keys", "new", "--subject", "ann", "--tier", "free"]);
        let key =
            new.out.split_whitespace().find(|word| word.starts_with("weir_")).map(str::to_owned);
        let key = key.unwrap_or_else(|| panic!("no key in {new:?}"));
        let lines = format!("x-api-key: {key}\r\n");
        sidecar.metric_is("weir_policy_reloads_total{result=\"applied\"}", 1.0).await;
        let (mut caller, mut upstream) = opened(&sidecar, &service, &lines).await;
        assert!(!upstream.head.contains(&key), "the credential is ours: {}", upstream.head);
        // Another subject is not concerned.
        let (mut other, mut others) = opened(&sidecar, &service, "").await;

        let text = fs::read_to_string(sidecar.file("keys.toml")).unwrap();
        let id = text.lines().find_map(|line| line.strip_prefix("id = ")).unwrap().replace('"', "");
        let revoked = sidecar.weir(&["keys", "revoke", &id]);
        assert_eq!(revoked.code, Some(0), "{revoked:?}");
        assert_eq!(upstream.next().await.close().0, 1008);
        let (code, reason) = caller.next().await.close();
        assert_eq!(code, 1008);
        assert!(reason.starts_with("unauthenticated: "), "{reason}");
        other.send(TEXT, "still here").await;
        assert_eq!(others.next().await.text(), "still here");
    });
}

#[test]
fn a_caller_whose_leave_ends_with_the_policy_is_told_to_go() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with(&policy("")).before_address(service.address).start().await;
        let (mut caller, mut upstream) = opened(&sidecar, &service, "").await;

        // A change that does not concern it.
        sidecar.edit(&policy("cost = \"$0.01\""));
        sidecar.metric_is("weir_policy_reloads_total{result=\"applied\"}", 1.0).await;
        caller.send(TEXT, "still here").await;
        assert_eq!(upstream.next().await.text(), "still here");
        // One that does.
        sidecar.edit(&policy("").replace("upgrade = [\"websocket\"]", ""));
        told(caller, upstream, 1008, "upgrade_not_allowed: ").await;
    });
}

#[test]
fn a_caller_whose_budget_others_have_spent_is_told_to_go() {
    run(async {
        let service = Service::start().await;
        let budget = "[tiers.free]\nbudget = { day = \"$0.10\" }\n";
        let policy = policy("cost = \"$0.05\"") + budget;
        let sidecar = Sidecar::with(&policy).before_address(service.address).start().await;
        let (mut caller, mut upstream) = opened(&sidecar, &service, "").await;
        caller.send(TEXT, "paid for").await;
        assert_eq!(upstream.next().await.text(), "paid for");

        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let (spent, _) = tokio::join!(sidecar.client.get("/rest").send(), service.answers(answer));
        assert_eq!(spent.status, 200);
        told(caller, upstream, 1008, "budget_exceeded: You have used your budget of $0.10").await;
    });
}

#[test]
fn a_caller_whose_share_of_a_common_budget_others_have_spent_is_told_to_go() {
    run(async {
        let tier = "[tiers.free]\ntotal = { budget = { day = \"$0.10\" } }\n";
        let all = "total = { budget = { day = \"$0.10\" } }\n";
        // What a tier shares, and what an operation does, whoever spends it.
        for (lines, tiers, reason) in [
            ("cost = \"$0.05\"", tier, "budget_exceeded: The free tier has used its budget"),
            (
                &*format!("cost = \"$0.05\"\n{all}"),
                "[tiers.free]\nquotas = { rest = \"9/hour\" }\n",
                "budget_exceeded: ",
            ),
        ] {
            let service = Service::start().await;
            let policy =
                "[[identity]]\nfrom = \"path\"\npattern = \"/{user}/**\"\nparameter = \"user\"\n\
                   tier = \"free\"\n"
                    .to_owned()
                    + &policy(lines).replace("GET /talk", "GET /{user}/talk")
                    + tiers;
            let sidecar = Sidecar::with(&policy).before_address(service.address).start().await;
            let (mut caller, mut upstream) =
                tokio::join!(open(&sidecar.client, "/ann/talk", ""), service.agrees(""));
            caller.send(TEXT, "paid for").await;
            assert_eq!(upstream.next().await.text(), "paid for");

            // Somebody else spends the rest: where the operation is bounded, on another talk.
            if lines.contains("total") {
                let (mut other, mut behind) =
                    tokio::join!(open(&sidecar.client, "/bob/talk", ""), service.agrees(""));
                other.send(TEXT, "too").await;
                assert_eq!(behind.next().await.text(), "too");
                told(caller, upstream, 1008, reason).await;
                continue;
            }
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let (spent, _) =
                tokio::join!(sidecar.client.get("/bob/rest").send(), service.answers(answer));
            assert_eq!(spent.status, 200);
            told(caller, upstream, 1008, reason).await;
        }
    });
}

#[test]
fn a_page_of_another_origin_cannot_open_one() {
    run(async {
        let echo = Service::start().await.echoes();
        let tables = policy("") + "[cors]\norigins = [\"https://app.example\"]\n";
        let sidecar = Sidecar::with(&tables).before_address(echo.address).start().await;
        let from = |origin: &str| format!("origin: {origin}\r\n");
        for origin in ["https://evil.example", "null", "https://localhost.evil.example"] {
            let caller = try_open(&sidecar.client, "/talk", &from(origin)).await;
            assert!(caller.head.starts_with("HTTP/1.1 403 "), "{origin}: {}", caller.head);
        }
        for origin in ["https://app.example", "https://localhost"] {
            let mut caller = open(&sidecar.client, "/talk", &from(origin)).await;
            caller.send(TEXT, "hello").await;
            assert_eq!(caller.next().await.text(), "hello");
        }
        let mut caller = open_h2(&sidecar.client, "/talk").await.expect("no page at all");
        caller.send(TEXT, "hello").await;
        assert_eq!(caller.next().await.text(), "hello");
    });
}

#[test]
fn a_panic_ends_one_websocket_and_what_it_booked_is_settled() {
    run(async {
        let service = Service::start().await;
        let tiers = "[tiers.free]\nquotas = { talk = \"9/hour\" }\nconcurrency = 2\n";
        let policy = policy("cost = \"$0.01\"\nmessages = { charged = true }") + tiers;
        let plan = Sidecar::with(&policy).environment("WEIR_MISHAP", "carried:BOOM");
        let sidecar = plan.before_address(service.address).start().await;
        let (mut caller, mut upstream) = opened(&sidecar, &service, "").await;
        let (mut other, mut beside) = opened(&sidecar, &service, "").await;
        caller.send(TEXT, "more").await;
        assert_eq!(upstream.next().await.text(), "more");

        upstream.send(TEXT, "BOOM").await;

        caller.ended().await;
        upstream.ended().await;
        let record = sidecar.logged("one record", |line| line["status"] == 101).await;
        assert_eq!(record["error_code"], "internal_error");
        assert_eq!(record["detail"], "carrying the messages panicked");
        assert_eq!(record["cost_nano_usd"], 20_000_000);
        sidecar.metric_is("weir_panics_total", 1.0).await;
        sidecar.metric_is("weir_tunnels_ended_total{reason=\"panicked\"}", 1.0).await;
        sidecar.metric_is("weir_tunnels", 1.0).await;
        other.send(TEXT, "still here").await;
        assert_eq!(beside.next().await.text(), "still here");
        // Its place is free, and it had paid for two of the nine.
        let (third, _) = opened(&sidecar, &service, "").await;
        assert!(third.head.contains("x-ratelimit-remaining: 4\r\n"), "{}", third.head);
    });
}
