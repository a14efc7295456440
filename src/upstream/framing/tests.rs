//! Verdicts on answers, at every split of their bytes.

use proptest::prelude::*;

use super::*;

/// What became of a connection that read all these bytes while one request ran.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    handed_on: Vec<u8>,
    ended: bool,
    fault: Option<Fault>,
}

/// Feeds the pieces; as on a connection, nothing is asked any more once an answer has ended.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, asked: Asked) -> Verdict {
    let (mut inspector, mut ended) = (Inspector::default(), false);
    let mut handed_on = Vec::new();
    for piece in pieces {
        if ended {
            let fault = (!piece.is_empty()).then(|| inspector.inspect(piece, Asked::Nothing));
            assert!(fault.is_none_or(|fault| fault == Err(Fault::Unasked)));
            continue;
        }
        match inspector.inspect(piece, asked) {
            Ok(passed) => {
                handed_on.extend_from_slice(&piece[..passed.bytes]);
                ended = passed.ended;
            }
            Err(fault) => return Verdict { handed_on: Vec::new(), ended, fault: Some(fault) },
        }
    }
    Verdict { handed_on, ended, fault: None }
}

/// The verdict on the whole, which every split into two must share.
fn verdict(answer: &[u8], asked: Asked) -> Verdict {
    let whole = feed([answer], asked);
    for split in 0..=answer.len() {
        let (left, right) = answer.split_at(split);
        assert_eq!(feed([left, right], asked), whole, "split at {split}");
    }
    assert_eq!(feed(answer.chunks(1), asked), whole, "byte by byte");
    whole
}

fn fault(answer: &str) -> Option<Fault> {
    verdict(answer.as_bytes(), Asked::Ordinary).fault
}

fn ends(answer: &str, asked: Asked) {
    let verdict = verdict(answer.as_bytes(), asked);
    assert_eq!((verdict.fault, verdict.ended), (None, true), "{answer:?}");
    assert_eq!(verdict.handed_on, answer.as_bytes());
}

#[test]
fn proper_answers_end_where_they_should() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200\r\nContent-Length:5 \r\n\r\nhello",
        "HTTP/1.0 200 \r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 900\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx:\r\ntransfer-encoding:chunked\r\n\r\n05;a=\"b\" \r\nhello\r\n00 ;z\r\nt: 1\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 500 \u{fc}ber\r\ncontent-length: 0\r\nx: \u{fc}\t~\r\n\r\n",
    ] {
        ends(answer, Asked::Ordinary);
    }
    ends("HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n", Asked::Head);
    ends("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Asked::Head);
}

#[test]
fn what_two_readers_may_read_in_two_ways_is_a_fault() {
    use Fault as F;
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(MAX_HEAD));
    assert_eq!(feed([long.as_bytes()], Asked::Ordinary).fault, Some(F::HeadTooLarge));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(MAX_FIELDS + 1));
    assert_eq!(feed([many.as_bytes()], Asked::Ordinary).fault, Some(F::TooManyFields));
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(MAX_HEAD / 27 + 1);
    assert_eq!(feed([interim.as_bytes()], Asked::Ordinary).fault, Some(F::TooManyInterim));
    for (head, wanted) in [
        ("", F::StatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n", F::StatusLine),
        ("HTTP/2 200 OK\r\n", F::StatusLine),
        ("HTTP/1.2 200 OK\r\n", F::StatusLine),
        ("HTTP/1.1  200 OK\r\n", F::StatusLine),
        ("HTTP/1.1 20 OK\r\n", F::StatusLine),
        ("HTTP/1.1 2000 OK\r\n", F::StatusLine),
        ("HTTP/1.1 020 OK\r\n", F::StatusLine),
        ("HTTP/1.1 -20 OK\r\n", F::StatusLine),
        ("ICY 200 OK\r\n", F::StatusLine),
        ("<html>", F::StatusLine),
        ("HTTP/1.1 200 OK\n", F::BareLineEnd),
        ("HTTP/1.1 200 O\rK\r\n", F::BareLineEnd),
        ("HTTP/1.1 200 O\0K\r\n", F::Control),
        ("HTTP/1.1 200 OK\r\nx: y\n", F::BareLineEnd),
        ("HTTP/1.1 200 OK\r\nx: a\rb\r\n", F::BareLineEnd),
        ("HTTP/1.1 200 OK\r\n\n", F::BareLineEnd),
        ("HTTP/1.1 200 OK\r\nx: a\0b\r\n", F::Control),
        ("HTTP/1.1 200 OK\r\nx: a\u{7f}b\r\n", F::Control),
        ("HTTP/1.1 200 OK\r\n: y\r\n", F::FieldName),
        ("HTTP/1.1 200 OK\r\nx : y\r\n", F::FieldName),
        ("HTTP/1.1 200 OK\r\nx\r\n", F::FieldName),
        ("HTTP/1.1 200 OK\r\n\u{fc}: y\r\n", F::FieldName),
        ("HTTP/1.1 200 OK\r\nx: y\r\n z\r\n", F::Folded),
        ("HTTP/1.1 200 OK\r\n\tx: y\r\n", F::Folded),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n", F::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 5\r\n", F::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n", F::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n", F::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0x5\r\n", F::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length:\r\n", F::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n", F::Length),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n", F::Coding),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: \"chunked\"\r\n", F::Coding),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            F::Coding,
        ),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n", F::Coding),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n",
            F::LengthAndCoding,
        ),
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n", F::Switch),
    ] {
        assert_eq!(fault(&format!("{head}\r\n")), Some(wanted), "{head:?}");
    }
}

#[test]
fn chunks_are_exactly_what_the_standard_allows() {
    use Fault as F;
    let long = format!("1;{}\r\na\r\n", "x".repeat(20_000));
    for (body, wanted) in [
        ("\r\n", F::ChunkSize),
        ("g\r\n", F::ChunkSize),
        ("0x5\r\nhello\r\n", F::ChunkSize),
        ("+5\r\nhello\r\n", F::ChunkSize),
        (" 5\r\nhello\r\n", F::ChunkSize),
        ("5 5\r\nhello\r\n", F::ChunkSize),
        ("00000000000000005\r\nhello\r\n", F::ChunkSize),
        ("5\nhello\r\n", F::BareLineEnd),
        ("5;a\nhello\r\n", F::BareLineEnd),
        ("5;a\rb\r\nhello\r\n", F::BareLineEnd),
        ("5;a\0\r\nhello\r\n", F::Control),
        ("5\r\nhelloX\r\n", F::ChunkEnd),
        ("5\r\nhello\n", F::ChunkEnd),
        ("5\r\nhello\rX", F::ChunkEnd),
        ("5\r\nhello0\r\n\r\n", F::ChunkEnd),
        ("0\r\nx y\r\n\r\n", F::FieldName),
        ("0\r\nx: y\n\r\n", F::BareLineEnd),
        (&long, F::Extensions),
    ] {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = format!("{head}{body}");
        let verdict = feed([answer.as_bytes()], Asked::Ordinary);
        assert_eq!(verdict.fault, Some(wanted), "{body:?}");
    }
}

#[test]
fn what_comes_behind_an_answer_is_never_handed_on() {
    let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    for (answer, asked) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Asked::Ordinary),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", Asked::Ordinary),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", Asked::Ordinary),
        ("HTTP/1.1 200 OK\r\ncontent-length: 39\r\n\r\n", Asked::Head),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Asked::Ordinary),
    ] {
        let verdict = verdict(format!("{answer}{smuggled}").as_bytes(), asked);
        assert_eq!((verdict.fault, verdict.ended), (None, true));
        assert_eq!(verdict.handed_on, answer.as_bytes());
    }
}

#[test]
fn bytes_that_nobody_asked_for_are_a_fault() {
    assert_eq!(Inspector::default().inspect(b"H", Asked::Nothing), Err(Fault::Unasked));
}

#[test]
fn a_switch_that_was_asked_for_lets_everything_pass() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n\0\n\r anything";
    let verdict = verdict(switched.as_bytes(), Asked::Upgrade);
    assert_eq!((verdict.fault, verdict.ended), (None, false));
    assert_eq!(verdict.handed_on, switched.as_bytes());
    let tunnel = feed([&b"HTTP/1.1 200 OK\r\n\r\n\0\0"[..]], Asked::Connect);
    assert_eq!((tunnel.fault, tunnel.ended, tunnel.handed_on.len()), (None, false, 21));
}

#[test]
fn without_a_length_an_answer_lasts_until_the_close() {
    let verdict = verdict(b"HTTP/1.1 200 OK\r\n\r\nall\0of\nit", Asked::Ordinary);
    assert_eq!((verdict.fault, verdict.ended), (None, false));
}

proptest! {
    /// Splits never change the verdict, whatever the bytes are.
    #[test]
    fn any_split_of_any_bytes_gives_the_same_verdict(
        parts in prop::collection::vec(part(), 0..12),
        asked in prop::sample::select(vec![Asked::Ordinary, Asked::Head, Asked::Connect, Asked::Upgrade]),
    ) {
        verdict(&parts.concat(), asked);
    }
}

/// A piece that real answers, and real attacks, are made of.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        &b"HTTP/1.1 200 OK\r\n"[..],
        b"HTTP/1.0 204 \r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n",
        b"content-length: 5\r\n",
        b"Content-Length:0\r\n",
        b"transfer-encoding: chunked\r\n",
        b"x: y\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"hello",
        b"5\r\n",
        b"0\r\n",
        b"0\r\n\r\n",
        b"5;x=y\r\n",
        b" ",
        b"\0",
        b":",
    ]);
    prop_oneof![
        8 => known.prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ]
}
