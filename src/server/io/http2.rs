//! HTTP/2 between TLS and hyper: frames are counted, floods are cut, streams that
//! nobody takes are reset.
//!
//! Bytes pass without a copy. What we have to say ourselves is written between
//! two frames of hyper's; a stream that we reset is also told to hyper, as if the
//! client had reset it, so that the upstream's work for it ends.
//!
//! # Failure
//! Past a limit the client gets GOAWAY, and what it still sends is thrown away for
//! a moment, so that it can read that. Then reading fails and the connection ends.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    super::{
        Bounds, ConnectionLimits, Peer,
        wire::h2::{Connection, Reason, Stuck, goaway, reset},
    },
    LINGER_TIME, Line,
};
use crate::telemetry::{Metrics, Violation};

/// When to look again at a stream that cannot be reset in the middle of a frame.
const LATER: Duration = Duration::from_millis(100);

/// A downstream connection that speaks HTTP/2.
pub(in crate::server) struct Http2<S> {
    line: Line<S>,
    peer: Arc<Peer>,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    frames: Connection,
    /// What we say between two frames of hyper's.
    said: Said,
    /// What hyper is told between two frames of the client's.
    told: Vec<u8>,
    cut: Cut,
}

/// Frames of our own, and how much of them is written.
#[derive(Default)]
struct Said {
    bytes: Vec<u8>,
    written: usize,
}

/// How far the end of the connection has come.
enum Cut {
    No,
    /// GOAWAY is being written, at the latest until then.
    Saying(Instant),
    Closing,
    Over,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http2<S> {
    /// Guards `stream`.
    pub(in crate::server) fn new(
        stream: S,
        peer: Arc<Peer>,
        limits: ConnectionLimits,
        bounds: Bounds,
        metrics: Arc<Metrics>,
    ) -> Self {
        let max_block = u32::try_from(bounds.max_head.saturating_mul(2)).unwrap_or(u32::MAX);
        let now = Instant::now();
        Self {
            line: Line::new(stream, now + limits.header_timeout),
            peer,
            limits,
            metrics,
            frames: Connection::new(max_block.max(MIN_BLOCK), bounds.min_rate, now),
            said: Said::default(),
            told: Vec::new(),
            cut: Cut::No,
        }
    }

    /// Ends the connection because of what the client did.
    fn violated(&mut self, kind: Violation) {
        if !matches!(self.cut, Cut::No) {
            return;
        }
        self.metrics.violation(kind);
        let (peer, kind_name) = (self.peer.ip_text(), kind.name());
        tracing::warn!(peer, kind = kind_name, "a connection broke the protocol and was closed");
        self.end(match kind {
            Violation::Preface => Reason::ProtocolError,
            _ => Reason::EnhanceYourCalm,
        });
    }

    fn end(&mut self, reason: Reason) {
        if matches!(self.cut, Cut::No) {
            self.said.bytes.extend_from_slice(&goaway(self.frames.last_stream(), reason));
            self.cut = Cut::Saying(Instant::now() + LINGER_TIME);
        }
    }

    /// Writes frames of our own, between two of hyper's. Ready when there are none left.
    fn poll_say(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.said.bytes.is_empty() {
            if self.said.written == 0 && !self.frames.may_speak() {
                return Poll::Pending;
            }
            let rest = self.said.bytes.get(self.said.written..).unwrap_or_default();
            match ready!(self.line.write().poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.said.written += written,
            }
            if self.said.written >= self.said.bytes.len() {
                self.said = Said::default();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says the last word and closes. Ready when the connection is over.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if let Cut::Saying(until) = self.cut {
            // In the middle of a frame there is nothing to be said.
            let may = self.frames.may_speak() || self.said.written > 0;
            let said = match may {
                true => self.poll_say(cx),
                false => Poll::Ready(Ok(())),
            };
            if said.is_pending() {
                ready!(self.line.poll_until(cx, until));
            }
            self.cut = Cut::Closing;
        }
        if let Cut::Closing = self.cut {
            // Whether it could be closed well changes nothing any more.
            drop(ready!(self.line.poll_close(cx, true)));
            self.cut = Cut::Over;
        }
        Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was cut"))
    }

    /// What is due while there is nothing to read. Ready when there is something to do.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut deadline = self.frames.patience_ends();
        if let Some(since) = self.frames.owes_since() {
            let head = since + self.limits.header_timeout;
            deadline = Some(deadline.map_or(head, |other| other.min(head)));
        }
        if !self.peer.is_busy() {
            let quiet = match self.peer.requests() {
                0 => self.peer.opened() + self.limits.header_timeout,
                _ => self.peer.idle_since() + self.limits.idle_timeout,
            };
            deadline = Some(deadline.map_or(quiet, |other| other.min(quiet)));
        }
        match deadline {
            Some(deadline) => self.line.poll_until(cx, deadline),
            None => {
                self.line.keep_timer(cx, self.limits.idle_timeout);
                Poll::Pending
            }
        }
    }

    /// Does what is due.
    fn act(&mut self, now: Instant) {
        let late = |since: Instant| since + self.limits.header_timeout <= now;
        if self.frames.owes_since().is_some_and(late) {
            return self.violated(Violation::SlowHead);
        }
        match self.frames.stuck(now) {
            Some(Stuck::Stream(stream)) => return self.give_up(stream, now),
            Some(Stuck::Connection) => return self.violated(Violation::SlowRead),
            None => {}
        }
        if !self.peer.is_busy() {
            let quiet = match self.peer.requests() {
                0 => late(self.peer.opened()),
                _ => self.peer.idle_since() + self.limits.idle_timeout <= now,
            };
            match self.frames.owes_since() {
                _ if !quiet => {}
                Some(_) => self.violated(Violation::SlowHead),
                None => self.end(Reason::NoError),
            }
        }
    }

    /// Resets a stream whose answer is not taken, on both sides.
    fn give_up(&mut self, stream: u32, now: Instant) {
        if !self.frames.may_speak() || !self.frames.may_be_told() {
            self.frames.bear_with(stream, now, LATER);
            return;
        }
        self.metrics.violation(Violation::SlowRead);
        self.frames.forget(stream);
        self.said.bytes.extend_from_slice(&reset(stream, Reason::Cancel));
        self.told.extend_from_slice(&reset(stream, Reason::Cancel));
    }

    /// Tells hyper what the client did not say, as much as there is room for.
    fn tell(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let told = self.told.len().min(buffer.remaining());
        buffer.put_slice(&self.told[..told]);
        self.told.drain(..told);
        told > 0
    }

    /// Follows what was written of `slices`.
    fn wrote(&mut self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>], mut written: usize) {
        let now = Instant::now();
        for slice in slices {
            let sent = slice.get(..written.min(slice.len())).unwrap_or_default();
            written -= sent.len();
            if let Err(kind) = self.frames.sent(sent, now) {
                self.violated(kind);
                // hyper has read already; it must come back to learn that it is over.
                cx.waker().wake_by_ref();
            }
        }
        // Nobody may ask for bytes again before a window that was just used up is waited for.
        if let Some(ends) = self.frames.patience_ends()
            && self.line.poll_until(cx, ends).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }
}

/// The largest header block, as it is sent, is at least this.
const MIN_BLOCK: u32 = 64 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Http2<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !matches!(this.cut, Cut::No) {
                return this.poll_cut(cx).map(Err);
            }
            // What is pending is said before hyper's next frame.
            if let Poll::Ready(Err(error)) = this.poll_say(cx) {
                return Poll::Ready(Err(error));
            }
            if this.tell(buffer) {
                return Poll::Ready(Ok(()));
            }
            let before = buffer.filled().len();
            match this.line.read().poll_read(cx, buffer) {
                Poll::Ready(Ok(())) => {
                    let read = buffer.filled().get(before..).unwrap_or_default();
                    if let Err(kind) = this.frames.received(read, Instant::now()) {
                        buffer.set_filled(before);
                        this.violated(kind);
                        continue;
                    }
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(this.poll_due(cx));
                    this.act(Instant::now());
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Http2<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !matches!(self.cut, Cut::No) {
            // Nothing follows GOAWAY. hyper goes on to read, and learns there that it is over.
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        if self.said.written > 0 || self.frames.may_speak() {
            ready!(self.poll_say(cx))?;
        }
        let written = ready!(self.line.write().poll_write_vectored(cx, slices))?;
        self.wrote(cx, slices, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.line.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.cut, Cut::No) {
            if let Poll::Ready(Err(error)) = self.poll_say(cx) {
                return Poll::Ready(Err(error));
            }
            return self.line.write().poll_flush(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !matches!(self.cut, Cut::No) {
            return self.poll_cut(cx).map(|_| Ok(()));
        }
        let lingers = self.peer.lingers();
        self.line.poll_close(cx, lingers)
    }
}
