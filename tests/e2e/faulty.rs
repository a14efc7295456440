//! A service that fails in the ways in which services do, and says what reached it.
//!
//! It is switched while it runs, for connections that are open as well: well, slow, frozen,
//! resetting, answering with an error, or not there at all.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    harness::{PATIENCE, until},
    port::Port,
};

/// How requests are met.
#[derive(Clone, Debug)]
pub enum Manner {
    /// 200, with the service's name as the body.
    Well,
    /// The same, after this long.
    Slow(Duration),
    /// Read, and never answered.
    Frozen,
    /// Read, then the connection is reset.
    Resets,
    /// Half a head, then nothing.
    HalfHead,
    /// This status with these headers, and the service's name as the body.
    Answers(u16, &'static [(&'static str, &'static str)]),
}

#[derive(Default)]
struct State {
    manner: Mutex<Option<Manner>>,
    /// Ways in which the next requests are met, before `manner`.
    next: Mutex<Vec<Manner>>,
    seen: Mutex<HashMap<String, usize>>,
    open: Arc<()>,
}

/// The service.
pub struct Faulty {
    pub address: SocketAddr,
    name: &'static str,
    state: Arc<State>,
    task: Option<JoinHandle<()>>,
    /// Kept while it is away.
    _port: Port,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Faulty {
    /// A service on a free port that is well.
    pub async fn start(name: &'static str) -> Self {
        let port = Port::free();
        let address = port.address;
        let listener = TcpListener::bind(address).await.unwrap();
        let mut service = Self { address, name, state: Arc::default(), task: None, _port: port };
        service.serve(listener);
        service
    }

    fn serve(&mut self, listener: TcpListener) {
        self.task = Some(tokio::spawn(accept(listener, self.name, Arc::clone(&self.state))));
    }

    /// Meets requests in this manner from now on.
    pub fn becomes(&self, manner: Manner) {
        *self.state.manner.lock().unwrap() = Some(manner);
    }

    /// Meets the next requests in these manners, each once.
    pub fn next(&self, manners: &[Manner]) {
        *self.state.next.lock().unwrap() = manners.iter().rev().cloned().collect();
    }

    /// Is gone: nobody listens, and every connection is closed.
    pub fn kill(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Is there again, where it was.
    pub async fn revive(&mut self) {
        let address = self.address;
        let bind = || std::net::TcpListener::bind(address).ok();
        let listener = until("the port is free again", bind).await;
        listener.set_nonblocking(true).unwrap();
        self.serve(TcpListener::from_std(listener).unwrap());
    }

    /// How often a request line such as `POST /x` arrived.
    pub fn count(&self, line: &str) -> usize {
        self.state.seen.lock().unwrap().get(line).copied().unwrap_or_default()
    }

    /// How many requests arrived whose line begins so.
    pub fn total(&self, begin: &str) -> usize {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().filter(|(line, _)| line.starts_with(begin)).map(|(_, count)| count).sum()
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        Arc::strong_count(&self.state.open) - 1
    }
}

async fn accept(listener: TcpListener, name: &'static str, state: Arc<State>) {
    // Dropped with this task: its connections end with the service.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (state, open) = (Arc::clone(&state), Arc::clone(&state.open));
        connections.spawn(async move {
            serve(stream, name, &state).await;
            drop(open);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection until it ends, or until the manner says so.
async fn serve(mut stream: TcpStream, name: &str, state: &State) {
    while let Some(line) = read_request(&mut stream).await {
        *state.seen.lock().unwrap().entry(line).or_default() += 1;
        let next = state.next.lock().unwrap().pop();
        let manner = next.or_else(|| state.manner.lock().unwrap().clone());
        let (status, headers) = match manner.unwrap_or(Manner::Well) {
            Manner::Well => (200, &[][..]),
            Manner::Slow(pause) => {
                tokio::time::sleep(pause).await;
                (200, &[][..])
            }
            Manner::Answers(status, headers) => (status, headers),
            Manner::Frozen => return frozen(&mut stream).await,
            Manner::Resets => return reset(stream),
            Manner::HalfHead => {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-").await);
                return frozen(&mut stream).await;
            }
        };
        let mut answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", name.len());
        headers.iter().for_each(|(name, value)| answer.push_str(&format!("{name}: {value}\r\n")));
        answer.push_str(&format!("\r\n{name}"));
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Waits until the other side gives up, or for longer than any test would.
async fn frozen(stream: &mut TcpStream) {
    let gone = async { while stream.read_u8().await.is_ok() {} };
    drop(tokio::time::timeout(PATIENCE * 10, gone).await);
}

/// Closes the connection with an RST.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
}

/// Reads a request whole; its method and target.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let field = |name: &str| {
        let fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    };
    if field("transfer-encoding").is_some() {
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            body.push(stream.read_u8().await.ok()?);
        }
    } else if let Some(length) = field("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await.ok()?;
    }
    let line = head.lines().next()?;
    Some(line.rsplit_once(' ')?.0.to_owned())
}
