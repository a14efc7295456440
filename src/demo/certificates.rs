//! Certificates for development: a CA of its own and one server certificate.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

/// How long they last, in days: browsers refuse server certificates of more than 398.
const DAYS: i64 = 397;

/// Where the files are.
#[derive(Debug)]
pub struct Made {
    /// The CA's certificate, to be trusted by clients.
    pub ca: PathBuf,
    /// The server's certificate and the CA's behind it.
    pub certificate: PathBuf,
    /// The server's key, readable by its owner only.
    pub key: PathBuf,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be written.
    #[error("{path} cannot be written")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name is no host name or address, or the library fails.
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
}

/// Writes `ca.crt`, `server.crt` and `server.key` to `directory`, for localhost, 127.0.0.1, ::1
/// and `names`. The CA's key is thrown away: nothing else can be signed with it.
///
/// # Errors
/// When a file cannot be written or a name is wrong.
pub fn certificates(directory: &Path, names: &[String]) -> Result<Made, CertificateError> {
    let made = Made {
        ca: directory.join("ca.crt"),
        certificate: directory.join("server.crt"),
        key: directory.join("server.key"),
    };
    fs::create_dir_all(directory)
        .map_err(|source| CertificateError::Write { path: directory.to_owned(), source })?;
    let ca_key = KeyPair::generate()?;
    let ca_params = ca()?;
    let ca = ca_params.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca_params, ca_key);
    let key = KeyPair::generate()?;
    let server = server(names)?.signed_by(&key, &issuer)?;
    write(&made.ca, ca.pem().as_bytes(), 0o644)?;
    write(&made.certificate, (server.pem() + &ca.pem()).as_bytes(), 0o644)?;
    write(&made.key, key.serialize_pem().as_bytes(), 0o600)?;
    Ok(made)
}

fn ca() -> Result<CertificateParams, rcgen::Error> {
    let mut params = named("Weir development CA", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn server(names: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut all: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    all.extend_from_slice(names);
    let mut params = named("localhost", all)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(name: &str, hosts: Vec<String>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = time::OffsetDateTime::now_utc();
    // A little in the past, for machines whose clocks differ.
    params.not_before = now - time::Duration::hours(1);
    params.not_after = now + time::Duration::days(DAYS);
    Ok(params)
}

/// Writes beside and renames, so that a running server never reads half a file.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CertificateError> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let beside = path.with_extension("tmp");
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&beside)?;
        file.write_all(bytes)?;
        drop(file);
        fs::rename(&beside, path)
    };
    write().map_err(|source| CertificateError::Write { path: path.to_owned(), source })
}
