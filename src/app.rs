//! The composition root: builds every long-lived part from top to bottom, and
//! takes it down in order.
//!
//! Requests are served on worker threads; the calling thread does everything
//! else (signals, reloads, probes, the operators' listener), so that none of it
//! delays a request.
//!
//! # Failure
//! Whatever is wrong at start-up is said before anything is bound.

mod grants;
mod operators;
mod signals;
mod start;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use signals::Signals;
use start::{Prepared, Sockets};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    jwks,
    ledger::{Ledger, Store, StoreError},
    policy::{compile::Settings, file::ListenAddress, handle::PolicyHandle},
    proxy::{CODES, Proxy, Shared, Upload},
    reload::Reloader,
    resources,
    server::{
        BindError, ConnectionLimits, Door, Drain, Listener, Runtimes, Senders, Socket, Tls,
        TlsError, Workers,
    },
    supervisor,
    telemetry::{LogFormat, Output, Telemetry},
    upstream::{Pool, Watcher},
};

/// How often accounts that hold nothing any more are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// How many such rounds go by until freed memory is given back: a start, a reload and a burst leave some.
const GIVE_BACK: u32 = 5;

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The policy file.
    pub policy: PathBuf,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Worker threads; one per core when unset.
    pub threads: Option<usize>,
    /// How worker threads share work.
    pub runtimes: Runtimes,
    /// Another public address than the policy's.
    pub address: Option<SocketAddr>,
    /// Another operators' address than the policy's.
    pub admin_address: Option<SocketAddr>,
}

/// Why the proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy has errors; the text has all of them.
    #[error("the policy has errors, so nothing was started\n{0}")]
    Policy(String),
    /// The certificate cannot be used.
    #[error("the certificate cannot be used (`weir cert dev` makes a pair for development)")]
    Tls(#[source] TlsError),
    /// The store cannot be opened.
    #[error("the store cannot be opened")]
    Store(#[source] StoreError),
    /// A port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system refuses a thread, a signal or an event queue.
    #[error("the system refuses what a server needs")]
    System(#[source] io::Error),
}

/// What a proxy that has started tells.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Of the public listener, in the order of the policy; at least one.
    pub public: Vec<ListenAddress>,
    /// Of the way to https, if there is one.
    pub redirect: Option<SocketAddr>,
    /// Of the operators' listener.
    pub admin: SocketAddr,
    /// The agents' socket, if there is one.
    pub admin_socket: Option<PathBuf>,
}

impl Addresses {
    /// The port of the first public address that has one.
    pub fn port(&self) -> Option<u16> {
        self.public.iter().find_map(|address| match address {
            ListenAddress::Ip(address) => Some(address.port()),
            ListenAddress::Unix(_) => None,
        })
    }
}

/// Runs until a signal asks for the end; `started` is called once both ports answer.
///
/// # Errors
/// Whatever keeps the proxy from starting.
pub fn run(options: &RunOptions, started: impl FnOnce(Addresses)) -> Result<(), StartError> {
    let output = Output::stderr();
    let telemetry = Telemetry::new(CODES, Arc::clone(&output), options.log_format);
    crate::telemetry::init_log(Arc::clone(&output), options.log_format);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(StartError::System).and_then(|runtime| {
        let result = runtime.block_on(serve(options, telemetry, started));
        // A start that was told to stop may still hang on a file.
        runtime.shutdown_background();
        result
    });
    output.close();
    result
}

async fn serve(
    options: &RunOptions,
    telemetry: Telemetry,
    started: impl FnOnce(Addresses),
) -> Result<(), StartError> {
    let mut signals = Signals::new().map_err(StartError::System)?;
    let asked = options.clone();
    // Reading files and the store may take long, and must not keep a signal waiting.
    let preparing = tokio::task::spawn_blocking(move || Prepared::new(&asked, telemetry));
    let prepared = tokio::select! {
        prepared = preparing => prepared.map_err(|error| StartError::System(error.into()))??,
        () = signals.end() => {
            tracing::info!("stopped before it had started");
            return Ok(());
        }
    };
    let Prepared { app, claims, reloader } = prepared;
    // Whoever connects from now on is answered.
    greet(&app.shared).await;
    let sockets = claims.listen()?;
    let addresses = sockets.addresses().map_err(StartError::System)?;
    app.serve(options, signals, sockets, reloader, || started(addresses)).await
}

/// Everything that lives as long as the process.
struct App {
    settings: Settings,
    shared: Arc<Shared>,
    handle: Arc<PolicyHandle>,
    telemetry: Telemetry,
    tls: Option<Arc<Tls>>,
    drain: Drain,
}

impl App {
    // Flat: one line per part, in the order in which they begin and end.
    async fn serve(
        self,
        options: &RunOptions,
        mut signals: Signals,
        sockets: Sockets,
        reloader: Reloader,
        started: impl FnOnce(),
    ) -> Result<(), StartError> {
        let threads = options.threads.unwrap_or_else(cores);
        let workers = Workers::start(options.runtimes, threads).map_err(StartError::System)?;
        let workers = Arc::new(workers);
        let pools = Pool::of_workers(workers.len(), &self.telemetry.metrics);
        let listener = self.listener(&workers, &pools);
        for (index, pool) in pools.into_iter().enumerate() {
            workers.spawn(index, pool.tend(Arc::clone(&self.handle)));
        }
        let Sockets { public, redirect, operators, agents } = sockets;
        let doors = self.doors(public, redirect).map_err(StartError::System)?;
        let metrics = Arc::clone(&self.telemetry.metrics);
        let overload = self.shared.overload.watch(metrics).map_err(StartError::System)?;

        let (ended, drain_asked) = (CancellationToken::new(), Arc::new(Notify::new()));
        let (hangup, hangups) = mpsc::channel(1);
        let mut background = JoinSet::new();
        background.spawn(reloader.watch(hangups));
        background.spawn(Arc::clone(&self.shared.health).watch());
        background
            .spawn(jwks::watch(Arc::clone(&self.handle), Arc::clone(&self.telemetry.metrics)));
        background.spawn(self.watcher().watch());
        background.spawn(sweep(Arc::clone(&self.shared)));
        background.spawn(tend(Arc::clone(&self.shared)));
        // The socket's file goes when this function ends, whatever its connections do.
        let (agents, _file) = agents.unzip();
        let admin = self.operators(&drain_asked, (operators, agents), &ended);
        let accepting = tokio::spawn(listener.serve(doors));
        background.spawn(watchdog(Arc::clone(&workers)));
        started();
        supervisor::ready("serving");

        signals.wait_for_end(&hangup, &drain_asked).await;
        let cut = self.drain(&mut signals, &hangup).await;
        drop(accepting.await);
        drop(overload);
        self.finish(background, workers).await;
        ended.cancel();
        // Operators' connections are theirs to close; they are not waited for long.
        drop(tokio::time::timeout(Duration::from_secs(1), admin).await);
        tracing::info!(cut, "stopped");
        Ok(())
    }

    /// Lets every connection finish; a second signal hastens. Returns how many were cut.
    async fn drain(&self, signals: &mut Signals, hangup: &mpsc::Sender<()>) -> usize {
        tracing::info!("draining");
        self.shared.health.drain();
        supervisor::stopping("draining");
        let nobody = Notify::new();
        let listen = &self.settings.listen;
        let finish = async {
            // Whoever sends us work looks at readiness now and then; until it has, we serve.
            tokio::time::sleep(listen.drain_delay).await;
            self.drain.finish(listen.drain_timeout).await
        };
        tokio::select! {
            cut = finish => cut,
            () = signals.wait_for_end(hangup, &nobody) => {
                self.drain.hasten();
                self.drain.finish(Duration::ZERO).await
            }
        }
    }

    /// What each listening socket leads to.
    fn doors(
        &self,
        public: Vec<Socket>,
        redirect: Option<TcpListener>,
    ) -> io::Result<Vec<(Socket, Door)>> {
        let first = public.iter().find_map(|socket| match socket {
            Socket::Ip(listener) => Some(listener.local_addr()),
            Socket::Unix(..) => None,
        });
        let own = first.transpose()?.map(|address| address.port());
        let written = self.settings.listen.redirect.and_then(|(_, port)| port);
        let way = Door::Redirect(written.or(own).unwrap_or(HTTPS));
        let public = public.into_iter().map(|socket| (socket, Door::Main));
        Ok(public.chain(redirect.map(|socket| (Socket::Ip(socket), way))).collect())
    }

    fn listener(&self, workers: &Arc<Workers>, pools: &[Arc<Pool<Upload>>]) -> Listener<Proxy> {
        let proxy =
            |pool: &Arc<Pool<Upload>>| Proxy::new(Arc::clone(&self.shared), Arc::clone(pool));
        let settings = &self.settings.listen;
        Listener {
            tls: self.tls.clone(),
            senders: Senders::new(&settings.proxy_protocol),
            handlers: pools.iter().map(proxy).collect(),
            workers: Arc::clone(workers),
            limits: ConnectionLimits {
                handshake_timeout: settings.handshake_timeout,
                header_timeout: settings.header_timeout,
                idle_timeout: settings.idle_timeout,
                max_head_bytes: MAX_HEAD,
                max_connections: settings.max_connections,
                max_connections_per_address: settings.max_connections_per_address,
                max_streams: MAX_STREAMS,
            },
            overload: Arc::clone(&self.shared.overload),
            drain: self.drain.clone(),
            metrics: Arc::clone(&self.telemetry.metrics),
        }
    }

    fn watcher(&self) -> Watcher {
        let (cluster, policy) = (Arc::clone(&self.shared.cluster), Arc::clone(&self.handle));
        Watcher::new(cluster, policy, Arc::clone(&self.telemetry.metrics))
    }

    /// Ends what still runs, then closes the books.
    async fn finish(&self, mut background: JoinSet<()>, workers: Arc<Workers>) {
        background.shutdown().await;
        self.shared.tasks.close();
        // What outlives an exchange has a deadline of its own, shorter than this.
        let late = tokio::time::timeout(Duration::from_secs(3), self.shared.tasks.wait()).await;
        if late.is_err() {
            tracing::warn!("tasks were still running at the end");
        }
        if let Ok(workers) = Arc::try_unwrap(workers) {
            workers.stop();
        }
        self.shared.settlements.close(self.shared.clock.now());
        match &*self.shared.ledger {
            Ledger::Memory(_) => {}
            Ledger::Embedded(store) => {
                if let Err(error) = store.close() {
                    tracing::error!(%error, "the store could not be closed cleanly; its journal is kept");
                }
            }
            Ledger::Redis(store) => {
                if let Err(error) = store.close().await {
                    tracing::error!(%error, "the store's journal could not be closed cleanly; it is kept");
                }
                store.authority().close();
            }
        }
    }
}

/// The largest head that is parsed at all; the policy's own limit answers in our shape.
const MAX_HEAD: usize = 256 << 10;
/// Streams that one HTTP/2 connection may have open (Envoy's figure for an edge).
const MAX_STREAMS: u32 = 100;
/// Where redirects lead when no address of ours has a port.
const HTTPS: u16 = 443;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Tells the service manager that every worker still answers, if it asks.
async fn watchdog(workers: Arc<Workers>) {
    let Some(patience) = supervisor::watchdog() else { return };
    loop {
        // A worker that does not answer leaves the manager without a word, as it should.
        workers.answer().await;
        supervisor::alive();
        tokio::time::sleep(patience / 2).await;
    }
}

/// Learns which books a shared store keeps, before the first request could miss their loss.
async fn greet(shared: &Shared) {
    if let Ledger::Redis(store) = &*shared.ledger {
        // What it missed may take longer to deliver; that goes on behind the requests.
        drop(tokio::time::timeout(Duration::from_secs(1), store.look()).await);
    }
}

/// Looks after a store that others share.
async fn tend(shared: Arc<Shared>) {
    if let Ledger::Redis(store) = &*shared.ledger {
        store.tend().await;
    }
}

/// Drops what is no longer needed, a part at a time.
async fn sweep(shared: Arc<Shared>) {
    for round in 1_u32.. {
        tokio::time::sleep(SWEEP).await;
        if round.is_multiple_of(GIVE_BACK) {
            resources::give_back();
        }
        shared.ledger.sweep(shared.clock.now());
        shared.settlements.sweep(shared.clock.now());
        let metrics = &shared.telemetry.metrics;
        metrics.store_up.set(i64::from(shared.ledger.is_up()));
        if let Ledger::Redis(store) = &*shared.ledger {
            let (redis, count) = (store.authority(), |n| i64::try_from(n).unwrap_or(i64::MAX));
            metrics.store_commands.set(count(redis.calls()));
            metrics.store_connections.set(count(redis.connections()));
        }
    }
}
