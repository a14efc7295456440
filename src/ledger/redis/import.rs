//! Tells the server what was decided in its place.
//!
//! After a minute under load there are a million entries, and the server has other
//! things to do. So the entries of one subject and journal are merged: what became of
//! one period is one sum, and what was booked in one 256th of a window is one
//! booking, at the latest of their instants, as the server's own log merges. One
//! command tells a run of entries, all or none: the server knows how far it has heard
//! the journal. Commands of one subject wait for each other; those of many go together.
//!
//! # Failure
//! [`StoreError::Away`]: any part may have been booked. Told again, nothing counts twice.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry as Slot, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::held::MAX_AMOUNT;
use super::script::{self, Invocation};
use super::server::Server;
use crate::ledger::StoreError;
use crate::ledger::authority::{Amount, Deed, Entry, Move};
use crate::ledger::slot::Name;
use crate::policy::limit::{CounterId, SpanKey};

/// Merged moves in one command: a millisecond or two of the server's time.
const MOVES: usize = 200;
/// Parts of a window in which bookings become one; as in `counters.lua`.
const CELLS: u64 = 256;
/// Entries, and subjects, after which others have the thread for a while.
const AT_ONCE: usize = 1_024;
const LANES_AT_ONCE: usize = 32;
/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sequence, instant, and what changed.
type Change<'e> = (u64, u64, &'e [Move]);
/// A subject and a journal.
type Lane<'e> = (&'e str, u128);

/// Tells all entries.
pub(super) async fn import(server: &Arc<Server>, entries: &[Entry]) -> Result<(), StoreError> {
    let mut telling = JoinSet::new();
    let mut lanes: BTreeMap<Lane<'_>, Vec<Change<'_>>> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if index % AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
        match &entry.deed {
            Deed::Change { subject, at, moves } => lanes
                .entry((subject, entry.id.journal))
                .or_default()
                .push((entry.id.sequence, at.0, moves)),
            Deed::Settlement(bytes) => {
                // Whatever is no settlement of ours was damaged on the way; nobody could tell it.
                let Some(calls) = script::from_bytes(bytes) else { continue };
                telling.spawn(tell(Arc::clone(server), usize::MAX, calls));
            }
        }
    }
    // A lane comes again when the server had heard a part of a run.
    let mut left: Vec<_> = lanes.into_iter().collect();
    loop {
        for (index, (lane, changes)) in left.iter().enumerate() {
            if index % LANES_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            telling.spawn(tell(Arc::clone(server), index, calls(server, *lane, changes)));
        }
        let mut heard = BTreeMap::new();
        while let Some(told) = telling.join_next().await {
            // A task that panicked told nothing that is known.
            if let Some((index, sequence)) = told.map_err(|_| StoreError::Away)?? {
                heard.insert(index, sequence);
            }
        }
        if heard.is_empty() {
            return Ok(());
        }
        left = unheard(left, &heard);
    }
}

/// The lanes that were heard in part, without that part.
fn unheard<'e>(
    lanes: Vec<(Lane<'e>, Vec<Change<'e>>)>,
    heard: &BTreeMap<usize, u64>,
) -> Vec<(Lane<'e>, Vec<Change<'e>>)> {
    let mut left = Vec::new();
    for (index, (lane, mut changes)) in lanes.into_iter().enumerate() {
        if let Some(done) = heard.get(&index) {
            changes.retain(|(sequence, ..)| sequence > done);
            left.push((lane, changes));
        }
    }
    left
}

/// Makes the calls one after the other; says how far the server had heard where that is amid a run.
async fn tell(
    server: Arc<Server>,
    index: usize,
    calls: Vec<Invocation>,
) -> Result<Option<(usize, u64)>, StoreError> {
    for call in calls {
        let reply = server.router.tell(&call, Instant::now() + PATIENCE).await;
        let reply = reply.map_err(|_| StoreError::Away)?;
        if let [status, _, done] = reply.array()
            && status.number() == Some(2)
        {
            return Ok(done.amount().map(|done| (index, done)));
        }
    }
    Ok(None)
}

/// The commands that tell the changes of a lane.
fn calls(server: &Server, (subject, journal): Lane<'_>, changes: &[Change<'_>]) -> Vec<Invocation> {
    let account = script::account(subject);
    let (mut calls, mut rest) = (Vec::new(), changes);
    while !rest.is_empty() {
        let (steps, taken) = merged(rest);
        let (run, after) = rest.split_at(taken);
        let mut call = Invocation::new("import", &[&account], server.clock.told(None));
        let last = run.last().map_or(0, |change| change.0);
        call.text(&format!("{journal:032x}")).number(run[0].0).number(last);
        let steps = steps.into_iter().filter_map(Step::rest).collect::<Vec<_>>();
        call.number(steps.len() as u64);
        steps.iter().for_each(|(step, deed, amount)| step.put(&mut call, deed, *amount));
        calls.push(call);
        rest = after;
    }
    calls
}

/// What several moves of one counter come to.
#[derive(Debug, PartialEq, Eq)]
struct Step<'e> {
    name: &'e Name,
    period: (u64, u64),
    at: u64,
    added: u64,
    taken: u64,
}

/// Which moves are merged: those of one period, or of one part of a window; or, given back,
/// of one instant.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Place(CounterId, (u64, u64), Option<u64>);

/// Merges changes, oldest first, until a command is full; returns how many it took, at least one.
fn merged<'e>(changes: &[Change<'e>]) -> (Vec<Step<'e>>, usize) {
    let (mut steps, mut places) = (Vec::<Step<'e>>::new(), HashMap::new());
    for (index, (_, at, moves)) in changes.iter().enumerate() {
        if index > 0 && steps.len() + moves.len() > MOVES {
            return (steps, index);
        }
        for step in *moves {
            add(&mut steps, &mut places, step, *at);
        }
    }
    (steps, changes.len())
}

fn add<'e>(
    steps: &mut Vec<Step<'e>>,
    places: &mut HashMap<Place, usize>,
    step: &'e Move,
    now: u64,
) {
    let Move { name, period, amount } = step;
    let cell = |at: u64| match name.span {
        SpanKey::Window { ms } => at / ms.div_ceil(CELLS).max(1),
        SpanKey::Period(_) | SpanKey::InFlight => 0,
    };
    let (at, added, mut taken) = match *amount {
        Amount::Add(amount) => (now, amount, 0),
        Amount::Take { at, amount } => (at, 0, amount),
    };
    let is_window = matches!(name.span, SpanKey::Window { .. });
    let at = if is_window { at } else { now };
    if is_window
        && taken > 0
        && let Some(before) = places.get(&Place(name.id, (cell(at), 0), None))
    {
        // It was booked in this run, or at least in this part of the window.
        let before: &mut Step<'_> = &mut steps[*before];
        let back = taken.min(before.added - before.taken);
        before.taken += back;
        taken -= back;
        if taken == 0 {
            return;
        }
    }
    let place = match is_window {
        true => Place(name.id, (cell(at), 0), (taken > 0).then_some(at)),
        false => Place(name.id, *period, None),
    };
    match places.entry(place) {
        Slot::Occupied(slot) => steps[*slot.get()].join(at, added, taken),
        Slot::Vacant(slot) => {
            slot.insert(steps.len());
            steps.push(Step { name, period: *period, at, added, taken });
        }
    }
}

impl<'e> Step<'e> {
    fn join(&mut self, at: u64, added: u64, taken: u64) {
        self.at = self.at.max(at);
        self.added = self.added.saturating_add(added);
        self.taken = self.taken.saturating_add(taken);
    }

    /// What is to be done in all; `None` when that is nothing.
    fn rest(self) -> Option<(Self, &'static str, u64)> {
        let (more, less) =
            (self.added.saturating_sub(self.taken), self.taken.saturating_sub(self.added));
        match (more, less) {
            (0, 0) => None,
            (more, 0) => Some((self, "a", more)),
            (_, less) => Some((self, "t", less)),
        }
    }

    fn put(&self, call: &mut Invocation, deed: &str, amount: u64) {
        let (kind, start, end) = match self.name.span {
            SpanKey::Window { ms } => ("W", ms, 0),
            SpanKey::Period(_) => ("P", self.period.0, self.period.1),
            SpanKey::InFlight => ("F", 0, 0),
        };
        call.text(kind).text(&format!("{:016x}", self.name.id.to_u64()));
        call.number(start).number(end).text(deed).number(self.at).number(amount.min(MAX_AMOUNT));
        call.text(&format!("{} {} {}", self.name.unit, self.name.span, self.name.scope));
    }
}
