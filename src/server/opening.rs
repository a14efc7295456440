//! What comes before HTTP on a connection: the PROXY header, the TLS handshake, or
//! without TLS the choice of the protocol.
//!
//! # Failure
//! Whatever is not as it should be is `None`, counted, and the connection is dropped.
//!
//! # Cancellation
//! Dropping a future ends the connection; the caller bounds them in time.

use std::{net::SocketAddr, sync::Arc};

use tokio_rustls::TlsAcceptor;

use super::{
    Peer, Tls,
    io::Paced,
    proxy_protocol::{self, Malformed},
    tls,
    transport::{Stream, Transport},
};
use crate::telemetry::{Handshake, Metrics, Protocol};

/// What an HTTP/2 client begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Opens connections.
pub(super) struct Opening<'a> {
    /// `None` for plaintext.
    pub(super) tls: Option<&'a Tls>,
    /// Where failures are counted.
    pub(super) metrics: &'a Arc<Metrics>,
    /// Bytes a second that a client must take; 0 is any.
    pub(super) rate: u64,
}

impl Opening<'_> {
    /// Makes a connection ready for HTTP.
    pub(super) async fn stream(
        &self,
        transport: Transport,
        address: SocketAddr,
    ) -> Option<(Stream, Peer)> {
        match self.tls {
            Some(tls) => self.handshake(tls, transport, address).await,
            None => self.plaintext(transport, address).await,
        }
    }

    fn paced(&self, transport: Transport, address: SocketAddr) -> Paced<Transport> {
        Paced::new(transport, self.rate, address, Arc::clone(self.metrics))
    }

    /// Reads the PROXY header and takes it off; the address that it gives, or the sender's own.
    pub(super) async fn introduced(
        &self,
        transport: &mut Transport,
        own: SocketAddr,
    ) -> Option<SocketAddr> {
        let mut header = Introduction { metrics: self.metrics, is_whole: false };
        loop {
            let found = proxy_protocol::parse(transport.look_ahead().await.ok()?);
            match found {
                Ok(None) => {}
                Ok(Some(found)) => {
                    header.is_whole = true;
                    transport.skip(found.length);
                    return Some(found.source.unwrap_or(own));
                }
                Err(Malformed) => return None,
            }
        }
    }

    async fn handshake(
        &self,
        tls: &Tls,
        transport: Transport,
        address: SocketAddr,
    ) -> Option<(Stream, Peer)> {
        let (metrics, paced) = (self.metrics, self.paced(transport, address));
        let Ok(stream) = TlsAcceptor::from(tls.config()).accept(paced).await else {
            metrics.handshake(Handshake::Failed);
            return None;
        };
        let (_, session) = stream.get_ref();
        let certificate = match session.peer_certificates().and_then(<[_]>::first) {
            // A resumed session may outlive the certificate that it began with.
            Some(shown) => match tls::current(shown) {
                Some(certificate) => Some(Arc::new(certificate)),
                None => {
                    metrics.handshake(Handshake::Failed);
                    return None;
                }
            },
            None => None,
        };
        metrics.handshake(match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => Handshake::Tls12,
            _ => Handshake::Tls13,
        });
        let protocol = match session.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let mut peer = Peer::new(address, protocol);
        peer.certificate = certificate;
        peer.is_secure = true;
        peer.tenancy = tls.tenancy(session.server_name());
        Some((Stream::Tls(stream), peer))
    }

    /// Without TLS the first bytes say which HTTP it is.
    async fn plaintext(
        &self,
        mut transport: Transport,
        address: SocketAddr,
    ) -> Option<(Stream, Peer)> {
        let protocol = loop {
            let ahead = transport.ahead();
            let seen = ahead.len().min(PREFACE.len());
            if ahead[..seen] != PREFACE[..seen] {
                break Protocol::Http1;
            }
            if seen == PREFACE.len() {
                break Protocol::Http2;
            }
            transport.look_ahead().await.ok()?;
        };
        let paced = self.paced(transport, address);
        Some((Stream::Plain(paced), Peer::new(address, protocol)))
    }
}

/// Counts a PROXY header that did not come whole, however the wait for it ends.
struct Introduction<'a> {
    metrics: &'a Metrics,
    is_whole: bool,
}

impl Drop for Introduction<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.metrics.proxy_protocol_errors.add(1);
        }
    }
}
