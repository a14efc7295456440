//! Streams of the official SDKs: each piece as it comes, masked where it must be, and an end at
//! the upstream when the caller leaves.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    dialect::Dialect,
    harness::{run, soon},
    sdk::Desk,
    tools::{Language, said, said_at, succeeded},
};

const TABLES: &str = r#"
    [[identity]]
    from = "api_key"
    [operations.chat]
    routes = ["POST /{any}/v1/chat/completions", "POST /{any}/v1/messages"]
    meter = "usage"
    [sanitize]
    redact = ["credentials"]
"#;

/// The words of each stream that is read to its end.
const WORDS: [&str; 3] = ["Hello", " there", "."];

#[test]
fn every_sdk_gets_every_piece_of_a_stream_as_it_comes_on_either_http() {
    run(async {
        let desk = Desk::open(TABLES).await;
        for sdk @ (dialect, _) in Dialect::SDKS {
            let feeds =
                ["/h1", "/h2"].map(|way| desk.origin.paces(&(way.to_owned() + dialect.path())));
            let secret = format!("sk-{}", "demo0123456789abcdefghijklmnopqrstuvwxyz");
            let body = dialect.opening() + &dialect.piece(&secret) + &dialect.closing();
            let media = [("content-type", "text/event-stream")];
            desk.origin.answers(&("/leak".to_owned() + dialect.path()), 200, &media, body);
            let asks = json!([
                desk.asks(dialect, "/h1", json!({"way": "stream"})),
                desk.asks(dialect, "/h2", json!({"way": "stream", "http2": true})),
                desk.asks(dialect, "/leak", json!({"way": "stream"})),
            ]);
            let mut script = desk.spawn(sdk, asks);

            let mut index = 0;
            for feed in feeds {
                open(&feed, dialect).await;
                for word in WORDS {
                    feed.send(dialect.piece(word).into()).await.unwrap();
                    assert_eq!(said_at(&script, index).await, word, "{sdk:?}");
                    index += 1;
                }
                feed.send(dialect.closing().into()).await.unwrap();
                index += 1;
            }

            succeeded(&mut script).await;
            let said = said(&script);
            let tokens = if dialect == Dialect::OpenAi { 11 } else { 3 };
            assert_eq!(said[3]["tokens"], tokens, "{sdk:?}");
            assert_eq!(said[7]["tokens"], tokens, "{sdk:?}");
            let masked = said[8].as_str().unwrap();
            assert!(!masked.contains("demo0123") && !masked.is_empty(), "{sdk:?}: {masked}");
        }
    });
}

#[test]
fn a_stream_that_an_sdk_leaves_ends_at_the_upstream() {
    run(async {
        let desk = Desk::open(TABLES).await;
        let mut left = 0;
        for sdk @ (dialect, language) in Dialect::SDKS {
            // Python's HTTP/2 does not reset a stream that it leaves, so nobody could know.
            let ways: &[_] = if language == Language::Node { &["/h1", "/h2"] } else { &["/h1"] };
            let feeds: Vec<_> = ways
                .iter()
                .map(|way| desk.origin.paces(&((*way).to_owned() + dialect.path())))
                .collect();
            // The program must live on: were it to end, so would its connections.
            let last = desk.origin.paces(&("/last".to_owned() + dialect.path()));
            let leave = |way: &&str| {
                desk.asks(dialect, way, json!({"way": "leave", "http2": *way == "/h2"}))
            };
            let mut asks: Vec<_> = ways.iter().map(leave).collect();
            asks.push(desk.asks(dialect, "/last", json!({"way": "stream"})));
            let script = desk.spawn(sdk, json!(asks));

            for (index, feed) in feeds.iter().enumerate() {
                open(feed, dialect).await;
                feed.send(dialect.piece("Hello").into()).await.unwrap();
                assert_eq!(said_at(&script, index).await, "Hello", "{sdk:?}");
                soon(&format!("{sdk:?} {}: the upstream's work ends", ways[index]), feed.closed())
                    .await;
                left += 1;
            }
            drop(last);
        }
        // How the requests of the programs that were ended are recorded, says nothing here.
        let lasting = |path: &Value| path.as_str().unwrap().starts_with("/last/");
        let records = desk.records(left, |record| !lasting(&record["path"])).await;
        assert!(records.iter().all(|record| record["status"] == 499), "{records:#?}");
        assert_eq!(records.len(), left, "{records:#?}");
    });
}

async fn open(feed: &mpsc::Sender<bytes::Bytes>, dialect: Dialect) {
    let opening = dialect.opening();
    if !opening.is_empty() {
        feed.send(opening.into()).await.unwrap();
    }
}
