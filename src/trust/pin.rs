//! Pinned keys: a server must be the one that the operator knows, whoever
//! vouches for it.
//!
//! A pin is the SHA-256 of a certificate or of its public key (the form of
//! RFC 7469, `sha256/…` in base64). It is compared with the server's own
//! certificate only: others that a server shows need not be part of the chain
//! that was verified. Pins come on top of the ordinary verification.

use std::{fmt, str::FromStr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a certificate or of its public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin([u8; 32]);

/// A text is no pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no pin")]
pub struct NoPin;

impl FromStr for Pin {
    type Err = NoPin;

    fn from_str(text: &str) -> Result<Self, NoPin> {
        let hash = text.strip_prefix("sha256/").ok_or(NoPin)?;
        let bytes = STANDARD.decode(hash).map_err(|_| NoPin)?;
        Ok(Self(bytes.try_into().map_err(|_| NoPin)?))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", STANDARD.encode(self.0))
    }
}

impl Pin {
    fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// What a handshake fails with when no pin fits; nothing else of ours does.
const UNPINNED: Error = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);

/// Whether a handshake failed because no pin fits.
pub fn is_unpinned(error: &Error) -> bool {
    *error == UNPINNED
}

/// Verifies a server as usual, and then its pin.
#[derive(Debug)]
pub(super) struct Pinned {
    usual: Arc<WebPkiServerVerifier>,
    pins: Vec<Pin>,
}

impl Pinned {
    /// Demands one of `pins` beside what `usual` demands.
    pub(super) fn new(usual: Arc<WebPkiServerVerifier>, pins: Vec<Pin>) -> Self {
        Self { usual, pins }
    }

    fn knows(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        Ok([Pin::of(certificate), Pin::of(&key)].iter().any(|pin| self.pins.contains(pin)))
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        if self.knows(end_entity)? {
            return Ok(verified);
        }
        Err(UNPINNED)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_the_base64_of_32_bytes() {
        let text = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        assert_eq!(text.parse::<Pin>().expect("a pin").to_string(), text);
        for wrong in [
            "",
            "sha256/",
            "sha256/AAAA",
            "sha1/AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(wrong.parse::<Pin>(), Err(NoPin), "{wrong}");
        }
    }
}
