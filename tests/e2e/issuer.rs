//! An issuer of tokens: keys made for the test, its JWK set, and a server that publishes it.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// The issuer that tests write into their policies.
pub const ISSUER: &str = "https://auth.example.com/";

/// A key that signs.
pub enum Key {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// A key with its name.
pub struct Signer {
    pub id: String,
    pub key: Key,
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970, `after` seconds from now.
pub fn seconds(after: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + after
}

/// What a good token says.
pub fn claims(subject: &str, tier: &str) -> Value {
    json!({"iss": ISSUER, "sub": subject, "tier": tier, "exp": seconds(600), "aud": "api"})
}

/// The part of a token that is signed.
pub fn input(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
}

/// A JWK set.
pub fn set(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

impl Signer {
    pub fn ed25519(id: &str) -> Self {
        let key = Key::Ed25519(Ed25519KeyPair::generate().unwrap());
        Self { id: id.to_owned(), key }
    }

    pub fn p256(id: &str) -> Self {
        let key = Key::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
        Self { id: id.to_owned(), key }
    }

    pub fn rsa(id: &str) -> Self {
        let key = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        Self { id: id.to_owned(), key: Key::Rsa(Box::new(key)) }
    }

    pub fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Ed25519(_) => "EdDSA",
            Key::P256(_) => "ES256",
            Key::Rsa(_) => "RS256",
        }
    }

    pub fn public(&self) -> Vec<u8> {
        match &self.key {
            Key::Ed25519(key) => key.public_key().as_ref().to_vec(),
            Key::P256(key) => key.public_key().as_ref().to_vec(),
            Key::Rsa(key) => key.public_key().as_ref().to_vec(),
        }
    }

    pub fn jwk(&self) -> Value {
        let (id, public) = (&self.id, self.public());
        match self.key {
            Key::Ed25519(_) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "x": encode(public)})
            }
            Key::P256(_) => json!({"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256",
                "x": encode(&public[1..33]), "y": encode(&public[33..])}),
            // A sequence of two integers (RFC 8017, A.1.1): 256 octets behind a zero, then 65537.
            Key::Rsa(_) => json!({"kty": "RSA", "kid": id, "n": encode(&public[9..265]),
                "e": encode(&public[267..])}),
        }
    }

    /// A good token.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": self.id, "typ": "JWT"});
        self.sign(&header, claims)
    }

    /// A token with this header, whatever it says.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let (input, random) = (input(header, claims), SystemRandom::new());
        let signature = match &self.key {
            Key::Ed25519(key) => key.sign(input.as_bytes()).as_ref().to_vec(),
            Key::P256(key) => key.sign(&random, input.as_bytes()).unwrap().as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, input.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{input}.{}", encode(signature))
    }
}

/// Publishes a JWK set; ends when dropped.
pub struct Publisher {
    pub port: u16,
    set: Arc<Mutex<String>>,
    looks: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Publisher {
    /// Over plain HTTP, on this port; 0 takes a free one.
    pub async fn plain(port: u16, set: &str) -> Self {
        Self::start(port, set, None).await
    }

    /// Over TLS, with the certificate of `home`.
    pub async fn tls(home: &Path, set: &str) -> Self {
        let chain = CertificateDer::pem_file_iter(home.join("certs/server.crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(home.join("certs/server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        Self::start(0, set, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(port: u16, set: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let set = Arc::new(Mutex::new(set.to_owned()));
        let looks = Arc::new(AtomicUsize::new(0));
        let (served, counted) = (Arc::clone(&set), Arc::clone(&looks));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Relaxed);
                let set = served.lock().unwrap().clone();
                match &tls {
                    None => publish(stream, &set).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            publish(stream, &set).await;
                        }
                    }
                }
            }
        });
        Self { port, set, looks, task }
    }

    /// Publishes another set from now on.
    pub fn publish(&self, set: &str) {
        set.clone_into(&mut self.set.lock().unwrap());
    }

    /// How often somebody looked.
    pub fn looks(&self) -> usize {
        self.looks.load(Relaxed)
    }
}

async fn publish(mut stream: impl AsyncRead + AsyncWrite + Unpin, set: &str) {
    let mut request = [0; 4096];
    // Whoever leaves in the middle of it has to ask again.
    if stream.read(&mut request).await.is_ok() {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", set.len());
        drop(stream.write_all(head.as_bytes()).await);
        drop(stream.write_all(set.as_bytes()).await);
        drop(stream.shutdown().await);
    }
}
