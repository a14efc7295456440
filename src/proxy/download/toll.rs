//! What a metered answer passes on its way: it is read, held while its hold is raised,
//! trimmed of what only we asked for, and ended where the budget has no room for it.
//!
//! A piece goes on once it is known to be paid for. While the store is asked nothing
//! more is read, so the upstream feels it and nothing grows.
//!
//! # Limits
//! A stream is ended at the border of an event. Where a piece has none, because one event
//! is longer than it, the piece goes on and the next border is waited for, over [`GRACE`]
//! bytes at most. A dialect that has no words for it is told why in ours, or cut.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Download, Source, Stream};
use crate::{
    meter::Trimmer,
    policy::metering::DrainRules,
    proxy::{
        meter::{Cut, Raised, Raising, Room},
        refusal::Refusal,
        settle::Permit,
    },
};

/// Answers that are read on at once without a caller, over all workers.
const MAX_DRAINS: usize = 256;
static DRAINS: Semaphore = Semaphore::const_new(MAX_DRAINS);

/// Bytes that may follow without a border when there is no room for more.
const GRACE: usize = 64 << 10;

/// The state of a metered answer.
pub(super) struct Toll {
    trimmer: Option<Trimmer>,
    /// The hold is being raised, and the piece that waits for it.
    raising: Option<(Raising, Bytes)>,
    /// There was no room: the next border of an event is the end.
    is_spent: bool,
    /// What went on since then.
    overrun: usize,
    /// What ends the answer, once it was decided.
    ending: Option<Bytes>,
    /// Whether the caller has left.
    pub(super) is_left: bool,
}

impl Toll {
    /// For an answer whose body is read.
    pub(super) fn new(permit: &mut Permit) -> Option<Box<Self>> {
        let meter = permit.meter()?;
        let trimmer = meter.trimmer();
        Some(Box::new(Self {
            trimmer,
            raising: None,
            is_spent: false,
            overrun: 0,
            ending: None,
            is_left: false,
        }))
    }
}

impl Stream {
    /// Takes a piece of a metered answer in; what may go on now is handed on.
    pub(super) fn take_toll(&mut self, piece: Bytes, ready_now: &mut Option<Bytes>) {
        let (Some(toll), Some(permit)) = (&mut self.toll, &mut self.permit) else { return };
        let Some(meter) = permit.meter() else { return };
        meter.push(&piece);
        if !toll.is_spent && matches!(meter.room(), Room::Short) {
            self.raise(piece);
            return;
        }
        self.let_go(piece, ready_now);
    }

    /// Begins to raise the hold; `piece` waits.
    fn raise(&mut self, piece: Bytes) {
        let (Some(toll), Some(permit)) = (&mut self.toll, self.permit.take()) else { return };
        toll.raising = Some((permit.extend(&self.exchange), piece));
    }

    /// Ready when no hold is being raised.
    pub(super) fn poll_toll(
        &mut self,
        cx: &mut Context<'_>,
        ready_now: &mut Option<Bytes>,
    ) -> Poll<()> {
        let Some(toll) = &mut self.toll else { return Poll::Ready(()) };
        let Some((raising, _)) = &mut toll.raising else { return Poll::Ready(()) };
        let (permit, raised) = ready!(raising.poll(cx));
        let piece = toll.raising.take().map(|(_, piece)| piece).unwrap_or_default();
        toll.is_spent |= matches!(raised, Raised::Exhausted);
        self.permit = Some(permit);
        self.let_go(piece, ready_now);
        Poll::Ready(())
    }

    /// Gives up raising the hold, should that be under way.
    pub(super) fn leave_toll(&mut self) {
        let raising = self.toll.as_mut().and_then(|toll| toll.raising.take());
        if let Some((raising, _)) = raising {
            raising.give_up(&mut self.exchange);
        }
    }

    /// Hands a piece on, or what may be handed on of the last one.
    fn let_go(&mut self, mut piece: Bytes, ready_now: &mut Option<Bytes>) {
        self.refusal = self.cut(&mut piece).or(self.refusal.take());
        let Some(toll) = &mut self.toll else { return };
        let mut out = Vec::new();
        match &mut toll.trimmer {
            Some(trimmer) => trimmer.push(piece, &mut |piece| out.push(piece)),
            None => out.push(piece),
        }
        let ended = toll.ending.is_some();
        for piece in out {
            self.pass_on(piece, ready_now);
        }
        if ended {
            self.exhaust(ready_now);
        }
    }

    /// Cuts a piece where the answer has no room for more of it. The refusal is for what cannot be
    /// ended in its own dialect.
    fn cut(&mut self, piece: &mut Bytes) -> Option<Box<Refusal>> {
        let toll = self.toll.as_mut().filter(|toll| toll.is_spent)?;
        let meter = self.permit.as_mut()?.meter()?;
        match meter.cut() {
            Cut::Over => return None,
            Cut::Here(at, ending) => {
                piece.truncate(at);
                toll.ending = Some(ending);
                return None;
            }
            Cut::Bare(at) => piece.truncate(at),
            Cut::NotYet => {
                toll.overrun = toll.overrun.saturating_add(piece.len());
                if toll.overrun <= GRACE {
                    return None;
                }
                piece.clear();
            }
        }
        meter.spent().cloned().map(Box::new)
    }

    /// Ends the answer in order, and the upstream's work with it.
    fn exhaust(&mut self, ready_now: &mut Option<Bytes>) {
        let spent = self.permit.as_mut().and_then(|permit| permit.meter()?.spent());
        if let Some(spent) = spent {
            let facts = &mut self.exchange.facts;
            (facts.refused, facts.detail) = (Some(spent.code), spent.detail.clone());
        }
        // The upstream is not done: its connection cannot be used again.
        self.lease = None;
        self.end(ready_now);
    }

    /// What is still held when the answer is over.
    pub(super) fn finish_toll(&mut self, ready_now: &mut Option<Bytes>) {
        let trimmer = self.toll.as_mut().and_then(|toll| toll.trimmer.take());
        let mut out = Vec::new();
        if let Some(trimmer) = trimmer {
            trimmer.finish(&mut |piece| out.push(piece));
        }
        for piece in out {
            self.pass_on(piece, ready_now);
        }
    }

    /// What ends the answer, after everything else.
    pub(super) fn ending(&mut self) -> Option<Bytes> {
        self.toll.as_mut()?.ending.take()
    }

    /// Whether the answer is to be read on although its caller has left, and how far.
    fn drains(&mut self) -> Option<DrainRules> {
        if self.ended || self.toll.is_none() {
            return None;
        }
        self.permit.as_mut()?.meter()?.drain().filter(|_| self.refusal.is_none())
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let Source::Stream(stream) = &mut self.0 else { return };
        let Some(rules) = stream.drains() else { return };
        let Ok(place) = DRAINS.try_acquire() else { return };
        let Source::Stream(stream) = std::mem::replace(&mut self.0, Source::Nothing) else {
            return;
        };
        // At the very end of a process there is nothing left to run on.
        if tokio::runtime::Handle::try_current().is_ok() {
            let tasks = stream.exchange.shared.tasks.clone();
            tasks.spawn(drain(stream, rules, place));
        }
    }
}

/// Reads an answer on for what it says of its usage, within bounds.
async fn drain(mut stream: Box<Stream>, rules: DrainRules, _place: SemaphorePermit<'static>) {
    if let Some(toll) = &mut stream.toll {
        toll.is_left = true;
    }
    let mut left = rules.bytes;
    let read = std::future::poll_fn(|cx| {
        loop {
            match ready!(stream.poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let size = frame.data_ref().map_or(0, Bytes::len) as u64;
                    match left.checked_sub(size) {
                        Some(rest) => left = rest,
                        None => return Poll::Ready(()),
                    }
                }
                Some(Err(_)) | None => return Poll::Ready(()),
            }
        }
    });
    // What was read by then is charged when the stream is dropped.
    drop(tokio::time::timeout(rules.timeout, read).await);
}
