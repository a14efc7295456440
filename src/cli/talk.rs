//! Talks to the operators' listener of a running proxy.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;

use super::Failure;
use crate::policy::{compile::AdminSettings, load::Loader};

/// Most of an answer that is read.
const MAX_ANSWER: usize = 1 << 20;

/// Where the operators' listener is.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// The running proxy's policy: it names the operators' address and token.
    #[arg(long, default_value = "policy.toml", value_name = "FILE")]
    policy: PathBuf,
    /// The operators' address, instead of the policy's.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Longest wait for the answer, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: Option<u64>,
}

impl Where {
    /// Sends one request; returns status and body. Waits `patience` seconds unless told otherwise.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        patience: u64,
    ) -> Result<(StatusCode, String), Failure> {
        let (address, token) = self.target();
        ask_at(address, token, method, path, self.timeout.unwrap_or(patience), MAX_ANSWER)
    }

    fn target(&self) -> (SocketAddr, Option<String>) {
        // A probe must not fail because somebody is editing the policy: what can be read of it is.
        let AdminSettings { mut address, token, .. } = Loader::new(&self.policy).admin();
        address = self.admin.unwrap_or(address);
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        (address, token.map(|token| token.expose().to_owned()))
    }
}

/// Sends one request to the operators' listener at `address`, and reads at most `most` bytes of the
/// answer. Without a token that of the environment is shown.
pub(super) fn ask_at(
    address: SocketAddr,
    token: Option<String>,
    method: Method,
    path: &str,
    patience: u64,
    most: usize,
) -> Result<(StatusCode, String), Failure> {
    let token = token.or_else(|| std::env::var("WEIR_ADMIN_TOKEN").ok());
    let token = token.filter(|token| !token.is_empty());
    let token = token.map(|token| bearer(&token)).transpose()?;
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "weir");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, token);
    }
    let request = request.body(Empty::new())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = exchange(address, request, most);
    let deadline = Duration::from_secs(patience);
    runtime
        .block_on(async { tokio::time::timeout(deadline, asked).await })
        .map_err(|_| format!("{address} does not answer within {patience} s"))?
}

fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn exchange(
    address: SocketAddr,
    request: Request<Empty<Bytes>>,
    most: usize,
) -> Result<(StatusCode, String), Failure> {
    let tcp = tokio::net::TcpStream::connect(address)
        .await
        .map_err(|error| format!("no proxy answers at {address}: {error}"))?;
    // Whatever is there need not be a proxy.
    let no_answer = |error| format!("{address} gives no answer of HTTP: {error}");
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await;
    let (mut sender, connection) = handshake.map_err(no_answer)?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(no_answer)?;
    let status = response.status();
    let body =
        Limited::new(response.into_body(), most).collect().await.map_err(|error| {
            match error.is::<LengthLimitError>() {
                true => format!("{address} answers with more than {most} bytes"),
                false => format!("{address} breaks off in its answer: {error}"),
            }
        })?;
    let body = body.to_bytes();
    drop(sender);
    driver.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
