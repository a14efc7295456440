//! Who really connected: told by those whom the policy trusts, and by nobody else.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    harness::{run, soon},
    origin::Origin,
    shake::{Shake, ask, get, status},
    sidecar::Sidecar,
};

const TRUSTING: &str = "proxy_protocol = [\"127.0.0.0/8\"]";
const BOTH: &str = "address = [\"127.0.0.1:0\", \"[::1]:0\"]";
const ERRORS: &str = "weir_proxy_protocol_errors_total";

/// A header of version 2 for IPv4 with two TLVs.
fn version_2(command: u8, source: [u8; 4], port: u16) -> Vec<u8> {
    let tlvs = [&[4, 0, 3, 0, 0, 0][..], &[0x20, 0, 5, 1, 2, 3, 4, 5]].concat();
    let addresses = [&source[..], &[10, 0, 0, 1], &port.to_be_bytes(), &443_u16.to_be_bytes()];
    let block = [addresses.concat(), tlvs].concat();
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, 0x11], &length, &block].concat()
}

/// The answer to a GET behind this header, which goes out in pieces of `size` bytes.
async fn behind(address: SocketAddr, shake: &Shake, header: &[u8], size: usize) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    for piece in header.chunks(size) {
        if tcp.write_all(piece).await.is_err() {
            return String::new();
        }
        tokio::task::yield_now().await;
    }
    match shake.over(tcp).await {
        Ok(mut stream) => get(&mut stream, "localhost").await,
        Err(_) => String::new(),
    }
}

#[test]
fn a_trusted_sender_says_who_connected() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").listen(TRUSTING).before(&origin).start().await;
        let shake = Shake::trusting(&sidecar.file("certs/ca.crt"));
        let one = b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n".to_vec();
        let six = b"PROXY TCP6 2001:db8::9 ::1 4711 443\r\n".to_vec();

        for (header, peer) in [
            (one, "192.0.2.1"),
            (six, "2001:db8::9"),
            (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
            (version_2(0x21, [198, 51, 100, 7], 4711), "198.51.100.7"),
            (version_2(0x20, [198, 51, 100, 7], 4711), "127.0.0.1"),
        ] {
            for size in [1, 7, 1000] {
                let answer = behind(sidecar.address, &shake, &header, size).await;
                assert_eq!(status(&answer), 200, "{peer}: {answer}");
                assert_eq!(origin.last().header("x-forwarded-for"), Some(peer));
            }
        }
        let subject = |line: &serde_json::Value| line["subject"] == "address:198.51.100.7";
        sidecar.logged("it is counted for who really connected", subject).await;
        assert!(sidecar.metric(ERRORS).await.abs() < 1e-9);
    });
}

#[test]
fn a_trusted_sender_that_says_nothing_or_nonsense_is_cut() {
    run(async {
        let origin = Origin::start().await;
        let lines = format!("{TRUSTING}\nhandshake_timeout = \"2s\"");
        let sidecar = Sidecar::with("").listen(&lines).before(&origin).start().await;
        let shake = Shake::trusting(&sidecar.file("certs/ca.crt"));

        assert_eq!(behind(sidecar.address, &shake, b"", 1).await, "", "TLS at once");
        let nonsense = b"PROXY TCP4 192.0.2.1 10.0.0.1 99999 443\r\n";
        assert_eq!(behind(sidecar.address, &shake, nonsense, 1000).await, "");
        for silent in [&b""[..], b"PROXY TCP4 192.0", b"\r\n\r\n\0\r\nQUIT\n\x21\x11"] {
            let mut tcp = TcpStream::connect(sidecar.address).await.unwrap();
            tcp.write_all(silent).await.unwrap();
            let mut got = Vec::new();
            drop(soon("it is cut", tcp.read_to_end(&mut got)).await);
            assert!(got.is_empty());
        }
        sidecar.metric_is(ERRORS, 5.0).await;
        assert_eq!(origin.seen().len(), 0);
    });
}

#[test]
fn nobody_else_may_say_who_they_are() {
    run(async {
        let origin = Origin::start().await;
        let address = "address = \"127.0.0.1:0\"";
        let plan = Sidecar::with("").listen(TRUSTING).replacing(address, BOTH);
        let sidecar = plan.before(&origin).start().await;
        let serving = sidecar.logged("it serves", |line| line["message"] == "serving").await;
        let other = serving["addresses"].as_str().unwrap().split(' ').nth(1).unwrap().to_owned();
        let other: SocketAddr = other.parse().unwrap();
        let shake = Shake::trusting(&sidecar.file("certs/ca.crt"));

        let header = b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n";
        assert_eq!(behind(other, &shake, header, 1000).await, "");
        assert_eq!(behind(other, &shake, &version_2(0x21, [1, 2, 3, 4], 5), 1000).await, "");
        let answer = behind(other, &shake, b"", 1).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(origin.last().header("x-forwarded-for"), Some("::1"));
        assert_eq!(origin.seen().len(), 1);
    });
}

#[test]
fn without_tls_a_header_is_no_request_and_a_unix_socket_may_be_trusted() {
    run(async {
        let origin = Origin::start().await;
        let pair = "certificate = \"certs/server.crt\"\nkey = \"certs/server.key\"";
        let address = "address = \"127.0.0.1:0\"";
        let plan = Sidecar::with("").listen("proxy_protocol = [\"unix\"]");
        let plan = plan.replacing(pair, "plaintext = true");
        let plan = plan.replacing(address, "address = [\"127.0.0.1:0\", \"unix:weir.sock\"]");
        let sidecar = plan.before(&origin).start().await;
        let request = "GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n";
        let header = "PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n";

        let mut tcp = TcpStream::connect(sidecar.address).await.unwrap();
        let answer = ask(&mut tcp, &format!("{header}{request}")).await;
        assert_ne!(status(&answer), 200, "{answer}");
        assert_eq!(origin.seen().len(), 0);
        let path = sidecar.file("weir.sock");
        let mut unix = tokio::net::UnixStream::connect(path).await.unwrap();
        // Header and request in one piece: none of the request may be lost.
        let answer = ask(&mut unix, &format!("{header}{request}")).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(origin.last().header("x-forwarded-for"), Some("192.0.2.1"));
    });
}
