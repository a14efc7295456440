//! An upstream whose every byte is the test's own, HTTP/1.1.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{harness::soon, plan::Plan};

/// A listener; what connects is the test's.
pub struct Bare {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Bare {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    pub fn plan(&self) -> Plan {
        Plan::new("").before_address(self.address)
    }

    /// The next connection with a request, its head already read; probes send nothing.
    pub async fn asked(&self) -> (TcpStream, String) {
        soon("a request", async {
            loop {
                let (mut stream, _) = self.listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let head = head(&mut stream).await;
                if !head.is_empty() {
                    return (stream, head);
                }
            }
        })
        .await
    }

    /// Answers every request on every connection with these bytes and keeps the connection open; how many there were.
    pub fn repeats(self, bytes: impl Into<Vec<u8>>) -> Repeating {
        let bytes = Arc::new(bytes.into());
        let (requests, left) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let seen = (Arc::clone(&requests), Arc::clone(&left));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = self.listener.accept().await {
                let (bytes, requests, left) =
                    (Arc::clone(&bytes), Arc::clone(&requests), Arc::clone(&left));
                connections.spawn(async move {
                    let mut served = 0;
                    while !head(&mut stream).await.is_empty() {
                        requests.fetch_add(1, SeqCst);
                        served += 1;
                        if stream.write_all(&bytes).await.is_err() {
                            break;
                        }
                    }
                    left.fetch_add(usize::from(served > 0), SeqCst);
                });
            }
        });
        Repeating { requests: seen.0, left: seen.1, task }
    }
}

/// A server that says the same for ever.
pub struct Repeating {
    /// Requests so far.
    pub requests: Arc<AtomicUsize>,
    /// Connections that had a request and that the other side has closed.
    pub left: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Repeating {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads one head without a body; empty when the connection ends.
pub async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).unwrap()
}
