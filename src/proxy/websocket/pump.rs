//! Moves one direction of a WebSocket: reads, judges, writes, one buffer at a time.
//!
//! What was read is written before more is read, so a side that does not take its
//! bytes holds up the other. A frame's header passes only when it is whole and
//! sound, so a close can always be said in front of a frame that must not pass.
//!
//! # Cancellation
//! Every future here may be dropped: all state is in the [`Pump`].
//!
//! # Limits
//! One read buffer of at most [`BUFFER`], and what the [`Cleaner`] holds.

use std::{io, sync::Arc, time::Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::mishap;

use super::{
    Tally,
    clean::Cleaner,
    close::Close,
    frame::{Fault, Opcode, Reader, Sender, Step},
};

/// The most that is read at once.
const BUFFER: usize = 16 << 10;
/// What is read into while little is said: most WebSockets are idle most of the time.
const SMALL: usize = 2 << 10;

/// Why a pump wants to be looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// A message waits for [`Pump::allow`].
    Asks,
    /// A close has been passed on: nothing may follow it.
    Closed,
    /// The reading side ended, or broke, without a close.
    Ended,
    /// The writing side takes no more.
    Unwritable,
    /// What was sent may not pass; everything before it has.
    Faulty(Fault),
}

/// One direction.
pub struct Pump<R, W> {
    from: R,
    to: W,
    sender: Sender,
    reader: Reader,
    cleaner: Option<Cleaner>,
    tally: Arc<Tally>,
    input: BytesMut,
    out: BytesMut,
    unflushed: bool,
    /// Whether each message needs leave; whether the next has it.
    asks: bool,
    allowed: bool,
    fault: Option<Fault>,
    closing: bool,
    closed: bool,
    wanted: usize,
    heard: Instant,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Pump<R, W> {
    /// Moves what `sender` sends from `from` to `to`; messages have at most `max` bytes.
    pub fn new(from: R, to: W, sender: Sender, max: usize, tally: Arc<Tally>) -> Self {
        Self {
            from,
            to,
            sender,
            reader: Reader::new(sender, max as u64),
            cleaner: None,
            tally,
            input: BytesMut::new(),
            out: BytesMut::new(),
            unflushed: false,
            asks: false,
            allowed: false,
            fault: None,
            closing: false,
            closed: false,
            wanted: SMALL,
            heard: Instant::now(),
        }
    }

    /// Cleans what passes.
    #[must_use]
    pub fn cleaned_by(mut self, cleaner: Option<Cleaner>) -> Self {
        self.cleaner = cleaner;
        self
    }

    /// Stops in front of every message and asks.
    #[must_use]
    pub fn asking(mut self, asks: bool) -> Self {
        self.asks = asks;
        self
    }

    /// Lets the message pass that waits.
    pub fn allow(&mut self) {
        self.allowed = true;
    }

    /// When something was read last.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// Moves bytes until something must be decided.
    pub async fn turn(&mut self) -> Turn {
        loop {
            if self.write().await.is_err() {
                return Turn::Unwritable;
            }
            if let Some(fault) = self.fault {
                return Turn::Faulty(fault);
            }
            if self.closed {
                return Turn::Closed;
            }
            let asks = self.judge(false);
            if !self.out.is_empty() || self.fault.is_some() {
                continue;
            }
            if asks {
                return Turn::Asks;
            }
            match self.read().await {
                Ok(read) if read > 0 => self.heard = Instant::now(),
                _ => return Turn::Ended,
            }
        }
    }

    /// Finishes the frame whose beginning has been passed on, so that another may follow.
    pub async fn finish_frame(&mut self) -> io::Result<()> {
        loop {
            self.write().await?;
            if self.is_between() {
                return Ok(());
            }
            self.judge(true);
            if self.out.is_empty() && !self.is_between() && self.read().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Says goodbye behind the last frame that passed, unless that was a close.
    pub async fn say(&mut self, close: &Close) -> io::Result<()> {
        if !self.closed {
            self.finish_frame().await?;
        }
        if !self.closed {
            self.out = close.frame(self.sender);
            self.closed = true;
        }
        self.write().await
    }

    /// Reads and throws away what still comes, until the sender says goodbye or ends.
    pub async fn hear_out(&mut self) {
        loop {
            match self.reader.next(&self.input) {
                Ok(Step::Head(head)) if head.opcode == Opcode::Close => return,
                Ok(step) if step != Step::More => {
                    self.reader.pass(&step);
                    drop(self.input.split_to(step.size()));
                    continue;
                }
                Ok(_) => {}
                // What cannot be followed is not worth keeping; the end will come.
                Err(_) => self.input.clear(),
            }
            if !matches!(self.read().await, Ok(read) if read > 0) {
                return;
            }
        }
    }

    /// Ends the writing side.
    pub async fn shut(&mut self) {
        // It ends either way.
        drop(self.to.shutdown().await);
    }

    fn is_between(&self) -> bool {
        self.reader.is_between() || self.cleaner.as_ref().is_some_and(Cleaner::holds)
    }

    async fn write(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            let written = self.to.write_buf(&mut self.out).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.tally.moved(self.sender, written);
            self.unflushed = true;
        }
        if self.unflushed {
            self.to.flush().await?;
            self.unflushed = false;
        }
        // Gives the buffer back to the reading side.
        self.out = BytesMut::new();
        Ok(())
    }

    async fn read(&mut self) -> io::Result<usize> {
        if self.input.is_empty() && self.wanted == SMALL && self.input.capacity() > 2 * SMALL {
            self.input = BytesMut::new();
        }
        self.input.reserve(self.wanted);
        let room = self.input.capacity() - self.input.len();
        let read = self.from.read_buf(&mut self.input).await?;
        self.wanted = if read >= room { BUFFER } else { SMALL };
        Ok(read)
    }

    /// Lets pass what may pass of the bytes at hand; `true` when a message waits for leave.
    /// With `rest`, only what remains of the frame under way.
    fn judge(&mut self, rest: bool) -> bool {
        let (mut passed, mut asks) = (0, false);
        while !(self.closed || rest && self.reader.is_between()) {
            let step = match self.reader.next(&self.input[passed..]) {
                Ok(Step::More) => break,
                Ok(step) => step,
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            };
            if let Step::Head(head) = &step {
                if self.asks && self.reader.begins(head) && !std::mem::take(&mut self.allowed) {
                    asks = true;
                    break;
                }
                self.closing = head.opcode == Opcode::Close;
            }
            self.reader.pass(&step);
            let end = passed + step.size();
            mishap::at("carried", &self.input[passed..end]);
            if let Some(cleaner) = &mut self.cleaner {
                cleaner.take(&step, &self.input[passed..end], &mut self.out);
            }
            passed = end;
            self.closed = self.closing && self.reader.is_between();
        }
        let passed = self.input.split_to(passed);
        if self.cleaner.is_none() {
            self.out = passed;
        }
        asks
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, timeout};

    use super::super::close::put_text;
    use super::*;

    /// Two texts, a ping between the fragments of a third, and a close, as a server sends them.
    fn conversation() -> Vec<u8> {
        let mut bytes = BytesMut::new();
        put_text(&mut bytes, b"one");
        put_text(&mut bytes, &[b'x'; 400]);
        bytes.extend_from_slice(b"\x01\x02th\x89\x01?\x80\x03ree\x88\x02\x03\xe8");
        bytes.to_vec()
    }

    /// Pumps `bytes`, written in pieces of `size`, and gives up every future after one look.
    async fn pumped(bytes: &[u8], size: usize, asks: bool) -> (Turn, Vec<u8>) {
        let (mut near, from) = tokio::io::duplex(16);
        let (to, mut far) = tokio::io::duplex(16);
        let pieces: Vec<Vec<u8>> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
        let writer = tokio::spawn(async move {
            for piece in pieces {
                // The pump may end before everything is written.
                drop(near.write_all(&piece).await);
            }
        });
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            drop(far.read_to_end(&mut got).await);
            got
        });
        let mut pump = Pump::new(from, to, Sender::Server, 1_000, Arc::default()).asking(asks);
        let end = loop {
            match timeout(Duration::ZERO, pump.turn()).await {
                Ok(Turn::Asks) => pump.allow(),
                Ok(turn) => break turn,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        drop(pump);
        writer.await.expect("the writer ends");
        (end, reader.await.expect("the reader ends"))
    }

    #[tokio::test]
    async fn nothing_is_lost_or_doubled_however_often_it_is_given_up() {
        let bytes = conversation();
        for size in [1, 2, 3, 7, 64, 1_000] {
            for asks in [false, true] {
                let (end, got) = pumped(&bytes, size, asks).await;
                assert_eq!((end, &got), (Turn::Closed, &bytes), "pieces of {size}, asks: {asks}");
            }
        }
    }

    #[tokio::test]
    async fn nothing_passes_behind_a_close_or_a_fault() {
        let behind = [&conversation()[..], b"\x81\x04more"].concat();
        let (end, got) = pumped(&behind, 1_000, false).await;
        assert_eq!((end, got), (Turn::Closed, conversation()));
        let (end, got) = pumped(b"\x81\x02ok\x83\x02no", 3, false).await;
        assert_eq!((end, &got[..]), (Turn::Faulty(Fault::Protocol), &b"\x81\x02ok"[..]));
        let (end, got) = pumped(b"\x81\x02ok\x81\x7e\x04\x00x", 3, true).await;
        assert_eq!((end, &got[..]), (Turn::Faulty(Fault::TooLarge), &b"\x81\x02ok"[..]));
    }

    #[tokio::test]
    async fn a_goodbye_waits_for_the_end_of_the_frame() {
        let (mut near, from) = tokio::io::duplex(64);
        let (to, mut far) = tokio::io::duplex(64);
        let mut pump = Pump::new(from, to, Sender::Server, 1_000, Arc::default());
        near.write_all(b"\x82\x06half").await.expect("room");
        assert!(timeout(Duration::from_millis(1), pump.turn()).await.is_err());
        let said = tokio::spawn(async move { pump.say(&Close::new(1008, "no")).await });
        near.write_all(b"er\x82\x04more").await.expect("room");
        said.await.expect("it ends").expect("it is said");
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.expect("an end");
        assert_eq!(got, b"\x82\x06halfer\x88\x04\x03\xf0no");
    }
}
