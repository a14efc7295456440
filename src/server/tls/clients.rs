//! The CAs that clients' certificates must come from, and what they revoked.

use std::sync::Arc;

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};

use super::{TlsError, missing, read};
use crate::policy::compile::ClientSettings;

/// What the files held when they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clients {
    settings: ClientSettings,
    roots: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl Clients {
    /// Reads the CAs, and the revocation lists if there are any.
    pub(super) fn read(settings: &ClientSettings) -> Result<Self, TlsError> {
        let wanted = "certificate";
        let roots: Vec<_> = CertificateDer::pem_slice_iter(&read(&settings.ca)?)
            .collect::<Result<_, _>>()
            .map_err(|_| missing(&settings.ca, wanted))?;
        if roots.is_empty() {
            return Err(missing(&settings.ca, wanted));
        }
        let revoked = match &settings.crl {
            None => Vec::new(),
            Some(path) => {
                let wanted = "revocation list";
                let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&read(path)?)
                    .collect::<Result<_, _>>()
                    .map_err(|_| missing(path, wanted))?;
                if lists.is_empty() {
                    return Err(missing(path, wanted));
                }
                lists
            }
        };
        let clients = Self { settings: settings.clone(), roots, revoked };
        // Says now what would else be said at the first handshake.
        clients.verifier(&Arc::new(super::provider()))?;
        Ok(clients)
    }

    pub(super) fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// What verifies a client's chain. With revocation lists every CA of a chain must have one
    /// that has not run out: what is not known to be good is refused.
    pub(super) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(self.roots.iter().cloned());
        if added == 0 {
            return Err(missing(&self.settings.ca, "certificate"));
        }
        let provider = Arc::clone(provider);
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if !self.revoked.is_empty() {
            builder = builder.with_crls(self.revoked.iter().cloned());
            builder = builder.enforce_revocation_expiration();
        }
        if !self.settings.required {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map_err(TlsError::Clients)
    }
}
