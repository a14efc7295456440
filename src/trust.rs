//! Whom Weir believes when it is the client of a TLS connection.
//!
//! A file of the operator's choice is trusted alone; without one the system's
//! own certificates are, and where the system has none (an image `FROM scratch`)
//! Mozilla's list, which is built in.
//!
//! # Failure
//! A file that cannot be read, or holds no certificate that can anchor a chain,
//! is an error: falling back to the public roots would trust more than was asked
//! for. System certificates that cannot be used are passed over.
//!
//! # Limits
//! [`MAX_FILE`]. Read once: a change of the file is the caller's to notice.

mod client;
mod pin;

use std::{fs, io, path::Path, sync::Arc};

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject};

pub use client::{ClientCertificate, client_config};
pub use pin::{NoPin, Pin, is_unpinned};

/// The largest file of certificates, in bytes; a system's whole list has about 200 KiB.
pub const MAX_FILE: u64 = 4 << 20;

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is larger than [`MAX_FILE`].
    #[error("{path} is larger than a list of certificates can be")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// The file holds no PEM of the wanted kind.
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
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
    /// The file has no certificate, or one that cannot be used.
    #[error("{path} holds no certificate in PEM form that can be trusted")]
    Unusable {
        /// The file.
        path: String,
    },
}

impl TrustError {
    /// The file that is wrong, if it is one file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. }
            | Self::TooLarge { path }
            | Self::Unusable { path }
            | Self::Missing { path, .. } => Some(Path::new(path)),
            Self::Mismatch(_) | Self::Setup(_) => None,
        }
    }
}

/// The certificates of `ca` alone, PEM; without it the system's, or else the built-in ones.
///
/// Reads files: not for the request path. `SSL_CERT_FILE` and `SSL_CERT_DIR` say where the
/// system's certificates are, if not at the usual places.
///
/// # Errors
/// When `ca` cannot be read, or has a certificate that cannot be used, or has none.
pub fn roots(ca: Option<&Path>) -> Result<Arc<RootCertStore>, TrustError> {
    let store = match ca {
        Some(path) => own(path)?,
        None => system(),
    };
    Ok(Arc::new(store))
}

fn own(path: &Path) -> Result<RootCertStore, TrustError> {
    let unusable = || TrustError::Unusable { path: path.display().to_string() };
    let bytes = load(path)?;
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|_| unusable())?;
        store.add(certificate).map_err(|_| unusable())?;
    }
    if store.is_empty() {
        return Err(unusable());
    }
    Ok(store)
}

/// A whole file of PEM.
fn load(path: &Path) -> Result<Vec<u8>, TrustError> {
    let shown = || path.display().to_string();
    let bytes = read(path).map_err(|source| TrustError::Read { path: shown(), source })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(TrustError::TooLarge { path: shown() });
    }
    Ok(bytes)
}

/// At most one byte more than may be.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn system() -> RootCertStore {
    let mut store = RootCertStore::empty();
    // Old lists hold certificates that no verifier takes any more; the others still count.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ca.pem");
        fs::write(&path, content).expect("a file");
        (directory, path)
    }

    #[test]
    fn without_a_file_there_is_always_somebody_to_trust() {
        assert!(!roots(None).expect("roots").is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_used_trusts_nobody_else() {
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for content in [&b""[..], b"no PEM", broken] {
            let (_directory, path) = file(content);
            assert!(matches!(roots(Some(&path)), Err(TrustError::Unusable { .. })));
        }
        let gone = roots(Some(Path::new("/nowhere/ca.pem")));
        assert!(matches!(gone, Err(TrustError::Read { .. })));
        let (_directory, path) = file(&vec![b'\n'; (MAX_FILE + 1) as usize]);
        assert!(matches!(roots(Some(&path)), Err(TrustError::TooLarge { .. })));
    }

    #[cfg(feature = "demo")]
    #[test]
    fn a_file_is_trusted_alone() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = ca.self_signed(&key).expect("a certificate").pem();
        let (_directory, path) = file(pem.as_bytes());
        assert_eq!(roots(Some(&path)).expect("roots").len(), 1);
    }
}
