//! A socket whose other end must take what is sent.
//!
//! Lies under TLS, where a write that the kernel does not accept is one that the
//! client has no room for. Costs nothing while everything is taken.
//!
//! # Failure
//! Past our patience writing fails with `TimedOut`.
//!
//! # Limits
//! The kernel takes bytes in steps: [`UNSENT`] bounds them, and with
//! them how finely a rate is measured.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep_until},
};

use super::super::{transport::Transport, wire::Pace};
use crate::telemetry::{Metrics, Violation};

/// What the kernel keeps of ours without having sent it: without a bound it would take megabytes
/// at once and then nothing for minutes, and a slow client would look like one that stands still.
const UNSENT: u32 = 32 << 10;

/// A socket with our patience.
pub(in crate::server) struct Paced<S> {
    stream: S,
    pace: Pace,
    /// There since the first time that the client had no room.
    timer: Option<Pin<Box<Sleep>>>,
    address: SocketAddr,
    metrics: Arc<Metrics>,
}

impl Paced<Transport> {
    /// Wants `rate` octets a second to be taken; 0 is any.
    pub(in crate::server) fn new(
        stream: Transport,
        rate: u64,
        address: SocketAddr,
        metrics: Arc<Metrics>,
    ) -> Self {
        if rate > 0 {
            // Where the system has no such option, rates are measured more coarsely.
            stream.bound_unsent(UNSENT);
        }
        Self { stream, pace: Pace::new(rate), timer: None, address, metrics }
    }
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    /// Follows one attempt to write.
    fn attempt(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match write(Pin::new(&mut self.stream), cx) {
            Poll::Ready(written) => {
                if self.timer.is_some() {
                    let octets = written.as_ref().map_or(0, |written| *written as u64);
                    self.pace.moved(Instant::now(), octets);
                }
                Poll::Ready(written)
            }
            Poll::Pending => self.wait(cx),
        }
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.pace.wait(Instant::now());
        let Some(ends) = self.pace.ends() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(ends.into())));
        if timer.deadline().into_std() != ends {
            timer.as_mut().reset(ends.into());
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let peer = self.address.ip().to_canonical();
        tracing::warn!(%peer, kind = Violation::SlowRead.name(), "a connection took nothing and was closed");
        self.metrics.violation(Violation::SlowRead);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.attempt(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.attempt(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
