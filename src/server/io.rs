//! A downstream connection between TLS and HTTP: what hyper does not do.
//!
//! [`Http1`] and [`Http2`] show the bytes to the state machines of `server::wire`
//! before hyper sees them, and carry out what those say: refuse a head, reset a
//! stream, say GOAWAY. They also hold the deadlines of heads and idle
//! connections, and close in a way that the last answer survives. [`Paced`] lies
//! under TLS and ends connections that do not take what is sent.
//!
//! # Failure
//! An error that hyper gets from here ends the connection; why, was counted and,
//! where no exchange does it, logged before.

mod http1;
mod http2;
mod paced;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep_until},
};

pub(super) use http1::Http1;
pub(super) use http2::Http2;
pub(super) use paced::Paced;

/// The most that is read and thrown away before a close.
const LINGER_BYTES: usize = 4 << 20;
/// The longest that we go on reading before a close.
const LINGER_TIME: Duration = Duration::from_secs(2);
/// What is read at once where hyper brings no space.
const PIECE: usize = 4 << 10;

/// A stream with its timer, which is only touched when there is nothing to read.
struct Line<S> {
    stream: S,
    timer: Pin<Box<Sleep>>,
    closing: Closing,
}

enum Closing {
    Open,
    Lingering { left: usize },
    Closed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    fn new(stream: S, first: Instant) -> Self {
        Self { stream, timer: Box::pin(sleep_until(first.into())), closing: Closing::Open }
    }

    fn read(&mut self) -> Pin<&mut S> {
        Pin::new(&mut self.stream)
    }

    fn write(&mut self) -> Pin<&mut S> {
        Pin::new(&mut self.stream)
    }

    /// Ready once `deadline` has passed. Keeps a timer going that may fire earlier.
    fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            if self.timer.deadline().into_std() > deadline {
                self.timer.as_mut().reset(deadline.into());
            }
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline.into());
        }
    }

    /// Keeps the timer going while nothing has a deadline: nobody may ask for bytes again once a
    /// request is over, and then the timer is what finds the connection idle.
    fn keep_timer(&mut self, cx: &mut Context<'_>, later: Duration) {
        while self.timer.as_mut().poll(cx).is_ready() {
            self.timer.as_mut().reset((Instant::now() + later).into());
        }
    }

    /// Closes our direction; with `lingers`, reads on for a while, so that what was said last is
    /// not lost in a reset.
    fn poll_close(&mut self, cx: &mut Context<'_>, lingers: bool) -> Poll<io::Result<()>> {
        if matches!(self.closing, Closing::Open) {
            ready!(self.write().poll_shutdown(cx))?;
            self.closing = Closing::Closed;
            if lingers {
                self.closing = Closing::Lingering { left: LINGER_BYTES };
                self.timer.as_mut().reset((Instant::now() + LINGER_TIME).into());
            }
        }
        ready!(self.poll_linger(cx));
        self.closing = Closing::Closed;
        Poll::Ready(Ok(()))
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Closing::Lingering { mut left } = self.closing else { return Poll::Ready(()) };
        loop {
            match self.poll_piece(cx, &mut |_| ()) {
                Poll::Ready(Ok(read)) => {
                    left = left.saturating_sub(read);
                    self.closing = Closing::Lingering { left };
                    if read == 0 || left == 0 {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return self.timer.as_mut().poll(cx),
            }
        }
    }

    /// Reads a piece and shows it; returns its size, 0 at the end.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        show: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        let mut space = [0_u8; PIECE];
        let mut buffer = ReadBuf::new(&mut space);
        ready!(self.read().poll_read(cx, &mut buffer))?;
        show(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}
