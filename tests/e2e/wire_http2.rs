//! HTTP/2 as no library speaks it: floods, bombs, windows that do not open.

use std::{fs, time::Instant};

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use crate::{
    frames::{self, Frame, Wire, block, frame, request, reset, setting, update},
    harness::{PATIENCE, run, soon, until},
    origin::Origin,
    sidecar::Sidecar,
};

pub const MIB: u64 = 1 << 20;
pub const INITIAL_WINDOW: u16 = 4;

/// Resident memory of a process, in bytes.
pub fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// Sends `bytes` until the connection ends; returns what came back.
async fn flood(sidecar: &Sidecar, name: &str, before: &[u8], bytes: &[u8]) -> Vec<Frame> {
    let mut wire = Wire::plain(&sidecar.client).await;
    wire.send(before).await;
    let Wire { reading, writing } = &mut wire;
    let sending = async { while writing.write_all(bytes).await.is_ok() {} };
    let receiving = frames::rest(reading);
    soon(name, async { tokio::join!(sending, receiving) }).await.1
}

/// Why the connection was cut, if that was said.
pub fn goaway(frames: &[Frame]) -> Option<u32> {
    frames.iter().rev().find(|frame| frame.kind == frames::GOAWAY).map(Frame::code)
}

#[test]
fn floods_are_cut_with_goaway_and_others_are_served() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let mut other = sidecar.client.h2().await;
        assert_eq!(sidecar.client.get("/other").on(&mut other).await.status, 200);
        let before = resident(sidecar.running.id());
        let open = frame(
            frames::HEADERS,
            frames::END_HEADERS,
            1,
            &block(&[
                (":method", "POST"),
                (":scheme", "https"),
                (":authority", "a"),
                (":path", "/open"),
            ]),
        );
        let _silent = origin.keeps_silent("/open");
        let begun = frame(frames::HEADERS, 0, 1, &block(&[("a", "b")]));
        let floods: [(&str, &[u8], Vec<u8>); 10] = [
            ("pings", &[], frame(frames::PING, 0, 0, &[7; 8])),
            ("settings", &[], frame(frames::SETTINGS, 0, 0, &[])),
            ("settings", &[], setting(INITIAL_WINDOW, 70_000)),
            ("empty_data", &open, frame(frames::DATA, 0, 1, &[])),
            ("priorities", &[], frame(frames::PRIORITY, 0, 3, &[0, 0, 0, 1, 9])),
            ("other_frames", &[], frame(0xbe, 0, 0, b"unknown")),
            ("window_updates", &[], update(0, 1)),
            ("window_updates", &[], update(0, 1_000)),
            ("header_block", &begun, frame(frames::CONTINUATION, 0, 1, &[])),
            ("header_block", &begun, frame(frames::CONTINUATION, 0, 1, &[0; 16_000])),
        ];
        for (kind, before, bytes) in floods {
            let series = format!("weir_protocol_violations_total{{kind=\"{kind}\"}}");
            let counted = sidecar.metric(&series).await;
            let got = flood(&sidecar, kind, before, &bytes.repeat(50)).await;

            // The reason is said wherever the flood does not end in the middle of our own frame.
            assert_eq!(goaway(&got), Some(frames::ENHANCE_YOUR_CALM), "{kind}: {got:?}");
            assert!((sidecar.metric(&series).await - counted - 1.0).abs() < 1e-9, "{kind}");
            let answer = soon("another client", sidecar.client.get("/other").on(&mut other)).await;
            assert_eq!(answer.status, 200);
        }
        let grown = resident(sidecar.running.id()).saturating_sub(before);
        assert!(grown < 32 * MIB, "{} KiB", grown >> 10);
        let is = |line: &serde_json::Value| line["kind"] == "pings" && line["peer"] == "127.0.0.1";
        sidecar.logged("a flood is logged", is).await;
    });
}

#[test]
fn answers_that_a_flood_asks_for_and_does_not_read_take_no_memory() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        assert_eq!(sidecar.client.get("/warm").send_h2().await.status, 200);
        let before = resident(sidecar.running.id());
        let mut unread = Vec::new();
        for _ in 0..20 {
            let mut wire = Wire::plain(&sidecar.client).await;
            // Below every limit of a second, and without ever reading.
            for _ in 0..3 {
                let pings = frame(frames::PING, 0, 0, &[7; 8]).repeat(30);
                let settings = frame(frames::SETTINGS, 0, 0, &[]).repeat(15);
                wire.send(&[pings, settings].concat()).await;
            }
            unread.push(wire);
        }
        assert_eq!(sidecar.client.get("/other").send_h2().await.status, 200);
        let grown = resident(sidecar.running.id()).saturating_sub(before);
        assert!(grown < 16 * MIB, "{} KiB", grown >> 10);
    });
}

#[test]
fn rapid_resets_are_cut_before_the_upstream_sees_many() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let mut wire = Wire::plain(&sidecar.client).await;
        let mut bytes = Vec::new();
        for stream in (1..40_001).step_by(2) {
            bytes.extend(request(stream, "/reset"));
            bytes.extend(reset(stream, frames::CANCEL));
        }
        wire.send(&bytes).await;
        let began = Instant::now();
        assert_eq!(sidecar.client.get("/other").send_h2().await.status, 200);
        assert!(began.elapsed() < PATIENCE);
        let got = wire.rest("the cut").await;

        assert_eq!(goaway(&got), Some(frames::ENHANCE_YOUR_CALM), "{got:?}");
        assert!(origin.count("/reset") <= 100, "{} came through", origin.count("/reset"));
    });
}

#[test]
fn streams_that_a_client_makes_us_reset_are_counted_and_cut() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        origin.answers("/made", 200, &[], "");
        type Made = fn(u32) -> Vec<u8>;
        let provoked: [(&str, Made); 4] = [
            ("an update by 0", |id| update(id, 0)),
            ("a window that overflows", |id| update(id, 0x7fff_ffff)),
            ("DATA behind the end", |id| frame(frames::DATA, frames::END_STREAM, id, b"late")),
            ("a stream that depends on itself", |id| {
                frame(frames::PRIORITY, 0, id, &[&id.to_be_bytes()[..], &[1]].concat())
            }),
        ];
        for (name, provoke) in provoked {
            let mut wire = Wire::plain(&sidecar.client).await;
            let mut cut = false;
            for wave in 0..200_u32 {
                let mut bytes = Vec::new();
                for n in 0..40 {
                    let id = (wave * 40 + n) * 2 + 1;
                    bytes.extend(request(id, "/made"));
                    bytes.extend(provoke(id));
                }
                if !wire.send(&bytes).await {
                    cut = true;
                    break;
                }
                tokio::task::yield_now().await;
            }
            let got = wire.rest(name).await;
            assert!(cut || goaway(&got).is_some(), "{name}: {} frames", got.len());
            assert_eq!(sidecar.client.get("/other").send_h2().await.status, 200);
        }
    });
}

#[test]
fn decoded_headers_are_bounded_by_octets_and_by_number() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let large = "b".repeat(3_000);
        let bomb = {
            // One entry of the dynamic table, then a reference of one octet each.
            let mut bytes = block(&frames::get("/x"));
            bytes.extend([0x40]);
            bytes.extend(&block(&[("bomb", &large)])[1..]);
            bytes.extend([0x80 | 62].repeat(10_000));
            bytes
        };
        let with = |field: (&'static str, &str), times: usize| {
            let mut fields = frames::get("/x");
            fields.extend(std::iter::repeat_n(field, times));
            block(&fields)
        };
        let cases = [
            ("a bomb", bomb),
            ("cookie crumbs by number", with(("cookie", "a=b"), 101)),
            ("cookie crumbs by octets", with(("cookie", &large), 12)),
            ("fields by number", with(("a", ""), 101)),
            ("fields by octets", with(("a", &large), 12)),
            ("one large field", with(("a", &"b".repeat(40_000)), 1)),
        ];
        for (name, block) in cases {
            let mut wire = Wire::plain(&sidecar.client).await;
            let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
            for (at, piece) in pieces.iter().enumerate() {
                let kind = if at == 0 { frames::HEADERS } else { frames::CONTINUATION };
                let mut flags = if at == 0 { frames::END_STREAM } else { 0 };
                if at + 1 == pieces.len() {
                    flags |= frames::END_HEADERS;
                }
                wire.send(&frame(kind, flags, 1, piece)).await;
            }
            let fate = wire.fate(name, 1).await.unwrap_or_else(|| panic!("{name}: no answer"));
            let status = (fate.kind == frames::HEADERS).then(|| fate.status());
            assert!(status.is_none() || status == Some(431), "{name}: {fate:?}");
        }
        assert_eq!(origin.seen().len(), 0);
    });
}

/// Pseudo-headers and fields that RFC 9113 (8.1.1 to 8.3) calls malformed, or that would mean
/// something else in HTTP/1.
fn malformed() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let plus = |field| {
        let mut fields = frames::get("/x");
        fields.push(field);
        fields
    };
    let but = |name: &str, value| {
        let mut fields = frames::get("/x");
        fields.iter_mut().find(|field| field.0 == name).unwrap().1 = value;
        fields
    };
    let without = |name: &str| {
        let mut fields = frames::get("/x");
        fields.retain(|field| field.0 != name);
        fields
    };
    vec![
        ("a path twice", plus((":path", "/y"))),
        ("a method twice", plus((":method", "GET"))),
        ("an unknown pseudo-header", plus((":unknown", "x"))),
        ("a pseudo-header of answers", plus((":status", "200"))),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("an empty path", but(":path", "")),
        ("a late pseudo-header", {
            let mut fields = frames::get("/x");
            fields.insert(1, ("a", "b"));
            fields
        }),
        ("capitals", plus(("Accept", "x"))),
        ("connection", plus(("connection", "close"))),
        ("keep-alive", plus(("keep-alive", "1"))),
        ("proxy-connection", plus(("proxy-connection", "close"))),
        ("transfer-encoding", plus(("transfer-encoding", "chunked"))),
        ("upgrade", plus(("upgrade", "websocket"))),
        ("te", plus(("te", "gzip"))),
        ("a length without a body", plus(("content-length", "5"))),
        ("a length that is none", plus(("content-length", "+0"))),
        ("CRLF in a value", plus(("a", "b\r\nhost: c"))),
        ("LF in a value", plus(("a", "b\nc"))),
        ("NUL in a value", plus(("a", "b\0"))),
        ("CR in a name", plus(("a\rb", "c"))),
        ("a blank in a name", plus(("a b", "c"))),
        ("a colon in a name", plus(("a:b", "c"))),
        ("an empty name", plus(("", "c"))),
        ("CRLF in the path", but(":path", "/x\r\nhost: c")),
        ("a blank in the path", but(":path", "/x HTTP/1.1")),
        ("NUL in the path", but(":path", "/x\0")),
        ("CRLF in the method", but(":method", "GET\r\n")),
        ("a blank in the method", but(":method", "GET /y")),
        ("CRLF in the authority", but(":authority", "a\r\nb: c")),
        ("a blank in the authority", but(":authority", "a b")),
        ("user information", but(":authority", "u:p@a")),
        ("CRLF in the scheme", but(":scheme", "https\r\n")),
        ("a blank in the scheme", but(":scheme", "ht tps")),
        ("a path without a slash", but(":path", "x")),
        ("two hosts", {
            let mut fields = plus(("host", "b"));
            fields.push(("host", "c"));
            fields
        }),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "a:443")]),
        ("extended CONNECT", {
            let mut fields = but(":method", "CONNECT");
            fields.push((":protocol", "websocket"));
            fields
        }),
    ]
}

#[test]
fn malformed_requests_are_reset_or_refused_and_reach_nobody() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        for (name, fields) in malformed() {
            let mut wire = Wire::plain(&sidecar.client).await;
            let flags = frames::END_HEADERS | frames::END_STREAM;
            wire.send(&frame(frames::HEADERS, flags, 1, &block(&fields))).await;
            let fate = wire.fate(name, 1).await.unwrap_or_else(|| panic!("{name}: no answer"));
            match fate.kind {
                // It is well formed, but never served.
                frames::HEADERS if name == "CONNECT" => assert_eq!(fate.status(), 405),
                frames::HEADERS => assert_eq!(fate.status(), 400, "{name}: {fate:?}"),
                _ => assert_eq!(fate.code(), frames::PROTOCOL_ERROR, "{name}: {fate:?}"),
            }
            assert_eq!(origin.seen().len(), 0, "{name}");
        }
    });
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_never_looks_whole() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        for (name, body) in [("short", "abc"), ("long", "abcdefgh")] {
            let mut watched = origin.watches("/upload");
            let mut fields = frames::get("/upload");
            fields[0].1 = "POST";
            fields.push(("content-length", "5"));
            let mut wire = Wire::plain(&sidecar.client).await;
            wire.send(&frame(frames::HEADERS, frames::END_HEADERS, 1, &block(&fields))).await;
            wire.send(&frame(frames::DATA, frames::END_STREAM, 1, body.as_bytes())).await;
            let fate = wire.fate(name, 1).await.expect("an answer");
            match fate.kind {
                frames::HEADERS => assert_eq!(fate.status(), 400, "{name}"),
                _ => assert_eq!(fate.code(), frames::PROTOCOL_ERROR, "{name}"),
            }
            origin.answers("/upload", 200, &[], "");
            while let Some(piece) = soon("the upload ends", watched.recv()).await {
                assert!(!piece.is_empty(), "{name}: the body looks whole");
            }
        }
    });
}

#[test]
fn http1_is_not_spoken_where_http2_was_agreed_on() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let mut wire = Wire::silent(&sidecar.client).await;
        wire.send(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let got = wire.rest("no HTTP/1").await;

        assert_eq!(goaway(&got), Some(frames::PROTOCOL_ERROR), "{got:?}");
        assert!(got.iter().all(|frame| frame.kind != frames::HEADERS));
        assert_eq!(origin.seen().len(), 0);
        sidecar.metric_is(r#"weir_protocol_violations_total{kind="preface"}"#, 1.0).await;
    });
}

#[test]
fn more_streams_than_allowed_are_refused_and_the_rest_is_served() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let feeds: Vec<_> = (0..100).map(|n| origin.paces(&format!("/{n}"))).collect();
        let mut wire = Wire::plain(&sidecar.client).await;
        let settings = wire.find("settings", |f| f.kind == frames::SETTINGS && f.flags == 0).await;
        let settings = settings.unwrap().payload;
        let value = |name: u16| {
            let found = settings.chunks(6).find(|s| s[..2] == name.to_be_bytes());
            found.map(|s| u32::from_be_bytes(s[2..].try_into().unwrap()))
        };
        assert_eq!((value(3), value(4)), (Some(100), Some(64 << 10)));
        let opened = wire.find("update", |f| f.kind == frames::WINDOW_UPDATE).await.unwrap();
        assert_eq!((opened.stream, opened.code()), (0, (1 << 20) - 65_535));

        for n in 0..100 {
            wire.send(&request(n * 2 + 1, &format!("/{n}"))).await;
        }
        until("all are at the origin", || (origin.seen().len() == 100).then_some(())).await;
        wire.send(&request(201, "/late")).await;
        let refused = |f: &Frame| f.stream == 201 && f.kind == frames::RST_STREAM;
        assert_eq!(wire.find("a refusal", refused).await.unwrap().code(), 7);
        assert_eq!(origin.count("/late"), 0);
        feeds[0].send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
        let data = |f: &Frame| f.stream == 1 && f.kind == frames::DATA;
        assert_eq!(wire.find("an event", data).await.unwrap().payload, b"data: 1\n\n");
    });
}
