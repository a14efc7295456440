//! Reads a certificate and its key so that they belong together.
//!
//! Whoever rotates a pair writes two files, or swaps the directory that both are
//! in, as Kubernetes does. In between they disagree, so both paths are resolved
//! first, must lead to one directory if they were written in one, must fit, and
//! are read again when they do not.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::{crypto::aws_lc_rs, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{TlsError, missing, read};
use crate::policy::compile::PairSettings;

/// How often a pair is read before its files are taken to disagree for good.
const TRIES: u32 = 4;
/// The pause between, in which a writer finishes its second file.
const PAUSE: Duration = Duration::from_millis(15);

/// Reads the pair, again while its files disagree.
///
/// # Errors
/// The last problem, when a file is missing or wrong, or the two do not fit.
pub(super) fn read_pair(settings: &PairSettings) -> Result<CertifiedKey, TlsError> {
    let mut tries = 1;
    loop {
        match try_pair(&settings.certificate, &settings.key, tries == TRIES) {
            Ok(Some(pair)) => return Ok(pair),
            Err(problem) if tries == TRIES => return Err(problem),
            _ => std::thread::sleep(PAUSE),
        }
        tries += 1;
    }
}

/// One try; `None` when the directory was swapped meanwhile, which the last try lets pass:
/// the two paths may lead apart by intention.
fn try_pair(chain: &Path, key: &Path, is_last: bool) -> Result<Option<CertifiedKey>, TlsError> {
    let places = (resolved(chain)?, resolved(key)?);
    let apart = chain.parent() == key.parent() && places.0.parent() != places.1.parent();
    let pair = parse(chain, &places.0, key, &places.1)?;
    let swapped = (resolved(chain)?, resolved(key)?) != places;
    Ok((is_last || !(apart || swapped)).then_some(pair))
}

fn resolved(path: &Path) -> Result<PathBuf, TlsError> {
    let named = |source| TlsError::Read { path: path.display().to_string(), source };
    fs::canonicalize(path).map_err(named)
}

fn parse(
    chain: &Path,
    chain_at: &Path,
    key: &Path,
    key_at: &Path,
) -> Result<CertifiedKey, TlsError> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&read(chain_at)?)
            .collect::<Result<_, _>>()
            .map_err(|_| missing(chain, "certificate"))?;
    if certificates.is_empty() {
        return Err(missing(chain, "certificate"));
    }
    let der =
        PrivateKeyDer::from_pem_slice(&read(key_at)?).map_err(|_| missing(key, "private key"))?;
    let mismatch = |source| TlsError::Mismatch { path: key.display().to_string(), source };
    // `from_der` checks that the key belongs to the certificate.
    CertifiedKey::from_der(certificates, der, &aws_lc_rs::default_provider()).map_err(mismatch)
}
