//! The byte stream under the HTTP library: inspects what is read, and counts
//! the descriptor for as long as it is open.
//!
//! Right before the first byte of a request leaves on a connection that was
//! idle, the kernel is asked whether the upstream has closed it meanwhile: the
//! runtime may not have noticed yet. Then nothing of the request was written,
//! and it goes out on another connection. A connection that has proved that it is
//! kept open, and was idle for less than a moment, is not asked: see [`TRUSTED`].
//!
//! # Failure
//! A [`Fault`] ends the connection with an error that carries it. What the
//! upstream sends behind an answer is not handed on, and ends the connection too.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    framing::{Asked, Fault, Greeting, Inspector},
    places::Place,
    socket::{Socket, Unread},
    wire::{Use, Wire},
};

/// Answers after which a connection is not asked whether it was closed within a moment. An upstream
/// that closes after an answer without saying so does that after the first, or the first few; when one
/// dies, what it has in hand is lost just as what reaches it in the same moment.
const TRUSTED: u32 = 16;

/// One connection's byte stream.
#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    wire: Arc<Wire>,
    inspects: Inspects,
    /// Whether some of the running request has been written.
    begun: bool,
    /// Answers that have ended.
    answers: u32,
    /// Whether the upstream sent what it should not have: nothing more is read.
    spoiled: bool,
    /// Whether the upstream takes no more of the running request.
    deaf: bool,
    _place: Place,
}

/// What is looked at.
#[derive(Debug)]
enum Inspects {
    /// Every answer, over HTTP/1.
    Answers(Inspector),
    /// Over HTTP/2 the first frame; what follows carries its own framing.
    Greeting(Greeting),
    Nothing,
}

impl Link {
    /// A stream that carries HTTP/1.
    pub(super) fn http1(socket: Socket, wire: Arc<Wire>, place: Place) -> Self {
        Self::new(socket, wire, place, Inspects::Answers(Inspector::default()))
    }

    /// A stream that carries HTTP/2.
    pub(super) fn http2(socket: Socket, wire: Arc<Wire>, place: Place) -> Self {
        Self::new(socket, wire, place, Inspects::Greeting(Greeting::default()))
    }

    fn new(socket: Socket, wire: Arc<Wire>, place: Place, inspects: Inspects) -> Self {
        Self {
            socket,
            wire,
            inspects,
            begun: false,
            answers: 0,
            spoiled: false,
            deaf: false,
            _place: place,
        }
    }

    /// Notes that something is written. After an early answer that is the rest of its request.
    fn begin(&mut self) {
        self.begun = self.begun || self.wire.asked() != Asked::Nothing;
    }

    /// Whether what is written now is the rest of a request, or of one that has been answered.
    fn is_rest(&self) -> bool {
        self.begun || self.answers > 0 && self.wire.asked() == Asked::Nothing
    }

    /// What writing came to. An upstream that closes in the middle of a request may have said why
    /// before, and that is still to be read: so the rest waits, and the end is found by reading.
    fn written(
        &mut self,
        is_rest: bool,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(_)) if is_rest => {
                self.deaf = true;
                Poll::Pending
            }
            written => written,
        }
    }

    /// Whether a request is about to be written to a connection that is not what it seems.
    fn is_stale(&self) -> bool {
        if self.answers >= TRUSTED && self.wire.was_idle_briefly() {
            return false;
        }
        match self.socket.unread() {
            Unread::Nothing => false,
            Unread::End => true,
            // A server may send session tickets right after the handshake.
            Unread::Bytes => self.answers > 0 || !self.socket.is_tls(),
        }
    }

    /// Judges what was read behind `before`.
    fn judge(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> Result<(), Fault> {
        let read = &buffer.filled()[before..];
        let inspector = match &mut self.inspects {
            Inspects::Answers(inspector) => inspector,
            Inspects::Greeting(greeting) => {
                if greeting.inspect(read)? {
                    self.wire.greet();
                    self.inspects = Inspects::Nothing;
                }
                return Ok(());
            }
            Inspects::Nothing => return Ok(()),
        };
        let asked = if self.begun { self.wire.asked() } else { Asked::Nothing };
        let passed = inspector.inspect(read, asked)?;
        self.wire.count_interim(passed.interim);
        if passed.ended {
            self.spoiled = passed.bytes < read.len();
            self.begun = false;
            self.answers = self.answers.saturating_add(1);
            self.wire.answered();
            buffer.set_filled(before + passed.bytes);
        }
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.wire.note(Use::Closed);
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let link = &mut *self;
        if link.spoiled {
            return Poll::Ready(Err(fault(Fault::Unasked)));
        }
        if !link.begun && link.wire.asked() != Asked::Nothing && link.is_stale() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut link.socket).poll_read(cx, buffer))?;
        if buffer.filled().len() == before {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(link.judge(buffer, before).map_err(|found| {
            link.spoiled = true;
            buffer.set_filled(before);
            fault(found)
        }))
    }
}

fn fault(fault: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Pending;
        }
        let is_rest = self.is_rest();
        self.begin();
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.written(is_rest, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Pending;
        }
        let is_rest = self.is_rest();
        self.begin();
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.written(is_rest, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::{HeaderMap, Method};
    use tokio::{io::AsyncWriteExt as _, net::UnixStream};

    use super::*;
    use crate::upstream::places::Gate;

    fn link() -> (Link, UnixStream, Arc<Wire>) {
        let (ours, theirs) = UnixStream::pair().expect("two sockets");
        let wire = Wire::new(&Arc::default());
        let place = Arc::<Gate>::default().enter(1).expect("a place");
        (Link::http1(Socket::Unix(ours), Arc::clone(&wire), place), theirs, wire)
    }

    /// Reads once, without giving the runtime a chance to notice anything.
    fn read(link: &mut Link) -> Poll<Result<Vec<u8>, io::ErrorKind>> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut space = [0; 64];
        let mut buffer = ReadBuf::new(&mut space);
        let read = Pin::new(link).poll_read(&mut cx, &mut buffer);
        read.map(|read| read.map(|()| buffer.filled().to_vec()).map_err(|error| error.kind()))
    }

    #[tokio::test]
    async fn a_close_that_the_runtime_has_not_noticed_is_seen_before_a_request_leaves() {
        let (mut link, theirs, wire) = link();
        assert_eq!(read(&mut link), Poll::Pending);
        wire.ask(&Method::GET, &HeaderMap::new());
        assert_eq!(read(&mut link), Poll::Pending);

        drop(theirs);

        assert_eq!(read(&mut link), Poll::Ready(Err(io::ErrorKind::ConnectionReset)));
    }

    #[tokio::test]
    async fn bytes_that_came_before_the_request_left_are_not_its_answer() {
        let (mut link, theirs, wire) = link();
        assert_eq!(read(&mut link), Poll::Pending);
        wire.ask(&Method::GET, &HeaderMap::new());

        theirs.try_write(b"HTTP/1.1 200 OK\r\n\r\n").expect("room");

        assert_eq!(read(&mut link), Poll::Ready(Err(io::ErrorKind::ConnectionReset)));
    }

    #[tokio::test]
    async fn what_follows_an_answer_is_cut_off_and_ends_the_connection() {
        let (mut link, mut theirs, wire) = link();
        wire.ask(&Method::GET, &HeaderMap::new());
        link.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("room");
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        theirs.write_all(&[&answer[..], b"HTTP/1.1"].concat()).await.expect("room");
        link.socket_is_readable().await;

        assert_eq!(read(&mut link), Poll::Ready(Ok(answer.to_vec())));
        assert_eq!(wire.asked(), Asked::Nothing);
        assert_eq!(read(&mut link), Poll::Ready(Err(io::ErrorKind::InvalidData)));
    }

    #[tokio::test]
    async fn an_answer_that_came_before_a_reset_is_read() {
        let (mut link, mut theirs, wire) = link();
        wire.ask(&Method::POST, &HeaderMap::new());
        link.write_all(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n").await.expect("room");
        let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n";
        theirs.write_all(answer).await.expect("room");
        drop(theirs);

        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            let rest = Pin::new(&mut link).poll_write(&mut cx, b"the rest!");
            assert!(rest.is_pending(), "{rest:?}");
        }

        link.socket_is_readable().await;
        assert_eq!(read(&mut link), Poll::Ready(Ok(answer.to_vec())));
    }

    impl Link {
        async fn socket_is_readable(&self) {
            let Socket::Unix(socket) = &self.socket else { return };
            socket.readable().await.expect("an open socket");
        }
    }
}
