//! The streams of a connection that wait for an answer or send one, and the
//! windows that the client opens for them (RFC 9113, 5.2).
//!
//! A stream that has answered and has no window waits for the client; [`Pace`]
//! says how long. The connection's own window is watched in the same way, a little
//! longer, so that one stream that is not taken is reset before it costs all.

use std::time::{Duration, Instant};

use super::super::Pace;
use crate::telemetry::Violation;

/// The window of a stream, and of the connection, until the client says otherwise.
const WINDOW: i64 = 65_535;
/// Streams in flight that a client could ever have thought it may open.
const MAX_OPEN: usize = 1_024;
/// Patience with the window of the whole connection.
const PATIENCE: Duration = Duration::from_secs(14);

/// All streams that are open towards the client, by their ids.
#[derive(Debug)]
pub(super) struct Streams {
    open: Vec<Stream>,
    last: u32,
    rate: u64,
    initial: i64,
    window: i64,
    pace: Pace,
    /// How many of `open` wait for their window.
    waiting: usize,
}

#[derive(Debug)]
struct Stream {
    id: u32,
    window: i64,
    answered: bool,
    pace: Pace,
}

impl Stream {
    fn waits(&self) -> bool {
        self.pace.ends().is_some()
    }
}

/// A client that does not take what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Stuck {
    /// This stream's answer.
    Stream(u32),
    /// All answers of the connection.
    Connection,
}

impl Streams {
    /// No streams yet; `rate` is what the client should take in octets a second, 0 for any.
    pub(super) fn new(rate: u64) -> Self {
        let pace = Pace::within(rate, PATIENCE);
        let open = Vec::new();
        Self { open, last: 0, rate, initial: WINDOW, window: WINDOW, pace, waiting: 0 }
    }

    /// The last stream that the client opened.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// The client sends HEADERS: opens a stream, unless they are trailers.
    pub(super) fn opened(&mut self, id: u32) -> Result<(), Violation> {
        if id <= self.last {
            return Ok(());
        }
        self.last = id;
        if self.open.len() >= MAX_OPEN {
            return Err(Violation::Streams);
        }
        let (window, pace) = (self.initial, Pace::new(self.rate));
        self.open.push(Stream { id, window, answered: false, pace });
        Ok(())
    }

    /// We send HEADERS; returns whether an answer begins.
    pub(super) fn answered(&mut self, id: u32, now: Instant) -> bool {
        self.change(id, |stream| {
            if stream.window <= 0 {
                stream.pace.wait(now);
            }
            !std::mem::replace(&mut stream.answered, true)
        })
        .unwrap_or(false)
    }

    /// We send this much DATA.
    pub(super) fn sent(&mut self, id: u32, octets: u32, now: Instant) {
        self.window -= i64::from(octets);
        self.pace.moved(now, octets.into());
        if self.window <= 0 {
            self.pace.wait(now);
        }
        self.change(id, |stream| {
            stream.window -= i64::from(octets);
            stream.pace.moved(now, octets.into());
            if stream.window <= 0 {
                stream.pace.wait(now);
            }
        });
    }

    /// The client opens a window further; 0 is the connection's.
    pub(super) fn update(&mut self, id: u32, octets: u32, now: Instant) {
        if id == 0 {
            self.window += i64::from(octets);
            if self.window > 0 {
                self.pace.moved(now, 0);
            }
            return;
        }
        self.change(id, |stream| {
            stream.window += i64::from(octets);
            if stream.window > 0 {
                stream.pace.moved(now, 0);
            }
        });
    }

    /// The client says what the window of every stream is at first.
    pub(super) fn set_initial(&mut self, octets: u32, now: Instant) {
        let more = i64::from(octets) - self.initial;
        self.initial = i64::from(octets);
        for stream in &mut self.open {
            stream.window += more;
            match stream.window > 0 {
                true => stream.pace.moved(now, 0),
                false if stream.answered => stream.pace.wait(now),
                false => {}
            }
        }
        self.waiting = self.open.iter().filter(|stream| stream.waits()).count();
    }

    /// A stream is over on our side, or reset by either; says whether an answer was still to come.
    pub(super) fn closed(&mut self, id: u32) -> bool {
        let Some(at) = self.find(id) else { return false };
        let stream = self.open.remove(at);
        self.waiting -= usize::from(stream.waits());
        !stream.answered
    }

    /// Grants a stream `more` time from now on.
    pub(super) fn bear_with(&mut self, id: u32, now: Instant, more: Duration) {
        self.change(id, |stream| stream.pace.grant(now, more));
    }

    /// Who has used up our patience.
    pub(super) fn stuck(&self, now: Instant) -> Option<Stuck> {
        let over = |pace: &Pace| pace.ends().is_some_and(|end| end <= now);
        if self.waiting > 0
            && let Some(stream) = self.open.iter().find(|stream| over(&stream.pace))
        {
            return Some(Stuck::Stream(stream.id));
        }
        (!self.open.is_empty() && over(&self.pace)).then_some(Stuck::Connection)
    }

    /// When somebody will have, if nothing moves.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        let own = self.pace.ends().filter(|_| !self.open.is_empty());
        if self.waiting == 0 {
            return own;
        }
        self.open.iter().filter_map(|stream| stream.pace.ends()).chain(own).min()
    }

    fn change<T>(&mut self, id: u32, change: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        let at = self.find(id)?;
        let stream = self.open.get_mut(at)?;
        let waited = stream.waits();
        let changed = change(stream);
        self.waiting = self.waiting + usize::from(stream.waits()) - usize::from(waited);
        Some(changed)
    }

    /// Ids only grow, so the list is sorted.
    fn find(&self, id: u32) -> Option<usize> {
        self.open.binary_search_by_key(&id, |stream| stream.id).ok()
    }
}
