//! What hyper does not do on a connection: deadlines while nothing is served,
//! an answer to a head that comes too slowly, and a lingering close.
//!
//! [`Guarded`] lies between TLS and HTTP. It looks at no byte; it knows from the
//! [`Peer`] whether a request is being served. A timer is only touched when
//! there is nothing to read, so a busy connection pays nothing for it.
//!
//! # Failure
//! A head that takes longer than the header timeout is answered with 408 on
//! HTTP/1 and the connection ends; an idle connection ends without a word.

use std::{
    io::{self, BufRead},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep_until},
};

use super::{ConnectionLimits, Peer};
use crate::telemetry::Protocol;

/// The most that is read and thrown away before a close.
const LINGER_BYTES: usize = 4 << 20;
/// The longest that we go on reading before a close.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// A downstream connection with its deadlines.
pub(super) struct Guarded<S> {
    stream: S,
    peer: Arc<Peer>,
    limits: ConnectionLimits,
    timer: Pin<Box<Sleep>>,
    /// When the head that is being read began, and how many requests had begun by then.
    head: Option<(Instant, u32)>,
    closing: Closing,
    /// The answer to a head that is too slow, once it is needed.
    too_slow: fn() -> Vec<u8>,
    answer: Option<io::Cursor<Vec<u8>>>,
}

enum Closing {
    Open,
    Lingering { left: usize },
    Closed,
}

impl<S> Guarded<S> {
    /// Guards `stream`; `too_slow` is what a slow HTTP/1 head is answered with.
    pub(super) fn new(
        stream: S,
        peer: Arc<Peer>,
        limits: ConnectionLimits,
        too_slow: fn() -> Vec<u8>,
    ) -> Self {
        let first = Instant::now() + limits.header_timeout;
        Self {
            stream,
            peer,
            limits,
            timer: Box::pin(sleep_until(first.into())),
            head: None,
            closing: Closing::Open,
            too_slow,
            answer: None,
        }
    }

    fn note_bytes(&mut self) {
        let requests = self.peer.requests();
        let is_new = self.head.is_none_or(|(_, seen)| seen != requests);
        if is_new && !self.peer.is_busy() {
            self.head = Some((Instant::now(), requests));
        }
    }

    /// When the connection must end if nothing more arrives, and whether a head is owed.
    fn deadline(&self) -> (Instant, bool) {
        let requests = self.peer.requests();
        if requests == 0 {
            return (self.peer.opened() + self.limits.header_timeout, true);
        }
        match self.head {
            // HTTP/2 reads frames of its own between requests: those begin no head.
            Some((began, seen)) if seen == requests && self.peer.protocol == Protocol::Http1 => {
                (began + self.limits.header_timeout, true)
            }
            _ => (self.peer.idle_since() + self.limits.idle_timeout, false),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guarded<S> {
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let (deadline, owed) = self.deadline();
            if self.timer.deadline().into_std() > deadline {
                self.timer.as_mut().reset(deadline.into());
            }
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() < deadline {
                self.timer.as_mut().reset(deadline.into());
                continue;
            }
            if owed && self.peer.protocol == Protocol::Http1 && self.head.is_some() {
                ready!(self.poll_answer_slow(cx));
            }
            return Poll::Ready(io::ErrorKind::TimedOut.into());
        }
    }

    /// Keeps the timer going while a request is served. Nobody may ask for bytes again once it is
    /// over: then the timer is what finds the connection idle.
    fn keep_timer(&mut self, cx: &mut Context<'_>) {
        while self.timer.as_mut().poll(cx).is_ready() {
            let later = Instant::now() + self.limits.idle_timeout;
            self.timer.as_mut().reset(later.into());
        }
    }

    /// Writes the answer to a slow head; an error while doing so ends the connection as well.
    fn poll_answer_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let answer = self.answer.get_or_insert_with(|| io::Cursor::new((self.too_slow)()));
        loop {
            let rest = answer.fill_buf().unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest)) {
                Ok(written) if written > 0 => answer.consume(written),
                _ => return Poll::Ready(()),
            }
        }
        // Flushing and closing may fail when the peer has left; then nobody is there to tell.
        drop(ready!(Pin::new(&mut self.stream).poll_flush(cx)));
        drop(ready!(Pin::new(&mut self.stream).poll_shutdown(cx)));
        Poll::Ready(())
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Closing::Lingering { left } = &mut self.closing else { return Poll::Ready(()) };
        let mut space = [0_u8; 16 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    let read = buffer.filled().len();
                    *left = left.saturating_sub(read);
                    if read == 0 || *left == 0 {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return self.timer.as_mut().poll(cx),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before {
                    self.note_bytes();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending if self.peer.is_busy() => {
                self.keep_timer(cx);
                Poll::Pending
            }
            Poll::Pending => self.poll_deadline(cx).map(Err),
            failed => failed,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.closing, Closing::Open) {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.closing = Closing::Closed;
            if self.peer.lingers() {
                self.closing = Closing::Lingering { left: LINGER_BYTES };
                let until = Instant::now() + LINGER_TIME;
                self.timer.as_mut().reset(until.into());
            }
        }
        ready!(self.poll_linger(cx));
        self.closing = Closing::Closed;
        Poll::Ready(Ok(()))
    }
}
