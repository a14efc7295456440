//! The caller's body on its way to the upstream: pulled, counted, bounded.
//!
//! # Failure
//! A body that grows past its limit, stalls past its deadline or breaks off ends
//! with an [`UploadError`]; the upstream then sees a cut request, never a whole
//! one. Whoever waits for the answer learns the reason from [`Progress`].

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use super::{headers, patience::Patience};
use crate::upstream::RequestBody;

/// Why a body could not be sent whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Larger than the operation allows.
    #[error("the body is larger than the limit")]
    TooLarge,
    /// Not there in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The caller left, or broke the framing.
    #[error("the body broke off")]
    Broken,
    /// Memory ran out while it was collected.
    #[error("there is no memory for the body")]
    NoRoom,
}

/// How far a body has come; shared with whoever waits for the answer.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    /// Milliseconds after the start at which the last byte was handed on, plus one; 0 before.
    finished: AtomicU64,
    failed: AtomicU8,
}

impl Progress {
    /// Bytes handed on so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// How long after `started` the last byte was handed on; `None` while some are missing.
    pub fn finished_ms(&self) -> Option<u64> {
        self.finished.load(Relaxed).checked_sub(1)
    }

    /// Why the body failed, if it did.
    pub fn failure(&self) -> Option<UploadError> {
        match self.failed.load(Relaxed) {
            1 => Some(UploadError::TooLarge),
            2 => Some(UploadError::TooSlow),
            3 => Some(UploadError::Broken),
            4 => Some(UploadError::NoRoom),
            _ => None,
        }
    }

    fn fail(&self, error: UploadError) -> UploadError {
        let code = match error {
            UploadError::TooLarge => 1,
            UploadError::TooSlow => 2,
            UploadError::Broken => 3,
            UploadError::NoRoom => 4,
        };
        self.failed.store(code, Relaxed);
        error
    }
}

/// The body of a request on its way to the upstream.
pub struct Upload(Source);

enum Source {
    Empty,
    /// Read before, because a rule needed the whole.
    Whole(Option<Bytes>),
    Stream(Box<Stream>),
}

struct Stream {
    /// What had arrived when the upload was made.
    first: Option<Result<Frame<Bytes>, UploadError>>,
    /// There until the stream is dropped.
    body: Option<Incoming>,
    /// Of the whole body, as it was announced.
    size: SizeHint,
    left: u64,
    started: Instant,
    patience: Patience,
    progress: Arc<Progress>,
    /// Owns what is left of the body when nobody wants it any more.
    leftovers: Option<TaskTracker>,
}

/// Bounds of a body that is passed on as it comes.
pub struct Bounds {
    /// Most bytes.
    pub max: u64,
    /// When the request began.
    pub started: Instant,
    /// When the last byte must be there.
    pub deadline: Instant,
    /// Bytes a second that must come while they are waited for; 0 is any.
    pub min_rate: u64,
    /// Whether fields are announced to come behind the body.
    pub trailers: bool,
}

impl Upload {
    /// No body.
    pub const fn empty() -> Self {
        Self(Source::Empty)
    }

    /// A body that was read before.
    pub const fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole(Some(bytes)))
    }

    /// The body, if it is at hand as a whole.
    pub const fn as_whole(&self) -> Option<&Bytes> {
        match &self.0 {
            Source::Whole(bytes) => bytes.as_ref(),
            Source::Empty | Source::Stream(_) => None,
        }
    }

    /// A body that is passed on as it comes. With `leftovers`, what has not come when the upload is
    /// dropped is read and thrown away there, see `discard`.
    pub fn stream(
        mut body: Incoming,
        bounds: &Bounds,
        progress: Arc<Progress>,
        leftovers: Option<TaskTracker>,
    ) -> Self {
        // A body of known length has no room for trailers in HTTP/1.1.
        let size = if bounds.trailers { SizeHint::default() } else { body.size_hint() };
        let first = arrived(&mut body);
        if let Some(Ok(frame)) = &first
            && let Some(bytes) = frame.data_ref()
            && body.is_end_stream()
            && !bounds.trailers
            && bytes.len() as u64 <= bounds.max
        {
            // Most bodies come with their head: then there is nothing to wait for.
            progress.bytes.store(bytes.len() as u64, Relaxed);
            progress.finished.store(1, Relaxed);
            return Self(Source::Whole(Some(bytes.clone())));
        }
        Self(Source::Stream(Box::new(Stream {
            first,
            body: Some(body),
            size,
            left: bounds.max,
            started: bounds.started,
            patience: Patience::new(bounds.deadline, bounds.min_rate),
            progress,
            leftovers,
        })))
    }
}

impl RequestBody for Upload {
    fn repeat(&self) -> Option<Self> {
        match &self.0 {
            Source::Empty => Some(Self::empty()),
            Source::Whole(Some(bytes)) => Some(Self::whole(bytes.clone())),
            Source::Whole(None) | Source::Stream(_) => None,
        }
    }
}

impl Stream {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Some(first) = self.first.take() {
            let first = first.map_err(|error| self.progress.fail(error));
            return Poll::Ready(Some(first.and_then(|first| self.count(first))));
        }
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = match Pin::new(body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.patience.poll(cx));
                return Poll::Ready(Some(Err(self.progress.fail(UploadError::TooSlow))));
            }
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(self.count(frame)),
            Some(Err(_)) => Some(Err(self.progress.fail(UploadError::Broken))),
            None => {
                self.finish();
                None
            }
        })
    }

    fn count(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, UploadError> {
        if let Some(trailers) = frame.trailers_mut() {
            headers::clean_trailers(trailers);
        }
        let size = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.patience.went_on(size);
        self.left =
            self.left.checked_sub(size).ok_or_else(|| self.progress.fail(UploadError::TooLarge))?;
        self.progress.bytes.fetch_add(size, Relaxed);
        // Nothing follows trailers, and nobody asks for it.
        if self.is_end() || frame.is_trailers() {
            self.finish();
        }
        Ok(frame)
    }

    fn is_end(&self) -> bool {
        self.first.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn finish(&self) {
        let after = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.finished.store(after.saturating_add(1), Relaxed);
    }
}

/// The first frame, if it is there already.
fn arrived(body: &mut Incoming) -> Option<Result<Frame<Bytes>, UploadError>> {
    // Whoever reads on brings a waker of its own.
    let mut cx = Context::from_waker(Waker::noop());
    match Pin::new(body).poll_frame(&mut cx) {
        Poll::Ready(Some(Ok(frame))) => Some(Ok(frame)),
        Poll::Ready(Some(Err(_))) => Some(Err(UploadError::Broken)),
        Poll::Ready(None) | Poll::Pending => None,
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        // On a worker that is being taken down there is nobody left to read.
        if let (Some(tasks), Ok(_)) = (&self.leftovers, tokio::runtime::Handle::try_current()) {
            tasks.spawn(super::discard::rest(body));
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match &mut self.0 {
            Source::Empty => Poll::Ready(None),
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Stream(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Empty => true,
            Source::Whole(bytes) => bytes.is_none(),
            Source::Stream(stream) => stream.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Empty => SizeHint::with_exact(0),
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Source::Stream(stream) => stream.size,
        }
    }
}
