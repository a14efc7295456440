//! What passes, what does not, and that it makes no difference how it came.

use proptest::prelude::*;

use super::*;

const MAX: usize = 4 << 10;

/// Judges a stream that comes in pieces cut at `cuts`, as `server::io` does: what did not pass is
/// shown again with more behind it, and the answer to a whole message is over at once.
fn judge(stream: &[u8], cuts: &[usize]) -> (Vec<usize>, Result<bool, Fault>) {
    let mut inspector = Inspector::new(MAX);
    let (mut ends, mut passed, mut there) = (Vec::new(), 0, 0);
    let ends_of = cuts.iter().copied().chain([stream.len()]);
    for end in ends_of {
        there = there.max(end.min(stream.len()));
        loop {
            let given = match inspector.judge(&stream[passed..there]) {
                Ok(given) => given.octets,
                Err(fault) => return (ends, Err(fault)),
            };
            passed += given;
            if !inspector.is_whole() {
                break;
            }
            ends.push(passed);
            inspector.next();
        }
    }
    (ends, Ok(passed == stream.len() && !inspector.is_inside()))
}

fn verdict(stream: &[u8]) -> Result<bool, Fault> {
    judge(stream, &[]).1
}

fn request(fields: &str) -> Vec<u8> {
    format!("POST /x HTTP/1.1\r\nhost: a\r\n{fields}\r\n").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    [request("Transfer-Encoding: chunked\r\n"), body.as_bytes().to_vec()].concat()
}

fn sound() -> Vec<Vec<u8>> {
    let plain = |text: &str| text.as_bytes().to_vec();
    vec![
        plain("GET / HTTP/1.1\r\n\r\n"),
        plain("\r\nGET /a?b=c%20|d HTTP/1.0\r\nHost: a\r\nx:\r\ny: \t z \t\r\n\r\n"),
        plain("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
        plain("CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n\r\n"),
        plain("GET http://a.example/b HTTP/1.1\r\nhost: a.example\r\n\r\n"),
        plain("GET /\u{e9} HTTP/1.1\r\nx: \u{e9}\r\n\r\n"),
        plain("GET / HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nbytes behind"),
        [request("content-length: 5\r\n"), plain("hello"), request("Content-Length:0\r\n")]
            .concat(),
        [chunked("5\r\nhello\r\nA;a=b;c=\"d\\\"e\"\r\n0123456789\r\n0\r\n\r\n"), request("")]
            .concat(),
        chunked("000f\r\n0123456789abcde\r\n0\r\nx-sum: 1\r\ny:\r\n\r\n"),
        plain("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n"),
    ]
}

fn broken() -> Vec<(Fault, Vec<u8>)> {
    let line = |line: &str| format!("{line}\r\nhost: a\r\n\r\n").into_bytes();
    let field = |field: &str| request(&format!("{field}\r\n"));
    let body = chunked;
    vec![
        (Fault::BareLf, b"GET / HTTP/1.1\nhost: a\n\n".to_vec()),
        (Fault::BareLf, b"GET / HTTP/1.1\r\nhost: a\n\r\n".to_vec()),
        (Fault::BareLf, b"\nGET / HTTP/1.1\r\n\r\n".to_vec()),
        (Fault::RequestLine, b"\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_vec()),
        (Fault::RequestLine, line("GET")),
        (Fault::RequestLine, line("GET /")),
        (Fault::Method, line(" GET / HTTP/1.1")),
        (Fault::Method, line("- * HTTP/1.1")),
        (Fault::Method, line("G\0T / HTTP/1.1")),
        (Fault::Method, line("G(T / HTTP/1.1")),
        (Fault::Target, line("GET  HTTP/1.1")),
        (Fault::Version, line("GET  / HTTP/1.1")),
        (Fault::Version, line("GET / HTTP/1.1 ")),
        (Fault::Version, line("GET / x HTTP/1.1")),
        (Fault::Version, line("GET / HTTP/2.0")),
        (Fault::Version, line("GET / HTTP/1.2")),
        (Fault::Version, line("GET / http/1.1")),
        (Fault::Version, line("GET / HTTP/1.10")),
        (Fault::Version, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        (Fault::Target, line("GET /a#b HTTP/1.1")),
        (Fault::Target, line("GET /a\0b HTTP/1.1")),
        (Fault::Target, line("GET /a\x7fb HTTP/1.1")),
        (Fault::Target, line("GET /a\tb HTTP/1.1")),
        (Fault::Target, line("GET a HTTP/1.1")),
        (Fault::Target, line("GET * HTTP/1.1")),
        (Fault::Target, line("GET ftp://a/ HTTP/1.1")),
        (Fault::Target, line("GET a.example:80 HTTP/1.1")),
        (Fault::Target, line("CONNECT /a HTTP/1.1")),
        (Fault::FoldedField, field("a: b\r\n c")),
        (Fault::FoldedField, field(" a: b")),
        (Fault::FoldedField, field("\ta: b")),
        (Fault::FieldName, field("a : b")),
        (Fault::FieldName, field("a\t: b")),
        (Fault::FieldName, field("a")),
        (Fault::FieldName, field(": b")),
        (Fault::FieldName, field("a\0: b")),
        (Fault::FieldName, field("a(: b")),
        (Fault::FieldName, field("\u{e9}: b")),
        (Fault::FieldValue, field("a: b\0")),
        (Fault::FieldValue, field("a: b\rc")),
        (Fault::FieldValue, field("a: b\x0bc")),
        (Fault::FieldValue, field("a: b\x7f")),
        (Fault::Length, field("content-length: 5\r\nContent-Length: 5")),
        (Fault::Length, field("content-length: 5\r\nContent-Length: 6")),
        (Fault::Length, field("content-length: 5, 5")),
        (Fault::Length, field("content-length: +5")),
        (Fault::Length, field("content-length: -5")),
        (Fault::Length, field("content-length: 0x5")),
        (Fault::Length, field("content-length: 5 5")),
        (Fault::Length, field("content-length: ")),
        (Fault::Length, field("content-length: 9223372036854775808")),
        (Fault::Length, field("content-length: 18446744073709551616")),
        (Fault::Length, field("content-length: \u{665}")),
        (Fault::TransferEncoding, field("transfer-encoding: gzip")),
        (Fault::TransferEncoding, field("transfer-encoding: gzip, chunked")),
        (Fault::TransferEncoding, field("transfer-encoding: chunked, chunked")),
        (
            Fault::TransferEncoding,
            field("transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
        ),
        (Fault::TransferEncoding, field("transfer-encoding: identity")),
        (Fault::TransferEncoding, field("transfer-encoding: \"chunked\"")),
        (Fault::TransferEncoding, field("transfer-encoding: chunked\u{a0}")),
        (Fault::TransferEncoding, field("transfer-encoding: xchunked")),
        (Fault::FieldValue, field("transfer-encoding: \x0bchunked")),
        (
            Fault::TransferEncoding,
            b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        ),
        (Fault::TwoFramings, field("content-length: 5\r\ntransfer-encoding: chunked")),
        (Fault::TwoFramings, field("transfer-encoding: chunked\r\ncontent-length: 5")),
        (Fault::ConnectionOption, field("connection: close, Content-Length")),
        (Fault::ConnectionOption, field("connection: transfer-encoding")),
        (Fault::ConnectionOption, field("connection: \thost\t")),
        (Fault::UpgradeWithBody, field("upgrade: websocket\r\ncontent-length: 1")),
        (Fault::UpgradeWithBody, field("upgrade: h2c\r\ntransfer-encoding: chunked")),
        (Fault::UpgradeWithBody, field("upgrade: websocket\r\nexpect: 100-continue")),
        (Fault::ChunkSize, body("\r\n")),
        (Fault::ChunkSize, body("x\r\n")),
        (Fault::ChunkSize, body("-1\r\n")),
        (Fault::ChunkSize, body("+1\r\n")),
        (Fault::ChunkSize, body("0x1\r\n")),
        (Fault::ChunkSize, body(" 1\r\n")),
        (Fault::ChunkSize, body("1 \r\n")),
        (Fault::ChunkSize, body("1\n")),
        (Fault::ChunkSize, body("1\r\r\n")),
        (Fault::ChunkSize, body("10000000000000001\r\n")),
        (Fault::ChunkSize, body("fffffffffffffffff\r\n")),
        (Fault::ChunkExtension, body("1;a\nb\r\n")),
        (Fault::ChunkExtension, body("1;a=\"\r\n\"\r\nx\r\n0\r\n\r\n")),
        (Fault::ChunkExtension, body("1;a\0\r\n")),
        (Fault::ChunkExtension, body(&format!("1;{}\r\n", "a".repeat(2_000)))),
        (Fault::ChunkEnd, body("1\r\nxy\r\n")),
        (Fault::ChunkEnd, body("1\r\nx\n")),
        (Fault::ChunkEnd, body("1\r\nx\rz")),
        (Fault::ChunkEnd, body("0\r\n\rx")),
        (Fault::Trailers, body("0\r\nx\r\n\r\n")),
        (Fault::Trailers, body("0\r\n x: y\r\n\r\n")),
        (Fault::Trailers, body("0\r\nx : y\r\n\r\n")),
        (Fault::Trailers, body("0\r\nx: y\n\r\n")),
        (Fault::Trailers, body("0\r\nx: \0\r\n\r\n")),
        (Fault::Trailers, body(&format!("0\r\n{}\r\n", "x: y\r\n".repeat(65)))),
        (Fault::Trailers, body(&format!("0\r\nx: {}\r\n\r\n", "y".repeat(9_000)))),
        (Fault::HeadTooLarge, field(&format!("a: {}", "b".repeat(MAX)))),
        (Fault::HeadTooLarge, field(&"a: b\r\n".repeat(MAX_FIELDS))),
    ]
}

#[test]
fn sound_messages_pass_in_whole() {
    for stream in sound().iter().filter(|stream| !stream.ends_with(b"behind")) {
        let (ends, verdict) = judge(stream, &[]);
        assert_eq!(verdict, Ok(true), "{:?}", String::from_utf8_lossy(stream));
        assert_eq!(ends.last(), Some(&stream.len()));
    }
}

#[test]
fn every_fault_is_found_for_what_it_is() {
    for (fault, stream) in broken() {
        assert_eq!(verdict(&stream), Err(fault), "{:?}", String::from_utf8_lossy(&stream));
    }
}

#[test]
fn nothing_behind_a_message_passes_before_its_answer_is_over() {
    let stream = [request("content-length: 2\r\n"), b"hi".to_vec(), request("")].concat();
    let first = stream.len() - request("").len();
    let mut inspector = Inspector::new(MAX);

    assert_eq!(inspector.judge(&stream), Ok(Passed { octets: first, head: true }));
    assert!(inspector.is_whole());
    assert_eq!(inspector.judge(&stream[first..]), Ok(Passed::default()));
    inspector.next();
    let rest = Passed { octets: stream.len() - first, head: true };
    assert_eq!(inspector.judge(&stream[first..]), Ok(rest));
}

#[test]
fn a_head_passes_whole_or_not_at_all() {
    let stream = request("content-length: 2\r\n");
    for end in 0..stream.len() {
        let mut inspector = Inspector::new(MAX);
        assert_eq!(inspector.judge(&stream[..end]), Ok(Passed::default()), "at {end}");
    }
}

#[test]
fn a_head_without_an_end_is_bounded() {
    let mut inspector = Inspector::new(MAX);
    let endless = [b"GET / HTTP/1.1\r\na: ".to_vec(), vec![b'b'; MAX]].concat();
    assert_eq!(inspector.judge(&endless[..MAX]), Ok(Passed::default()));
    assert_eq!(inspector.judge(&endless), Err(Fault::HeadTooLarge));
}

/// What hyper makes of a stream: the targets and bodies of its requests, and its answers.
async fn read_by_hyper(stream: &[u8]) -> (Vec<(String, Vec<u8>)>, Vec<u8>) {
    use http_body_util::{BodyExt as _, Empty};
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let seen = Mutex::new(Vec::new());
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    ours.write_all(stream).await.expect("room");
    ours.shutdown().await.expect("open");
    let service = hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let seen = &seen;
        async move {
            let target = request.uri().to_string();
            let body = request.into_body().collect().await.map(|body| body.to_bytes().to_vec());
            seen.lock().expect("alone").push((target, body.unwrap_or_default()));
            Ok::<_, std::convert::Infallible>(hyper::Response::new(Empty::<bytes::Bytes>::new()))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    let builder = builder.half_close(true).max_headers(MAX_FIELDS);
    drop(builder.serve_connection(hyper_util::rt::TokioIo::new(theirs), service).await);
    let mut answers = Vec::new();
    drop(ours.read_to_end(&mut answers).await);
    (seen.into_inner().expect("alone"), answers)
}

#[tokio::test]
async fn what_passes_is_read_by_hyper_in_the_same_way() {
    for stream in sound() {
        let text = String::from_utf8_lossy(&stream).into_owned();
        if text.contains("upgrade") || text.contains("CONNECT") {
            continue;
        }
        let (ends, _) = judge(&stream, &[]);
        let (seen, answers) = read_by_hyper(&stream).await;
        // An answer to HTTP/1.0 ends the connection.
        assert_eq!(seen.len(), ends.len(), "{text:?}");
        assert!(!String::from_utf8_lossy(&answers).contains(" 400 "), "{text:?}");
    }
}

#[tokio::test]
async fn hyper_reads_what_stands_in_for_a_refused_head() {
    let (seen, _) = read_by_hyper(MADE_UP).await;
    assert_eq!(seen, [("*".to_owned(), Vec::new())]);
    assert_eq!(verdict(MADE_UP), Err(Fault::Method));
}

fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<_> = sound().into_iter().chain(broken().into_iter().map(|(_, s)| s)).collect();
    // A sound message with one octet changed, taken out or put in.
    (prop::sample::select(all), any::<prop::sample::Index>(), any::<u8>(), 0..4_u8).prop_map(
        |(mut stream, at, octet, how)| {
            let at = at.index(stream.len());
            match how {
                0 => stream[at] = octet,
                1 => drop(stream.remove(at)),
                2 => stream.insert(at, octet),
                _ => {}
            }
            stream
        },
    )
}

proptest! {
    #[test]
    fn it_makes_no_difference_how_the_bytes_come(
        stream in any_stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let every: Vec<usize> = (0..stream.len()).collect();
        let (ends, whole) = judge(&stream, &[]);
        prop_assert_eq!(&judge(&stream, &cuts), &(ends.clone(), whole));
        prop_assert_eq!(&judge(&stream, &every), &(ends, whole));
    }

    #[test]
    fn whatever_passes_hyper_reads_as_many_requests(stream in any_stream()) {
        let (ends, whole) = judge(&stream, &[]);
        let text = String::from_utf8_lossy(&stream).to_ascii_lowercase();
        let odd = ["upgrade", "connect", "http/1.0", "close"].iter().any(|odd| text.contains(odd));
        if whole != Ok(true) || odd {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (seen, answers) = runtime.block_on(read_by_hyper(&stream));
        prop_assert_eq!(seen.len(), ends.len());
        prop_assert!(!String::from_utf8_lossy(&answers).contains(" 400 "));
    }
}
