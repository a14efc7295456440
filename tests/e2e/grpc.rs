//! gRPC through the sidecar: trailers both ways, refusals where a gRPC library looks for them.
//!
//! The caller speaks HTTP/2; the service is written by hand, in HTTP/1.1 with trailers.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderMap;

use crate::{
    client::{Ask, Connection, Streamed},
    harness::run,
    port::Port,
    sidecar::Sidecar,
    talk::Service,
};

const RULE: &str = "[sanitize]\nredact = []\n[[sanitize.rule]]\nname = \"employee number\"\n\
                    pattern = 'EMP-\\d{6}'\nreplace = \"[employee]\"\n";
/// A message of gRPC: not compressed, 10 bytes.
const MESSAGE: &[u8] = b"\0\0\0\0\x0aEMP-123456";

fn call(sidecar: &Sidecar, path: &str) -> Ask {
    let ask = sidecar.client.post(path, Bytes::from_static(MESSAGE));
    ask.header("content-type", "application/grpc+proto").header("te", "trailers")
}

/// An answer with these fields behind its body.
fn answer(media: &str, trailers: &[(&str, &str)]) -> Vec<u8> {
    let names = trailers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {media}\r\ntransfer-encoding: chunked\r\n\
         trailer: {names}\r\nconnection: close\r\n\r\n{:x}\r\n",
        MESSAGE.len()
    );
    let mut end = "\r\n0\r\n".to_owned();
    for (name, value) in trailers {
        write!(end, "{name}: {value}\r\n").unwrap();
    }
    [head.as_bytes(), MESSAGE, end.as_bytes(), b"\r\n"].concat()
}

/// Makes a call that the service answers with these bytes.
async fn answered(sidecar: &Sidecar, service: &Service, bytes: &[u8]) -> Streamed {
    let mut connection = sidecar.client.h2().await;
    let serve = async {
        let mut upstream = service.next().await;
        upstream.raw(bytes).await;
        upstream
    };
    tokio::join!(call(sidecar, "/pkg.Service/Call").open(&mut connection), serve).0
}

async fn trailers_of(answer: Streamed) -> (Bytes, HeaderMap) {
    assert_eq!(answer.status, 200);
    answer.rest().await.expect("a whole answer")
}

/// A refusal is a head alone: its number and text.
async fn refused(ask: Ask, connection: &mut Connection) -> (String, String) {
    let answer = ask.on(connection).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b""[..]), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
    assert!(answer.header("x-request-id").is_some());
    assert_eq!(answer.header("content-length"), None);
    let field = |name| answer.header(name).unwrap_or_default().to_owned();
    (field("grpc-status"), field("grpc-message"))
}

#[test]
fn a_call_passes_as_it_is_with_trailers_both_ways() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with(RULE).before_address(service.address).start().await;
        let mut connection = sidecar.client.h2().await;
        let ask = call(&sidecar, "/pkg.Service/Call")
            .header("trailer", "x-checksum, x-user-tier, authorization, content-type")
            .trailers(&[
                ("x-checksum", "abc"),
                ("x-user-tier", "admin"),
                ("authorization", "Bearer stolen"),
                ("content-type", "text/html"),
            ]);
        let serve = async {
            let mut upstream = service.next().await;
            let body = upstream.read_chunked().await;
            upstream
                .raw(&answer(
                    "application/grpc+json",
                    &[
                        ("grpc-status", "0"),
                        ("x-user-tier", "admin"),
                        ("set-cookie", "a=b"),
                        ("x-timing", "12 for EMP-123456"),
                    ],
                ))
                .await;
            (upstream, body)
        };
        let (head, (upstream, body)) = tokio::join!(ask.open(&mut connection), serve);

        let request = &upstream.head;
        assert!(request.contains("te: trailers\r\n"), "{request}");
        assert!(request.contains("content-type: application/grpc+proto\r\n"), "{request}");
        assert!(body.windows(MESSAGE.len()).any(|part| part == MESSAGE));
        let behind = String::from_utf8_lossy(&body).to_ascii_lowercase();
        assert!(behind.contains("x-checksum: abc\r\n"), "{behind}");
        for name in ["x-user-tier", "authorization", "content-type"] {
            assert!(!behind.contains(name), "{behind}");
        }
        assert!(head.headers.get("x-timing").is_none(), "trailers stay behind the body");
        let (body, trailers) = trailers_of(head).await;
        assert_eq!(body, MESSAGE, "messages carry their lengths");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["x-timing"], "12 for [employee]");
        assert_eq!(trailers.len(), 2, "{trailers:?}");
    });
}

#[test]
fn a_refusal_is_a_status_of_grpc() {
    run(async {
        let tables = "[[identity]]\nfrom = \"api_key\"\n[[identity]]\nfrom = \"address\"\n\
            tier = \"free\"\n[operations.call]\nroutes = [\"POST /pkg.Service/Call\"]\n\
            [operations.dear]\nroutes = [\"POST /pkg.Service/Dear\"]\ncost = \"$2\"\n\
            [operations.inner]\nroutes = [\"POST /pkg.Service/Inner\"]\ntiers = [\"paid\"]\n\
            [tiers.free]\nquotas = { call = \"1/hour\" }\nbudget = { day = \"$1\" }\n[tiers.paid]\n";
        let closed = Port::free();
        let service = Service::start().await;
        let sidecar = Sidecar::with(tables).before_address(service.address).start().await;
        answered(&sidecar, &service, &answer("application/grpc", &[("grpc-status", "0")])).await;

        let mut connection = sidecar.client.h2().await;
        let ask = |path: &str| call(&sidecar, &format!("/pkg.Service/{path}"));
        let (status, message) = refused(ask("Call"), &mut connection).await;
        assert_eq!(status, "8");
        assert!(
            message.starts_with("You have used all 1 call requests of this hour."),
            "{message}"
        );
        assert_eq!(refused(ask("Dear"), &mut connection).await.0, "8");
        assert_eq!(refused(ask("Inner"), &mut connection).await.0, "7");
        assert_eq!(refused(ask("Nothing"), &mut connection).await.0, "12");
        let unknown = ask("Call").header("x-api-key", "unknown");
        assert_eq!(refused(unknown, &mut connection).await.0, "16");
        let is = |line: &serde_json::Value| line["error_code"] == "unauthenticated";
        assert_eq!(sidecar.logged("the reason is recorded", is).await["status"], 200);

        let away = Sidecar::with("").before_address(closed.address).start().await;
        let mut connection = away.client.h2().await;
        assert_eq!(refused(call(&away, "/pkg.Service/Call"), &mut connection).await.0, "14");
    });
}

#[test]
fn what_a_service_says_of_its_failures_is_cleaned() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with(RULE).before_address(service.address).start().await;
        let details = STANDARD.encode("\x08\x05\x12\nEMP-123456");
        let harmless = STANDARD.encode("\x08\x05\x12\x04gone");
        let said = |status: &'static str, message: &'static str, details: &str| {
            let trailers = [
                ("grpc-status", status),
                ("grpc-message", message),
                ("grpc-status-details-bin", details),
            ];
            answer("application/grpc", &trailers)
        };

        // What the caller did is told, without what it must not see.
        let bytes = said("5", "no EMP%2D123456 here, 100%25", &details);
        let (_, trailers) = trailers_of(answered(&sidecar, &service, &bytes).await).await;
        assert_eq!(trailers["grpc-status"], "5");
        assert_eq!(trailers["grpc-message"], "no [employee] here, 100%25");
        assert!(!trailers.contains_key("grpc-status-details-bin"));
        let bytes = said("5", "gone", &harmless);
        let (_, trailers) = trailers_of(answered(&sidecar, &service, &bytes).await).await;
        assert_eq!(trailers["grpc-message"], "gone");
        assert_eq!(trailers["grpc-status-details-bin"], harmless.as_str());

        // What the service did wrong is replaced like the body of a 5xx.
        let bytes = said("2", "Exception at /srv/app.py line 3 for EMP-123456", &harmless);
        let (_, trailers) = trailers_of(answered(&sidecar, &service, &bytes).await).await;
        assert_eq!(trailers["grpc-status"], "2");
        let message = trailers["grpc-message"].to_str().unwrap();
        assert!(message.starts_with("An unexpected error occurred."), "{message}");
        assert!(!trailers.contains_key("grpc-status-details-bin"));
        let failed = |line: &serde_json::Value| {
            line["message"] == "Exception at /srv/app.py line 3 for [employee]"
        };
        let is = |line: &serde_json::Value| {
            failed(line)
                || line.to_string().contains("Exception at /srv/app.py line 3 for [employee]")
        };
        sidecar.logged("the text is in the log, redacted", is).await;
        // Also when there is nothing but a head.
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 13\r\n\
                    grpc-message: at app.py\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let alone = answered(&sidecar, &service, head.as_bytes()).await;
        assert_eq!(alone.headers["grpc-status"], "13");
        assert!(!alone.headers["grpc-message"].to_str().unwrap().contains("app.py"));
    });
}

#[test]
fn an_answer_that_is_no_grpc_becomes_a_status_and_a_cut_one_none() {
    run(async {
        let service = Service::start().await;
        let sidecar = Sidecar::with(RULE).before_address(service.address).start().await;
        for (status, number) in
            [("503 Service Unavailable", "14"), ("404 Not Found", "12"), ("200 OK", "2")]
        {
            let bytes = format!(
                "HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\
                 connection: close\r\n\r\noops"
            );
            let answer = answered(&sidecar, &service, bytes.as_bytes()).await;
            assert_eq!(
                (answer.status.as_u16(), &answer.headers["grpc-status"]),
                (200, &number.parse().unwrap())
            );
            let (body, trailers) = answer.rest().await.unwrap();
            assert!(body.is_empty() && trailers.is_empty());
        }
        let whole = answer("application/grpc", &[("grpc-status", "0")]);
        let cut = &whole[..whole.len() - 20];
        let mut connection = sidecar.client.h2().await;
        let serve = async {
            drop({
                let mut upstream = service.next().await;
                upstream.raw(cut).await;
                upstream
            })
        };
        let (head, ()) =
            tokio::join!(call(&sidecar, "/pkg.Service/Call").open(&mut connection), serve);
        assert!(head.rest().await.is_err(), "a cut answer never looks whole");
    });
}
