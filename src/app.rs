//! The composition root: builds every long-lived part from top to bottom, and
//! takes it down in order.
//!
//! Requests are served on worker threads; the calling thread does everything
//! else (signals, reloads, probes, the operators' listener), so that none of it
//! delays a request.
//!
//! # Failure
//! Whatever is wrong at start-up is said before anything is bound.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::task::TaskTracker;

use crate::{
    admin::{self, Admin},
    clock::Clock,
    health::HealthState,
    jwks,
    ledger::{Embedded, Ledger, Options, Store, StoreError},
    policy::{
        compile::Settings,
        diagnostic::{Color, Report},
        handle::PolicyHandle,
        load::{Compiled, Loader},
    },
    proxy::{CODES, Proxy, Shared, Upload},
    reload::{InForce, Reloader},
    server::{
        self, BindError, Certificates, ConnectionLimits, Drain, Listener, Runtimes, TlsError,
        Workers,
    },
    telemetry::{LogFormat, Output, Telemetry},
    upstream::{Cluster, Pool, Watcher},
};

/// How often accounts that hold nothing any more and idle connections are looked for.
const SWEEP: Duration = Duration::from_secs(1);

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
    /// The policy names a Redis.
    #[error("Redis stores are not supported yet: write url = \"embedded:data\" in [store]")]
    Redis,
    /// A port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system refuses a thread, a signal or an event queue.
    #[error("the system refuses what a server needs")]
    System(#[source] io::Error),
}

/// What a proxy that has started tells.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Of the public listener.
    pub public: SocketAddr,
    /// Of the operators' listener.
    pub admin: SocketAddr,
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
    let result = runtime
        .map_err(StartError::System)
        .and_then(|runtime| runtime.block_on(serve(options, telemetry, started)));
    output.close();
    result
}

async fn serve(
    options: &RunOptions,
    telemetry: Telemetry,
    started: impl FnOnce(Addresses),
) -> Result<(), StartError> {
    let loader = Loader::new(&options.policy);
    let loaded = loader.load(&telemetry.metrics);
    warn(&loaded.report);
    let Compiled { policy, settings, .. } =
        loaded.compiled.ok_or_else(|| StartError::Policy(loaded.report.render(Color::Never)))?;
    let settings = with_addresses(settings, options);
    let certificates = Certificates::load(&settings.certificate, &settings.key);
    let certificates = Arc::new(certificates.map_err(StartError::Tls)?);
    let directory = settings.store.directory.clone().ok_or(StartError::Redis)?;
    // Both ports are claimed before the store is touched: a second process fails harmlessly.
    let sockets = Sockets::claim(&settings)?;
    let addresses = sockets.addresses().map_err(StartError::System)?;
    let store_options = Options { max_subjects: settings.store.max_subjects, ..Options::default() };
    let store = Embedded::open(&directory, store_options).map_err(StartError::Store)?;

    telemetry.metrics.policy_sha256.store(Arc::new(policy.sha256.clone()));
    telemetry.metrics.store_kind.store(Arc::new("embedded".to_owned()));
    telemetry.metrics.store_up.set(1);
    let handle = PolicyHandle::new(policy);
    let shared = share(&handle, Ledger::Embedded(store), &telemetry);
    let reloader = Reloader::new(
        loader,
        InForce {
            settings: settings.clone(),
            files: loaded.files,
            text: loaded.text,
            digest: loaded.digest,
        },
        Arc::clone(&handle),
        Arc::clone(&certificates),
        Arc::clone(&telemetry.metrics),
    );
    let app = App { settings, shared, handle, telemetry, certificates, drain: Drain::default() };
    app.serve(options, sockets, reloader, || started(addresses)).await
}

/// The two listening sockets.
struct Sockets {
    public: TcpListener,
    operators: TcpListener,
}

impl Sockets {
    fn claim(settings: &Settings) -> Result<Self, BindError> {
        let public = server::bind(settings.address)?;
        Ok(Self { public, operators: server::bind(settings.admin.address)? })
    }

    fn addresses(&self) -> io::Result<Addresses> {
        let public = self.public.local_addr()?;
        Ok(Addresses { public, admin: self.operators.local_addr()? })
    }
}

fn share(handle: &Arc<PolicyHandle>, ledger: Ledger, telemetry: &Telemetry) -> Arc<Shared> {
    let (ledger, clock) = (Arc::new(ledger), Clock::System);
    let metrics = Arc::clone(&telemetry.metrics);
    let (cluster, policy) = (Cluster::new(Arc::clone(&metrics)), Arc::clone(handle));
    let (books, members) = (Arc::clone(&ledger), Arc::clone(&cluster));
    let health = HealthState::new(&clock, Arc::clone(handle), books, members, metrics);
    Arc::new(Shared {
        policy,
        ledger,
        telemetry: telemetry.clone(),
        clock,
        health,
        cluster,
        tasks: TaskTracker::new(),
    })
}

fn with_addresses(mut settings: Settings, options: &RunOptions) -> Settings {
    settings.address = options.address.unwrap_or(settings.address);
    settings.admin.address = options.admin_address.unwrap_or(settings.admin.address);
    settings
}

fn warn(report: &Report) {
    for problem in report.diagnostics().iter().filter(|_| !report.has_errors()) {
        tracing::warn!(problem = report.one_line(problem), "the policy may not be what is meant");
    }
}

/// Everything that lives as long as the process.
struct App {
    settings: Settings,
    shared: Arc<Shared>,
    handle: Arc<PolicyHandle>,
    telemetry: Telemetry,
    certificates: Arc<Certificates>,
    drain: Drain,
}

impl App {
    // Flat: one line per part, in the order in which they begin and end.
    async fn serve(
        self,
        options: &RunOptions,
        sockets: Sockets,
        reloader: Reloader,
        started: impl FnOnce(),
    ) -> Result<(), StartError> {
        let mut signals = Signals::new().map_err(StartError::System)?;
        let threads = options.threads.unwrap_or_else(cores);
        let workers = Workers::start(options.runtimes, threads).map_err(StartError::System)?;
        let workers = Arc::new(workers);
        let pools: Vec<_> =
            (0..workers.len()).map(|_| Pool::new(Arc::clone(&self.telemetry.metrics))).collect();
        let listener = self.listener(&workers, &pools)?;

        let (ended, drain_asked) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (hangup, hangups) = mpsc::channel(1);
        let mut background = JoinSet::new();
        background.spawn(reloader.watch(hangups));
        background.spawn(Arc::clone(&self.shared.health).watch());
        background
            .spawn(jwks::watch(Arc::clone(&self.handle), Arc::clone(&self.telemetry.metrics)));
        background.spawn(self.watcher().watch());
        background.spawn(sweep(Arc::clone(&self.shared), pools));
        let admin = admin::serve(self.admin(&drain_asked), sockets.operators, Arc::clone(&ended));
        let admin = tokio::spawn(admin);
        let accepting = tokio::spawn(listener.serve(sockets.public));
        started();

        signals.wait_for_end(&hangup, &drain_asked).await;
        let cut = self.drain(&mut signals, &hangup).await;
        drop(accepting.await);
        self.finish(background, workers).await;
        ended.notify_one();
        // Operators' connections are theirs to close; they are not waited for long.
        drop(tokio::time::timeout(Duration::from_secs(1), admin).await);
        tracing::info!(cut, "stopped");
        Ok(())
    }

    /// Lets every connection finish; a second signal hastens. Returns how many were cut.
    async fn drain(&self, signals: &mut Signals, hangup: &mpsc::Sender<()>) -> usize {
        tracing::info!("draining");
        self.shared.health.drain();
        let nobody = Notify::new();
        tokio::select! {
            cut = self.drain.finish(self.settings.drain_timeout) => cut,
            () = signals.wait_for_end(hangup, &nobody) => {
                self.drain.hasten();
                self.drain.finish(Duration::ZERO).await
            }
        }
    }

    fn listener(
        &self,
        workers: &Arc<Workers>,
        pools: &[Arc<Pool<Upload>>],
    ) -> Result<Listener<Proxy>, StartError> {
        let proxy =
            |pool: &Arc<Pool<Upload>>| Proxy::new(Arc::clone(&self.shared), Arc::clone(pool));
        let settings = &self.settings;
        Ok(Listener {
            tls: server::server_config(
                Arc::clone(&self.certificates),
                &["h2", "http/1.1", "http/1.0"],
            )
            .map_err(StartError::Tls)?,
            handlers: pools.iter().map(proxy).collect(),
            workers: Arc::clone(workers),
            limits: ConnectionLimits {
                handshake_timeout: settings.handshake_timeout,
                header_timeout: settings.header_timeout,
                idle_timeout: settings.idle_timeout,
                max_head_bytes: MAX_HEAD,
                max_connections: settings.max_connections,
                max_streams: MAX_STREAMS,
            },
            drain: self.drain.clone(),
            metrics: Arc::clone(&self.telemetry.metrics),
        })
    }

    fn watcher(&self) -> Watcher {
        let (cluster, policy) = (Arc::clone(&self.shared.cluster), Arc::clone(&self.handle));
        Watcher::new(cluster, policy, Arc::clone(&self.telemetry.metrics))
    }

    fn admin(&self, drain_asked: &Arc<Notify>) -> Arc<Admin> {
        Arc::new(Admin {
            health: Arc::clone(&self.shared.health),
            telemetry: self.telemetry.clone(),
            policy: Arc::clone(&self.handle),
            clock: self.shared.clock.clone(),
            token: self.settings.admin.token.clone(),
            drain_asked: Arc::clone(drain_asked),
            drain: self.drain.clone(),
        })
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
        if let Ledger::Embedded(store) = &*self.shared.ledger
            && let Err(error) = store.close()
        {
            tracing::error!(%error, "the store could not be closed cleanly; its journal is kept");
        }
    }
}

/// The largest head that is parsed at all; the policy's own limit answers in our shape.
const MAX_HEAD: usize = 256 << 10;
/// Streams that one HTTP/2 connection may have open (Envoy's figure for an edge).
const MAX_STREAMS: u32 = 100;
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Drops what is no longer needed, a part at a time.
async fn sweep(shared: Arc<Shared>, pools: Vec<Arc<Pool<Upload>>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        shared.ledger.sweep(shared.clock.now());
        shared.telemetry.metrics.store_up.set(i64::from(shared.ledger.is_up()));
        let longest = shared.policy.load().upstream.pool_idle_timeout;
        pools.iter().for_each(|pool| pool.sweep(longest));
    }
}

/// The signals that a server listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when the end is asked for, by a signal or by an operator; passes SIGHUP on.
    async fn wait_for_end(&mut self, hangup: &mpsc::Sender<()>, asked: &Notify) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                () = asked.notified() => return,
                // A full channel already says that there is something to look at.
                _ = self.hangup.recv() => {
                    let _ = hangup.try_send(());
                }
            }
        }
    }
}
