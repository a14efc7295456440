//! Clients that give or take octet by octet, or nothing: judged by rate and by total time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    frames::{self, Frame, Wire, block, frame, request, setting, update},
    harness::{run, soon},
    origin::Origin,
    sidecar::Sidecar,
    wire_http2::{INITIAL_WINDOW, MIB, goaway, resident},
};

#[test]
fn a_body_that_drips_loses_our_patience_long_before_the_deadline() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        let began = Instant::now();
        let drips = [false, true].map(|h2| {
            let client = sidecar.client.clone();
            tokio::spawn(async move {
                let mut connection = if h2 { client.h2().await } else { client.h1().await };
                let (ask, feed) = client.post("/x", "").fed();
                let drip = tokio::spawn(async move {
                    while feed.send(Bytes::from_static(b"x")).await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                });
                let answer = ask.open(&mut connection);
                let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
                drip.abort();
                answer.expect("an end").whole().await.unwrap().refusal()
            })
        });
        for drip in drips {
            assert_eq!(drip.await.unwrap(), (408, "request_timeout".to_owned()));
        }
        assert!(began.elapsed() > Duration::from_secs(9), "{:?}", began.elapsed());
    });
}

#[test]
fn a_client_that_does_not_take_its_answer_is_given_up() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let mut ends = Vec::new();
        for drips in [false, true] {
            let path = format!("/large-{drips}");
            let feed = origin.paces_as(&path, &[("content-type", "application/octet-stream")]);
            let mut stream = sidecar.client.tls(&["http/1.1"]).await;
            let ask = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
            stream.write_all(ask.as_bytes()).await.unwrap();
            ends.push(tokio::spawn(async move {
                let piece = Bytes::from(vec![b'x'; 1 << 20]);
                while feed.send(piece.clone()).await.is_ok() {}
            }));
            ends.push(tokio::spawn(async move {
                let mut octet = [0];
                // Until the sidecar has closed; one that never reads waits for the drip to fail.
                while drips && stream.read_exact(&mut octet).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    if stream.get_ref().0.peek(&mut octet).await.is_err() {
                        break;
                    }
                }
                tokio::time::sleep(Duration::from_secs(30)).await;
            }));
        }
        // Both are given up, and the upstream's work for them ends.
        for end in ends.into_iter().step_by(2) {
            let given_up = tokio::time::timeout(Duration::from_secs(60), end).await;
            assert!(given_up.is_ok(), "it is still served");
        }
        sidecar.metric_is(r#"weir_protocol_violations_total{kind="slow_read"}"#, 2.0).await;
    });
}

#[test]
fn a_client_that_pauses_is_not_given_up() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let size = 24 << 20;
        origin.answers("/large", 200, &[("content-type", "application/x")], vec![b'x'; size]);
        let mut stream = sidecar.client.tls(&["http/1.1"]).await;
        let ask = "GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();

        let (mut got, mut piece) = (0, vec![0; 64 << 10]);
        for pause in 0..4 {
            tokio::time::sleep(Duration::from_secs(if pause == 0 { 0 } else { 4 })).await;
            let until = size / 4 * pause;
            while got < until {
                got += stream.read(&mut piece).await.unwrap();
            }
        }
        loop {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(read) => got += read,
            }
        }
        assert!(got > size, "only {got} of {size}");
    });
}

#[test]
fn heads_that_never_end_are_cut_by_their_deadline() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").listen("header_timeout = \"2s\"");
        let sidecar = plan.before(&origin).start().await;
        let _silent = origin.keeps_silent("/busy");
        let begun = frame(frames::HEADERS, frames::END_STREAM, 3, &block(&[("a", "b")]));
        let settings = frame(frames::SETTINGS, 0, 0, &[]);
        let cases: [(&str, Vec<u8>, Option<u32>); 7] = [
            ("nothing", vec![], None),
            ("half a preface", frames::PREFACE[..10].to_vec(), None),
            ("a preface alone", frames::PREFACE.to_vec(), None),
            ("settings alone", [frames::PREFACE, &settings].concat(), None),
            ("no CONTINUATION", [frames::PREFACE, &settings, &begun].concat(), Some(11)),
            ("half a frame", [frames::PREFACE, &settings, &begun[..12]].concat(), Some(11)),
            (
                "no CONTINUATION beside another stream",
                [frames::PREFACE, &settings, &request(1, "/busy"), &begun].concat(),
                Some(11),
            ),
        ];
        for (name, bytes, code) in cases {
            let mut wire = Wire::silent(&sidecar.client).await;
            wire.send(&bytes).await;
            let got = wire.rest(name).await;
            if let Some(code) = code {
                assert_eq!(goaway(&got), Some(code), "{name}: {got:?}");
            }
        }
        let slow = r#"weir_protocol_violations_total{kind="slow_head"}"#;
        assert!((sidecar.metric(slow).await - 3.0).abs() < 1e-9);
    });
}

#[test]
fn a_head_that_drips_in_continuations_is_cut_by_its_deadline() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").listen("header_timeout = \"2s\"");
        let sidecar = plan.before(&origin).start().await;
        let mut wire = Wire::plain(&sidecar.client).await;
        wire.send(&frame(frames::HEADERS, frames::END_STREAM, 1, &[])).await;
        let drip = async {
            let octet = frame(frames::CONTINUATION, 0, 1, &[0]);
            for byte in octet.iter().cycle() {
                if !wire.send(&[*byte]).await {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        soon("the drip ends", drip).await;
        let slow = r#"weir_protocol_violations_total{kind="slow_head"}"#;
        sidecar.metric_is(slow, 1.0).await;
    });
}

#[test]
fn answers_that_windows_hold_take_little_memory_and_end() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        origin.answers("/small", 200, &[("content-type", "application/x")], vec![b'x'; 10_000]);
        let media = [("content-type", "application/octet-stream")];
        origin.answers("/large", 200, &media, vec![b'x'; 20 << 20]);
        assert_eq!(sidecar.client.get("/small").send_h2().await.status, 200);
        let before = resident(sidecar.running.id());

        let mut wire = Wire::open(&sidecar.client, &setting(INITIAL_WINDOW, 0)).await;
        for n in 0..96 {
            wire.send(&request(n * 2 + 1, "/large")).await;
        }
        let (mut heads, mut most) = (0, 0);
        while heads < 96 {
            heads += u32::from(soon("a head", wire.frame()).await.unwrap().kind == frames::HEADERS);
            most = most.max(resident(sidecar.running.id()));
        }
        let mut ended = 0;
        let ends = async {
            while ended < 96 {
                let frame = wire.frame().await.expect("the connection lives");
                if frame.kind == frames::RST_STREAM {
                    assert_eq!(frame.code(), frames::CANCEL);
                    ended += 1;
                }
                most = most.max(resident(sidecar.running.id()));
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ends).await.expect("all are given up");
        let grown = most.saturating_sub(before);
        assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
        let idle = r#"weir_upstream_connections{state="busy"}"#;
        sidecar.metric_is(idle, 0.0).await;
        // The connection goes on.
        wire.send(&[request(193, "/small"), update(193, 20_000)].concat()).await;
        let fate = wire.fate("another answer", 193).await.unwrap();
        assert_eq!((fate.kind, fate.status()), (frames::HEADERS, 200));
    });
}

#[test]
fn a_window_that_drips_does_not_hold_a_stream_even_when_the_answer_is_over() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        origin.answers("/small", 200, &[("content-type", "application/x")], vec![b'x'; 10_000]);
        let mut wire = Wire::open(&sidecar.client, &setting(INITIAL_WINDOW, 1)).await;
        wire.send(&request(1, "/small")).await;
        // Read in one go: a read that is given up in the middle of a frame loses it.
        let Wire { reading, writing } = &mut wire;
        let drip = async {
            while writing.write_all(&update(1, 1)).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            panic!("the connection ended");
        };
        let dripped = async {
            tokio::select! {
                reset = frames::until(reading, |frame| frame.kind == frames::RST_STREAM) => reset,
                () = drip => None,
            }
        };
        let reset = tokio::time::timeout(Duration::from_secs(60), dripped).await;
        let reset = reset.expect("an end").expect("a reset");
        assert_eq!((reset.stream, reset.code()), (1, frames::CANCEL));
        sidecar.metric_is(r#"weir_protocol_violations_total{kind="slow_read"}"#, 1.0).await;
    });
}

#[test]
fn a_connection_whose_window_stays_shut_is_cut() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let media = [("content-type", "application/octet-stream")];
        origin.answers("/large", 200, &media, vec![b'x'; 1 << 20]);
        let mut wire = Wire::open(&sidecar.client, &setting(INITIAL_WINDOW, 8 << 20)).await;
        wire.send(&request(1, "/large")).await;
        let rest = async {
            let mut frames = Vec::new();
            while let Some(frame) = wire.frame().await {
                frames.push(frame);
            }
            frames
        };
        let got = tokio::time::timeout(Duration::from_secs(60), rest).await.expect("an end");
        assert_eq!(goaway(&got), Some(frames::ENHANCE_YOUR_CALM));
        let data: usize =
            got.iter().filter(|f| f.kind == frames::DATA).map(|f| f.payload.len()).sum();
        assert_eq!(data, 65_535);
    });
}

#[test]
fn answers_are_not_held_to_a_rate_that_is_turned_off() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").listen("min_rate = \"0B/s\"");
        let sidecar = plan.before(&origin).start().await;
        origin.answers("/small", 200, &[("content-type", "application/x")], vec![b'x'; 10_000]);
        let mut wire = Wire::open(&sidecar.client, &setting(INITIAL_WINDOW, 0)).await;
        wire.send(&request(1, "/small")).await;
        let head = wire.fate("a head", 1).await.unwrap();
        assert_eq!(head.kind, frames::HEADERS);
        let quiet = tokio::time::timeout(Duration::from_secs(13), wire.frame()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        wire.send(&update(1, 20_000)).await;
        let end = |f: &Frame| f.kind == frames::DATA && f.flags & frames::END_STREAM != 0;
        assert!(wire.find("the end", end).await.is_some());
    });
}
