//! Sends plain HTTP on to https, and does nothing else.
//!
//! Every request gets 308 to the same host and target on the https port; the
//! connection ends after it. A request without a sound Host gets 400.
//!
//! # Limits
//! A head has the deadline of the main listener and 16 KiB; the whole connection
//! ends [`GRACE`] later.

use std::{convert::Infallible, time::Duration};

use http_body_util::Empty;
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    http::uri::Authority,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::transport::Transport;

const MAX_HEAD: usize = 16 << 10;
/// How long the answer may take to leave.
const GRACE: Duration = Duration::from_secs(5);
const HTTPS: u16 = 443;

/// Answers one request with the way to `port`.
pub(super) async fn serve(stream: Transport, port: u16, header_timeout: Duration) {
    let service = service_fn(move |request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(&request, port))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // However it ends: there is nothing to account for.
    drop(tokio::time::timeout(header_timeout + GRACE, connection).await);
}

fn answer<B>(request: &Request<B>, port: u16) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    match location(request, port) {
        Some(location) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(header::LOCATION, location);
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

/// The same host and target; an absolute target wins over Host (RFC 9112, 3.2.2).
fn location<B>(request: &Request<B>, port: u16) -> Option<HeaderValue> {
    if request.method() == Method::CONNECT {
        return None;
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, None) = (hosts.next(), hosts.next()) else { return None };
    let named = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(first?.as_bytes()).ok()?,
    };
    let host = named.host();
    if host.is_empty() || named.as_str().contains('@') {
        return None;
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    if !target.starts_with('/') {
        return None;
    }
    let to = match port {
        HTTPS => format!("https://{host}{target}"),
        port => format!("https://{host}:{port}{target}"),
    };
    to.parse::<Uri>().ok()?;
    HeaderValue::try_from(to).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(target: &str, host: &str, port: u16) -> Option<String> {
        let request = Request::builder().uri(target).header("host", host).body(()).ok()?;
        Some(location(&request, port)?.to_str().ok()?.to_owned())
    }

    #[test]
    fn the_way_is_the_same_host_and_target() {
        for (target, host, port, way) in [
            ("/a/b?c=d", "example.com", 443, Some("https://example.com/a/b?c=d")),
            ("/", "example.com:8080", 8443, Some("https://example.com:8443/")),
            ("/x", "[::1]:80", 443, Some("https://[::1]/x")),
            ("http://other.example/y", "example.com", 443, Some("https://other.example/y")),
            ("//evil.example/", "example.com", 443, Some("https://example.com//evil.example/")),
            ("/", "user@example.com", 443, None),
            ("/", "a b", 443, None),
            ("/", "example.com/#@evil", 443, None),
            ("/", "", 443, None),
            ("*", "example.com", 443, None),
        ] {
            assert_eq!(to(target, host, port).as_deref(), way, "{target} {host}");
        }
    }
}
