//! HTTP/1 between TLS and hyper: one judged request at a time.
//!
//! A head that came in one piece passes without a copy. One that came in several
//! is held until it is whole, and so is everything behind a request until its
//! answer is over: then nothing of it can be taken for a body, a disconnect is
//! seen behind it, and bytes that follow an `Upgrade` wait for the answer
//! (RFC 9110, 7.8; CVE-2026-2833).
//!
//! # Failure
//! A head with a [`Fault`] is replaced by [`MADE_UP`], which no client can send:
//! the server answers that with a refusal as it answers every request, behind all
//! answers before it. A fault inside of a body is an error of reading.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    super::{
        Bounds, ConnectionLimits, Peer,
        wire::{
            Fault,
            h1::{Inspector, MADE_UP},
        },
    },
    Line,
};
use crate::telemetry::Metrics;

/// A downstream connection that speaks HTTP/1.
pub(in crate::server) struct Http1<S> {
    line: Line<S>,
    peer: Arc<Peer>,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    inspector: Inspector,
    max_held: usize,
    held: Held,
    /// When the head that is held began.
    began: Option<Instant>,
    /// Heads that hyper got.
    heads: u32,
    refused: Refused,
}

/// Bytes that wait here, and how many of them may be passed on.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    judged: usize,
}

/// How far the refusal of a head has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refused {
    No,
    /// Earlier answers come first.
    Waits,
    /// hyper has the request that stands in for it.
    Said,
    /// The fault is in a body: every further read fails.
    Inside,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http1<S> {
    /// Guards `stream`.
    pub(in crate::server) fn new(
        stream: S,
        peer: Arc<Peer>,
        limits: ConnectionLimits,
        bounds: Bounds,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            line: Line::new(stream, Instant::now() + limits.header_timeout),
            peer,
            limits,
            metrics,
            inspector: Inspector::new(bounds.max_head),
            max_held: bounds.max_head,
            held: Held::default(),
            began: None,
            heads: 0,
            refused: Refused::No,
        }
    }

    /// Whether hyper has answered everything that it got.
    fn is_answered(&self) -> bool {
        self.peer.requests() == self.heads && !self.peer.is_busy()
    }

    /// Passes on what was judged before, as much as there is room for.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let given = self.held.judged.min(buffer.remaining());
        if given == 0 {
            return false;
        }
        buffer.put_slice(&self.held.bytes[..given]);
        self.held.judged -= given;
        self.held.bytes.drain(..given);
        if self.held.bytes.is_empty() {
            // Idle connections keep no buffer.
            self.held.bytes = Vec::new();
        }
        true
    }

    /// Judges what is held; returns whether some of it may be passed on now.
    fn judge_held(&mut self) -> Result<bool, io::Error> {
        let inside = self.inspector.is_inside();
        match self.inspector.judge(&self.held.bytes) {
            Ok(passed) => {
                self.held.judged = passed.octets;
                self.note_head(passed.head);
                Ok(passed.octets > 0)
            }
            Err(fault) => self.refuse(fault, inside).map(|()| false),
        }
    }

    /// Judges what was just read into hyper's own space, and takes out what may not pass yet.
    fn judge_read(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> Result<bool, io::Error> {
        let inside = self.inspector.is_inside();
        let read = buffer.filled().get(before..).unwrap_or_default();
        match self.inspector.judge(read) {
            Ok(passed) => {
                let rest = read.get(passed.octets..).unwrap_or_default();
                if !rest.is_empty() {
                    self.held.bytes.extend_from_slice(rest);
                    buffer.set_filled(before + passed.octets);
                }
                self.note_head(passed.head);
                Ok(passed.octets > 0)
            }
            Err(fault) => {
                buffer.set_filled(before);
                self.refuse(fault, inside).map(|()| false)
            }
        }
    }

    fn note_head(&mut self, passed: bool) {
        if passed {
            self.heads = self.heads.wrapping_add(1);
            self.began = None;
        }
        if !self.held.bytes.is_empty() && !self.inspector.is_whole() && self.held.judged == 0 {
            self.began.get_or_insert_with(Instant::now);
        }
    }

    fn refuse(&mut self, fault: Fault, inside: bool) -> Result<(), io::Error> {
        self.metrics.violation(fault.kind());
        self.peer.handover.set_fault(fault);
        self.held = Held::default();
        self.refused = if inside { Refused::Inside } else { Refused::Waits };
        if inside { Err(broken()) } else { Ok(()) }
    }

    /// Hands hyper the request that stands in for the refused one, once it is that one's turn.
    fn poll_refusal(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.refused == Refused::Inside {
            return Poll::Ready(Err(broken()));
        }
        self.peer.handover.await_answer(cx.waker());
        if self.refused == Refused::Waits && self.is_answered() {
            self.refused = Refused::Said;
            self.heads = self.heads.wrapping_add(1);
            self.held = Held { bytes: MADE_UP.to_vec(), judged: MADE_UP.len() };
            self.give(buffer);
            return Poll::Ready(Ok(()));
        }
        // What still comes is of no use; that it ends is.
        while ready!(self.line.poll_piece(cx, &mut |_| ()))? > 0 {}
        Poll::Ready(Ok(()))
    }

    /// Reads while an answer is awaited: hyper may see the end, but no byte yet.
    fn poll_behind(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.held.bytes.is_empty() {
            self.peer.handover.await_answer(cx.waker());
            // It may have ended, or become a tunnel, just before we said so.
            if self.is_answered() || self.peer.handover.is_tunnel() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        while self.held.bytes.len() < self.max_held {
            match self.poll_take(cx, space) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => self.peer.handover.await_answer(cx.waker()),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        self.line.keep_timer(cx, self.limits.idle_timeout);
        Poll::Pending
    }

    /// Reads more of a head that has begun; ready when there is something to judge, or at the end.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        match self.poll_take(cx, space) {
            Poll::Pending => {}
            Poll::Ready(read) => return Poll::Ready(read.map(|read| read > 0)),
        }
        let began = self.began.unwrap_or_else(Instant::now).max(self.peer.idle_since());
        ready!(self.line.poll_until(cx, began + self.limits.header_timeout));
        Poll::Ready(self.refuse(Fault::TooSlow, false).map(|()| true))
    }

    /// Reads into hyper's space and keeps what came; returns how much, 0 at the end.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let before = space.filled().len();
        ready!(self.line.read().poll_read(cx, space))?;
        let came = space.filled().get(before..).unwrap_or_default();
        let read = came.len();
        self.held.bytes.extend_from_slice(came);
        space.set_filled(before);
        Poll::Ready(Ok(read))
    }

    /// Ready with an error when the connection was quiet for too long.
    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.peer.handover.is_tunnel() {
            return Poll::Pending;
        }
        if !self.is_answered() {
            self.line.keep_timer(cx, self.limits.idle_timeout);
            return Poll::Pending;
        }
        let deadline = match self.heads {
            0 => self.peer.opened() + self.limits.header_timeout,
            _ => self.peer.idle_since() + self.limits.idle_timeout,
        };
        self.line.poll_until(cx, deadline).map(|()| io::ErrorKind::TimedOut.into())
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the request is malformed")
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Http1<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.peer.handover.is_tunnel() {
                this.held.judged = this.held.bytes.len();
            }
            if this.give(buffer) {
                return Poll::Ready(Ok(()));
            }
            if this.refused != Refused::No {
                return this.poll_refusal(cx, buffer);
            }
            if this.inspector.is_whole() && !this.peer.handover.is_tunnel() {
                if !this.is_answered() {
                    return this.poll_behind(cx, buffer);
                }
                this.inspector.next();
                if !this.held.bytes.is_empty() {
                    this.judge_held()?;
                    continue;
                }
            }
            if !this.held.bytes.is_empty() {
                if !ready!(this.poll_more(cx, buffer))? {
                    return Poll::Ready(Ok(()));
                }
                if this.refused == Refused::No {
                    this.judge_held()?;
                }
                continue;
            }
            let before = buffer.filled().len();
            match this.line.read().poll_read(cx, buffer) {
                Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) => {
                    if this.peer.handover.is_tunnel() || this.judge_read(buffer, before)? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return this.poll_quiet(cx).map(Err),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Http1<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.line.write().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.line.write().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.line.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.write().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lingers = self.peer.lingers();
        self.line.poll_close(cx, lingers)
    }
}

#[cfg(test)]
mod tests;
