//! Is the request what this kind of work wants: `Request` → [`Checked`].
//!
//! Bodies are passed on as they come; only when a rule needs the whole is one
//! read first, and then it is bounded by the operation's own limit.

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header, request::Parts};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{
    exchange::Exchange,
    json::{self, JsonError},
    patience::Patience,
    refusal::{Code, Refusal},
    upload::{Bounds, Progress, Upload, UploadError},
};
use crate::{
    policy::snapshot::{Mode, RequestRules},
    server::Pressure,
    telemetry::Protocol,
};

/// A request that meets the rules as far as they can be known before it is sent.
pub struct Checked {
    /// Method, target and headers as the caller sent them, without its credential.
    pub head: Box<Parts>,
    /// The body.
    pub body: Upload,
    /// How far the body has come.
    pub progress: Arc<Progress>,
}

/// Checks size, media type and, where a rule needs it, the body.
///
/// # Errors
/// 400, 408, 413 or 415.
pub async fn request(exchange: &mut Exchange, head: Box<Parts>) -> Result<Checked, Box<Refusal>> {
    let policy = Arc::clone(&exchange.policy);
    let progress = Arc::new(Progress::default());
    let Some(size) = exchange.body.as_ref().map(Incoming::size_hint) else {
        return Ok(Checked { head, body: Upload::empty(), progress });
    };
    // Without an operation only a policy that is not enforced lets a request come this far.
    let none = RequestRules { max_body: u64::MAX, ..RequestRules::default() };
    let rules = exchange.operation.map_or(&none, |id| &policy.operation(id).rules);
    let media = media_type(&head.headers);
    check_head(exchange, rules, media, size.lower())?;
    let lifetime = exchange.operation.and_then(|id| policy.operation(id).max_lifetime);
    // A caller that streams to a call may take as long as the call.
    let patience = lifetime.filter(|_| exchange.grpc).unwrap_or_default();
    let deadline = exchange.started + patience.max(policy.body_timeout);
    let enforced = policy.mode == Mode::Enforce;
    // A policy that is not enforced must be able to pass on what it cannot hold.
    let holds = enforced || size.exact().is_some_and(|size| size <= rules.max_body);
    let max_depth = rules.max_depth.filter(|_| is_json(media));
    // What is priced by its usage is read before it is sent, whatever it claims to be.
    let priced = rules.is_priced;
    if (max_depth.is_some() || priced) && holds && !exchange.grpc {
        let whole = Box::pin(read_whole(exchange, rules, deadline)).await?;
        let sound = max_depth.map_or(Ok(()), |depth| json::check(&whole, depth));
        sound.or_else(|error| exchange.enforce(invalid(error)))?;
        return Ok(Checked { head, body: Upload::whole(whole), progress });
    }
    let Some(body) = exchange.body.take() else {
        return Ok(Checked { head, body: Upload::empty(), progress });
    };
    let shared = Arc::clone(&progress);
    exchange.facts.upload = Some(Arc::clone(&progress));
    let max = if enforced { rules.max_body } else { u64::MAX };
    let min_rate = if exchange.grpc { 0 } else { policy.min_rate };
    let trailers = head.headers.contains_key(header::TRAILER);
    let bounds = Bounds { max, started: exchange.started, deadline, min_rate, trailers };
    let http2 = exchange.peer.protocol == Protocol::Http2;
    let leftovers = http2.then(|| exchange.shared.tasks.clone());
    let body = Upload::stream(body, &bounds, shared, leftovers);
    Ok(Checked { head, body, progress })
}

/// What can be said of a body before any of it is read.
fn check_head(
    exchange: &mut Exchange,
    rules: &RequestRules,
    media: &str,
    size: u64,
) -> Result<(), Box<Refusal>> {
    if size > rules.max_body {
        exchange.enforce(Refusal::new(Code::PayloadTooLarge))?;
    }
    if !rules.content_types.is_empty()
        && !rules.content_types.iter().any(|known| known.eq_ignore_ascii_case(media))
    {
        exchange.enforce(Refusal::new(Code::UnsupportedMediaType))?;
    }
    Ok(())
}

async fn read_whole(
    exchange: &mut Exchange,
    rules: &RequestRules,
    deadline: Instant,
) -> Result<Bytes, Box<Refusal>> {
    let began = Instant::now();
    let mut whole = BytesMut::new();
    let mut patience = Patience::new(deadline, exchange.policy.min_rate);
    let overload = &exchange.shared.overload;
    let Some(body) = &mut exchange.body else { return Ok(Bytes::new()) };
    let read = async {
        while let Some(data) = next(body, &mut patience).await? {
            if (whole.len() + data.len()) as u64 > rules.max_body {
                return Err(UploadError::TooLarge);
            }
            // What is collected is what fills the memory; the last step gives it up.
            if overload.pressure() >= Pressure::NoConnections {
                return Err(UploadError::NoRoom);
            }
            whole.extend_from_slice(&data);
        }
        Ok(())
    };
    let read = read.await;
    exchange.facts.body_wait = began.elapsed();
    exchange.facts.request_bytes = whole.len() as u64;
    read.map_err(refusal)?;
    exchange.body = None;
    Ok(whole.freeze())
}

/// The next piece of a body, as long as there is patience; trailers are passed over.
async fn next(body: &mut Incoming, patience: &mut Patience) -> Result<Option<Bytes>, UploadError> {
    let mut frame = body.frame();
    let frame = poll_fn(|cx| match Pin::new(&mut frame).poll(cx) {
        Poll::Ready(frame) => Poll::Ready(Ok(frame)),
        Poll::Pending => patience.poll(cx).map(|()| Err(UploadError::TooSlow)),
    });
    let Some(frame) = frame.await? else { return Ok(None) };
    let data = frame.map_err(|_| UploadError::Broken)?.into_data().unwrap_or_default();
    patience.went_on(data.len() as u64);
    Ok(Some(data))
}

/// What a body that could not be read whole means for the caller.
pub fn refusal(error: UploadError) -> Box<Refusal> {
    match error {
        UploadError::TooLarge => Refusal::new(Code::PayloadTooLarge),
        UploadError::TooSlow => Refusal::new(Code::RequestTimeout),
        UploadError::NoRoom => Refusal::new(Code::Overloaded),
        UploadError::Broken => Refusal::new(Code::BadRequest).detail("the body broke off"),
    }
}

fn invalid(error: JsonError) -> Box<Refusal> {
    let message = match error {
        JsonError::TooDeep(levels) => format!("The body is nested deeper than {levels} levels."),
        JsonError::Malformed { line, column } => {
            format!("The body is not JSON: see line {line}, column {column}.")
        }
    };
    Refusal::new(Code::InvalidBody).message(message)
}

/// The media type without its parameters; empty when there is none or there are two.
fn media_type(headers: &HeaderMap) -> &str {
    let mut all = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return "" };
    value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

fn is_json(media: &str) -> bool {
    let suffix = media.len().checked_sub(5).and_then(|at| media.get(at..));
    media.eq_ignore_ascii_case("application/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json"))
}
