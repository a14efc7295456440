//! One server: a connection that many share, and that comes back by itself.
//!
//! Calls are written in the order in which they were handed over and answered in
//! that order, so a settlement is read before the reservation that follows it.
//! Whoever waits has a deadline, see `patience`. The first request that misses it trips the
//! breaker: from then on no request waits, until a probe (one in flight) is answered
//! in time. What goes on behind the requests is told to a slow server, too.
//!
//! # Failure
//! [`Fault`]. A lost connection fails everything that was written to it, and
//! while there is none every call fails at once. A server that says nothing for
//! [`SILENCE`] is left.
//!
//! # Limits
//! At most [`QUEUE`] calls wait to be written, and [`WINDOW`] for an answer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};

use super::dial::{Bytes, Connection, DialError};
use super::patience::Patience;
use super::resp::{self, Reply};

/// Calls that may wait to be written.
pub(super) const QUEUE: usize = 16 << 10;
/// Calls that are written before one is answered. A server works off what it finds of all its clients
/// before it answers any of it: whom many replicas send scripts by the hundred, none hears from for long.
const WINDOW: usize = 16;
/// How long a server may owe an answer before its connection is given up.
const SILENCE: Duration = Duration::from_secs(2);
/// How long opening a connection may take.
const DIAL: Duration = Duration::from_millis(1_500);
/// How often at most it is said that commands are refused.
const REPEAT: Duration = Duration::from_secs(10);
/// The pause before a second attempt to connect, doubled from attempt to attempt. However long
/// a server was away, it is dialled again within [`DIAL`] and this of its return.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A connection that ends before this was of no use: the pauses go on growing.
const USEFUL: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing was sent.
    Away,
    /// It was sent, and may have been done.
    Lost,
}

/// For whom a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A request: it does not wait for a server that is known to be slow.
    Request,
    /// What goes on behind the requests.
    Task,
}

pub(super) type Waiter = Box<dyn FnOnce(Result<Reply, Fault>) + Send>;

struct Call {
    bytes: Vec<u8>,
    /// Answers that come before the one that matters.
    skip: u8,
    waiter: Option<Waiter>,
    sent: bool,
}

impl Call {
    fn answer(mut self, reply: Reply) {
        if let Some(waiter) = self.waiter.take() {
            waiter(Ok(reply));
        }
    }
}

impl Drop for Call {
    /// Whoever waits is told, however the call ended.
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            waiter(Err(if self.sent { Fault::Lost } else { Fault::Away }));
        }
    }
}

/// How a connection is made; asked anew for each, since a master may have moved.
pub(super) type Dialer = Box<dyn Fn() -> Dialing + Send + Sync>;
pub(super) type Dialing =
    std::pin::Pin<Box<dyn Future<Output = Result<Connection, DialError>> + Send>>;

/// A server.
pub(super) struct Node {
    queue: mpsc::Sender<Call>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    connected: AtomicBool,
    tripped: AtomicBool,
    connections: AtomicU64,
    calls: AtomicU64,
    /// Asks for another connection: this one leads to the wrong server.
    leave: Notify,
    /// Why there is no connection; final if waiting does not help.
    problem: Mutex<Option<(bool, String)>>,
    changed: Notify,
    patience: Patience,
    /// When it was last said that a command was refused.
    complained: Mutex<Option<Instant>>,
}

impl Node {
    /// A server that is connected to by a task of the present runtime, as long as the node lives.
    pub(super) fn start(dialer: Dialer, deadline: Duration) -> Arc<Self> {
        let (queue, calls) = mpsc::channel(QUEUE);
        let state = Arc::new(State { patience: Patience::new(deadline), ..State::default() });
        tokio::spawn(keep(dialer, calls, Arc::clone(&state)));
        Arc::new(Self { queue, state })
    }

    /// Whether it is worth asking.
    pub(super) fn answers(&self) -> bool {
        self.state.connected.load(Relaxed) && !self.state.tripped.load(Relaxed)
    }

    /// Whether there is a connection, however slow.
    pub(super) fn is_connected(&self) -> bool {
        self.state.connected.load(Relaxed)
    }

    /// Connections that were made so far.
    pub(super) fn connections(&self) -> u64 {
        self.state.connections.load(Relaxed)
    }

    /// Commands that were handed over so far.
    pub(super) fn calls(&self) -> u64 {
        self.state.calls.load(Relaxed)
    }

    /// Says that the server refuses commands, not for each of them.
    pub(super) fn complain(&self, said: &str) {
        let mut last = guard(&self.state.complained);
        if last.is_none_or(|last| last.elapsed() >= REPEAT) {
            *last = Some(Instant::now());
            tracing::warn!(said, "the store's server refuses a command");
        }
    }

    /// Leaves the connection for another one.
    pub(super) fn leave(&self) {
        self.state.leave.notify_one();
    }

    /// Waits for the first connection, or for the reason why there will be none.
    pub(super) async fn first(&self) -> Result<(), String> {
        loop {
            let changed = self.state.changed.notified();
            if self.state.connected.load(Relaxed) {
                return Ok(());
            }
            let problem = self.state.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some((true, problem)) = problem {
                return Err(problem);
            }
            changed.await;
        }
    }

    /// Hands a call over; `waiter` is called exactly once.
    pub(super) fn send(&self, bytes: Vec<u8>, skip: u8, waiter: Waiter) {
        let call = Call { bytes, skip, waiter: Some(waiter), sent: false };
        if self.state.connected.load(Relaxed) {
            self.state.calls.fetch_add(1, Relaxed);
            // A full queue drops the call, which tells its waiter.
            let _ = self.queue.try_send(call);
        }
    }

    /// Asks for `who`: both wait until `until` at most, a request only while the
    /// server answers in time.
    pub(super) async fn ask(
        self: &Arc<Self>,
        who: Who,
        (bytes, skip): (Vec<u8>, u8),
        until: Instant,
    ) -> Result<Reply, Fault> {
        if who == Who::Request && !self.answers() {
            return Err(Fault::Away);
        }
        let (answer, answered) = oneshot::channel();
        // Whoever asked may have given up.
        self.send(bytes, skip, Box::new(move |reply| drop(answer.send(reply))));
        if who == Who::Task {
            let reply = tokio::time::timeout_at(until.into(), answered).await;
            return reply.map_or(Err(Fault::Lost), |reply| reply.unwrap_or(Err(Fault::Lost)));
        }
        let asked = Instant::now();
        let reply = self.state.patience.wait(answered, until).await;
        if reply.is_none() {
            self.trip(asked.elapsed());
        }
        reply.unwrap_or(Err(Fault::Lost))
    }

    /// Nobody waits any more until a probe was answered in time.
    fn trip(self: &Arc<Self>, waited: Duration) {
        if !self.state.tripped.swap(true, Relaxed) {
            tracing::warn!(
                waited_ms = waited.as_millis(),
                "the store's server is slow; nobody waits for it until it answers in time"
            );
            self.probe();
        }
    }

    fn probe(self: &Arc<Self>) {
        let (node, before) = (Arc::clone(self), self.state.patience.misses());
        let judge = move |reply: Result<Reply, Fault>| {
            if reply.is_ok() && node.state.patience.misses() != before {
                return node.probe();
            }
            // Without a connection nobody waits anyway.
            node.state.tripped.store(false, Relaxed);
        };
        self.send(resp::command(&[b"PING"]), 0, Box::new(judge));
    }
}

/// Keeps a connection for as long as anybody may use it.
async fn keep(dialer: Dialer, mut calls: mpsc::Receiver<Call>, state: Arc<State>) {
    let mut pause = FIRST_PAUSE;
    while !calls.is_closed() {
        let dialed = tokio::time::timeout(DIAL, dialer()).await;
        match dialed
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
        {
            Ok(connection) => {
                let began = tokio::time::Instant::now();
                state.note(None);
                converse(connection, &mut calls, &state).await;
                state.connected.store(false, Relaxed);
                if began.elapsed() >= USEFUL {
                    pause = FIRST_PAUSE;
                }
                if !calls.is_closed() {
                    tracing::warn!("the connection to the store's server is lost");
                }
            }
            Err(error) => state.note(Some(&error)),
        }
        // Whoever was too late to notice.
        while calls.try_recv().is_ok() {}
        let jitter = rand::rng().next_u32() % 50;
        let wait = pause * (50 + jitter) / 100;
        pause = (pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = refuse(&mut calls) => return,
        }
    }
}

/// Drops what comes, which tells those who wait; ends when nobody can come any more.
async fn refuse(calls: &mut mpsc::Receiver<Call>) {
    while calls.recv().await.is_some() {}
}

impl State {
    fn note(&self, error: Option<&DialError>) {
        let mut problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            None => {
                self.connections.fetch_add(1, Relaxed);
                self.tripped.store(false, Relaxed);
                self.connected.store(true, Relaxed);
                *problem = None;
                tracing::info!("connected to the store's server");
            }
            Some(error) => {
                let said = describe(error);
                if problem.as_ref().is_none_or(|(_, before)| *before != said) {
                    tracing::warn!(problem = said, "no connection to the store's server");
                }
                *problem = Some((error.is_final(), said));
            }
        }
        drop(problem);
        self.changed.notify_waiters();
    }
}

/// An error and what caused it, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

type Waiting = Mutex<VecDeque<(Instant, Call)>>;

/// Writes calls and hands on answers until the connection ends.
async fn converse(connection: Connection, calls: &mut mpsc::Receiver<Call>, state: &State) {
    let (reader, writer) = tokio::io::split(connection.stream);
    let waiting = Waiting::default();
    let oldest = || guard(&waiting).front().map(|(since, _)| *since);
    tokio::select! {
        biased;
        () = read(reader, connection.read, &waiting, &state.patience) => {}
        () = write(writer, calls, &waiting, &state.patience) => {}
        () = state.patience.watch(oldest) => {}
        () = listen_for_silence(&waiting) => {}
        () = state.leave.notified() => {}
    }
    state.connected.store(false, Relaxed);
}

async fn write(
    mut writer: WriteHalf<Box<dyn Bytes>>,
    calls: &mut mpsc::Receiver<Call>,
    waiting: &Waiting,
    patience: &Patience,
) {
    let (mut batch, mut bytes) = (Vec::new(), Vec::new());
    loop {
        let room = WINDOW.saturating_sub(guard(waiting).len());
        if room == 0 {
            patience.answered().await;
            continue;
        }
        if calls.recv_many(&mut batch, room).await == 0 {
            return;
        }
        bytes.clear();
        let now = Instant::now();
        for mut call in batch.drain(..) {
            bytes.append(&mut call.bytes);
            call.sent = true;
            guard(waiting).push_back((now, call));
        }
        patience.ask();
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

async fn read(
    mut reader: ReadHalf<Box<dyn Bytes>>,
    mut bytes: Vec<u8>,
    waiting: &Waiting,
    patience: &Patience,
) {
    loop {
        let mut at = 0;
        while let Ok(Some((reply, length))) = resp::parse(&bytes[at..]) {
            at += length;
            let Some((since, mut call)) = guard(waiting).pop_front() else { return };
            if call.skip > 0 {
                call.skip -= 1;
                guard(waiting).push_front((since, call));
                continue;
            }
            call.answer(reply);
        }
        if at > 0 {
            patience.hear();
        }
        bytes.drain(..at);
        if resp::parse(&bytes).is_err()
            || matches!(reader.read_buf(&mut bytes).await, Ok(0) | Err(_))
        {
            return;
        }
    }
}

/// Returns when an answer is overdue.
async fn listen_for_silence(waiting: &Waiting) {
    loop {
        tokio::time::sleep(SILENCE / 4).await;
        let oldest = guard(waiting).front().map(|(since, _)| since.elapsed());
        if oldest.is_some_and(|age| age > SILENCE) {
            return;
        }
    }
}

fn guard<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
