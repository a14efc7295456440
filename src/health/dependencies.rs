//! Probes what the service needs, in the background.
//!
//! All dependencies are asked at once, each within the policy's `timeout`; the
//! results are kept until the next round, and nobody who asks waits for a probe.
//!
//! # Failure
//! Whatever keeps a probe from its answer counts as away, and is logged once per
//! change, without address or password.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use super::speak;
use crate::{
    policy::dependency::{Dependency, Probe, Speech},
    telemetry::Metrics,
    trust,
};

/// What the last round of probes found.
pub(super) struct Dependencies {
    /// In the order of the policy; away until the first probe has answered.
    found: ArcSwap<Vec<Found>>,
    metrics: Arc<Metrics>,
    /// Made when the first probe wants TLS: reading the system's certificates takes its time.
    tls: OnceLock<Result<Arc<ClientConfig>, String>>,
}

/// One dependency and whether it is there.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) name: Arc<str>,
    pub(super) up: bool,
}

impl Dependencies {
    pub(super) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { found: ArcSwap::default(), metrics, tls: OnceLock::new() })
    }

    pub(super) fn found(&self) -> Arc<Vec<Found>> {
        self.found.load_full()
    }

    /// Asks each of `wanted` once.
    ///
    /// # Cancellation
    /// Ends all probes; the last results stay.
    pub(super) async fn round(self: &Arc<Self>, wanted: &Arc<[Dependency]>, timeout: Duration) {
        self.expect(wanted);
        let mut probes = JoinSet::new();
        for (index, dependency) in wanted.iter().enumerate() {
            let (this, probe) = (Arc::clone(self), dependency.probe.clone());
            probes.spawn(async move { (index, this.ask(&probe, timeout).await) });
        }
        while let Some(asked) = probes.join_next().await {
            // A probe that panicked found nothing.
            let Ok((index, answer)) = asked else { continue };
            self.note(index, answer);
        }
    }

    /// Makes the results those of `wanted`, in its order: who is new is away until it answers.
    fn expect(&self, wanted: &[Dependency]) {
        let known = self.found.load();
        if known.iter().map(|found| &found.name).eq(wanted.iter().map(|one| &one.name)) {
            return;
        }
        let up = |name: &Arc<str>| known.iter().any(|found| found.name == *name && found.up);
        let found =
            wanted.iter().map(|one| Found { name: Arc::clone(&one.name), up: up(&one.name) });
        self.publish(found.collect());
    }

    fn note(&self, index: usize, answer: io::Result<bool>) {
        let mut found = Vec::clone(&self.found.load());
        let Some(one) = found.get_mut(index) else { return };
        let up = matches!(answer, Ok(true));
        if one.up == up {
            return;
        }
        one.up = up;
        match answer {
            Ok(true) => tracing::info!(dependency = %one.name, "a dependency answers"),
            Ok(false) => tracing::warn!(dependency = %one.name, "a dependency is not ready"),
            // The kind alone: the text could name an address.
            Err(error) => {
                tracing::warn!(dependency = %one.name, reason = %error.kind(), "a dependency is away");
            }
        }
        self.publish(found);
    }

    fn publish(&self, found: Vec<Found>) {
        let gauges = found.iter().map(|one| (Arc::clone(&one.name), one.up)).collect();
        self.metrics.dependencies.store(Arc::new(gauges));
        self.found.store(Arc::new(found));
    }

    async fn ask(&self, probe: &Probe, timeout: Duration) -> io::Result<bool> {
        let answer = tokio::time::timeout(timeout, self.converse(probe)).await;
        answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn converse(&self, probe: &Probe) -> io::Result<bool> {
        let tcp = TcpStream::connect((probe.host.as_str(), probe.port)).await?;
        tcp.set_nodelay(true)?;
        if !probe.tls {
            return speak_to(tcp, &probe.speech).await;
        }
        let config = self.tls.get_or_init(client_config).clone().map_err(io::Error::other)?;
        let name = ServerName::try_from(probe.host.clone()).map_err(io::Error::other)?;
        speak_to(TlsConnector::from(config).connect(name, tcp).await?, &probe.speech).await
    }
}

async fn speak_to<S>(mut stream: S, speech: &Speech) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match speech {
        Speech::Tcp => Ok(true),
        Speech::Http { authority, target } => speak::http(&mut stream, authority, target).await,
        Speech::Redis => speak::redis(&mut stream).await,
        Speech::Postgres { user, database } => speak::postgres(&mut stream, user, database).await,
        Speech::Mysql { user } => speak::mysql(&mut stream, user).await,
    }
}

fn client_config() -> Result<Arc<ClientConfig>, String> {
    let roots = trust::roots(None).map_err(|error| error.to_string())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
