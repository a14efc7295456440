//! A certification authority of the test, and what it issues.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PublicKeyData as _, date_time_ymd,
};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};

/// A certificate and its key.
pub struct Issued {
    pub chain: String,
    pub key: String,
    /// DER of the public key with its algorithm.
    spki: Vec<u8>,
}

/// Who issues.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    /// The authority's own certificate, PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server's certificate for these names.
    pub fn server(&self, names: &[&str]) -> Issued {
        self.issue(params(names))
    }

    /// One that ended years ago.
    pub fn expired(&self, names: &[&str]) -> Issued {
        let mut params = params(names);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.issue(params)
    }

    /// A client's certificate.
    pub fn client(&self, name: &str) -> Issued {
        let mut params = params(&[name]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        let spki = key.subject_public_key_info();
        Issued { chain, key: key.serialize_pem(), spki }
    }

    /// What a server needs to demand certificates of this authority.
    pub fn demands(&self) -> Arc<dyn rustls::server::danger::ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap()
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

impl Issued {
    /// A certificate that vouches for itself.
    pub fn by_itself(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let chain = params(names).self_signed(&key).unwrap().pem();
        let spki = key.subject_public_key_info();
        Self { chain, key: key.serialize_pem(), spki }
    }

    /// The pin of the public key.
    pub fn key_pin(&self) -> String {
        pin(&self.spki)
    }

    /// The pin of the certificate.
    pub fn certificate_pin(&self) -> String {
        pin(&CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap())
    }

    /// A server that shows it and offers these protocols.
    pub fn config(&self, alpn: &[&str]) -> ServerConfig {
        self.demanding(alpn, Arc::new(rustls::server::NoClientAuth))
    }

    /// The same, which also wants to see a certificate.
    pub fn demanding(
        &self,
        alpn: &[&str],
        clients: Arc<dyn rustls::server::danger::ClientCertVerifier>,
    ) -> ServerConfig {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

fn pin(der: &[u8]) -> String {
    use base64::Engine as _;
    let hash = Sha256::digest(der);
    format!("sha256/{}", base64::engine::general_purpose::STANDARD.encode(hash))
}
