//! Answers that come in pieces: passed on at once, cleaned across borders, never made whole.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, sync::mpsc};

use crate::{
    client::{Client, Connection},
    harness::{run, soon, until},
    origin::{Origin, blurts},
    port::Port,
    raw,
    sidecar::Sidecar,
};

async fn connect(client: &Client, h2: bool) -> Connection {
    if h2 { client.h2().await } else { client.h1().await }
}

async fn give(feed: &mpsc::Sender<Bytes>, piece: &str) {
    soon("the origin sends", feed.send(Bytes::copy_from_slice(piece.as_bytes()))).await.unwrap();
}

#[test]
fn every_event_is_with_the_client_before_the_next_one_leaves_the_origin() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("[sanitize]\nredact = []\n[[sanitize.rule]]\nname = \"employee number\"\npattern = 'EMP-\\d{6}'\n").before(&origin).start().await;

        for h2 in [false, true] {
            let feed = origin.paces("/events");
            let mut connection = connect(&sidecar.client, h2).await;
            let mut answer = sidecar.client.get("/events").open(&mut connection).await;
            assert_eq!(answer.headers["content-type"], "text/event-stream");
            for number in 0..20 {
                let event = format!("data: {{\"n\":{number}}}\n\n");
                give(&feed, &event).await;
                assert_eq!(answer.text().await, event, "h2: {h2}");
            }
            drop(feed);
            assert!(answer.next().await.is_none(), "a proper end, h2: {h2}");
        }
    });
}

#[test]
fn what_is_redacted_may_lie_across_pieces() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(
            "[sanitize]\nredact = []\n[[sanitize.rule]]\nname = \"employee number\"\n\
             pattern = 'EMP-\\d{6}'\nreplace = \"[employee]\"\n",
        )
        .before(&origin)
        .start()
        .await;
        let text = "data: ask EMP-123456 or EMP-12345\n\n";
        let mut connection = sidecar.client.h1().await;

        for split in 1..text.len() {
            let path = format!("/split/{split}");
            let feed = origin.paces(&path);
            let answer = sidecar.client.get(&path).open(&mut connection).await;
            give(&feed, &text[..split]).await;
            give(&feed, &text[split..]).await;
            drop(feed);
            let whole = soon("the end", answer.whole()).await.unwrap();
            assert_eq!(whole.text(), "data: ask [employee] or EMP-12345\n\n", "split at {split}");
        }
        let redactions = r#"weir_redactions_total{rule="employee number"}"#;
        #[allow(clippy::cast_precision_loss)]
        sidecar.metric_is(redactions, (text.len() - 1) as f64).await;
    });
}

#[test]
fn secrets_of_every_kind_are_redacted_across_pieces() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("[sanitize]\n").before(&origin).start().await;
        let key = format!("sk-{}", "Zq8".repeat(16));
        let secrets = ["hunter2", &key, "10.0.12.7"];
        let text =
            format!("data: see postgresql://coach:hunter2@db:5432/h {key} at 10.0.12.7 now\n\n");
        let mut connection = sidecar.client.h2().await;

        for split in 1..text.len() {
            let path = format!("/split/{split}");
            let feed = origin.paces(&path);
            let answer = sidecar.client.get(&path).open(&mut connection).await;
            give(&feed, &text[..split]).await;
            give(&feed, &text[split..]).await;
            drop(feed);
            let whole = soon("the end", answer.whole()).await.unwrap().text();
            assert!(!secrets.iter().any(|secret| whole.contains(secret)), "at {split}: {whole}");
            assert!(whole.starts_with("data: see ") && whole.ends_with(" now\n\n"), "{whole}");
        }
    });
}

#[test]
fn a_client_that_leaves_ends_the_upstreams_work() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        for h2 in [false, true] {
            // While the upstream still thinks.
            let mut given_up = origin.keeps_silent("/think");
            let mut connection = connect(&sidecar.client, h2).await;
            let (ask, before) = (sidecar.client.get("/think"), origin.count("/think"));
            let waiting =
                tokio::spawn(async move { ask.try_open(&mut connection).await.map(drop) });
            let came = || (origin.count("/think") > before).then_some(());
            until("the request is at the origin", came).await;
            waiting.abort();
            let ended = soon("the upstream's work ends", given_up.recv()).await;
            assert_eq!(ended, None, "waiting, h2: {h2}");

            // While it streams.
            let feed = origin.paces("/stream");
            let mut connection = connect(&sidecar.client, h2).await;
            let mut answer = sidecar.client.get("/stream").open(&mut connection).await;
            give(&feed, "data: 1\n\n").await;
            answer.text().await;
            drop((answer, connection));
            soon("the upstream's stream ends", feed.closed()).await;
        }
        // Each leaves one record that says so.
        let gone = |line: &&Value| line["message"] == "exchange" && line["status"] == 499;
        let four = || (sidecar.log().iter().filter(gone).count() == 4).then_some(());
        until("four records", four).await;
    });
}

#[test]
fn a_stream_that_is_given_up_ends_alone_on_its_connection() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let (one, two) = (origin.paces("/one"), origin.paces("/two"));
        let mut connection = sidecar.client.h2().await;
        let mut first = sidecar.client.get("/one").open(&mut connection).await;
        let mut second = sidecar.client.get("/two").open(&mut connection).await;
        give(&one, "data: 1\n\n").await;
        first.text().await;

        drop(first);

        soon("the given up stream ends", one.closed()).await;
        give(&two, "data: 2\n\n").await;
        assert_eq!(second.text().await, "data: 2\n\n");
    });
}

#[test]
fn an_upstream_that_falls_silent_is_cut_and_the_answer_never_looks_whole() {
    run(async {
        let origin = Origin::start().await;
        let sidecar =
            Sidecar::with("").upstream("idle_timeout = \"3s\"").before(&origin).start().await;

        for h2 in [false, true] {
            let feed = origin.paces("/silent");
            let mut connection = connect(&sidecar.client, h2).await;
            let mut answer = sidecar.client.get("/silent").open(&mut connection).await;
            give(&feed, "data: 1\n\n").await;
            assert_eq!(answer.text().await, "data: 1\n\n");

            let end = answer.next().await;

            assert!(matches!(end, Some(Err(_))), "{end:?}, h2: {h2}");
            soon("the upstream's connection ends", feed.closed()).await;
        }
        let line = sidecar
            .logged("the silence is recorded", |l| l["detail"] == "the upstream fell silent");
        line.await;
    });
}

#[test]
fn a_cut_body_never_ends_as_a_whole_one() {
    run(async {
        for cut in [
            &b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        ] {
            let origin = blurts(cut).await;
            let sidecar = Sidecar::with("").before_address(origin).start().await;

            let mut stream = sidecar.client.tls(&["http/1.1"]).await;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
            let got = String::from_utf8(raw::read_to_end("the cut answer", &mut stream).await).unwrap();
            assert!(!got.ends_with("0\r\n\r\n"), "a last chunk was sent: {got}");
            let (head, body) = got.split_once("\r\n\r\n").unwrap();
            if let Some((_, length)) = head.split_once("content-length: ") {
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                assert!(body.len() < length || head.starts_with("HTTP/1.1 502"), "{got}");
            }

            let mut connection = sidecar.client.h2().await;
            let answer = sidecar.client.get("/").open(&mut connection).await;
            let whole = soon("the end", answer.whole()).await;
            assert!(whole.as_ref().map_or(true, |a| a.status == 502), "h2: {whole:?}");
        }
    });
}

#[test]
fn a_small_answer_that_is_cut_before_it_was_cleaned_is_refused() {
    run(async {
        let cut = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{\"a\":";
        let origin = blurts(cut).await;
        let plan = Sidecar::with(
            "[sanitize]\nredact = []\n[[sanitize.rule]]\nname = \"e\"\npattern = 'EMP-\\d{6}'\n",
        );
        let sidecar = plan.before_address(origin).start().await;

        let answer = sidecar.client.get("/").send().await;

        assert_eq!(answer.refusal(), (502, "upstream_invalid".to_owned()));
    });
}

#[test]
fn an_upstream_that_comes_back_is_used_again_at_once() {
    run(async {
        let port = Port::free();
        let origin = Origin::at(port.address).await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let mut connection = sidecar.client.h1().await;
        assert_eq!(sidecar.client.get("/").on(&mut connection).await.status, 200);

        drop(origin);
        let away = sidecar.client.get("/").on(&mut connection).await;
        let origin = Origin::at(port.address).await;
        let back = sidecar.client.get("/").on(&mut connection).await;

        assert_eq!(away.refusal(), (502, "upstream_unreachable".to_owned()));
        assert_eq!((back.status.as_u16(), origin.seen().len()), (200, 1));
    });
}

#[test]
fn a_client_that_does_not_read_slows_the_upstream_down() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        for h2 in [false, true] {
            let feed = origin.paces("/flood");
            let mut connection = connect(&sidecar.client, h2).await;
            let answer = sidecar.client.get("/flood").open(&mut connection).await;
            let (mut taken, piece) = (0_usize, Bytes::from(vec![b'x'; 256 << 10]));
            let stalled = Duration::from_secs(1);
            // The client's library reads ahead a little; sockets hold a few megabytes.
            while taken < 64 << 20
                && tokio::time::timeout(stalled, feed.send(piece.clone())).await.is_ok()
            {
                taken += piece.len();
            }
            assert!(taken < 64 << 20, "{taken} bytes were taken and nobody read them, h2: {h2}");
            drop(answer);
        }
    });
}
