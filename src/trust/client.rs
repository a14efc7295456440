//! What Weir shows and demands as the client of a TLS connection.
//!
//! TLS 1.3 and 1.2 with ECDHE and AEAD suites only; sessions are resumed from
//! memory. The server's certificate is always verified.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    client::WebPkiServerVerifier,
    crypto::{CryptoProvider, aws_lc_rs},
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{
    TrustError, load,
    pin::{Pin, Pinned},
};

/// Sessions kept for resumption, over all servers of one configuration.
const SESSIONS: usize = 1_024;

/// A certificate of ours and its key.
#[derive(Clone, Debug)]
pub struct ClientCertificate(Arc<CertifiedKey>);

impl ClientCertificate {
    /// Reads a chain and its key, both PEM.
    ///
    /// # Errors
    /// When a file cannot be read or holds nothing of its kind, or the two do not fit.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, TrustError> {
        let unusable =
            |path: &Path, wanted| TrustError::Missing { path: path.display().to_string(), wanted };
        let certificates: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&load(chain)?)
                .collect::<Result<_, _>>()
                .map_err(|_| unusable(chain, "certificate"))?;
        if certificates.is_empty() {
            return Err(unusable(chain, "certificate"));
        }
        let der =
            PrivateKeyDer::from_pem_slice(&load(key)?).map_err(|_| unusable(key, "private key"))?;
        // `from_der` checks that the key belongs to the certificate.
        let pair = CertifiedKey::from_der(certificates, der, &aws_lc_rs::default_provider());
        Ok(Self(Arc::new(pair.map_err(TrustError::Mismatch)?)))
    }
}

/// The configuration of a client that believes `roots`, and one of `pins` if there are any, shows
/// `own` where it is asked for one, and offers `alpn` in this order.
///
/// # Errors
/// When the provider cannot do TLS 1.2 and 1.3, or `roots` is empty.
pub fn client_config(
    roots: Arc<RootCertStore>,
    own: Option<ClientCertificate>,
    pins: Vec<Pin>,
    alpn: &[&str],
) -> Result<Arc<ClientConfig>, TrustError> {
    let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
    let usual = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let usual = usual.map_err(|error| TrustError::Setup(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| TrustError::Setup(error.to_string()))?;
    let builder = match pins.is_empty() {
        true => builder.with_webpki_verifier(usual),
        false => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Pinned::new(usual, pins)))
        }
    };
    let mut config = match own {
        Some(ClientCertificate(pair)) => builder.with_client_cert_resolver(Arc::new(
            SingleCertAndKey::from(CertifiedKey::clone(&pair)),
        )),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = rustls::client::Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}
