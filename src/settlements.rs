//! Charges that somebody else knows: requests that wait for the callback of an agent.
//!
//! A request of an operation with the source `callback` is known here from its
//! admission on, so that the agent may say what it cost before or after it has
//! answered. When the answer is over and no earlier source spoke, its hold stays
//! on the books until the callback comes or the wait is over; then the next source
//! stands. The first settlement wins: the same amount once more is answered alike,
//! another one is refused, and nothing is ever charged twice.
//!
//! # Failure
//! Ids that this process has not admitted are unknown: a callback never makes
//! spend. Where there is no room, nothing is waited for and the next source stands.
//!
//! # Limits
//! [`MAX_KNOWN`] requests, those included that are remembered for repeated callbacks.
//! A request that waits keeps its place in the caller's `concurrency`.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    clock::Timestamp,
    id::RequestId,
    ledger::{Hold, Ledger, Outcome, Store},
    meter::{Bill, Confidence, Source},
    telemetry::{Cell, MeteringError, Metrics},
    units::NanoUsd,
};

/// Requests that are known at once.
pub const MAX_KNOWN: usize = 50_000;

/// How long a request without an end is known: no exchange lasts longer unheard of.
const FORGET_AFTER: Duration = Duration::from_secs(86_400);

/// Requests whose cost an agent may tell.
pub struct Settlements {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    known: HashMap<RequestId, State>,
    /// When each known request is looked at again.
    due: BTreeSet<(Timestamp, RequestId)>,
}

enum State {
    /// Not answered to its end yet; what the agent has said so far.
    InFlight { told: Option<NanoUsd>, until: Timestamp },
    /// Answered, and not told yet.
    Waiting(Box<Waiting>),
    /// Over.
    Settled { cost: NanoUsd, until: Timestamp },
}

struct Waiting {
    hold: Box<Hold>,
    otherwise: Bill,
    cell: Arc<Cell>,
    timeout: Duration,
    until: Timestamp,
    bytes: u64,
}

/// A request whose answer is over, as its permit hands it over.
pub struct Ended {
    /// What it booked.
    pub hold: Box<Hold>,
    /// What the sources say that were heard.
    pub bill: Bill,
    /// Whether one of them stands before the callback, so that nothing is waited for.
    pub is_certain: bool,
    /// How long a callback is waited for.
    pub timeout: Duration,
    /// Where the charge is counted.
    pub cell: Arc<Cell>,
    /// The bytes that were counted.
    pub bytes: u64,
}

/// What became of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is the charge.
    Settled,
    /// It will be, once the answer is over, unless a source before it speaks.
    Noted,
}

/// Why a callback changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// No request of this process that waits or waited for one.
    #[error("no such request is known")]
    Unknown,
    /// It was settled with another amount.
    #[error("the request was settled with another amount")]
    Different,
}

impl Settlements {
    /// Without any request.
    pub fn new(ledger: Arc<Ledger>, metrics: Arc<Metrics>) -> Self {
        Self { ledger, metrics, books: Mutex::default() }
    }

    /// Says that a request was admitted whose cost a callback may tell.
    pub fn begin(&self, id: RequestId, now: Timestamp) {
        let until = now.after(FORGET_AFTER);
        let mut books = self.lock();
        if books.known.len() < MAX_KNOWN {
            books.put(id, State::InFlight { told: None, until });
            return;
        }
        drop(books);
        self.metrics.metering_error(MeteringError::CallbackFull);
    }

    /// Says that a request came to nothing: nobody can tell what it cost.
    pub fn forget(&self, id: RequestId) {
        self.lock().take(id);
    }

    /// Takes over a request whose answer is over; returns the charge that stands, if it is known already.
    pub fn end(&self, id: RequestId, ended: Ended, now: Timestamp) -> Option<Bill> {
        let Ended { hold, bill, is_certain, timeout, cell, bytes } = ended;
        let mut books = self.lock();
        let told = match books.take(id) {
            Some(State::InFlight { told, .. }) => Some(told),
            _ => None,
        };
        let bill = match told {
            // It was never known, for want of room.
            None => bill,
            Some(Some(cost)) if !is_certain => {
                Bill { usage: bill.usage, model: bill.model, ..Bill::named(cost, Source::Callback) }
            }
            Some(None) if !is_certain => {
                let until = now.after(timeout);
                let waiting = Waiting { hold, otherwise: bill, cell, timeout, until, bytes };
                books.put(id, State::Waiting(Box::new(waiting)));
                return None;
            }
            Some(_) => bill,
        };
        books.put(id, State::Settled { cost: bill.cost, until: now.after(timeout) });
        drop(books);
        self.settle(hold, &bill, bytes, now);
        Some(bill)
    }

    /// Takes in what an agent says that a request cost.
    ///
    /// # Errors
    /// See [`ClaimError`]; nothing has changed.
    pub fn claim(
        &self,
        id: RequestId,
        cost: NanoUsd,
        now: Timestamp,
    ) -> Result<Claimed, ClaimError> {
        let mut books = self.lock();
        let waiting = match books.take(id).ok_or(ClaimError::Unknown)? {
            State::InFlight { told, until } => {
                books.put(id, State::InFlight { told: told.or(Some(cost)), until });
                let same = told.is_none_or(|told| told == cost);
                return if same { Ok(Claimed::Noted) } else { Err(ClaimError::Different) };
            }
            State::Settled { cost: settled, until } => {
                books.put(id, State::Settled { cost: settled, until });
                let same = settled == cost;
                return if same { Ok(Claimed::Settled) } else { Err(ClaimError::Different) };
            }
            State::Waiting(waiting) => *waiting,
        };
        books.put(id, State::Settled { cost, until: now.after(waiting.timeout) });
        drop(books);
        let Waiting { hold, otherwise, cell, bytes, .. } = waiting;
        let bill =
            Bill { cost, source: Source::Callback, confidence: Confidence::Exact, ..otherwise };
        count(&cell, &bill);
        self.settle(hold, &bill, bytes, now);
        tracing::debug!(request_id = %id, cost_nano_usd = cost.0, "settled by its callback");
        Ok(Claimed::Settled)
    }

    /// Settles what has waited long enough, and forgets what nobody will ask for any more.
    pub fn sweep(&self, now: Timestamp) {
        while let Some((id, state)) = self.due(now) {
            if let State::Waiting(waiting) = state {
                self.metrics.metering_error(MeteringError::CallbackLate);
                self.give_up(id, *waiting, now);
            }
        }
    }

    /// Settles all that still waits, with what is known.
    pub fn close(&self, now: Timestamp) {
        let waiting = std::mem::take(&mut *self.lock());
        for (id, state) in waiting.known {
            if let State::Waiting(waiting) = state {
                self.give_up(id, *waiting, now);
            }
        }
    }

    fn give_up(&self, id: RequestId, waiting: Waiting, now: Timestamp) {
        let Waiting { hold, otherwise, cell, timeout, bytes, .. } = waiting;
        let until = now.after(timeout);
        self.lock().put(id, State::Settled { cost: otherwise.cost, until });
        count(&cell, &otherwise);
        self.settle(hold, &otherwise, bytes, now);
    }

    fn due(&self, now: Timestamp) -> Option<(RequestId, State)> {
        let mut books = self.lock();
        let &(until, id) = books.due.first()?;
        let is_due = until <= now;
        is_due.then(|| books.take(id).map(|state| (id, state))).flatten()
    }

    fn settle(&self, hold: Box<Hold>, bill: &Bill, bytes: u64, now: Timestamp) {
        let outcome = Outcome::Actual { cost: bill.cost, tokens: bill.tokens(), bytes };
        self.ledger.settle(hold, outcome, now);
    }

    /// A few lines long wherever it is held: no store, no log, no wait.
    fn lock(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn put(&mut self, id: RequestId, state: State) {
        self.due.insert((state.until(), id));
        self.known.insert(id, state);
    }

    fn take(&mut self, id: RequestId) -> Option<State> {
        let state = self.known.remove(&id)?;
        self.due.remove(&(state.until(), id));
        Some(state)
    }
}

impl State {
    fn until(&self) -> Timestamp {
        match self {
            Self::InFlight { until, .. } | Self::Settled { until, .. } => *until,
            Self::Waiting(waiting) => waiting.until,
        }
    }
}

/// Counts a charge whose record is long written.
fn count(cell: &Cell, bill: &Bill) {
    match &bill.model {
        Some(model) => cell.spent(model, bill.cost, &bill.usage.unwrap_or_default()),
        None => cell.cost.add(bill.cost.0),
    }
}

#[cfg(test)]
mod tests;
