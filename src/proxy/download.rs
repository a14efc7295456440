//! The answer's body on its way to the caller: pulled, cleaned, counted, settled.
//!
//! Wrapped once; it asks the upstream only when the caller's side asks it. Chunks
//! that are ready together leave together: when a piece came, the upstream's
//! task gets a turn to bring the next, and only what then still waits is sent
//! alone. That adds no delay and saves a TLS record and a system call per chunk. A
//! chunk that comes after a pause is alone, and leaves at once.
//!
//! # Failure
//! Silence past the deadline, or a body that breaks off, ends the answer with an
//! error: the caller's connection is cut, so a cut body never looks whole.

mod end;
mod toll;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep_until};
use toll::Toll;

use super::{
    exchange::Exchange,
    farewell::Border,
    forward::Reply,
    meter, panic,
    presence::{LOOK, Looks},
    refusal::Refusal,
    settle::Permit,
    upload::{Progress, Upload},
};
use crate::{mishap, sanitize, upstream::Lease};

/// The most that is gathered before it is sent on: one TLS record.
const GATHER: usize = 16 << 10;

/// How often the upstream's task is let go first. One turn of ours may be no turn of the
/// scheduler: hyper polls a body again at once when its connection has something to read.
const TURNS: u8 = 2;

/// After such a pause a chunk is not one of many: to wait for the next would be a turn in vain.
const PAUSE: Duration = Duration::from_millis(1);

/// Why an answer broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownloadError {
    /// The upstream said nothing for too long.
    #[error("the upstream fell silent")]
    Silent,
    /// The upstream's connection failed.
    #[error("the upstream's answer broke off")]
    Broken,
    /// It has lasted as long as it may.
    #[error("the answer lasted too long")]
    Expired,
    /// Its caller may not have it any more.
    #[error("the caller may not go on")]
    Refused,
    /// Passing it on panicked.
    #[error("passing the answer on panicked")]
    Panicked,
}

/// The body of every response.
pub struct Download(Source);

enum Source {
    /// None, of an answer whose exchange goes on elsewhere.
    Nothing,
    /// Made here, or read whole.
    Whole {
        bytes: Option<Bytes>,
        exchange: Box<Exchange>,
    },
    Stream(Box<Stream>),
}

/// An answer that is passed on as it comes.
struct Stream {
    body: Incoming,
    lease: Option<Lease<Upload>>,
    cleaner: Option<sanitize::Stream>,
    gathered: BytesMut,
    yielded: u8,
    ended: bool,
    trailers: Option<http::HeaderMap>,
    idle_timeout: Duration,
    heard: Instant,
    /// Whether the last chunk came after a pause.
    lone: bool,
    /// When the answer must end, whatever it still has to say.
    until: Option<Instant>,
    /// Whether what is cut off is cut by design: a reader of events comes back for more.
    events: bool,
    silence: Pin<Box<Sleep>>,
    /// When it is looked again whether the caller may still be here.
    look_at: Instant,
    looks: Looks,
    /// Why not.
    refusal: Option<Box<Refusal>>,
    border: Border,
    progress: Arc<Progress>,
    exchange: Box<Exchange>,
    permit: Option<Box<Permit>>,
    toll: Option<Box<Toll>>,
}

impl Download {
    /// No body, and no end of the exchange with it.
    pub const fn nothing() -> Self {
        Self(Source::Nothing)
    }

    /// A body that is at hand.
    pub fn whole(bytes: Bytes, mut exchange: Box<Exchange>) -> Self {
        exchange.facts.response_bytes = bytes.len() as u64;
        // An empty body is never asked for; any other is whole once it was taken.
        exchange.facts.complete = bytes.is_empty();
        let bytes = Some(bytes).filter(|bytes| !bytes.is_empty());
        Self(Source::Whole { bytes, exchange })
    }

    /// A body that comes from the upstream; `cleaner` is what it must pass.
    pub fn stream(
        exchange: Box<Exchange>,
        mut permit: Box<Permit>,
        reply: Reply,
        cleaner: Option<sanitize::Stream>,
        events: bool,
    ) -> Self {
        let policy = &exchange.policy;
        let idle_timeout = policy.upstream.idle_timeout;
        let lifetime = exchange.operation.and_then(|id| policy.operation(id).max_lifetime);
        let until = lifetime.map(|lifetime| exchange.started + lifetime);
        let heard = Instant::now();
        let look_at = heard + LOOK;
        let first = until.unwrap_or(look_at).min(heard + idle_timeout).min(look_at);
        Self(Source::Stream(Box::new(Stream {
            body: reply.body,
            lease: Some(reply.lease),
            cleaner,
            gathered: BytesMut::new(),
            yielded: 0,
            ended: false,
            trailers: None,
            idle_timeout,
            heard,
            lone: false,
            until,
            events,
            silence: Box::pin(sleep_until(first.into())),
            look_at,
            looks: Looks::new(&exchange),
            refusal: None,
            border: Border::new(),
            progress: reply.progress,
            exchange,
            toll: Toll::new(&mut permit),
            permit: Some(permit),
        })))
    }
}

impl Stream {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        let mut ready_now = None;
        while !self.ended {
            if self.toll.is_some() && self.poll_toll(cx, &mut ready_now).is_pending() {
                if ready_now.is_none() && self.gathered.is_empty() {
                    return Poll::Pending;
                }
                break;
            }
            if self.ended {
                break;
            }
            if self.refusal.is_some() {
                self.expire(&mut ready_now)?;
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let before = std::mem::replace(&mut self.heard, Instant::now());
                    self.lone = self.heard.duration_since(before) >= PAUSE;
                    if self.is_over(self.heard) {
                        self.expire(&mut ready_now)?;
                        continue;
                    }
                    if let Some(full) = self.take_in(frame, &mut ready_now) {
                        return self.hand_on(full);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(self.broken(&error))));
                }
                Poll::Ready(None) => self.end(&mut ready_now),
                Poll::Pending if ready_now.is_none() && self.gathered.is_empty() => {
                    ready!(self.poll_silence(cx));
                    if self.is_over(Instant::now()) {
                        self.expire(&mut ready_now)?;
                        continue;
                    }
                    self.exchange.facts.detail = Some("the upstream fell silent".into());
                    return Poll::Ready(Some(Err(DownloadError::Silent)));
                }
                Poll::Pending if self.yielded < TURNS && !self.lone => {
                    // A turn for the upstream's task; we are woken right after it.
                    self.yielded += 1;
                    self.gather(&mut ready_now);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Pending => break,
            }
        }
        self.yielded = 0;
        let out = self.flush(ready_now);
        if !out.is_empty() {
            return self.hand_on(out);
        }
        if !self.ended {
            return Poll::Pending;
        }
        match self.trailers.take() {
            Some(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            None => Poll::Ready(None),
        }
    }

    /// Takes one frame in. Returns what must leave now because enough is gathered.
    fn take_in(&mut self, frame: Frame<Bytes>, ready_now: &mut Option<Bytes>) -> Option<Bytes> {
        match frame.into_data() {
            Ok(data) => {
                mishap::at("streamed", &data);
                match self.toll {
                    Some(_) => self.take_toll(data, ready_now),
                    None => self.pass_on(data, ready_now),
                }
                let size = self.gathered.len() + ready_now.as_ref().map_or(0, Bytes::len);
                (size >= GATHER).then(|| self.flush(ready_now.take()))
            }
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                None
            }
        }
    }

    /// Cleans a piece and adds it to what goes on.
    fn pass_on(&mut self, data: Bytes, ready_now: &mut Option<Bytes>) {
        let clean = match &mut self.cleaner {
            Some(cleaner) => cleaner.push(data),
            None => data,
        };
        if clean.is_empty() {
            return;
        }
        self.yielded = 0;
        if self.gathered.is_empty() && ready_now.is_none() {
            *ready_now = Some(clean);
        } else {
            self.gather(ready_now);
            self.gathered.extend_from_slice(&clean);
        }
    }

    /// Moves a lone chunk to where several are gathered.
    fn gather(&mut self, ready_now: &mut Option<Bytes>) {
        if let Some(first) = ready_now.take() {
            self.gathered.reserve(GATHER.min(first.len() * 8));
            self.gathered.extend_from_slice(&first);
        }
    }

    fn flush(&mut self, ready_now: Option<Bytes>) -> Bytes {
        match ready_now {
            Some(lone) => lone,
            None => self.gathered.split().freeze(),
        }
    }

    fn hand_on(&mut self, bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        self.exchange.facts.response_bytes += bytes.len() as u64;
        self.border.pass(&bytes);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    /// The upstream's answer is over: what was held back is released, the books are settled.
    fn end(&mut self, ready_now: &mut Option<Bytes>) {
        self.ended = true;
        self.finish_toll(ready_now);
        if let Some(cleaner) = &mut self.cleaner {
            let rest = cleaner.finish();
            if !rest.is_empty() {
                self.gather(ready_now);
                self.gathered.extend_from_slice(&rest);
            }
        }
        if let Some(ending) = self.ending() {
            self.gather(ready_now);
            self.gathered.extend_from_slice(&ending);
        }
        if let Some(trailers) = &mut self.trailers {
            let shown = meter::trailers(&self.exchange, self.permit.as_deref_mut(), trailers);
            super::clean::trailers(&mut self.exchange, trailers);
            meter::show(shown, trailers);
        }
        if let Some(lease) = self.lease.take() {
            lease.finish();
        }
        if let Some(permit) = self.permit.take() {
            permit.settle(&mut self.exchange);
        }
        self.exchange.facts.complete = self.toll.as_ref().is_none_or(|toll| !toll.is_left);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Whatever did not end well is settled as it stands; the permit itself is dropped after.
        self.leave_toll();
        if let Some(permit) = self.permit.take() {
            permit.settle(&mut self.exchange);
        }
        let facts = &mut self.exchange.facts;
        facts.request_bytes = facts.request_bytes.max(self.progress.bytes());
        if let Some(cleaner) = &self.cleaner {
            facts.redactions += super::clean::count(&self.exchange.policy, cleaner.hits());
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = DownloadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        match &mut self.0 {
            Source::Nothing => Poll::Ready(None),
            Source::Whole { bytes, exchange } => {
                exchange.facts.complete = true;
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Source::Stream(stream) => match panic::caught(|| stream.poll_frame(cx)) {
                Some(poll) => {
                    // Cut on this side: the caller has not left, and what it got stands in the record.
                    stream.exchange.facts.complete |= matches!(poll, Poll::Ready(Some(Err(_))));
                    poll
                }
                None => Poll::Ready(Some(Err(self.panicked()))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Nothing => true,
            Source::Whole { bytes, .. } => bytes.is_none(),
            Source::Stream(stream) => {
                stream.ended && stream.gathered.is_empty() && stream.trailers.is_none()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Nothing => SizeHint::with_exact(0),
            Source::Whole { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Source::Stream(stream)
                if stream.cleaner.is_none() && stream.toll.is_none() && !stream.ended =>
            {
                stream.body.size_hint()
            }
            Source::Stream(_) => SizeHint::default(),
        }
    }
}
