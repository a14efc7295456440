//! An upstream that is killed, frozen, slow or dripping: an answer within the limits, and recovery by itself.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::{
    bare::{self, Bare},
    harness::{run, until},
    origin::Origin,
    plan::Plan,
    port::Port,
    raw,
};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n";

#[test]
fn a_head_that_drips_is_judged_by_its_total_time() {
    run(async {
        let bare = Bare::new().await;
        let sidecar = bare.plan().upstream("response_timeout = \"1s\"").start().await;
        let ask = sidecar.client.get("/");
        let asking = tokio::spawn(async move { ask.send().await });
        let (mut stream, _) = bare.asked().await;

        // Never silent, never done.
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        while stream.write_all(b"y").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        assert_eq!(asking.await.unwrap().refusal(), (504, "upstream_timeout".to_owned()));
    });
}

#[test]
fn a_body_that_drips_ends_when_its_time_is_over() {
    run(async {
        let bare = Bare::new().await;
        let tables = "[operations.general]\nroutes = [\"* /**\"]\nmax_lifetime = \"1s\"\n";
        let plan = Plan::new(tables).upstream("idle_timeout = \"10s\"");
        let sidecar = plan.before_address(bare.address).start().await;
        let mut client = sidecar.client.tls(&["http/1.1"]).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let (mut stream, _) = bare.asked().await;
        stream.write_all(HEAD.as_bytes()).await.unwrap();
        let dripping = tokio::spawn(async move {
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });

        let got = raw::read_to_end("the drip", &mut client).await;

        assert!(got.len() < 50_000, "it was not cut");
        dripping.await.unwrap();
    });
}

#[test]
fn a_small_body_that_drips_before_it_was_cleaned_is_refused_in_time() {
    run(async {
        let bare = Bare::new().await;
        let rule =
            "[sanitize]\nredact = []\n[[sanitize.rule]]\nname = \"e\"\npattern = 'EMP-\\d{6}'\n";
        let upstream = "idle_timeout = \"10s\"\nresponse_timeout = \"1s\"";
        let plan = Plan::new(rule).upstream(upstream).before_address(bare.address);
        let sidecar = plan.start().await;
        let ask = sidecar.client.get("/");
        let asking = tokio::spawn(async move { ask.send().await });
        let (mut stream, _) = bare.asked().await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 60000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        assert_eq!(asking.await.unwrap().refusal(), (502, "upstream_invalid".to_owned()));
    });
}

#[test]
fn whatever_an_upstream_does_the_caller_gets_an_answer_and_descriptors_come_back() {
    run(async {
        let bare = Bare::new().await;
        let upstream = "response_timeout = \"500ms\"\nidle_timeout = \"500ms\"";
        let sidecar = bare.plan().upstream(upstream).start().await;
        let before = sidecar.running.sockets();
        let misbehaving = tokio::spawn(async move {
            let mut held = Vec::new();
            for turn in 0_usize.. {
                let (mut stream, _) = bare.asked().await;
                match turn % 6 {
                    // Resets.
                    0 => drop(socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
                    // Is silent.
                    1 => held.push(stream),
                    // Stops inside a head.
                    2 => {
                        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
                        held.push(stream);
                    }
                    // Stops inside a body.
                    3 => {
                        stream.write_all(HEAD.as_bytes()).await.unwrap();
                        held.push(stream);
                    }
                    // Says goodbye without a word.
                    4 => stream.shutdown().await.unwrap(),
                    _ => {
                        let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        stream.write_all(ok).await.unwrap();
                        bare::head(&mut stream).await;
                    }
                }
            }
        });

        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..48 {
            let client = sidecar.client.clone();
            clients.spawn(async move {
                let mut connection = client.h1().await;
                let answer = client.get("/").open(&mut connection).await;
                let status = answer.status.as_u16();
                (status, answer.whole().await.is_ok())
            });
        }
        for (status, whole) in clients.join_all().await {
            assert!([200, 502, 504].contains(&status), "{status}");
            assert!(status == 200 || whole, "a refusal of ours is whole");
        }

        misbehaving.abort();
        let returned = || (sidecar.running.sockets() <= before).then_some(());
        until("descriptors are back where they were", returned).await;
    });
}

#[test]
fn an_upstream_that_flaps_is_used_whenever_it_is_there() {
    run(async {
        let port = Port::free();
        let origin = Origin::at(port.address).await;
        let sidecar = Plan::new("").before(&origin).start().await;
        let mut origin = Some(origin);
        let mut connection = sidecar.client.h1().await;

        for round in 0..6 {
            assert_eq!(sidecar.client.get("/").on(&mut connection).await.status, 200, "{round}");
            drop(origin.take());
            let away = sidecar.client.get("/").on(&mut connection).await;
            assert_eq!(away.refusal(), (502, "upstream_unreachable".to_owned()), "{round}");
            origin = Some(Origin::at(port.address).await);
        }
        assert_eq!(sidecar.client.get("/").on(&mut connection).await.status, 200);
    });
}
