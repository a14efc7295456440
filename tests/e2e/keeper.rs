//! A Redis of the test's own, and a line to it that can fail as networks do.
//!
//! The server is a real `redis-server` in a directory of its own, found again on the same port
//! with its data after it was killed. The line is a port in between: it passes bytes on, is
//! closed, or swallows everything.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicU8, atomic::Ordering::SeqCst},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{
    harness::{signal, until_async},
    port::Port,
};

/// `redis-server`, or what `WEIR_TEST_REDIS_SERVER` names, as a Valkey.
fn program() -> String {
    std::env::var("WEIR_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// A running `redis-server`.
pub struct Keeper {
    pub address: SocketAddr,
    /// Kept while it is away.
    _port: Port,
    directory: TempDir,
    child: Option<Child>,
}

impl Keeper {
    /// Starts a server on a free port; it writes down each command before it answers.
    pub async fn start() -> Self {
        let port = Port::free();
        let address = port.address;
        let directory = tempfile::Builder::new().prefix("weir-redis-").tempdir().unwrap();
        let mut keeper = Self { address, _port: port, directory, child: None };
        keeper.again().await;
        keeper
    }

    /// Starts it anew on the same port and the same data.
    pub async fn again(&mut self) {
        let mut command = Command::new(program());
        command.arg("--port").arg(self.address.port().to_string());
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        // Every second, it would answer up to two seconds before it writes while the disk is busy.
        command.args(["--appendfsync", "always"]);
        command.arg("--dir").arg(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server is installed"));
        let address = self.address;
        until_async("Redis answers", || async move {
            ask(address, "PING").await.filter(|answer| answer.starts_with("+PONG"))
        })
        .await;
    }

    fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Stops it where it stands; connections stay open and nothing answers.
    pub fn pause(&self) {
        signal(self.id(), "STOP");
    }

    pub fn resume(&self) {
        signal(self.id(), "CONT");
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends one inline command.
    pub async fn ask(&self, command: &str) -> String {
        ask(self.address, command).await.expect("Redis answers")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A paused process dies of it too.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

async fn ask(address: SocketAddr, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("{command}\r\n").as_bytes()).await.ok()?;
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.ok().filter(|read| *read > 0)?;
    Some(String::from_utf8_lossy(&answer[..read]).into_owned())
}

/// How a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Whole,
    Cut,
    Swallows,
}

/// A port in front of a server.
pub struct Line {
    pub address: SocketAddr,
    state: Arc<AtomicU8>,
    task: JoinHandle<()>,
}

impl Line {
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(AtomicU8::new(State::Whole as u8));
        let task = tokio::spawn(serve(listener, server, Arc::clone(&state)));
        Self { address, state, task }
    }

    /// Closes what is open, and whatever comes.
    pub fn cut(&self) {
        self.state.store(State::Cut as u8, SeqCst);
    }

    /// Takes everything and answers nothing.
    pub fn swallow(&self) {
        self.state.store(State::Swallows as u8, SeqCst);
    }

    pub fn mend(&self) {
        self.state.store(State::Whole as u8, SeqCst);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, state: Arc<AtomicU8>) {
    // Dropped with this task: its connections end with the line.
    let mut connections = JoinSet::new();
    loop {
        let Ok((caller, _)) = listener.accept().await else { continue };
        if state.load(SeqCst) == State::Cut as u8 {
            continue;
        }
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let Ok(callee) = TcpStream::connect(server).await else { return };
            let ((from, to), (back, forth)) = (caller.into_split(), callee.into_split());
            // A line that broke once is not mended for those who were on it.
            let cut = async {
                while state.load(SeqCst) != State::Cut as u8 {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                () = pass(from, forth, &state) => {}
                () = pass(back, to, &state) => {}
                () = cut => {}
            }
        });
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    state: &AtomicU8,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        if state.load(SeqCst) != State::Swallows as u8
            && to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
    }
}
