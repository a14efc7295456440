//! The issuers' keys that a policy names: files read now, URLs to be followed.
//!
//! # Failure
//! A file that is broken, or has keys of which none is usable, is an error. One
//! that is not there is a warning, because an issuer may deliver it later: until
//! then its tokens are refused. A file that was there and is gone is an error
//! again, so that a running policy keeps the keys that it has.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    diagnostic::{Diagnostic, Report},
    file::{IdentityFile, Jwks, JwtFile, PolicyFile},
    jwt::{IssuerKeys, KeySet, KeysUrl, Remotes},
};
use crate::trust;

/// How many ignored keys of one set are named.
const MAX_NAMED: usize = 8;

/// What is remembered between two readings of a policy.
#[derive(Clone, Debug, Default)]
pub(super) struct IssuerFiles {
    remotes: Remotes,
    seen: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// Where the keys of a policy are read from, and what was read.
pub(super) struct Reading<'a> {
    /// The directory of the policy.
    pub(super) directory: &'a Path,
    /// Reads a file whole, within a bound.
    pub(super) read: fn(&Path) -> io::Result<Vec<u8>>,
    /// Where problems go.
    pub(super) report: &'a mut Report,
    /// Every file that was read or would have been.
    pub(super) files: &'a mut Vec<PathBuf>,
    /// The content of all of them.
    pub(super) content: &'a mut Vec<u8>,
}

impl IssuerFiles {
    /// The keys of each `jwt` source, in the order of the file.
    pub(super) fn keys(&self, file: &PolicyFile, reading: &mut Reading<'_>) -> Vec<IssuerKeys> {
        let jwt = file.identity.iter().filter_map(|source| match &source.value {
            IdentityFile::Jwt(jwt) => Some(jwt),
            _ => None,
        });
        jwt.map(|jwt| match &jwt.jwks.value {
            Jwks::File(path) => IssuerKeys::Fixed(Arc::new(self.file(jwt, path, reading))),
            Jwks::Url(url) => {
                let ca = reading.ca(jwt);
                let place = KeysUrl { url: url.clone(), ca, refresh: jwt.refresh.value };
                IssuerKeys::Remote(self.remotes.at(place))
            }
        })
        .collect()
    }

    fn file(&self, jwt: &JwtFile, path: &Path, reading: &mut Reading<'_>) -> KeySet {
        let path = reading.directory.join(path);
        let bytes = (reading.read)(&path);
        reading.files.push(path.clone());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match bytes {
            Ok(bytes) => {
                reading.content.extend_from_slice(&bytes);
                seen.insert(path);
                reading.parse(jwt, &bytes)
            }
            Err(error) => {
                reading.report.push(missing(jwt, &error, seen.contains(&path)));
                KeySet::default()
            }
        }
    }
}

impl Reading<'_> {
    fn parse(&mut self, jwt: &JwtFile, bytes: &[u8]) -> KeySet {
        let problem = |text: String| Diagnostic::warning(text).at(jwt.jwks.span, "");
        match KeySet::parse(bytes) {
            Ok((keys, ignored)) => {
                let named = ignored.iter().take(MAX_NAMED);
                self.report.extend(named.map(|key| problem(key.to_string())));
                if keys.is_empty() {
                    let warning = problem("the JWK set is empty: every token is refused".into());
                    self.report.push(warning.help("put the issuer's public keys into it"));
                }
                keys
            }
            Err(error) => {
                let error = Diagnostic::error(error.to_string()).at(jwt.jwks.span, "");
                let help =
                    "write the issuer's JWK set: RSA keys from 2048 bits, P-256, P-384 or Ed25519";
                self.report.push(error.help(help));
                KeySet::default()
            }
        }
    }

    /// The certificates to trust, found usable.
    fn ca(&mut self, jwt: &JwtFile) -> Option<PathBuf> {
        let written = jwt.ca.as_ref()?;
        let path = self.directory.join(&written.value);
        self.files.push(path.clone());
        self.content.extend((self.read)(&path).unwrap_or_default());
        if let Err(error) = trust::roots(Some(&path)) {
            let error = Diagnostic::error(error.to_string()).at(written.span, "");
            self.report.push(error.help("write a PEM file of the certificates to trust there"));
        }
        Some(path)
    }
}

fn missing(jwt: &JwtFile, error: &io::Error, was_there: bool) -> Diagnostic {
    let why = match error.kind() {
        io::ErrorKind::NotFound if was_there => "this JWK set is not there any more".to_owned(),
        io::ErrorKind::NotFound => "this JWK set is not there: every token is refused".to_owned(),
        _ => format!("this JWK set cannot be read: {error}"),
    };
    let gone_at_first = error.kind() == io::ErrorKind::NotFound && !was_there;
    let make = if gone_at_first { Diagnostic::warning } else { Diagnostic::error };
    let help = "save the issuer's public keys there, or write the URL at which it publishes them";
    make(why).at(jwt.jwks.span, "").help(help)
}
