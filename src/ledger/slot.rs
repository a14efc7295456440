//! One counter of one account.
//!
//! A slot gives sliding windows and calendar periods one face, and carries the
//! counter's name, so that operators can read an account without the policy that
//! made it. Its generation grows whenever the count begins anew: a hold from an
//! earlier generation must not touch the present one.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::ledger::decision::{CONCURRENCY_WAIT, Charge, CounterUsage, LimitState};
use crate::ledger::tally::Tally;
use crate::ledger::window::{Entry, Window};
use crate::policy::limit::{Counter, CounterId, Limit, Span, SpanKey, Unit};

/// How a counter is called, wherever it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) id: CounterId,
    pub(super) scope: Arc<str>,
    pub(super) unit: Unit,
    pub(super) span: SpanKey,
}

impl From<&Counter> for Name {
    fn from(counter: &Counter) -> Self {
        let scope = counter.scope().clone();
        Self { id: counter.id(), scope, unit: counter.unit(), span: counter.span().key() }
    }
}

/// A counter's name and its count.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) name: Name,
    pub(super) generation: u16,
    pub(super) usage: Usage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    Window(Window),
    Period(Tally),
    /// Requests in flight; they do not survive the process, so they are never kept.
    InFlight(u64),
    /// The count went to another slot when its counter was renamed; holds follow it.
    Moved(Moved),
}

/// Where a count went: a charge of generation `was` is one of generation `now` there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) slot: u32,
    pub(super) was: u16,
    pub(super) now: u16,
}

/// A change of one count, in the form in which it is journaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Booked on a window at the time of the record.
    Add(u64),
    /// Taken back from what a window booked at that time.
    Take { at: u64, amount: u64 },
    /// The total of a period, committed and held; whoever reads it again is no worse off.
    /// Nothing that was charged before `since` is in it.
    Set { total: u64, last: u64, until: u64, since: u64 },
    /// Took in the count of another counter of the account, which it replaces.
    Adopt { from: CounterId },
}

impl Usage {
    pub(super) fn empty(span: SpanKey) -> Self {
        match span {
            SpanKey::Window { ms } => Self::Window(Window::new(ms)),
            SpanKey::Period(_) => Self::Period(Tally::default()),
            SpanKey::InFlight => Self::InFlight(0),
        }
    }

    pub(super) fn used(&self) -> u64 {
        match self {
            Self::Window(window) => window.used(),
            Self::Period(tally) => tally.used(),
            Self::InFlight(count) => *count,
            Self::Moved(_) => 0,
        }
    }

    /// Adds the count of another counter of the same span.
    pub(super) fn absorb(&mut self, other: &Self) {
        match (self, other) {
            (Self::Window(window), Self::Window(other)) => window.absorb(other),
            (Self::Period(tally), Self::Period(other)) => tally.absorb(*other),
            (Self::InFlight(count), Self::InFlight(other)) => *count += other,
            // Whoever merges two slots checked that their spans agree.
            _ => {}
        }
    }
}

impl Slot {
    pub(super) fn new(name: Name) -> Self {
        let usage = Usage::empty(name.span);
        Self { name, generation: 0, usage }
    }

    /// Whether this is the counter with the key `id`.
    pub(super) fn is(&self, id: CounterId) -> bool {
        self.name.id == id && !matches!(self.usage, Usage::Moved(_))
    }

    /// Brings the count to `now`, by the calendar that is in force now; the step says that another
    /// calendar must not bring back what ended.
    pub(super) fn enter(&mut self, span: &Span, now: u64) -> Option<Step> {
        match (&mut self.usage, span) {
            (Usage::Window(window), _) => window.expire(now),
            (Usage::Period(tally), Span::Period(calendar)) => {
                let (bounds, before) = (calendar.bounds(Timestamp(now)), tally.used());
                if tally.enter(bounds.start.0, bounds.end.0) {
                    self.generation = self.generation.wrapping_add(1);
                    return (before > 0).then(|| set(tally));
                }
            }
            // The span is part of the counter's name: a period never meets a window.
            (Usage::Period(_) | Usage::InFlight(_) | Usage::Moved(_), _) => {}
        }
        None
    }

    /// How long `amount` more has to wait for room beside the hold's `own` charges; `None` when there is room.
    ///
    /// Nothing more asks for no room: a free request passes a spent budget.
    pub(super) fn shortfall(
        &self,
        limit: &Limit,
        own: &[Charge],
        amount: u64,
        now: u64,
    ) -> Option<Duration> {
        let wanted = self.usage.used().saturating_add(amount);
        if amount == 0 || wanted <= limit.amount {
            return None;
        }
        Some(Duration::from_millis(match &self.usage {
            Usage::Window(window) => {
                let mine = |charge: &&Charge| {
                    let counts = charge.generation == self.generation;
                    counts && limit.counter.has(charge.counter) && !window.left(charge.time, now)
                };
                let own = own.iter().filter(mine);
                let own: SmallVec<[Entry; 4]> = own.map(Entry::from).collect();
                window.wait(wanted - limit.amount, &own, now)
            }
            Usage::Period(tally) => tally.until().saturating_sub(now),
            Usage::InFlight(_) | Usage::Moved(_) => return Some(CONCURRENCY_WAIT),
        }))
    }

    /// Books `amount` at `now`; the step is what of it is journaled.
    pub(super) fn book(&mut self, amount: u64, now: u64) -> Option<Step> {
        if amount == 0 {
            if let Usage::Period(tally) = &mut self.usage {
                // What it comes to belongs to this count, wherever an edit moves the boundary; also
                // after a crash, if there is anything to count.
                let before = tally.last();
                tally.hold(0, now);
                return (tally.used() > 0 && tally.last() > before).then(|| set(tally));
            }
            return None;
        }
        match &mut self.usage {
            Usage::Window(window) => {
                window.add(now, amount);
                Some(Step::Add(amount))
            }
            Usage::Period(tally) => {
                tally.hold(amount, now);
                Some(set(tally))
            }
            Usage::InFlight(count) => {
                *count += amount;
                None
            }
            Usage::Moved(_) => None,
        }
    }

    /// Whether what is booked at `now` may join this charge instead of standing beside it.
    pub(super) fn joins(&self, charge: &Charge, now: u64) -> bool {
        charge.generation == self.generation
            && match &self.usage {
                Usage::Window(window) => window.is_near(charge.time, now),
                Usage::Period(_) | Usage::InFlight(_) => true,
                Usage::Moved(_) => false,
            }
    }

    /// Makes room in a window for a charge that is about to be booked anew at a later time.
    pub(super) fn unbook(&mut self, charge: &Charge, now: u64) -> Option<Step> {
        match &mut self.usage {
            Usage::Window(window) => take(window, charge.time, charge.amount, now),
            Usage::Period(_) | Usage::InFlight(_) | Usage::Moved(_) => None,
        }
    }

    /// Replaces a charge by what it came to.
    ///
    /// A window books what exceeds the estimate at `now`, when it became known: a
    /// stream may outlive the window of its beginning, and would go uncounted.
    pub(super) fn settle(&mut self, charge: &Charge, actual: u64, now: u64) -> Option<Step> {
        match &mut self.usage {
            Usage::Window(window) if actual < charge.amount => {
                take(window, charge.time, charge.amount - actual, now)
            }
            Usage::Window(_) => self.book(actual - charge.amount, now),
            Usage::Period(tally) => {
                tally.commit(charge.amount, actual, charge.time);
                (actual != charge.amount).then(|| set(tally))
            }
            Usage::InFlight(count) => {
                *count = count.saturating_sub(charge.amount);
                None
            }
            Usage::Moved(_) => None,
        }
    }

    /// Repeats a journaled step; an adoption is the account's business.
    pub(super) fn apply(&mut self, step: Step, now: u64) {
        match (&mut self.usage, step) {
            (Usage::Window(window), Step::Add(amount)) => {
                window.expire(now);
                window.add(now, amount);
            }
            (Usage::Window(window), Step::Take { at, amount }) => {
                window.take(at, amount, now);
            }
            (Usage::Period(tally), Step::Set { total, last, until, since }) => {
                *tally = Tally::restored(total, last, until, since);
            }
            // Each record names its counter's span, and the reader checked that they agree.
            _ => {}
        }
    }

    /// The step after which a count that was put together is the same when it is read again.
    pub(super) fn sum(&self) -> Option<Step> {
        match &self.usage {
            Usage::Period(tally) => Some(set(tally)),
            Usage::Window(_) | Usage::InFlight(_) | Usage::Moved(_) => None,
        }
    }

    pub(super) fn clear(&mut self) {
        match &mut self.usage {
            Usage::Window(window) => window.clear(),
            Usage::Period(tally) => *tally = Tally::default(),
            // Requests in flight stay in flight.
            Usage::InFlight(_) | Usage::Moved(_) => return,
        }
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn rebase(&mut self, now: u64) {
        match &mut self.usage {
            Usage::Window(window) => window.rebase(now),
            Usage::Period(tally) => tally.rebase(now),
            Usage::InFlight(_) | Usage::Moved(_) => {}
        }
    }

    /// Whether nothing would be lost with this slot, `grace` after its period ended.
    pub(super) fn is_spent(&self, now: u64, grace: u64) -> bool {
        match &self.usage {
            Usage::Window(window) => window.last().is_none_or(|last| window.left(last, now)),
            Usage::Period(tally) => tally.used() == 0 || tally.until().saturating_add(grace) <= now,
            Usage::InFlight(count) => *count == 0,
            Usage::Moved(_) => true,
        }
    }

    /// Whether the count is to be found again after a restart.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self.usage, Usage::Window(_) | Usage::Period(_))
    }

    pub(super) fn state(&self, amount: u64, now: u64) -> LimitState {
        let used = self.usage.used();
        LimitState { used, remaining: amount.saturating_sub(used), resets_in: self.resets_in(now) }
    }

    pub(super) fn usage(&self, now: u64) -> CounterUsage {
        let mut slot = self.clone();
        if let Usage::Window(window) = &mut slot.usage {
            window.expire(now);
        }
        let (used, held) = match &slot.usage {
            Usage::Period(tally) if tally.until() <= now => (0, 0),
            Usage::Period(tally) => (tally.used(), tally.held()),
            Usage::InFlight(count) => (*count, *count),
            usage => (usage.used(), 0),
        };
        let Name { id, scope, unit, span } = slot.name.clone();
        CounterUsage { id, scope, unit, span, used, held, resets_in: slot.resets_in(now) }
    }

    fn resets_in(&self, now: u64) -> Duration {
        Duration::from_millis(match &self.usage {
            Usage::Window(window) => window.resets_in(now),
            Usage::Period(tally) => tally.until().saturating_sub(now),
            Usage::InFlight(_) | Usage::Moved(_) => 0,
        })
    }
}

impl From<&Charge> for Entry {
    fn from(charge: &Charge) -> Self {
        Self { time: charge.time, amount: charge.amount }
    }
}

fn take(window: &mut Window, at: u64, amount: u64, now: u64) -> Option<Step> {
    let amount = window.take(at, amount, now);
    (amount > 0).then_some(Step::Take { at, amount })
}

fn set(tally: &Tally) -> Step {
    let (last, until, since) = (tally.last(), tally.until(), tally.since());
    Step::Set { total: tally.used(), last, until, since }
}
