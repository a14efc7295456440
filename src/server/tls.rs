//! TLS towards downstream: versions, suites, and certificates that can change.
//!
//! TLS 1.3 and 1.2 with ECDHE and AEAD suites only, no early data; the hybrid
//! X25519MLKEM768 comes first in the key exchange. AES-128-GCM is preferred over
//! the client's order: its hash is accelerated on current CPUs, which makes a
//! handshake about a seventh cheaper, and it is not the weak spot of any connection.
//!
//! # Failure
//! Of what cannot be read, or does not fit, the last good state stays in force,
//! pair by pair; the caller says so. Clients' CAs that were never good let
//! nothing new come in force at all.

mod clients;
mod facts;
mod pair;
mod tenants;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    CipherSuite, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoClientAuth, NoServerSessionStorage, VerifierBuilderError},
};

use clients::Clients;
use tenants::Shown;

pub use facts::PeerCertificate;
pub(super) use tenants::Tenancy;

use crate::{policy::compile::TlsSettings, telemetry::Metrics};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file holds no PEM of the wanted kind.
    #[error("{path} holds no {wanted} in PEM form")]
    Missing {
        /// The file.
        path: String,
        /// `certificate`, `private key` or `revocation list`.
        wanted: &'static str,
    },
    /// The key is unusable, or belongs to another certificate.
    #[error("the private key {path} does not fit the certificate")]
    Mismatch {
        /// The file of the key.
        path: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The policy names nobody, and neither does the certificate.
    #[error("{path} names no host, and `names` is not written")]
    Nameless {
        /// The file.
        path: String,
    },
    /// What clients show cannot be verified with these files.
    #[error("the CAs or revocation lists of clients cannot be used")]
    Clients(#[source] VerifierBuilderError),
    /// The provider offers no usable protocol version.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// What is offered, in the order in which it is preferred.
const ALPN: [&[u8]; 3] = [b"h2", b"http/1.1", b"http/1.0"];

/// What a listener shows and asks for.
#[derive(Debug)]
pub struct Tls {
    config: ArcSwap<ServerConfig>,
    shown: Arc<Shown>,
    /// The clients' CAs that `config` was made with.
    clients: Mutex<Option<Clients>>,
    metrics: Arc<Metrics>,
}

/// A configuration, and the CAs of clients that it was made with.
type Made = (Arc<ServerConfig>, Option<Clients>);

/// What is ready to come in force.
#[derive(Debug)]
pub struct Prepared {
    tenants: Arc<tenants::Tenants>,
    /// The configuration and what it was made with, if that changed.
    config: Option<Made>,
    /// Whether the certificates are others than those in force.
    pub has_new_certificates: bool,
    /// What could not be taken in; the last good state stands in for it.
    pub problems: Vec<TlsError>,
}

impl Prepared {
    /// Whether clients are verified by other files than those in force.
    pub fn has_new_clients(&self) -> bool {
        self.config.is_some()
    }
}

impl Tls {
    /// Reads everything; all of it must be usable.
    ///
    /// # Errors
    /// When a file is missing or wrong, or a pair does not fit.
    pub fn load(wanted: &TlsSettings, metrics: Arc<Metrics>) -> Result<Self, TlsError> {
        let (tenants, problems) = tenants::Tenants::read(wanted, None);
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem);
        }
        let clients = wanted.clients.as_ref().map(Clients::read).transpose()?;
        let shown = Arc::new(Shown::new(tenants));
        let config = server_config(&shown, clients.as_ref())?;
        shown.publish(&metrics);
        let clients = Mutex::new(clients);
        Ok(Self { config: ArcSwap::new(config), shown, clients, metrics })
    }

    /// Reads what the files hold now.
    ///
    /// # Errors
    /// When the CAs of clients cannot be used and were never good: then no part of `wanted` may
    /// come in force.
    pub fn prepare(&self, wanted: &TlsSettings) -> Result<Prepared, TlsError> {
        let running = self.shown.tenants();
        let (tenants, mut problems) = tenants::Tenants::read(wanted, Some(&running));
        let config = match &wanted.clients {
            None => self.changed(None)?,
            Some(settings) => match Clients::read(settings) {
                Ok(clients) => self.changed(Some(clients))?,
                Err(problem) if self.has_clients_of(settings) => {
                    problems.push(problem);
                    None
                }
                Err(problem) => return Err(problem),
            },
        };
        let has_new_certificates = !tenants.shows_the_same_as(&running);
        Ok(Prepared { tenants: Arc::new(tenants), config, has_new_certificates, problems })
    }

    /// Puts it in force for the handshakes that begin from now on.
    pub fn install(&self, prepared: Prepared) {
        self.shown.replace(prepared.tenants);
        self.shown.publish(&self.metrics);
        if let Some((config, clients)) = prepared.config {
            *self.clients.lock().unwrap_or_else(PoisonError::into_inner) = clients;
            self.config.store(config);
        }
    }

    /// The configuration for one handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// Whose certificate a handshake for `name` was shown; `None` when there is only one tenant.
    pub(super) fn tenancy(&self, name: Option<&str>) -> Option<Tenancy> {
        Tenancy::of(self.shown.tenants(), name)
    }

    fn has_clients_of(&self, settings: &crate::policy::compile::ClientSettings) -> bool {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.as_ref().is_some_and(|clients| clients.settings() == settings)
    }

    /// A configuration with these CAs, unless it is in force already.
    // A new one has new ticket keys: nobody resumes what an old list of CAs let in.
    fn changed(&self, clients: Option<Clients>) -> Result<Option<Made>, TlsError> {
        let same = *self.clients.lock().unwrap_or_else(PoisonError::into_inner) == clients;
        if same {
            return Ok(None);
        }
        Ok(Some((server_config(&self.shown, clients.as_ref())?, clients)))
    }
}

/// Reads a file of PEM.
fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let named = |source| TlsError::Read { path: path.display().to_string(), source };
    std::fs::read(path).map_err(named)
}

fn missing(path: &Path, wanted: &'static str) -> TlsError {
    TlsError::Missing { path: path.display().to_string(), wanted }
}

fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let preferred = |suite| {
        matches!(
            suite,
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    };
    provider.cipher_suites.sort_by_key(|suite| !preferred(suite.suite()));
    provider
}

/// A configuration that shows the certificates in force, asks clients for theirs if it must, and
/// offers HTTP/2 and HTTP/1.1.
fn server_config(
    shown: &Arc<Shown>,
    clients: Option<&Clients>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(provider());
    let verifier = match clients {
        Some(clients) => clients.verifier(&provider)?,
        None => Arc::new(NoClientAuth),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(shown) as _);
    config.ignore_client_order = true;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    // Tickets hold the session on the client's side: resumption without memory here.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// What the certificate that a client showed says, unless it has ended.
pub(super) fn current(shown: &[u8]) -> Option<PeerCertificate> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = i64::try_from(now.as_secs()).ok()?;
    facts::of(shown).filter(|certificate| now <= certificate.expires)
}
