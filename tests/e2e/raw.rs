//! Byte-level talk over TLS: what no client library would send or show.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::{client::Client, harness::soon};

/// Sends these bytes and returns everything that comes until the other side closes, or until
/// one whole answer without a body to come is there.
pub async fn exchange(client: &Client, bytes: &[u8]) -> String {
    let mut stream = client.tls(&["http/1.1"]).await;
    stream.write_all(bytes).await.unwrap();
    read_answer(&mut stream).await
}

/// Reads one answer: its head and as many bytes as its Content-Length says, or all until the end.
pub async fn read_answer(stream: &mut TlsStream<TcpStream>) -> String {
    let mut got = Vec::new();
    soon("an answer", async {
        let mut piece = [0_u8; 4096];
        while !is_whole(&got) {
            match stream.read(&mut piece).await {
                // A close without close_notify is an end as well.
                Ok(0) | Err(_) => break,
                Ok(read) => got.extend_from_slice(&piece[..read]),
            }
        }
    })
    .await;
    String::from_utf8_lossy(&got).into_owned()
}

/// Reads until the other side closes; `what` names the connection in a failure.
pub async fn read_to_end(what: &str, stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let mut got = Vec::new();
    // However it ends, what came is what counts.
    drop(soon(&format!("{what}: the connection ends"), stream.read_to_end(&mut got)).await);
    got
}

/// Whether an answer is there as far as its Content-Length says.
pub fn is_whole(got: &[u8]) -> bool {
    let text = String::from_utf8_lossy(got);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}

/// Reads up to and including `end`.
pub async fn read_until(stream: &mut TlsStream<TcpStream>, end: &str) -> String {
    let mut got = Vec::new();
    soon("the awaited bytes", async {
        while !got.ends_with(end.as_bytes()) {
            match stream.read_u8().await {
                Ok(byte) => got.push(byte),
                Err(_) => break,
            }
        }
    })
    .await;
    String::from_utf8_lossy(&got).into_owned()
}

/// Sends these bytes and returns everything that comes until the other side closes.
pub async fn to_end(client: &Client, what: &str, bytes: &[u8]) -> String {
    let mut stream = client.tls(&["http/1.1"]).await;
    // It may be refused before all of it is sent.
    drop(stream.write_all(bytes).await);
    String::from_utf8_lossy(&read_to_end(what, &mut stream).await).into_owned()
}

/// The statuses of the answers in these bytes, in order.
pub fn statuses(answers: &str) -> Vec<u16> {
    let heads = answers.split("HTTP/1.").skip(1);
    heads.filter_map(|head| head.get(2..5)?.parse().ok()).collect()
}
