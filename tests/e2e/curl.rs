//! curl, unchanged, on HTTP/1.0, HTTP/1.1 and HTTP/2.

use std::{fs, fs::File, process::Command};

use serde_json::{Value, json};

use crate::{
    dialect::made,
    harness::run,
    origin::{Origin, blurts},
    sidecar::{Running, Sidecar},
    tools::{program, said_at, succeeded},
};

/// What curl tells of itself at its end, one line a transfer, behind everything else.
const FACTS: &str = r#"%{stderr}{"status":%{response_code},"http":"%{http_version}","connects":%{num_connects},"sent":%{size_upload}}\n"#;
const TABLES: &str = "[request]\nmax_body = \"8MiB\"";

fn curl(sidecar: &Sidecar, options: &[&str], paths: &[&str]) -> Command {
    let mut command = program("curl", "curl");
    command.args(["-q", "-sS", "-w", FACTS, "--max-time", "60", "--cacert"]);
    command.arg(sidecar.file("certs/ca.crt")).args(options);
    for path in paths {
        command.arg(format!("https://localhost:{}{path}", sidecar.address.port()));
    }
    command
}

/// A finished curl.
struct Done {
    /// What it wrote: heads if asked for, bodies.
    out: String,
    /// What it told: connection events if asked for.
    told: Vec<String>,
    /// Its facts, one for each transfer.
    facts: Vec<Value>,
}

async fn done(command: Command) -> Done {
    let mut running = Running::of(command);
    succeeded(&mut running).await;
    let told = running.lines();
    // The meter of parallel transfers has no end of line.
    let facts = told.iter().filter_map(|line| line.find("{\"status").map(|at| &line[at..]));
    let facts: Vec<Value> = facts.map(|facts| serde_json::from_str(facts).unwrap()).collect();
    Done { out: running.printed().join("\n"), facts, told }
}

/// Answers with how much came.
fn measures(origin: &Origin, path: &str) {
    origin.makes(path, |body| made(200, &json!({"bytes": body.len()})));
}

/// A file to send.
fn big(sidecar: &Sidecar, bytes: usize) -> String {
    let path = sidecar.file("big");
    fs::write(&path, vec![b'x'; bytes]).unwrap();
    format!("@{}", path.display())
}

#[test]
fn curl_gets_on_every_http_and_keeps_its_connection() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(TABLES).before(&origin).start().await;
        for (option, http) in [("--http1.1", "1.1"), ("--http2", "2"), ("--http1.0", "1")] {
            let done = done(curl(&sidecar, &[option], &["/a", "/b"])).await;

            assert!(done.out.contains("\"target\":\"/a\""), "{}", done.out);
            for (index, facts) in done.facts.iter().enumerate() {
                // curl does not ask an HTTP/1.0 server to keep the connection.
                let connects = usize::from(index == 0 || http == "1");
                let wanted = json!({"status": 200, "http": http, "connects": connects, "sent": 0});
                assert_eq!(*facts, wanted, "{option}");
            }
            assert_eq!(done.facts.len(), 2, "{option}");
        }
        let old = done(curl(&sidecar, &["--tls-max", "1.2", "-v"], &["/old"])).await;
        assert_eq!(old.facts[0]["status"], 200);
        assert!(
            old.told.iter().any(|line| line.contains("SSL connection using TLSv1.2")),
            "{:#?}",
            old.told
        );
    });
}

#[test]
fn curl_sends_many_at_once_on_one_connection() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(TABLES).before(&origin).start().await;

        let options = ["--http2", "--parallel", "--parallel-max", "50"];
        let done = done(curl(&sidecar, &options, &["/many/[1-200]"])).await;

        assert_eq!(done.facts.len(), 200, "{:#?}", done.told);
        assert!(done.facts.iter().all(|facts| facts["status"] == 200 && facts["http"] == "2"));
        let connects: u64 =
            done.facts.iter().map(|facts| facts["connects"].as_u64().unwrap()).sum();
        assert_eq!(connects, 1);
        assert_eq!(origin.count("/many/"), 200);
    });
}

#[test]
fn curl_waits_for_100_continue_before_a_large_body() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(TABLES).before(&origin).start().await;
        measures(&origin, "/large");
        let big = big(&sidecar, 5 << 20);
        for http in ["--http1.1", "--http2"] {
            // Over HTTP/1.1 curl asks by itself for a body of this size.
            let done =
                done(curl(&sidecar, &[http, "-v", "--data-binary", &big], &["/large"])).await;

            assert_eq!(done.out, "{\"bytes\":5242880}", "{http}");
            let continued = done.told.iter().any(|line| line.starts_with("< HTTP/1.1 100"));
            assert_eq!(continued, http == "--http1.1", "{:#?}", done.told);
        }
        assert_eq!(origin.last().header("expect"), None);
    });
}

#[test]
fn curl_sends_a_body_of_unknown_length() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(TABLES).before(&origin).start().await;
        measures(&origin, "/stream");
        big(&sidecar, 3 << 20);
        for http in ["--http1.1", "--http2"] {
            let mut command = curl(&sidecar, &[http, "-T", "-", "-H", "Expect:"], &["/stream"]);
            command.stdin(File::open(sidecar.file("big")).unwrap());

            assert_eq!(done(command).await.out, "{\"bytes\":3145728}", "{http}");
            assert_eq!(origin.last().header("content-length"), None, "{http}");
        }
    });
}

#[test]
fn curl_hears_a_refusal_instead_of_100_and_sends_nothing() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(TABLES).before(&origin).start().await;
        let big = big(&sidecar, 9 << 20);

        let done = done(curl(&sidecar, &["--http1.1", "-v", "--data-binary", &big], &["/x"])).await;

        assert_eq!((&done.facts[0]["status"], &done.facts[0]["sent"]), (&json!(413), &json!(0)));
        assert!(done.out.contains("payload_too_large"), "{}", done.out);
        assert!(
            !done.told.iter().any(|line| line.starts_with("< HTTP/1.1 100")),
            "{:#?}",
            done.told
        );
        assert_eq!(origin.seen().len(), 0);
    });
}

#[test]
fn curl_hears_a_refusal_while_it_sends() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(TABLES).before(&origin).start().await;
        let big = big(&sidecar, 10 << 20);
        for http in ["--http1.1", "--http2"] {
            let known = curl(&sidecar, &[http, "-H", "Expect:", "--data-binary", &big], &["/x"]);
            let mut unknown = curl(&sidecar, &[http, "-H", "Expect:", "-T", "-"], &["/x"]);
            unknown.stdin(File::open(sidecar.file("big")).unwrap());
            for command in [known, unknown] {
                let done = done(command).await;
                assert_eq!(done.facts[0]["status"], 413, "{http}: {:#?}", done.told);
                assert!(done.out.contains("payload_too_large"), "{http}: {}", done.out);
            }
        }
    });
}

#[test]
fn curl_sees_trailers_and_heads_without_bodies() {
    run(async {
        let upstream = blurts(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
              5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n",
        );
        let sidecar = Sidecar::with(TABLES).before_address(upstream.await).start().await;
        for http in ["--http1.1", "--http2"] {
            let done = done(curl(&sidecar, &[http, "-i", "-H", "TE: trailers"], &["/"])).await;
            let (_, rest) = done.out.split_once("hello").unwrap();
            assert!(rest.to_lowercase().contains("x-sum: 42"), "{http}: {}", done.out);
        }

        let origin = Origin::start().await;
        let sidecar = Sidecar::with(TABLES).before(&origin).start().await;
        for http in ["--http1.1", "--http2"] {
            let done = done(curl(&sidecar, &[http, "-I"], &["/head", "/head"])).await;
            assert_eq!(done.facts[1]["status"], 200, "{http}");
            assert_eq!(done.facts[1]["connects"], 0, "{http}: the connection is in step");
        }
        assert_eq!(origin.last().method, "HEAD");
    });
}

#[test]
fn curl_prints_each_event_as_it_comes_on_every_http() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(TABLES).before(&origin).start().await;
        for http in ["--http1.0", "--http1.1", "--http2"] {
            let feed = origin.paces("/events");
            let mut running = Running::of(curl(&sidecar, &[http, "-N"], &["/events"]));
            for tick in 0..3 {
                feed.send(format!("{tick}\n").into()).await.unwrap();
                assert_eq!(said_at(&running, tick).await, tick, "{http}");
            }
            drop(feed);
            succeeded(&mut running).await;
            assert_eq!(
                running.printed(),
                ["0", "1", "2"],
                "{http}: nothing of the framing is seen"
            );
        }
    });
}
