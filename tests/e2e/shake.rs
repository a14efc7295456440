//! TLS handshakes as the test wants them, and bytes over what comes of them.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{authority::Issued, harness::soon};

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// A handshake in the making.
#[derive(Clone)]
pub struct Shake {
    roots: RootCertStore,
    name: String,
    protocols: Vec<Vec<u8>>,
    pub provider: CryptoProvider,
    pub versions: &'static [&'static SupportedProtocolVersion],
    shown: Option<Arc<Issued>>,
}

impl Shake {
    /// For `localhost`, trusting the CA in this file.
    pub fn trusting(ca: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(ca).unwrap() {
            roots.add(root.unwrap()).unwrap();
        }
        Self {
            roots,
            name: "localhost".into(),
            protocols: vec![b"http/1.1".to_vec()],
            provider: aws_lc_rs::default_provider(),
            versions: BOTH,
            shown: None,
        }
    }

    /// For another name.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub fn offering(mut self, protocols: &[&str]) -> Self {
        self.protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Shows this certificate when asked for one.
    pub fn showing(mut self, issued: &Arc<Issued>) -> Self {
        self.shown = Some(Arc::clone(issued));
        self
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(Arc::new(self.provider.clone()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.shown {
            None => config.with_no_client_auth(),
            Some(issued) => {
                let (certificate, key) = issued.der();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.protocols);
        Arc::new(config)
    }

    pub fn name(&self) -> ServerName<'static> {
        ServerName::try_from(self.name.clone()).unwrap()
    }

    pub async fn to(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.over(TcpStream::connect(address).await?).await
    }

    pub async fn over<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shaking = TlsConnector::from(self.config()).connect(self.name(), stream);
        soon("the handshake", shaking).await
    }

    /// The answer to a GET for this host on a connection of its own; empty when there is none.
    pub async fn get(&self, address: SocketAddr, host: &str) -> String {
        match self.to(address).await {
            Ok(mut stream) => get(&mut stream, host).await,
            Err(_) => String::new(),
        }
    }
}

/// The answer to a GET, whole.
pub async fn get<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, host: &str) -> String {
    ask(stream, &format!("GET /x HTTP/1.1\r\nhost: {host}\r\n\r\n")).await
}

/// Sends these bytes and reads one whole answer, or what comes until the other side closes.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> String {
    // Whoever is cut off in the middle sees it in the answer.
    drop(stream.write_all(request.as_bytes()).await);
    drop(stream.flush().await);
    let mut got = Vec::new();
    soon("an answer", async {
        let mut piece = [0_u8; 4096];
        while !crate::raw::is_whole(&got) {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(read) => got.extend_from_slice(&piece[..read]),
            }
        }
    })
    .await;
    String::from_utf8_lossy(&got).into_owned()
}

/// The status of an answer; 0 when there is none.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}
