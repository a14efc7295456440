//! The reader over a pipe: what hyper gets to see, and when.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::telemetry::Protocol;

const HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";

/// The client's end, the reader, and the peer that the server would tell of its requests.
fn pipe() -> (DuplexStream, Http1<DuplexStream>, Arc<Peer>) {
    let (client, server) = tokio::io::duplex(1 << 20);
    let peer = Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), Protocol::Http1));
    let second = Duration::from_secs(1);
    let limits = ConnectionLimits {
        handshake_timeout: second,
        header_timeout: second,
        idle_timeout: 60 * second,
        max_head_bytes: 256 << 10,
        max_connections_per_address: 1,
        max_connections: 1,
        max_streams: 1,
    };
    let bounds = Bounds { max_head: 1 << 10, min_rate: 0 };
    let reader = Http1::new(server, Arc::clone(&peer), limits, bounds, Arc::default());
    (client, reader, peer)
}

/// What can be read now, without waiting for more.
async fn there(reader: &mut Http1<DuplexStream>) -> Vec<u8> {
    let (mut got, mut space) = (Vec::new(), [0; 16]);
    let reading = async {
        loop {
            match reader.read(&mut space).await {
                Ok(read) if read > 0 => got.extend_from_slice(&space[..read]),
                _ => break,
            }
        }
    };
    // Time stands still but for this: it ends as soon as nothing else can happen.
    drop(tokio::time::timeout(Duration::from_millis(1), reading).await);
    got
}

#[tokio::test(start_paused = true)]
async fn one_request_at_a_time_is_handed_on() {
    let (mut client, mut reader, peer) = pipe();
    let body = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi";
    client.write_all(&[body, HEAD].concat()).await.expect("room");

    assert_eq!(there(&mut reader).await, body);
    peer.begin();
    assert_eq!(there(&mut reader).await, b"");
    peer.finish();
    assert_eq!(there(&mut reader).await, HEAD);
}

#[tokio::test(start_paused = true)]
async fn a_head_is_handed_on_when_it_is_whole() {
    let (mut client, mut reader, _) = pipe();
    let (last, most) = HEAD.split_last().expect("a head");
    client.write_all(most).await.expect("room");
    assert_eq!(there(&mut reader).await, b"");
    client.write_all(&[*last]).await.expect("room");
    assert_eq!(there(&mut reader).await, HEAD);
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_an_upgrade_are_the_tunnels_once_there_is_one() {
    let (mut client, mut reader, peer) = pipe();
    client.write_all(&[HEAD, b"\0\x01GET"].concat()).await.expect("room");
    assert_eq!(there(&mut reader).await, HEAD);
    peer.begin();
    assert_eq!(there(&mut reader).await, b"");
    peer.handover.become_tunnel();
    assert_eq!(there(&mut reader).await, b"\0\x01GET");
    peer.finish();
    client.write_all(b"\n\n anything").await.expect("room");
    assert_eq!(there(&mut reader).await, b"\n\n anything");
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_has_no_deadlines_here() {
    let (mut client, mut reader, peer) = pipe();
    client.write_all(HEAD).await.expect("room");
    assert_eq!(there(&mut reader).await, HEAD);
    peer.begin();
    peer.handover.become_tunnel();
    peer.finish();
    let quiet = tokio::time::timeout(Duration::from_secs(3_600), reader.read_u8());
    assert!(quiet.await.is_err());
    client.write_all(b"x").await.expect("room");
    assert_eq!(there(&mut reader).await, b"x");
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_for_a_refused_head_waits_for_the_answers_before() {
    let (mut client, mut reader, peer) = pipe();
    client.write_all(&[HEAD, b"GET / HTTP/9\r\n", HEAD].concat()).await.expect("room");
    assert_eq!(there(&mut reader).await, HEAD);
    peer.begin();
    assert_eq!(there(&mut reader).await, b"");
    assert_eq!(peer.fault(), None);
    peer.finish();
    assert_eq!(there(&mut reader).await, MADE_UP);
    assert_eq!(peer.fault(), Some(Fault::Version));
    peer.begin();
    peer.finish();
    assert_eq!(there(&mut reader).await, b"");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_wait_are_bounded() {
    let (mut client, mut reader, peer) = pipe();
    client.write_all(HEAD).await.expect("room");
    assert_eq!(there(&mut reader).await, HEAD);
    peer.begin();
    client.write_all(&[b'x'; 512 << 10]).await.expect("room");
    assert_eq!(there(&mut reader).await, b"");
    assert!(reader.held.bytes.len() <= (1 << 10) + 16, "{}", reader.held.bytes.len());
}
