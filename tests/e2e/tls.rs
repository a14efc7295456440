//! TLS as strict as it should be, with every client that is sound.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
};

use rustls::{
    AlertDescription, CipherSuite, ClientConnection, HandshakeKind, NamedGroup,
    SupportedProtocolVersion,
    crypto::aws_lc_rs::{self, kx_group},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    harness::{run, soon},
    origin::Origin,
    shake::{Shake, get, status},
    sidecar::Sidecar,
};

const NEW: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const OLD: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

async fn sidecar(origin: &Origin) -> (Sidecar, Shake) {
    sidecar_with(origin, "").await
}

async fn sidecar_with(origin: &Origin, listen: &str) -> (Sidecar, Shake) {
    let sidecar = Sidecar::with("").listen(listen).before(origin).start().await;
    let shake = Shake::trusting(&sidecar.file("certs/ca.crt"));
    (sidecar, shake)
}

#[test]
fn a_session_is_resumed_in_either_version() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, mut shake) = sidecar(&origin).await;
        for versions in [NEW, OLD] {
            shake.versions = versions;
            let connector = TlsConnector::from(shake.config());
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let tcp = TcpStream::connect(sidecar.address).await.unwrap();
                let mut stream = connector.connect(shake.name(), tcp).await.unwrap();
                // The ticket comes with the first bytes that are read.
                assert_eq!(status(&get(&mut stream, "localhost").await), 200);
                kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            }
            assert_eq!(kinds[1], HandshakeKind::Resumed, "{versions:?}: {kinds:?}");
        }
    });
}

#[test]
fn early_data_is_never_taken() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, shake) = sidecar(&origin).await;
        let mut config = Arc::unwrap_or_clone(shake.config());
        config.enable_early_data = true;
        let config = Arc::new(config);
        let tcp = TcpStream::connect(sidecar.address).await.unwrap();
        let mut stream =
            TlsConnector::from(Arc::clone(&config)).connect(shake.name(), tcp).await.unwrap();
        assert_eq!(status(&get(&mut stream, "localhost").await), 200);

        // There is a ticket now, and it allows none.
        let mut second = ClientConnection::new(config, shake.name()).unwrap();
        assert!(second.early_data().is_none());
    });
}

#[test]
fn the_hybrid_key_exchange_is_agreed_on_and_aes_128_before_the_clients_order() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, mut shake) = sidecar(&origin).await;
        let agreed = async |shake: &Shake| {
            let stream = shake.to(sidecar.address).await.unwrap();
            let session = stream.get_ref().1;
            let group = session.negotiated_key_exchange_group().unwrap().name();
            (group, session.negotiated_cipher_suite().unwrap().suite())
        };
        let aes_128 = CipherSuite::TLS13_AES_128_GCM_SHA256;
        // A client of today, which would take the larger cipher.
        shake.provider.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
        let larger = |suite: &rustls::SupportedCipherSuite| suite.suite() != aes_128;
        shake.provider.cipher_suites.sort_by_key(|suite| !larger(suite));
        let (group, suite) = agreed(&shake).await;
        assert_eq!((group, suite), (NamedGroup::X25519MLKEM768, aes_128));

        // And one that knows neither.
        shake.provider = aws_lc_rs::default_provider();
        shake.provider.kx_groups = vec![kx_group::SECP256R1];
        shake
            .provider
            .cipher_suites
            .retain(|suite| suite.suite() == CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
        shake.versions = NEW;
        let (group, suite) = agreed(&shake).await;
        assert_eq!(group, NamedGroup::secp256r1);
        assert_eq!(suite, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    });
}

#[test]
fn a_protocol_that_is_not_offered_ends_the_handshake_and_no_protocol_means_http_1() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, shake) = sidecar(&origin).await;

        let failed = shake.clone().offering(&["spdy/3"]).to(sidecar.address).await.unwrap_err();
        let alert = failed.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        let wanted = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(alert, Some(&wanted), "{failed}");
        let answer = shake.clone().offering(&[]).get(sidecar.address, "localhost").await;
        assert_eq!(status(&answer), 200);
    });
}

#[test]
fn whoever_agrees_on_one_protocol_and_speaks_another_is_not_served() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, shake) = sidecar(&origin).await;

        let answer = shake.clone().offering(&["h2"]).get(sidecar.address, "localhost").await;
        assert!(!answer.contains("HTTP/1.1 200"), "{answer:?}");
        let mut stream = shake.offering(&["http/1.1"]).to(sidecar.address).await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        stream.write_all(preface).await.unwrap();
        let mut got = Vec::new();
        drop(soon("it closes", stream.read_to_end(&mut got)).await);
        // Neither SETTINGS of HTTP/2 nor a success of HTTP/1.
        assert!(got.is_empty() || status(&String::from_utf8_lossy(&got)) >= 400, "{got:?}");
        assert_eq!(origin.seen().len(), 0);
    });
}

/// A handshake whose ClientHello goes out as `cut` makes it; the answer to a GET after it.
fn in_pieces(address: SocketAddr, shake: &Shake, cut: impl Fn(&[u8]) -> Vec<Vec<u8>>) -> String {
    let mut session = ClientConnection::new(shake.config(), shake.name()).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    let mut tcp = std::net::TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    for piece in cut(&hello) {
        tcp.write_all(&piece).unwrap();
    }
    let mut stream = rustls::Stream::new(&mut session, &mut tcp);
    stream.write_all(b"GET /x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A close without notice is an end as well.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// The same handshake message in records of `size` bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (head, message) = hello.split_at(5);
    let record = |piece: &[u8]| {
        let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
        [&head[..3], &length, piece].concat()
    };
    message.chunks(size).map(record).collect()
}

#[test]
fn a_client_hello_in_many_segments_or_records_is_served() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, shake) = sidecar(&origin).await;
        let at = sidecar.address;
        let all = tokio::task::spawn_blocking(move || {
            let bytes = |hello: &[u8]| hello.iter().map(|byte| vec![*byte]).collect();
            let mut answers = vec![("segments", in_pieces(at, &shake, bytes))];
            for (name, size) in [("records of 1", 1), ("of 7", 7), ("of 500", 500)] {
                answers.push((name, in_pieces(at, &shake, |hello| in_records(hello, size))));
            }
            answers
        });
        for (name, answer) in soon("all handshakes", all).await.unwrap() {
            assert_eq!(status(&answer), 200, "{name}: {answer:?}");
        }
    });
}

#[test]
fn a_handshake_that_stops_in_the_middle_is_closed_and_holds_nothing() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, shake) = sidecar_with(&origin, "handshake_timeout = \"3s\"").await;
        let mut session = ClientConnection::new(shake.config(), shake.name()).unwrap();
        let mut hello = Vec::new();
        session.write_tls(&mut hello).unwrap();
        let mut tcp = TcpStream::connect(sidecar.address).await.unwrap();
        tcp.write_all(&hello).await.unwrap();

        let mut flight = Vec::new();
        // The server's flight comes, ours never follows.
        drop(soon("it is closed", tcp.read_to_end(&mut flight)).await);

        assert!(flight.len() > 500, "the server answered: {}", flight.len());
        let timed_out = r#"weir_tls_handshakes_total{version="none",result="timed_out"}"#;
        sidecar.metric_is(timed_out, 1.0).await;
    });
}

/// What `openssl s_client` says, with these lines as its input.
async fn openssl(
    address: SocketAddr,
    arguments: &'static [&'static str],
    input: &'static str,
) -> String {
    let asked = tokio::task::spawn_blocking(move || {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address.to_string()]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("openssl is installed");
        // It may have given up already.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&output.stdout) + &text(&output.stderr)
    });
    soon("openssl ends", asked).await.unwrap()
}

#[test]
fn old_versions_and_weak_suites_are_refused_and_nothing_is_renegotiated() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, _) = sidecar(&origin).await;
        let at = sidecar.address;
        let cipher = |said: &str| {
            let line = said.lines().find(|line| line.contains("Cipher is"));
            line.and_then(|line| line.split(' ').next_back()).unwrap_or("(NONE)").to_owned()
        };

        for weak in [
            &["-tls1", "-cipher", "ALL:@SECLEVEL=0"][..],
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA"],
            &["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"],
        ] {
            let said = openssl(at, weak, "").await;
            assert_eq!(cipher(&said), "(NONE)", "{weak:?}: {said}");
        }
        let said = openssl(at, &["-tls1_2"], "R\n").await;
        assert_ne!(cipher(&said), "(NONE)", "{said}");
        assert!(said.contains("Compression: NONE"), "{said}");
        let refused = said.contains("RENEGOTIATING")
            && (said.contains("no renegotiation") || said.contains("alert"));
        assert!(refused, "{said}");
        let said = openssl(at, &["-tls1_3"], "").await;
        assert!(cipher(&said).starts_with("TLS_AES_128_GCM"), "{said}");
    });
}
