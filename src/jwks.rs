//! Follows the issuers' keys that live at URLs.
//!
//! One task for each set that the policy in force names: it fetches at once, then
//! at the policy's pace, and between when a token names a key that is not known.
//! Nothing here is on the request path; requests read what was fetched last.
//!
//! # Failure
//! A fetch that fails, or brings no usable set, leaves the last good one in
//! force. It is counted, logged once until it works again or fails differently,
//! and tried again after [`FIRST_PAUSE`], then twice as long, up to [`SPACING`].
//!
//! # Limits
//! [`DEADLINE`] a fetch, 256 KiB a set. Redirects are not followed: the policy
//! says where keys come from, nobody else.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::TlsConnector;

use crate::{
    policy::{
        handle::PolicyHandle,
        jwt::{KeySet, KeySetError, KeysUrl, MAX_SET, RemoteKeys, SPACING},
    },
    telemetry::Metrics,
    trust::{self, TrustError},
};

/// Longest time of one fetch, from the name to the last byte.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long the first failure waits for another try.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How often the policy in force is looked at.
const POLL: Duration = Duration::from_millis(250);
/// The largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the certificates to trust cannot be read: {0}")]
    Trust(#[from] TrustError),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the URL has no usable host")]
    Host,
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    #[error("http is for this machine only, and this name leads elsewhere")]
    Elsewhere,
    #[error("no usable answer: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error("the answer's body is larger than 256 KiB, or breaks off")]
    Body,
    #[error("no whole answer within 5 s")]
    Late,
    #[error(transparent)]
    Keys(#[from] KeySetError),
}

/// Follows whatever the policy in force names, for ever.
pub async fn watch(policy: Arc<PolicyHandle>, metrics: Arc<Metrics>) {
    let mut tasks = JoinSet::new();
    let mut running: Vec<(Arc<RemoteKeys>, AbortHandle)> = Vec::new();
    loop {
        let in_force = policy.load();
        let wanted: Vec<_> =
            in_force.identity.tokens.iter().flat_map(|tokens| tokens.remotes()).collect();
        drop(in_force);
        running.retain(|(known, task)| {
            let stays = wanted.iter().any(|keys| Arc::ptr_eq(keys, known));
            if !stays {
                task.abort();
            }
            stays
        });
        for keys in wanted {
            if !running.iter().any(|(known, _)| Arc::ptr_eq(&keys, known)) {
                let task = tasks.spawn(follow(Arc::clone(&keys), Arc::clone(&metrics)));
                running.push((keys, task));
            }
        }
        // Tasks end only when they are told to; what they leave is taken up here.
        while tasks.try_join_next().is_some() {}
        tokio::time::sleep(POLL).await;
    }
}

/// Follows one set for ever.
async fn follow(keys: Arc<RemoteKeys>, metrics: Arc<Metrics>) {
    let (mut problem, mut pause) = (None, FIRST_PAUSE);
    loop {
        keys.begin();
        let began = Instant::now();
        let fetched = tokio::time::timeout(DEADLINE, fetch(keys.place())).await;
        let rest = match fetched.unwrap_or(Err(FetchError::Late)) {
            Ok(set) => {
                metrics.jwks_fetched.add(1);
                note_success(&keys, &set, problem.take());
                keys.end(Some(set));
                pause = FIRST_PAUSE;
                keys.place().refresh
            }
            Err(error) => {
                metrics.jwks_failed.add(1);
                note_failure(&keys, error.to_string(), &mut problem);
                keys.end(None);
                let rest = pause.min(keys.place().refresh);
                pause = (pause * 2).min(SPACING);
                rest
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until((began + rest).into()) => {}
            () = keys.asked() => {}
        }
    }
}

fn note_success(keys: &RemoteKeys, set: &KeySet, problem: Option<String>) {
    let known = keys.keys();
    if known.as_ref().is_some_and(|known| known.digest() == set.digest()) && problem.is_none() {
        return;
    }
    tracing::info!(
        url = shown(&keys.place().url),
        keys = set.len(),
        "an issuer's keys are in force"
    );
}

fn note_failure(keys: &RemoteKeys, error: String, problem: &mut Option<String>) {
    if problem.as_ref() != Some(&error) {
        let url = shown(&keys.place().url);
        match keys.keys() {
            Some(_) => {
                tracing::warn!(url, error, "an issuer's keys cannot be fetched; the last stay")
            }
            None => tracing::error!(
                url,
                error,
                "an issuer's keys cannot be fetched; its tokens are refused"
            ),
        }
    }
    *problem = Some(error);
}

/// The URL without its query, which may be a secret.
fn shown(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    format!("{}://{authority}{}", url.scheme_str().unwrap_or_default(), url.path())
}

async fn fetch(place: &KeysUrl) -> Result<KeySet, FetchError> {
    let url = &place.url;
    let host = url.host().ok_or(FetchError::Host)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let tls = url.scheme_str() != Some("http");
    let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let connection = TcpStream::connect((host, port)).await?;
    if !tls {
        check_local(connection.peer_addr()?)?;
        return exchange(url, connection).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| FetchError::Host)?;
    let connector = connector(place).await?;
    exchange(url, connector.connect(name, connection).await?).await
}

/// A name may say `localhost` and lead anywhere.
fn check_local(peer: SocketAddr) -> Result<(), FetchError> {
    peer.ip().to_canonical().is_loopback().then_some(()).ok_or(FetchError::Elsewhere)
}

/// Made anew for each fetch, which is seldom, so that changed certificates count.
async fn connector(place: &KeysUrl) -> Result<TlsConnector, FetchError> {
    let ca = place.ca.clone();
    let roots = tokio::task::spawn_blocking(move || trust::roots(ca.as_deref())).await;
    let roots = roots.map_err(|_| FetchError::Late)??;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange(
    url: &Uri,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<KeySet, FetchError> {
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(io)).await?;
    let answer = async {
        let host = url.authority().map_or("", |authority| authority.as_str());
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let request = Request::get(target)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, "weir")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_SET).collect().await;
        let body = body.map_err(|_| FetchError::Body)?.to_bytes();
        Ok(KeySet::parse(&body)?.0)
    };
    // The connection is driven here and ends with the fetch.
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = &mut connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// What comes of fetching from a server that answers with these bytes and closes.
    async fn fetched(answer: Vec<u8>) -> Result<usize, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/keys?x=1", listener.local_addr().expect("an address"));
        let place = KeysUrl {
            url: url.parse().expect("a URL"),
            ca: None,
            refresh: Duration::from_secs(300),
        };
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            assert!(stream.read(&mut [0; 4096]).await.expect("a request") > 0);
            // The other side may leave in the middle of it.
            drop(stream.write_all(&answer).await);
            drop(stream.shutdown().await);
            stream
        };
        let (fetched, _stream) = tokio::join!(fetch(&place), serve);
        fetched.map(|set| set.len()).map_err(|error| error.to_string())
    }

    fn answer(head: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {head}\r\n\r\n{body}").into_bytes()
    }

    #[tokio::test]
    async fn only_a_whole_small_set_of_keys_counts() {
        let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        assert_eq!(fetched(answer("200 OK", set)).await, Ok(1));
        let long = format!("200 OK\r\ncontent-length: {}", set.len() + 1);
        let failed = |error: FetchError| Err(error.to_string());
        assert_eq!(fetched(answer(&long, set)).await, failed(FetchError::Body));
        let huge = " ".repeat(MAX_SET + 1);
        assert_eq!(fetched(answer("200 OK", &huge)).await, failed(FetchError::Body));
        let moved = "302 Found\r\nlocation: http://127.0.0.1:1/";
        assert_eq!(
            fetched(answer(moved, set)).await,
            failed(FetchError::Status(StatusCode::FOUND))
        );
        let page = fetched(answer("200 OK", "<html>")).await;
        assert!(page.is_err_and(|error| error.starts_with("this is no JWK set")));
        let symmetric = r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#;
        let symmetric = fetched(answer("200 OK", symmetric)).await;
        assert!(symmetric.is_err_and(|error| error.contains("no usable key")));
        assert!(fetched(b"SSH-2.0\r\n".to_vec()).await.is_err());
        assert!(fetched(Vec::new()).await.is_err());
    }

    #[test]
    fn a_url_is_shown_without_its_query() {
        let url = Uri::from_static("https://auth.example:444/keys?token=secret");
        assert_eq!(shown(&url), "https://auth.example:444/keys");
    }

    #[test]
    fn plain_http_never_leaves_this_machine() {
        for (peer, local) in [
            ("127.0.0.1:80", true),
            ("[::1]:80", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("192.0.2.1:80", false),
            ("[2001:db8::1]:80", false),
        ] {
            assert_eq!(check_local(peer.parse().expect("an address")).is_ok(), local, "{peer}");
        }
    }
}
