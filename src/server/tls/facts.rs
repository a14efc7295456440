//! What a certificate says of its holder.
//!
//! Names are taken whole or not at all: one with a NUL or another control
//! character in it would be read shorter by somebody else, so it names nobody.

use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

/// The longest name that is taken, in bytes.
const MAX_NAME: usize = 256;

/// What a verified certificate says of its holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The subject's common name, if it has exactly one.
    pub common_name: Option<String>,
    /// DNS names, in the order of the certificate.
    pub dns: Vec<String>,
    /// URIs, such as a SPIFFE id.
    pub uris: Vec<String>,
    /// E-mail addresses.
    pub emails: Vec<String>,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// When it ends, in seconds since the Unix epoch.
    pub expires: i64,
}

/// Reads a certificate in DER form; `None` when it is none.
pub(in crate::server) fn of(der: &[u8]) -> Option<PeerCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut fingerprint = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    fingerprint.copy_from_slice(digest.as_ref());
    let mut found = PeerCertificate {
        common_name: common_name(&certificate),
        dns: Vec::new(),
        uris: Vec::new(),
        emails: Vec::new(),
        fingerprint,
        expires: certificate.validity().not_after.timestamp(),
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        let (list, text) = match name {
            GeneralName::DNSName(text) => (&mut found.dns, *text),
            GeneralName::URI(text) => (&mut found.uris, *text),
            GeneralName::RFC822Name(text) => (&mut found.emails, *text),
            _ => continue,
        };
        if is_sound(text) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            list.push(text.to_owned());
        }
    }
    Some(found)
}

/// Two common names would let each reader choose its own.
fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut names = certificate.subject().iter_common_name();
    let (name, None) = (names.next()?, names.next()) else { return None };
    name.as_str().ok().filter(|text| is_sound(text)).map(str::to_owned)
}

fn is_sound(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}
