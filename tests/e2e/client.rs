//! A small client: HTTP/1.1 and HTTP/2 over TLS, plain HTTP for operators, and raw TLS.

use std::{
    convert::Infallible,
    fmt,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::HOST};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::harness::soon;

pub type Sent = UnsyncBoxBody<Bytes, Infallible>;

/// A body whose pieces the test hands over one by one; it ends when the sender is dropped.
pub struct Fed(pub mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// How to reach a listener.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    roots: Option<Arc<RootCertStore>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.address)
    }
}

impl Client {
    /// Over TLS, trusting the CA in `ca`.
    pub fn new(address: SocketAddr, ca: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        Self { address, roots: Some(Arc::new(roots)) }
    }

    /// Without TLS.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, roots: None }
    }

    pub fn get(&self, path: &str) -> Ask {
        self.ask(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Ask {
        self.ask(Method::POST, path).body(body)
    }

    pub fn ask(&self, method: Method, path: &str) -> Ask {
        let head = Request::builder().method(method).uri(path).body(()).unwrap();
        Ask { client: self.clone(), head, body: Full::default().boxed_unsync() }
    }

    /// A raw TLS connection that offers these protocols.
    pub async fn tls(&self, protocols: &[&str]) -> TlsStream<TcpStream> {
        self.try_tls(protocols).await.unwrap()
    }

    pub async fn try_tls(&self, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::clone(self.roots.as_ref().unwrap());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }

    /// One connection for many requests, HTTP/1.1.
    pub async fn h1(&self) -> Connection {
        if self.roots.is_none() {
            let tcp = TcpStream::connect(self.address).await.unwrap();
            return Connection::over_h1(TokioIo::new(tcp)).await;
        }
        Connection::over_h1(TokioIo::new(self.tls(&["http/1.1"]).await)).await
    }

    /// One connection for many requests, HTTP/2.
    pub async fn h2(&self) -> Connection {
        if self.roots.is_none() {
            let tcp = TcpStream::connect(self.address).await.unwrap();
            return Connection::over_h2(TokioIo::new(tcp)).await;
        }
        Connection::over_h2(TokioIo::new(self.tls(&["h2"]).await)).await
    }
}

impl Connection {
    /// HTTP/2 on a stream that is there already.
    pub async fn over_h2(
        io: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    ) -> Self {
        let builder = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake(io).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        Self { sender: Sender::H2(sender), driver }
    }
}

enum Sender {
    H1(http1::SendRequest<Sent>),
    H2(http2::SendRequest<Sent>),
}

/// An open connection; dropped, it is closed at once.
pub struct Connection {
    sender: Sender,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// HTTP/1.1 on a stream that is there already.
    pub async fn over_h1(
        io: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    ) -> Self {
        let (sender, connection) = http1::handshake(io).await.unwrap();
        let driver = tokio::spawn(async move { drop(connection.await) });
        Self { sender: Sender::H1(sender), driver }
    }

    async fn send(&mut self, mut request: Request<Sent>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::H1(sender) => {
                if !request.headers().contains_key(HOST) {
                    request.headers_mut().insert(HOST, "localhost".parse().unwrap());
                }
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::H2(sender) => {
                if request.uri().authority().is_none() {
                    let uri = format!("https://localhost{}", request.uri());
                    *request.uri_mut() = uri.parse().unwrap();
                }
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// The same HTTP/2 connection, for one more request at once.
    pub fn fork(&self) -> Self {
        let Sender::H2(sender) = &self.sender else { panic!("HTTP/1.1 has one request at a time") };
        Self { sender: Sender::H2(sender.clone()), driver: tokio::spawn(async {}) }
    }
}

/// A request in the making.
pub struct Ask {
    client: Client,
    head: Request<()>,
    body: Sent,
}

impl Ask {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: http::HeaderName = name.parse().unwrap();
        self.head.headers_mut().append(name, value.parse().unwrap());
        self
    }

    /// For this host, whatever the connection is for.
    pub fn at(mut self, host: &str) -> Self {
        let uri = format!("https://{host}{}", self.head.uri());
        *self.head.uri_mut() = uri.parse().unwrap();
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Full::new(body.into()).boxed_unsync();
        self
    }

    /// Fields behind the body.
    pub fn trailers(mut self, fields: &[(&str, &str)]) -> Self {
        let fields: HeaderMap = fields
            .iter()
            .map(|(name, value)| {
                (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())
            })
            .collect();
        self.body = self.body.with_trailers(async { Some(Ok(fields)) }).boxed_unsync();
        self
    }

    pub fn json(self, body: impl Into<Bytes>) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    /// A body that the test hands over piece by piece.
    pub fn fed(mut self) -> (Self, mpsc::Sender<Bytes>) {
        let (sender, receiver) = mpsc::channel(1);
        self.body = Fed(receiver).boxed_unsync();
        (self, sender)
    }

    fn request(self) -> (Client, Request<Sent>) {
        let (head, ()) = self.head.into_parts();
        (self.client, Request::from_parts(head, self.body))
    }

    /// The whole answer, on an HTTP/1.1 connection of its own.
    pub async fn send(self) -> Answer {
        let connection = &mut self.client.h1().await;
        self.on(connection).await
    }

    /// The whole answer, on an HTTP/2 connection of its own.
    pub async fn send_h2(self) -> Answer {
        let connection = &mut self.client.h2().await;
        self.on(connection).await
    }

    /// The whole answer, on this connection.
    pub async fn on(self, connection: &mut Connection) -> Answer {
        let head = self.open(connection).await;
        soon("the answer's body ends", head.whole()).await.expect("a whole answer")
    }

    /// The answer's head; the body is read piece by piece.
    pub async fn open(self, connection: &mut Connection) -> Streamed {
        self.try_open(connection).await.expect("an answer")
    }

    /// Asks an HTTP/2 connection to become something else (RFC 8441): the head and the bytes of the
    /// other protocol, or the status that refuses it; 0 when it may not even be asked.
    pub async fn switch(
        self,
        connection: &mut Connection,
        protocol: &'static str,
    ) -> Result<(HeaderMap, hyper::upgrade::Upgraded), u16> {
        let (_, mut request) = self.request();
        request.extensions_mut().insert(hyper::ext::Protocol::from_static(protocol));
        let asked = soon("an answer begins", connection.send(request)).await;
        let Ok(answer) = asked else { return Err(0) };
        if !answer.status().is_success() {
            return Err(answer.status().as_u16());
        }
        let head = answer.headers().clone();
        Ok((head, hyper::upgrade::on(answer).await.expect("bytes")))
    }

    pub async fn try_open(self, connection: &mut Connection) -> hyper::Result<Streamed> {
        let (_, request) = self.request();
        let answer = soon("an answer begins", connection.send(request)).await?;
        let (head, body) = answer.into_parts();
        Ok(Streamed { status: head.status, headers: head.headers, body })
    }
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub struct Streamed {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
}

impl Streamed {
    /// The next piece; `None` at a proper end.
    pub async fn next(&mut self) -> Option<hyper::Result<Bytes>> {
        loop {
            let frame = soon("the next piece comes", self.body.frame()).await?;
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) if data.is_empty() => {}
                Ok(Ok(data)) => return Some(Ok(data)),
                Ok(Err(_trailers)) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next piece as text.
    pub async fn text(&mut self) -> String {
        let piece = self.next().await.expect("another piece").expect("an unbroken body");
        String::from_utf8(piece.to_vec()).unwrap()
    }

    /// What is left of the body, and the fields behind it.
    pub async fn rest(self) -> hyper::Result<(Bytes, HeaderMap)> {
        let rest = self.body.collect().await?;
        let trailers = rest.trailers().cloned().unwrap_or_default();
        Ok((rest.to_bytes(), trailers))
    }

    pub async fn whole(self) -> hyper::Result<Answer> {
        let body = self.body.collect().await?.to_bytes();
        Ok(Answer { status: self.status, headers: self.headers, body })
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The status and error code of a refusal of ours.
    pub fn refusal(&self) -> (u16, String) {
        let code = self.json()["error_code"].as_str().unwrap_or_default().to_owned();
        (self.status.as_u16(), code)
    }
}
