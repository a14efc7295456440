//! One request in the form that each version of HTTP wants.
//!
//! It comes with its target in origin form and a `Host`; over HTTP/2 both are in
//! the URI (RFC 9113, 8.3.1). A WebSocket is asked for with an `Upgrade`; over
//! HTTP/2 that is an extended CONNECT without a key (RFC 8441, 5).

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    uri::{Authority, Scheme},
};

use hyper::ext::Protocol;

use super::RequestBody;
use crate::policy::snapshot::Endpoint;

/// Moves `Host` into the URI. A target that has an authority already is left as it is.
/// Says whether protocols are to be switched.
pub(super) fn to_http2<B>(request: &mut Request<B>, endpoint: &Endpoint) -> bool {
    *request.version_mut() = Version::HTTP_2;
    if request.uri().authority().is_some() || *request.method() == Method::CONNECT {
        return *request.method() == Method::CONNECT;
    }
    let host = request.headers_mut().remove(header::HOST);
    let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if endpoint.secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(host.unwrap_or_else(|| endpoint.authority.clone()));
    // Whole parts always make a URI.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    // HTTP/2 knows no options of a connection; `TE` may stay without one (RFC 9113, 8.2.2).
    request.headers_mut().remove(header::CONNECTION);
    let tunnel = request.headers_mut().remove(header::UPGRADE).is_some();
    if tunnel {
        request.headers_mut().remove(header::SEC_WEBSOCKET_KEY);
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static("websocket"));
    }
    tunnel
}

/// Makes the answer to an extended CONNECT into what HTTP/1.1 has for it.
pub(super) fn from_http2<B>(response: &mut Response<B>) {
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    }
}

/// Moves an authority of [`to_http2`] back into `Host`.
pub(super) fn to_http1<B>(request: &mut Request<B>) {
    *request.version_mut() = Version::HTTP_11;
    if request.uri().scheme().is_none() {
        return;
    }
    if request.headers().contains_key(header::TE) {
        // RFC 9110, 10.1.4: the field is for this connection only.
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    let host = parts.authority.take();
    parts.scheme = None;
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    if let Some(Ok(host)) = host.map(|host| HeaderValue::from_str(host.as_str())) {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// The same request again, if its body is at hand.
pub fn repeat<B: RequestBody>(request: &Request<B>) -> Option<Request<B>> {
    let mut again = Request::new(request.body().repeat()?);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    again.headers_mut().clone_from(request.headers());
    again.extensions_mut().clone_from(request.extensions());
    Some(again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::snapshot::Target;

    fn endpoint() -> Endpoint {
        let authority = Authority::from_static("agent:8000");
        let target = Target::Name { host: "agent".to_owned(), port: 8_000 };
        Endpoint { name: "http://agent:8000".into(), authority, target, secure: false }
    }

    fn request(host: &'static str) -> Request<()> {
        let head = Request::builder().uri("/a/b?c=d").header(header::HOST, host);
        head.body(()).expect("a request")
    }

    #[test]
    fn host_moves_into_the_uri_and_back() {
        let mut request = request("caller.example:81");
        to_http2(&mut request, &endpoint());
        assert_eq!(request.uri(), "http://caller.example:81/a/b?c=d");
        assert!(request.headers().is_empty());
        to_http1(&mut request);
        assert_eq!(request.uri(), "/a/b?c=d");
        assert_eq!(request.headers()[header::HOST], "caller.example:81");
    }

    #[test]
    fn a_host_that_is_no_authority_is_replaced() {
        let mut request = request("a b");
        to_http2(&mut request, &endpoint());
        assert_eq!(request.uri(), "http://agent:8000/a/b?c=d");
    }

    #[test]
    fn a_wish_for_trailers_is_an_option_of_the_connection_over_http1_only() {
        let mut request = request("a");
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("te"));
        assert!(!to_http2(&mut request, &endpoint()));
        assert_eq!(request.headers().len(), 1);
        to_http1(&mut request);
        assert_eq!(request.headers()[header::CONNECTION], "te");
    }

    #[test]
    fn a_websocket_becomes_an_extended_connect() {
        let mut request = request("a");
        for (name, value) in [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_KEY, "key"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
        ] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        assert!(to_http2(&mut request, &endpoint()));
        assert_eq!((request.method(), request.headers().len()), (&Method::CONNECT, 1));
        assert_eq!(request.uri(), "http://a/a/b?c=d");
        assert_eq!(request.extensions().get(), Some(&Protocol::from_static("websocket")));
        assert!(to_http2(&mut request, &endpoint()), "also when it goes out again");
    }
}
