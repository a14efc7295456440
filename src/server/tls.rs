//! TLS towards downstream: versions, suites, and certificates that can change.
//!
//! TLS 1.3 and 1.2 with ECDHE and AEAD suites only, no early data; the newest
//! hybrid key exchange stays on. AES-128-GCM is preferred over the client's
//! order: its hash is accelerated on current CPUs, which makes a handshake about
//! a seventh cheaper, and it is not the weak spot of any connection.
//!
//! # Failure
//! A new certificate that cannot be read, or whose key does not fit, leaves the
//! old pair in force; the caller says so.

use std::{fs, io, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    CipherSuite, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

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
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// The key is unusable, or belongs to another certificate.
    #[error("the private key does not fit the certificate")]
    Mismatch(#[source] rustls::Error),
    /// The provider offers no usable protocol version.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// The certificate in force.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<CertifiedKey>,
}

impl Certificates {
    /// Reads a chain and its key.
    ///
    /// # Errors
    /// When a file is missing or wrong, or the two do not fit.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self { current: ArcSwap::from_pointee(read_pair(chain, key)?) })
    }

    /// Puts the pair that the files hold now in force; `false` if it is in force already.
    ///
    /// # Errors
    /// As [`Certificates::load`]; the old pair then stays.
    pub fn reload(&self, chain: &Path, key: &Path) -> Result<bool, TlsError> {
        let pair = read_pair(chain, key)?;
        if pair.cert == self.current.load().cert {
            return Ok(false);
        }
        self.current.store(Arc::new(pair));
        Ok(true)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let named = |source| TlsError::Read { path: path.display().to_string(), source };
    fs::read(path).map_err(named)
}

fn read_pair(chain: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let missing =
        |path: &Path, wanted| TlsError::Missing { path: path.display().to_string(), wanted };
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(chain)?)
        .collect::<Result<_, _>>()
        .map_err(|_| missing(chain, "certificate"))?;
    if certificates.is_empty() {
        return Err(missing(chain, "certificate"));
    }
    let der =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| missing(key, "private key"))?;
    // `from_der` checks that the key belongs to the certificate.
    CertifiedKey::from_der(certificates, der, &provider()).map_err(TlsError::Mismatch)
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

/// The configuration of a listener that shows the certificate in force and offers `alpn`.
///
/// # Errors
/// When the provider cannot do TLS 1.2 and 1.3.
pub fn server_config(
    certificates: Arc<Certificates>,
    alpn: &[&str],
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.ignore_client_order = true;
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    // Tickets hold the session on the client's side: resumption without memory here.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}
