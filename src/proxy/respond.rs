//! The only exit: `Reply` → `Response`, and every answer that Weir makes itself.
//!
//! Whatever leaves, leaves here, so that each answer has CORS, security, request
//! id and limit headers by construction.

use std::{borrow::Cow, future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    clean, discard,
    download::Download,
    exchange::{Exchange, REQUEST_ID},
    forward::Reply,
    grpc, limits, media, meter,
    refusal::{Code, Refusal},
    settle::{Open, Permit},
};
use crate::{
    policy::{
        cors::Cors,
        snapshot::{Dialect, Policy},
    },
    sanitize::Hits,
    server::Pressure,
    telemetry::Protocol,
};

/// Bodies up to this length are cleaned whole, so that they keep a `Content-Length`.
const WHOLE: u64 = 64 << 10;
/// What is kept of a replaced error body, for the log.
const ERROR_BODY: usize = 8 << 10;
/// How long the upstream has to finish a body that only the log wants.
const ERROR_WAIT: std::time::Duration = std::time::Duration::from_secs(2);
/// Where Anthropic's SDKs look for the id of a request.
const SDK_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Headers of an upstream's 5xx that survive: official SDKs read the first three.
const KEPT_OF_ERRORS: [HeaderName; 6] = [
    header::RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-should-retry"),
    header::DATE,
    header::ALLOW,
    header::WWW_AUTHENTICATE,
];

/// Sends the upstream's answer on, cleaned.
pub async fn reply(
    mut exchange: Box<Exchange>,
    mut permit: Box<Permit>,
    mut reply: Reply,
) -> Response<Download> {
    let policy = Arc::clone(&exchange.policy);
    let shown = meter::head(&exchange, &mut permit, &mut reply.head.headers);
    let foreign = exchange.grpc && !grpc::is_answer(&reply.head);
    // RFC 9110, 15: a status beyond 599 is to be taken for an error of the server.
    let failed = reply.head.status.as_u16() >= 500;
    if foreign || failed && policy.cleaning.replace_errors {
        return Box::pin(internal_error(exchange, permit, reply)).await;
    }
    let Reply { mut head, body, lease, progress } = reply;
    let status = head.status;
    let mut fields = std::mem::take(&mut head.headers);
    if let Some(meter) = permit.meter() {
        meter.answer(&exchange, status, &fields);
    }
    clean::head(&mut exchange, &mut fields);
    meter::show(shown, &mut fields);
    let cleaner = match clean::text(&policy, &fields) {
        Ok(cleaner) => cleaner,
        Err(refusal) => {
            permit.settle(&mut exchange);
            return refuse(exchange, refusal);
        }
    };
    if body.is_end_stream() || is_bodiless(&exchange.method, status) {
        // Over HTTP/2 the end may still be on its way; over HTTP/1 there is no body to see.
        lease.finish();
        permit.settle(&mut exchange);
        if status == StatusCode::NO_CONTENT {
            // RFC 9110, 8.6: a length here would be one of a body that does not come.
            fields.remove(header::CONTENT_LENGTH);
        }
        return finish(exchange, status, fields, |exchange| {
            Download::whole(Bytes::new(), exchange)
        });
    }
    let streams = permit.meter().is_some_and(|meter| meter.streams());
    if cleaner.is_some() && is_small(&body) && !streams {
        let open = Open::new(&mut exchange, &mut permit);
        let whole = Box::pin(read_whole(body, &policy)).await;
        open.close();
        if let (Some(meter), Some(whole)) = (permit.meter(), &whole) {
            meter.push(whole);
        }
        permit.settle(&mut exchange);
        let Some(whole) = whole else {
            let detail = "the upstream's answer broke off";
            return refuse(exchange, Refusal::new(Code::UpstreamInvalid).detail(detail));
        };
        lease.finish();
        let whole = clean::whole(&mut exchange, whole);
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
        return finish(exchange, status, fields, |exchange| Download::whole(whole, exchange));
    }
    if cleaner.is_some() || streams {
        // What is replaced or trimmed changes the length, and nobody knows yet by how much.
        fields.remove(header::CONTENT_LENGTH);
    }
    let reply = Reply { head, body, lease, progress };
    let events = media::is_events(&fields);
    finish(exchange, status, fields, |exchange| {
        Download::stream(exchange, permit, reply, cleaner, events)
    })
}

/// Answers with a refusal.
pub fn refuse(mut exchange: Box<Exchange>, refusal: Box<Refusal>) -> Response<Download> {
    exchange.facts.refused = Some(refusal.code);
    if let Some(detail) = &refusal.detail {
        exchange.facts.detail = Some(detail.clone());
    }
    let mut fields = HeaderMap::with_capacity(24);
    if let Some(seconds) = refusal.retry_after_seconds() {
        fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let Some((name, value)) = &refusal.field {
        fields.insert(name, value.clone());
    }
    error(exchange, &refusal, fields)
}

/// Answers with something that Weir itself serves.
pub fn local(
    exchange: Box<Exchange>,
    status: StatusCode,
    media: HeaderValue,
    body: Bytes,
) -> Response<Download> {
    let mut fields = HeaderMap::with_capacity(16);
    fields.insert(header::CONTENT_TYPE, media);
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    finish(exchange, status, fields, |exchange| Download::whole(body, exchange))
}

/// Answers a preflight: the policy's permissions, or a refusal for a foreign origin.
pub fn preflight(exchange: Box<Exchange>, request: &HeaderMap) -> Response<Download> {
    if exchange.origin == crate::policy::cors::Verdict::Foreign {
        return refuse(exchange, Refusal::new(Code::OriginNotAllowed));
    }
    let policy = Arc::clone(&exchange.policy);
    let mut answer = finish(exchange, StatusCode::NO_CONTENT, HeaderMap::new(), |exchange| {
        Download::whole(Bytes::new(), exchange)
    });
    Cors::permit(&policy.cors, request, answer.headers_mut());
    answer
}

/// A body in our shape.
fn error(exchange: Box<Exchange>, refusal: &Refusal, mut fields: HeaderMap) -> Response<Download> {
    if exchange.grpc {
        grpc::refuse(refusal, &mut fields);
        return finish(exchange, StatusCode::OK, fields, |exchange| {
            Download::whole(Bytes::new(), exchange)
        });
    }
    let dialect = exchange.dialect();
    let body = Bytes::from(refusal.body(dialect, exchange.id_text()));
    if dialect == Dialect::ModelSdk {
        fields.insert(SDK_REQUEST_ID, exchange.id.clone());
    }
    fields.insert(header::CONTENT_TYPE, JSON);
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    finish(exchange, refusal.status(), fields, |exchange| Download::whole(body, exchange))
}

/// An upstream's 5xx: its status is kept, its body goes to the log.
async fn internal_error(
    mut exchange: Box<Exchange>,
    mut permit: Box<Permit>,
    reply: Reply,
) -> Response<Download> {
    let Reply { head, mut body, lease, .. } = reply;
    let kept = read_for_cost(&exchange, &mut permit, &head, &mut body).await;
    permit.settle(&mut exchange);
    let mut fields = HeaderMap::with_capacity(24);
    for name in KEPT_OF_ERRORS {
        for value in head.headers.get_all(&name) {
            fields.append(&name, value.clone());
        }
    }
    let mut refusal = Refusal::new(Code::InternalError);
    refusal.status = Some(head.status);
    exchange.facts.refused = Some(refusal.code);
    let (policy, id) = (Arc::clone(&exchange.policy), exchange.id.clone());
    let status = head.status.as_u16();
    exchange.shared.tasks.spawn(async move {
        let text = read_for_log(body, kept, &policy).await;
        lease.finish();
        let request_id = id.to_str().unwrap_or_default();
        tracing::warn!(request_id, status, body = %text, "the upstream failed");
    });
    error(exchange, &refusal, fields)
}

/// Reads what an error says of its cost, where its body or what follows it may; returns its beginning.
async fn read_for_cost(
    exchange: &Exchange,
    permit: &mut Permit,
    head: &http::response::Parts,
    body: &mut Incoming,
) -> BytesMut {
    let mut kept = BytesMut::new();
    let reads = permit.meter().is_some_and(|meter| {
        meter.answer(exchange, head.status, &head.headers);
        meter.reads()
    });
    if reads || head.headers.contains_key(header::TRAILER) {
        let mut push = |data: &[u8]| permit.meter().into_iter().for_each(|meter| meter.push(data));
        let trailers = read_error(body, &mut kept, &mut push).await;
        if let Some(mut trailers) = trailers {
            meter::trailers(exchange, Some(permit), &mut trailers);
        }
    }
    kept
}

/// Reads an error's body, as far as it comes in time: its beginning is kept, all of it told to `each`.
async fn read_error(
    body: &mut Incoming,
    kept: &mut BytesMut,
    each: &mut (impl FnMut(&[u8]) + Send),
) -> Option<HeaderMap> {
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            match frame.into_data() {
                Ok(data) => {
                    let room = ERROR_BODY - kept.len();
                    kept.extend_from_slice(&data[..data.len().min(room)]);
                    each(&data);
                }
                Err(frame) => return frame.into_trailers().ok(),
            }
        }
        None
    };
    tokio::time::timeout(ERROR_WAIT, read).await.ok().flatten()
}

/// The beginning of a body, redacted; bounded in size and time.
async fn read_for_log(mut body: Incoming, mut kept: BytesMut, policy: &Policy) -> String {
    // What came in time is worth logging, whole or not.
    read_error(&mut body, &mut kept, &mut |_| {}).await;
    let clean = match &policy.cleaning.redactor {
        Some(redactor) => redactor.redact(&kept, &mut Hits::new()),
        None => Cow::Borrowed(&kept[..]),
    };
    String::from_utf8_lossy(&clean).into_owned()
}

/// Puts on what every answer carries, and closes the head.
pub fn finish(
    mut exchange: Box<Exchange>,
    status: StatusCode,
    mut fields: HeaderMap,
    body: impl FnOnce(Box<Exchange>) -> Download,
) -> Response<Download> {
    // Grown once: what follows adds about this many fields.
    fields.reserve(18);
    exchange.facts.status = Some(status.as_u16());
    exchange.note_overhead();
    let policy = Arc::clone(&exchange.policy);
    for (name, value) in &policy.cleaning.add {
        fields.insert(name, value.clone());
    }
    fields.insert(REQUEST_ID, exchange.id.clone());
    limits::show(&exchange, &mut fields);
    policy.cors.apply(exchange.origin, &mut fields);
    leave_body(&mut exchange, &mut fields);
    if status != StatusCode::SWITCHING_PROTOCOLS {
        leave_connection(&exchange, &mut fields);
    }
    let mut response = Response::new(body(exchange));
    *response.status_mut() = status;
    *response.version_mut() = Version::HTTP_11;
    *response.headers_mut() = fields;
    response
}

/// Sees to a body that was not read: the answer must reach a caller that is still sending.
fn leave_body(exchange: &mut Exchange, fields: &mut HeaderMap) {
    let left = exchange.body.as_mut().is_some_and(|body| !discard::now(body));
    if !left {
        exchange.body = None;
    }
    match exchange.peer.protocol {
        Protocol::Http1 if exchange.closes || exchange.owes_body() => {
            fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
            exchange.peer.linger();
        }
        Protocol::Http1 => {}
        Protocol::Http2 => {
            if let Some(body) = exchange.body.take() {
                exchange.shared.tasks.spawn(discard::rest(body));
            }
        }
    }
}

/// Says that the connection ends when there is no memory to keep it, or no room.
// HTTP/2 says the same with GOAWAY, by itself.
fn leave_connection(exchange: &Exchange, fields: &mut HeaderMap) {
    let pressed = exchange.shared.overload.pressure() >= Pressure::NoKeepAlive;
    if (pressed || exchange.peer.is_surplus) && exchange.peer.protocol == Protocol::Http1 {
        fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Whether an answer has no body, whatever its upstream sends (RFC 9110, 6.4.1).
fn is_bodiless(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn is_small(body: &Incoming) -> bool {
    let size = body.size_hint();
    size.exact().is_some_and(|exact| exact <= WHOLE)
}

/// A short body; `None` if it broke off, fell silent or dripped. The caller waits for the head meanwhile,
/// so the whole is owed as soon as a head is.
async fn read_whole(mut body: Incoming, policy: &Policy) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    // Nearly always it came with the head: then nothing is waited for, and no clock is read.
    let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await;
    if let Poll::Ready(frame) = first {
        let Some(frame) = frame else { return Some(Bytes::new()) };
        let data = frame.ok()?.into_data().unwrap_or_default();
        if body.is_end_stream() {
            return Some(data);
        }
        whole.extend_from_slice(&data);
    }
    let end = tokio::time::Instant::now() + policy.upstream.response_timeout;
    loop {
        let silence = tokio::time::Instant::now() + policy.upstream.idle_timeout;
        let frame = tokio::time::timeout_at(silence.min(end), body.frame()).await.ok()?;
        let Some(frame) = frame else { return Some(whole.freeze()) };
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if whole.is_empty() && body.is_end_stream() {
            return Some(data);
        }
        whole.extend_from_slice(&data);
    }
}
