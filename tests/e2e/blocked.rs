//! Subjects that the policy blocks: refused at once, and ended in whatever they are in the middle of.

use std::fs;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{
    client::{Connection, Streamed},
    harness::{run, soon, until},
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
    talk::{CLOSE, Service, TEXT, open, try_open},
};

/// What is common: a talk, calls of gRPC, what models say, and everything else.
const WORK: &str = "[[identity]]\nfrom = \"api_key\"\n\
     [[identity]]\nfrom = \"path\"\npattern = \"/u/{user}/**\"\nparameter = \"user\"\ntier = \"free\"\n\
     [[identity]]\nfrom = \"address\"\ntier = \"free\"\n\
     [operations.talk]\nroutes = [\"GET /u/{user}/talk\"]\nupgrade = [\"websocket\"]\n\
     [operations.chat]\nroutes = [\"GET /u/{user}/chat\"]\nmeter = \"usage\"\n\
     [operations.few]\nroutes = [\"GET /u/{user}/x\"]\n\
     [operations.rest]\nroutes = [\"* /**\"]\ncost = \"$0.05\"\n\
     [tiers.free]\nquotas = { few = \"2/hour\" }\n";

fn blocking(subjects: &str) -> String {
    format!("[enforcement]\nblocked = [{subjects}]\n{WORK}")
}

fn plan(subjects: &str) -> Plan {
    Sidecar::with(&blocking(subjects))
}

async fn give(feed: &mpsc::Sender<Bytes>, piece: &str) {
    soon("the origin sends", feed.send(Bytes::copy_from_slice(piece.as_bytes()))).await.unwrap();
}

/// A stream of the service that has said this much.
async fn streaming(
    sidecar: &Sidecar,
    path: &str,
    feed: &mpsc::Sender<Bytes>,
    said: &str,
    connection: &mut Connection,
) -> Streamed {
    let mut answer = sidecar.client.get(path).open(connection).await;
    give(feed, said).await;
    assert_eq!(answer.text().await, said);
    answer
}

/// What still comes, and how it ends.
async fn rest(answer: Streamed) -> Result<(String, HeaderMap), hyper::Error> {
    let (body, trailers) = soon("the stream ends", answer.rest()).await?;
    Ok((String::from_utf8_lossy(&body).into_owned(), trailers))
}

async fn connect(sidecar: &Sidecar, h2: bool) -> Connection {
    if h2 { sidecar.client.h2().await } else { sidecar.client.h1().await }
}

#[test]
fn a_blocked_subject_is_refused_and_never_counted() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan("\"path:ann\"").before(&origin).start().await;

        for _ in 0..3 {
            let answer = sidecar.client.get("/u/ann/x").send().await;
            assert_eq!(answer.refusal(), (403, "blocked".to_owned()));
            let record = sidecar.record(&answer).await;
            assert_eq!(
                (&record["subject"], &record["error_code"]),
                (&"path:ann".into(), &"blocked".into())
            );
            assert_eq!(record["cost_nano_usd"], 0);
        }
        assert_eq!(origin.seen().len(), 0);
        let bob = sidecar.client.get("/u/bob/x").send().await;
        assert_eq!(bob.status, 200, "another subject is not concerned");
        let shown = sidecar.weir(&["explain", "GET", "/u/ann/x"]);
        assert!(shown.out.contains("refused    403 blocked"), "{shown:?}");

        // Free again, with the whole quota.
        sidecar.edit(&blocking(""));
        sidecar.metric_is(r#"weir_policy_reloads_total{result="applied"}"#, 1.0).await;
        let answer = sidecar.client.get("/u/ann/x").send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-ratelimit-remaining")),
            (200, Some("1"))
        );
    });
}

#[test]
fn in_shadow_a_blocked_subject_is_only_noted() {
    run(async {
        let origin = Origin::start().await;
        let tables = blocking("\"path:ann\"").replace("blocked =", "mode = \"shadow\"\nblocked =");
        let sidecar = Sidecar::with(&tables).before(&origin).start().await;
        let answered = sidecar.client.get("/u/ann/x").send().await;
        assert_eq!(answered.status, 200);
        assert_eq!(sidecar.record(&answered).await["shadow_error_code"], "blocked");
    });
}

#[test]
fn a_stream_of_events_ends_with_an_event_that_says_why() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan("").before(&origin).start().await;
        let others = origin.paces("/u/bob/events");
        let mut connection = sidecar.client.h2().await;
        let mut other =
            streaming(&sidecar, "/u/bob/events", &others, "data: 1\n\n", &mut connection).await;

        for (h2, path) in [(false, "events"), (true, "events"), (true, "chat")] {
            let path = format!("/u/ann/{path}");
            let feed = origin.paces(&path);
            let mut connection = connect(&sidecar, h2).await;
            let answer = streaming(&sidecar, &path, &feed, "data: 1\n\n", &mut connection).await;
            let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();

            sidecar.edit(&blocking("\"path:ann\""));

            let (last, _) = rest(answer).await.expect("a proper end");
            let told = last.strip_prefix("event: error\ndata: ").expect("one event");
            let told: Value = serde_json::from_str(told.trim_end()).expect("JSON");
            let code =
                if path.ends_with("chat") { &told["error"]["code"] } else { &told["error_code"] };
            assert_eq!(
                (code, &told["request_id"]),
                (&"blocked".into(), &id.clone().into()),
                "{told}"
            );
            soon("the upstream's work ends", feed.closed()).await;
            let is = |line: &Value| line["request_id"] == *id && line["message"] == "exchange";
            let record = sidecar.logged("one record", is).await;
            assert_eq!(
                (&record["status"], &record["error_code"]),
                (&200.into(), &"blocked".into())
            );
            let cost = if path.ends_with("chat") { 0 } else { 50_000_000 };
            assert_eq!(record["cost_nano_usd"], cost, "what was sent is charged");
            sidecar.edit(&blocking(""));
            until_free(&sidecar).await;
        }
        give(&others, "data: 2\n\n").await;
        assert_eq!(other.text().await, "data: 2\n\n", "another subject is not concerned");
    });
}

/// Waits until nobody is blocked.
async fn until_free(sidecar: &Sidecar) {
    crate::harness::until_async("nobody is blocked", || async {
        let answer = sidecar.client.get("/u/ann/x").send().await;
        (answer.status != 403).then_some(())
    })
    .await;
}

#[test]
fn an_event_that_was_begun_is_cut_not_completed_and_so_is_every_other_answer() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan("").before(&origin).start().await;
        let plain = [("content-type", "application/octet-stream")];
        for h2 in [false, true] {
            let (half, bytes) =
                (origin.paces("/u/ann/half"), origin.paces_as("/u/ann/bytes", &plain));
            let (mut one, mut two) = (connect(&sidecar, h2).await, connect(&sidecar, h2).await);
            let half_answer =
                streaming(&sidecar, "/u/ann/half", &half, "data: 1\n\ndata: ha", &mut one).await;
            let bytes_answer = streaming(&sidecar, "/u/ann/bytes", &bytes, "abc", &mut two).await;

            sidecar.edit(&blocking("\"path:ann\""));

            for answer in [half_answer, bytes_answer] {
                assert!(rest(answer).await.is_err(), "a cut answer never looks whole, h2: {h2}");
            }
            sidecar.edit(&blocking(""));
            until_free(&sidecar).await;
        }
    });
}

#[test]
fn a_call_of_grpc_ends_with_a_status() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan("").before(&origin).start().await;
        let feed = origin.paces_as("/u/ann/Watch", &[("content-type", "application/grpc")]);
        let mut connection = sidecar.client.h2().await;
        let ask = sidecar.client.post("/u/ann/Watch", "\0\0\0\0\0");
        let ask = ask.header("content-type", "application/grpc").header("te", "trailers");
        let mut answer = ask.open(&mut connection).await;
        give(&feed, "\0\0\0\0\x01a").await;
        assert_eq!(answer.text().await, "\0\0\0\0\x01a");

        sidecar.edit(&blocking("\"path:ann\""));

        let (body, trailers) = rest(answer).await.expect("a proper end");
        assert_eq!((&body[..], &trailers["grpc-status"]), ("", &"7".parse().unwrap()));
        assert_eq!(trailers["grpc-message"], "Your access has been blocked.");
    });
}

#[test]
fn a_websocket_is_told_to_go() {
    run(async {
        let service = Service::start().await;
        let sidecar = plan("").before_address(service.address).start().await;
        let (mut caller, mut upstream) =
            tokio::join!(open(&sidecar.client, "/u/ann/talk", ""), service.agrees(""));
        caller.send(TEXT, "hello").await;
        assert_eq!(upstream.next().await.text(), "hello");

        sidecar.edit(&blocking("\"path:ann\""));

        for side in [&mut caller, &mut upstream] {
            let (code, reason) = side.next().await.close();
            assert_eq!((code, &reason[..]), (1008, "blocked: Your access has been blocked."));
            side.send(CLOSE, 1008_u16.to_be_bytes()).await;
            side.ended().await;
        }
        let again = try_open(&sidecar.client, "/u/ann/talk", "").await;
        assert!(again.head.starts_with("HTTP/1.1 403 "), "{}", again.head);
    });
}

#[test]
fn a_stream_ends_when_its_key_is_revoked() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan("").before(&origin).start().await;
        let new = sidecar.weir(&["keys", "new", "--subject", "ann", "--tier", "free"]);
        let key = new.out.split_whitespace().find(|word| word.starts_with("weir_")).unwrap();
        let known = || async {
            let answer = sidecar.client.get("/x").header("x-api-key", key).send().await;
            (answer.status == 200).then_some(())
        };
        crate::harness::until_async("the key is known", known).await;
        let feed = origin.paces("/events");
        let mut connection = sidecar.client.h1().await;
        let ask = sidecar.client.get("/events").header("x-api-key", key);
        let mut answer = ask.open(&mut connection).await;
        give(&feed, "data: 1\n\n").await;
        assert_eq!(answer.text().await, "data: 1\n\n");

        let text = fs::read_to_string(sidecar.file("keys.toml")).unwrap();
        let id = text.lines().find_map(|line| line.strip_prefix("id = ")).unwrap().replace('"', "");
        assert_eq!(sidecar.weir(&["keys", "revoke", &id]).code, Some(0));

        let (last, _) = rest(answer).await.expect("a proper end");
        assert!(last.contains(r#""error_code":"unauthenticated""#), "{last}");
        until("the upstream's work ends", || feed.is_closed().then_some(())).await;
    });
}
