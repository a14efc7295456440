//! One counter of one account.
//!
//! A slot gives sliding windows and calendar periods one face, and carries the
//! counter's name, so that operators can read an account without the policy that
//! made it. Its generation grows whenever the count begins anew: a hold from an
//! earlier generation must not touch the present one.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ledger::decision::{Charge, CounterUsage, LimitState};
use crate::ledger::tally::Tally;
use crate::ledger::window::Window;
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
    pub(super) generation: u32,
    pub(super) usage: Usage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    Window(Window),
    Period(Tally),
}

/// A change of one count, in the form in which it is journaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Booked on a window at the time of the record.
    Add(u64),
    /// Taken back from what a window booked at that time.
    Take { at: u64, amount: u64 },
    /// The total of a period, committed and held; whoever reads it again is no worse off.
    Set { total: u64, last: u64, until: u64 },
}

impl Usage {
    pub(super) fn empty(span: SpanKey) -> Self {
        match span {
            SpanKey::Window { ms } => Self::Window(Window::new(ms)),
            SpanKey::Period(_) => Self::Period(Tally::default()),
        }
    }

    pub(super) fn used(&self) -> u64 {
        match self {
            Self::Window(window) => window.used(),
            Self::Period(tally) => tally.used(),
        }
    }
}

impl Slot {
    pub(super) fn new(name: Name) -> Self {
        let usage = Usage::empty(name.span);
        Self { name, generation: 0, usage }
    }

    /// Brings the count to `now`, by the calendar that is in force now.
    pub(super) fn enter(&mut self, span: &Span, now: u64) {
        match (&mut self.usage, span) {
            (Usage::Window(window), _) => window.expire(now),
            (Usage::Period(tally), Span::Period(calendar)) => {
                let bounds = calendar.bounds(Timestamp(now));
                if tally.enter(bounds.start.0, bounds.end.0) {
                    self.generation = self.generation.wrapping_add(1);
                }
            }
            // The span is part of the counter's name: a period never meets a window.
            (Usage::Period(_), Span::Window(_)) => {}
        }
    }

    /// How long `amount` has to wait for room, in place of the hold's `own` charge; `None` when there is room.
    ///
    /// Nothing more asks for no room: a free request passes a spent budget.
    pub(super) fn shortfall(
        &self,
        limit: &Limit,
        own: Option<&Charge>,
        amount: u64,
        now: u64,
    ) -> Option<Duration> {
        let own =
            own.map_or(Charge::none(limit.counter.unit()), |charge| self.still_booked(charge, now));
        let wanted = (self.usage.used() - own.amount).saturating_add(amount);
        if amount == 0 || wanted <= limit.amount {
            return None;
        }
        Some(Duration::from_millis(match &self.usage {
            Usage::Window(window) => window.wait(wanted - limit.amount, &own, now),
            Usage::Period(tally) => tally.until().saturating_sub(now),
        }))
    }

    /// The part of a charge that the count still contains.
    fn still_booked(&self, charge: &Charge, now: u64) -> Charge {
        let amount = match &self.usage {
            Usage::Window(window) if window.left(charge.time, now) => 0,
            Usage::Window(_) | Usage::Period(_) => charge.amount.min(self.usage.used()),
        };
        Charge { amount, ..*charge }
    }

    pub(super) fn book(&mut self, amount: u64, now: u64) -> Option<Step> {
        if amount == 0 {
            return None;
        }
        Some(match &mut self.usage {
            Usage::Window(window) => {
                window.add(now, amount);
                Step::Add(amount)
            }
            Usage::Period(tally) => {
                tally.hold(amount, now);
                set(tally)
            }
        })
    }

    /// Takes a charge back before it is booked anew with another amount.
    pub(super) fn unbook(&mut self, charge: &Charge, now: u64) -> Option<Step> {
        match &mut self.usage {
            Usage::Window(window) => take(window, charge.time, charge.amount, now),
            Usage::Period(tally) => {
                tally.release(charge.amount);
                None
            }
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
        }
    }

    /// Repeats a journaled step.
    pub(super) fn apply(&mut self, step: Step, now: u64) {
        match (&mut self.usage, step) {
            (Usage::Window(window), Step::Add(amount)) => {
                window.expire(now);
                window.add(now, amount);
            }
            (Usage::Window(window), Step::Take { at, amount }) => {
                window.take(at, amount, now);
            }
            (Usage::Period(tally), Step::Set { total, last, until }) => {
                *tally = Tally::restored(total, last, until);
            }
            // Each record names its counter's span, and the reader checked that they agree.
            (Usage::Window(_), Step::Set { .. })
            | (Usage::Period(_), Step::Add(_) | Step::Take { .. }) => {}
        }
    }

    pub(super) fn clear(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        match &mut self.usage {
            Usage::Window(window) => window.clear(),
            Usage::Period(tally) => *tally = Tally::default(),
        }
    }

    pub(super) fn rebase(&mut self, now: u64) {
        match &mut self.usage {
            Usage::Window(window) => window.rebase(now),
            Usage::Period(tally) => tally.rebase(now),
        }
    }

    /// Whether nothing would be lost with this slot, `grace` after its period ended.
    pub(super) fn is_spent(&self, now: u64, grace: u64) -> bool {
        match &self.usage {
            Usage::Window(window) => window.last().is_none_or(|last| window.left(last, now)),
            Usage::Period(tally) => tally.used() == 0 || tally.until().saturating_add(grace) <= now,
        }
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
            Usage::Window(window) => (window.used(), 0),
            Usage::Period(tally) if tally.until() <= now => (0, 0),
            Usage::Period(tally) => (tally.used(), tally.held()),
        };
        let Name { id, scope, unit, span } = slot.name.clone();
        CounterUsage { id, scope, unit, span, used, held, resets_in: slot.resets_in(now) }
    }

    fn resets_in(&self, now: u64) -> Duration {
        Duration::from_millis(match &self.usage {
            Usage::Window(window) => window.resets_in(now),
            Usage::Period(tally) => tally.until().saturating_sub(now),
        })
    }
}

fn take(window: &mut Window, at: u64, amount: u64, now: u64) -> Option<Step> {
    let amount = window.take(at, amount, now);
    (amount > 0).then_some(Step::Take { at, amount })
}

fn set(tally: &Tally) -> Step {
    Step::Set { total: tally.used(), last: tally.last(), until: tally.until() }
}
