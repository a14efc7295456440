//! Builds what a proxy needs, and claims what it will listen on.
//!
//! # Failure
//! Nothing is claimed before the policy and its certificates are known to be good,
//! and no store is touched before the ports are ours.

use std::{io, sync::Arc};

use tokio::net::{TcpListener, UnixListener};
use tokio_util::task::TaskTracker;

use super::{Addresses, App, RunOptions, StartError, grants};
use crate::{
    clock::Clock,
    health::HealthState,
    ledger::{Embedded, Fallback, Keeping, Ledger, Options, Redis, Store, StoreError},
    policy::{
        compile::{AdminSettings, Settings, StorePlace, StoreSettings},
        diagnostic::{Color, Report},
        file::ListenAddress,
        handle::PolicyHandle,
        load::{Compiled, Loader},
    },
    proxy::Shared,
    reload::{InForce, Reloader},
    server::{BindError, Claim, Drain, Overload, Socket, SocketFile, TcpClaim, Tls, UnixClaim},
    settlements::Settlements,
    telemetry::{Metrics, Telemetry},
    upstream::Cluster,
};

/// Everything that can fail at a start has not.
pub(super) struct Prepared {
    pub(super) app: App,
    pub(super) claims: Claims,
    pub(super) reloader: Reloader,
}

impl Prepared {
    // Flat: one paragraph per part, in the order in which they are needed.
    pub(super) fn new(options: &RunOptions, telemetry: Telemetry) -> Result<Self, StartError> {
        let loader = Loader::new(&options.policy);
        let loaded = loader.load(&telemetry.metrics);
        warn(&loaded.report);
        let Compiled { policy, settings, .. } = loaded
            .compiled
            .ok_or_else(|| StartError::Policy(loaded.report.render(Color::Never)))?;
        let mut settings = with_addresses(settings, options);
        let metrics = Arc::clone(&telemetry.metrics);
        let tls = match settings.listen.plaintext {
            true => None,
            false => Some(Tls::load(&settings.tls, metrics).map_err(StartError::Tls)?),
        };
        let tls = tls.map(Arc::new);
        // Ports are claimed before the store is touched: a second process fails harmlessly.
        let claims = Claims::new(&settings)?;
        let (ledger, kind) =
            open(&settings.store, &telemetry.metrics).map_err(StartError::Store)?;

        telemetry.metrics.policy_sha256.store(Arc::new(policy.sha256.clone()));
        telemetry.metrics.store_kind.store(Arc::new(kind.to_owned()));
        telemetry.metrics.store_up.set(i64::from(ledger.is_up()));
        let drain = Drain::default();
        let overload = grants::overload(&settings.listen, &drain);
        let handle = PolicyHandle::new(policy);
        let shared = share(&handle, ledger, &telemetry, overload);
        let reloader = Reloader::new(
            loader,
            InForce {
                settings: settings.clone(),
                files: loaded.files,
                text: loaded.text,
                digest: loaded.digest,
            },
            Arc::clone(&handle),
            tls.clone(),
            Arc::clone(&telemetry.metrics),
        );
        settings.listen.max_connections = grants::connections(settings.listen.max_connections);
        let app = App { settings, shared, handle, telemetry, tls, drain };
        Ok(Self { app, claims, reloader })
    }
}

/// The store that the settings name, and what metrics call it.
fn open(
    settings: &StoreSettings,
    metrics: &Arc<Metrics>,
) -> Result<(Ledger, &'static str), StoreError> {
    match &settings.place {
        StorePlace::Directory(directory) => {
            let (max_subjects, release_after) = (settings.max_subjects, settings.release_after);
            let options = Options { max_subjects, release_after, ..Options::default() };
            Ok((Ledger::Embedded(Embedded::open(directory, options)?), "embedded"))
        }
        StorePlace::Redis(redis) => {
            let keeping = Keeping {
                max_subjects: settings.max_subjects,
                ..Keeping::within(settings.journal.clone())
            };
            let store = Fallback::open(Redis::open(redis)?, &keeping, Arc::clone(metrics))?;
            Ok((Ledger::Redis(Box::new(store)), "redis"))
        }
    }
}

/// The addresses that are ours and do not let anybody in yet.
pub(super) struct Claims {
    public: Vec<Claim>,
    redirect: Option<TcpClaim>,
    operators: TcpClaim,
    agents: Option<UnixClaim>,
}

impl Claims {
    fn new(settings: &Settings) -> Result<Self, BindError> {
        let listen = &settings.listen;
        let AdminSettings { address, socket, socket_mode, .. } = &settings.admin;
        Ok(Self {
            public: Claim::all(&listen.addresses, listen.socket_mode)?,
            redirect: listen.redirect.map(|(address, _)| TcpClaim::new(address)).transpose()?,
            operators: TcpClaim::new(*address)?,
            agents: socket.as_ref().map(|at| UnixClaim::new(at, *socket_mode)).transpose()?,
        })
    }

    /// Lets callers in.
    pub(super) fn listen(self) -> Result<Sockets, BindError> {
        Ok(Sockets {
            public: self.public.into_iter().map(Claim::listen).collect::<Result<_, _>>()?,
            redirect: self.redirect.map(TcpClaim::listen).transpose()?,
            operators: self.operators.listen()?,
            agents: self.agents.map(UnixClaim::listen).transpose()?,
        })
    }
}

/// The listening sockets.
pub(super) struct Sockets {
    pub(super) public: Vec<Socket>,
    pub(super) redirect: Option<TcpListener>,
    pub(super) operators: TcpListener,
    pub(super) agents: Option<(UnixListener, SocketFile)>,
}

impl Sockets {
    /// Where they are; port 0 has become a real one.
    pub(super) fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            public: self.public.iter().map(Socket::address).collect::<Result<_, _>>()?,
            redirect: self.redirect.as_ref().map(TcpListener::local_addr).transpose()?,
            admin: self.operators.local_addr()?,
            admin_socket: self.agents.as_ref().map(|(_, file)| file.path().to_owned()),
        })
    }
}

fn share(
    handle: &Arc<PolicyHandle>,
    ledger: Ledger,
    telemetry: &Telemetry,
    overload: Arc<Overload>,
) -> Arc<Shared> {
    let (ledger, clock) = (Arc::new(ledger), Clock::System);
    let metrics = Arc::clone(&telemetry.metrics);
    let cluster = Cluster::new(Arc::clone(&metrics));
    let settlements = Settlements::new(Arc::clone(&ledger), Arc::clone(&metrics));
    let (books, members) = (Arc::clone(&ledger), Arc::clone(&cluster));
    let health = HealthState::new(&clock, Arc::clone(handle), books, members, metrics);
    Arc::new(Shared {
        policy: Arc::clone(handle),
        ledger,
        telemetry: telemetry.clone(),
        clock,
        health,
        overload,
        cluster,
        settlements: Arc::new(settlements),
        tasks: TaskTracker::new(),
    })
}

fn with_addresses(mut settings: Settings, options: &RunOptions) -> Settings {
    if let Some(address) = options.address {
        settings.listen.addresses = vec![ListenAddress::Ip(address)];
    }
    settings.admin.address = options.admin_address.unwrap_or(settings.admin.address);
    settings
}

fn warn(report: &Report) {
    for problem in report.diagnostics().iter().filter(|_| !report.has_errors()) {
        tracing::warn!(problem = report.one_line(problem), "the policy may not be what is meant");
    }
}
