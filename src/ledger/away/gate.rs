//! A server behind a gate: naive and exact, shared by the replicas of a test, and away when told.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ledger::authority::{Amount, Authority, Deed, Entry, Epoch, Outbox};
use crate::ledger::decision::{Charge, Charges};
use crate::ledger::{
    CounterUsage, Decision, Demand, Exceeded, Hold, HoldId, LimitState, Outcome, Refused,
    ReplicaId, Standing, Store, StoreError,
};
use crate::policy::limit::{CounterId, Limit, Limits, Span, Unit};
use crate::units::NanoUsd;

/// What all replicas share.
#[derive(Debug, Default)]
pub(super) struct Server(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) away: bool,
    /// How many entries the next import books before the line breaks; `None` for all.
    pub(super) breaks_after: Option<usize>,
    pub(super) epoch: u64,
    pub(super) asked: u64,
    bookings: Vec<Booking>,
    marks: HashMap<(Arc<str>, u128), u64>,
    settled: HashSet<u64>,
    /// Under which key a counter goes on that was known under another.
    renamed: HashMap<CounterId, CounterId>,
    serial: u64,
}

#[derive(Clone, Debug)]
struct Booking {
    hold: u64,
    subject: Arc<str>,
    counter: CounterId,
    unit: Unit,
    period: (u64, u64),
    time: u64,
    amount: u64,
}

/// One replica's line to the server.
#[derive(Debug)]
pub(super) struct Gate {
    server: Arc<Server>,
    outbox: OnceLock<Post>,
}

struct Post(Arc<dyn Outbox>);

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Post")
    }
}

impl Server {
    pub(super) fn line(self: &Arc<Self>) -> Gate {
        Gate { server: Arc::clone(self), outbox: OnceLock::new() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Everything that was ever booked on these counters and not taken back.
    pub(super) fn total(&self, counts: impl Fn(CounterId) -> bool) -> u64 {
        self.state().bookings.iter().filter(|b| counts(b.counter)).map(|b| b.amount).sum()
    }

    /// Everything that was ever booked in a unit and not taken back.
    pub(super) fn sum(&self, unit: Unit) -> u64 {
        let mut counters: HashMap<CounterId, u64> = HashMap::new();
        for booking in self.state().bookings.iter().filter(|b| b.unit == unit) {
            *counters.entry(booking.counter).or_default() += booking.amount;
        }
        counters.into_values().max().unwrap_or(0)
    }
}

impl State {
    fn used(&self, subject: &str, limit: &Limit, now: u64, but: u64) -> u64 {
        let counter = limit.counter.id();
        let mine = |b: &&Booking| &*b.subject == subject && b.counter == counter;
        let live = |b: &&Booking| match limit.counter.span() {
            Span::Window(length) => b.time + length.as_millis() as u64 > now,
            Span::Period(_) => b.period.0 <= now && now < b.period.1,
            Span::InFlight => false,
        };
        let others = |b: &&Booking| but == 0 || b.hold != but;
        self.bookings.iter().filter(mine).filter(live).filter(others).map(|b| b.amount).sum()
    }

    fn standing(&self, demand: &Demand<'_>) -> Standing {
        let state = |limit: &Limit| {
            let used = self.used(demand.subject, limit, demand.now.0, 0);
            let remaining = limit.amount.saturating_sub(used);
            LimitState { used, remaining, resets_in: Duration::from_secs(1) }
        };
        Standing { states: demand.limits.all().map(state).collect(), excess: None }
    }

    fn refusal(&self, demand: &Demand<'_>, hold: u64) -> Option<Refused> {
        let full = |limit: &Limit| {
            let amount = demand.amount(limit.counter.unit());
            let used = self.used(demand.subject, limit, demand.now.0, hold);
            amount > 0 && used + amount > limit.amount
        };
        let index = demand.limits.all().position(full)?;
        let retry_after = Duration::from_secs(1);
        let limit = Exceeded::Limit(index);
        Some(Refused { standing: self.standing(demand), limit, retry_after })
    }

    /// Moves what is counted under former names.
    fn rename(&mut self, limits: &Limits) {
        for limit in limits.all() {
            for former in limit.counter.former() {
                self.renamed.insert(*former, limit.counter.id());
                for booking in self.bookings.iter_mut().filter(|b| b.counter == *former) {
                    booking.counter = limit.counter.id();
                }
            }
        }
    }

    fn present(&self, counter: CounterId) -> CounterId {
        self.renamed.get(&counter).copied().unwrap_or(counter)
    }

    fn book(&mut self, demand: &Demand<'_>, hold: u64) {
        self.bookings.retain(|b| b.hold != hold);
        for limit in demand.limits.all() {
            let counter = &limit.counter;
            if self.bookings.iter().any(|b| b.hold == hold && b.counter == counter.id()) {
                continue;
            }
            let period = match counter.span() {
                Span::Window(_) | Span::InFlight => (0, 0),
                Span::Period(calendar) => {
                    let bounds = calendar.bounds(demand.now);
                    (bounds.start.0, bounds.end.0)
                }
            };
            self.bookings.push(Booking {
                hold,
                subject: demand.subject.into(),
                counter: counter.id(),
                unit: counter.unit(),
                period,
                time: demand.now.0,
                amount: demand.amount(counter.unit()),
            });
        }
    }

    fn settle(&mut self, hold: u64, outcome: Outcome) {
        if !self.settled.insert(hold) {
            return;
        }
        for booking in self.bookings.iter_mut().filter(|b| b.hold == hold) {
            booking.amount = match (outcome, booking.unit) {
                (Outcome::Refund, _) => 0,
                (Outcome::Actual { cost, .. }, Unit::NanoUsd) => cost.0,
                (Outcome::Actual { tokens, .. }, Unit::Tokens) => tokens,
                _ => booking.amount,
            };
        }
    }

    fn import(&mut self, entry: &Entry) {
        match &entry.deed {
            Deed::Settlement(bytes) => {
                let [hold, kind, cost, tokens] = numbers(bytes);
                let actual = Outcome::Actual { cost: NanoUsd(cost), tokens, bytes: 0 };
                self.settle(hold, [Outcome::Keep, Outcome::Refund, actual][kind as usize]);
            }
            Deed::Change { subject, at, moves } => {
                let mark = self.marks.entry((Arc::clone(subject), entry.id.journal)).or_default();
                if entry.id.sequence <= *mark {
                    return;
                }
                *mark = entry.id.sequence;
                for step in moves {
                    self.change(subject, *at, step);
                }
            }
        }
    }

    fn change(&mut self, subject: &Arc<str>, at: Timestamp, step: &crate::ledger::Move) {
        let (name, counter) = (&step.name, self.present(step.name.id));
        match step.amount {
            Amount::Add(amount) => self.bookings.push(Booking {
                hold: 0,
                subject: Arc::clone(subject),
                counter,
                unit: name.unit,
                period: step.period,
                time: at.0,
                amount,
            }),
            Amount::Take { at, amount } => {
                let mut left = amount;
                let mine = |b: &&mut Booking| {
                    b.hold == 0 && b.subject == *subject && b.counter == counter && b.time == at
                };
                for booking in self.bookings.iter_mut().filter(mine) {
                    let taken = left.min(booking.amount);
                    booking.amount -= taken;
                    left -= taken;
                }
                assert_eq!(left, 0, "more was taken back than was charged at that time");
            }
        }
    }
}

fn numbers(bytes: &[u8]) -> [u64; 4] {
    std::array::from_fn(|i| u64::from_le_bytes(bytes[i * 8..][..8].try_into().unwrap()))
}

impl Gate {
    fn open(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let mut state = self.server.state();
        state.asked += 1;
        if state.away { Err(StoreError::Away) } else { Ok(state) }
    }
}

impl Store for Gate {
    async fn reserve(&self, demand: Demand<'_>) -> Result<Decision, StoreError> {
        let mut state = self.open()?;
        state.rename(demand.limits);
        if let Some(refused) = state.refusal(&demand, 0).filter(|_| demand.enforce) {
            return Ok(Decision::Refused(refused));
        }
        state.serial += 1;
        let serial = state.serial;
        state.book(&demand, serial);
        let charge = |limit: &Limit| {
            let (counter, unit) = (limit.counter.id(), limit.counter.unit());
            let (slot, generation, time) = (0, 0, demand.now.0);
            Charge { counter, slot, generation, unit, time, amount: demand.amount(unit) }
        };
        let hold = Box::new(Hold {
            id: HoldId { replica: ReplicaId(0), serial },
            subject: demand.subject.into(),
            hash: serial,
            lease: None,
            charges: demand.limits.all().map(charge).collect(),
            pooled: Charges::new(),
            away: None,
            remote: None,
        });
        Ok(Decision::Admitted(hold, state.standing(&demand)))
    }

    async fn raise(
        &self,
        hold: &mut Hold,
        demand: Demand<'_>,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        let mut state = self.open()?;
        state.rename(demand.limits);
        let cost = NanoUsd(demand.cost.0.max(hold.booked(Unit::NanoUsd)));
        let demand = Demand { cost, ..demand };
        if let Some(refused) = state.refusal(&demand, hold.hash) {
            return Ok(Err(refused));
        }
        state.book(&demand, hold.hash);
        for charge in &mut hold.charges {
            charge.amount = demand.amount(charge.unit);
        }
        Ok(Ok(state.standing(&demand)))
    }

    fn settle(&self, hold: Box<Hold>, outcome: Outcome, _: Timestamp) {
        if let Ok(mut state) = self.open() {
            return state.settle(hold.hash, outcome);
        }
        let [kind, cost, tokens] = match outcome {
            Outcome::Keep => [0; 3],
            Outcome::Refund => [1, 0, 0],
            Outcome::Actual { cost, tokens, .. } => [2, cost.0, tokens],
        };
        let numbers = [hold.hash, kind, cost, tokens].map(u64::to_le_bytes);
        self.outbox.get().unwrap().0.keep(numbers.as_flattened()).unwrap();
    }

    async fn usage(&self, _: &str, _: Timestamp) -> Result<Vec<CounterUsage>, StoreError> {
        self.open().map(|_| Vec::new())
    }

    async fn subjects(&self, _: &str, _: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.open().map(|_| Vec::new())
    }

    async fn reset(&self, subject: &str) -> Result<bool, StoreError> {
        let mut state = self.open()?;
        let before = state.bookings.len();
        state.bookings.retain(|b| &*b.subject != subject);
        Ok(state.bookings.len() < before)
    }

    fn sweep(&self, _: Timestamp) -> usize {
        0
    }

    fn is_up(&self) -> bool {
        !self.server.state().away
    }
}

impl Authority for Gate {
    async fn probe(&self) -> Result<Epoch, StoreError> {
        Ok(Epoch(self.open()?.epoch))
    }

    async fn import(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut state = self.open()?;
        let breaks_after = state.breaks_after.take();
        for entry in entries.iter().take(breaks_after.unwrap_or(entries.len())) {
            state.import(entry);
        }
        if breaks_after.is_some() { Err(StoreError::Away) } else { Ok(()) }
    }

    fn post(&self, outbox: Arc<dyn Outbox>) {
        assert!(self.outbox.set(Post(outbox)).is_ok(), "told once");
    }
}
