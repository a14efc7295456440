//! Whether what has passed of a stream still fits what is booked for it.
//!
//! A [`Room`] is found for each piece before it goes on. Where the next piece may not
//! fit, the hold is raised by a step, in one call of the store, while the stream waits;
//! where the step does not fit, by all that is left; and where not even the piece at
//! hand fits, the stream is ended.
//!
//! # Limits
//! A step is a quarter of the hold, or [`STEP`], so that a stream of any length asks
//! the store about as often as its cost doubles by quarters. The store has its own deadline.

use std::{pin::Pin, sync::Arc};

use super::{Booked, Meter};
use crate::{
    ledger::{Refused, StoreError},
    meter::{
        Notice, Usage,
        price::{Class, Price, ServiceTier},
    },
    policy::{limit::Unit, snapshot::Mode},
    proxy::{Shared, settle::Permit},
    units::NanoUsd,
};

/// The least by which a hold is raised: a tenth of a cent.
const STEP: NanoUsd = NanoUsd(1_000_000);
/// Tokens that a rate is given for.
const MILLION: u128 = 1_000_000;

/// What is told in the terminal event of a stream that is ended for want of room.
pub(super) const NOTICE: Notice<'static> = Notice {
    kind: "budget_exceeded",
    code: "budget_exceeded",
    message: "The answer was ended because your budget is spent.",
};

/// What running costs are made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    prompt: NanoUsd,
    /// Nano-dollars per million tokens of output: the dearer of output and reasoning.
    output: NanoUsd,
}

/// What was seen of a running cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    cost: NanoUsd,
    largest_step: u64,
}

/// Whether a stream may go on.
pub enum Room {
    /// As it is.
    Enough,
    /// When the hold was raised.
    Short,
}

/// What came of raising a hold while the stream waited.
pub enum Raised {
    /// It goes on.
    Enough,
    /// It must end.
    Exhausted,
}

/// A permit whose hold is being raised.
pub type Raising = Pin<Box<dyn Future<Output = (Permit, Raised)> + Send>>;

impl Rates {
    pub(super) fn of(price: &Price, tier: ServiceTier, prompt: u64) -> Self {
        let usage = Usage { input: prompt, ..Usage::default() };
        let rate = |class| price.rate(class, tier, prompt);
        Self {
            prompt: price.cost(&usage, tier),
            output: rate(Class::Output).max(rate(Class::Reasoning)),
        }
    }

    pub(super) fn prompt(&self) -> NanoUsd {
        self.prompt
    }

    fn running(&self, output: u64) -> NanoUsd {
        let output = (u128::from(output) * u128::from(self.output.0)).div_ceil(MILLION);
        NanoUsd(self.prompt.0.saturating_add(u64::try_from(output).unwrap_or(u64::MAX)))
    }
}

impl Meter {
    /// Compares what has passed, the piece at hand included, with what is booked.
    pub fn room(&mut self) -> Room {
        let Some(rates) = self.rates.filter(|_| !self.is_cut && self.streams()) else {
            return Room::Enough;
        };
        let reported = self.reader.as_ref().and_then(crate::meter::Reader::usage);
        let reported = reported.map_or(0, |usage| usage.all_output());
        let cost = rates.running(self.output.tokens().max(reported));
        let step = cost.0.saturating_sub(self.seen.cost.0);
        // The prompt is no step: it was there from the beginning.
        if self.seen.cost > NanoUsd(0) {
            self.seen.largest_step = self.seen.largest_step.max(step);
        }
        self.seen.cost = cost;
        if self.least() <= self.held.cost { Room::Enough } else { Room::Short }
    }

    /// What must be booked so that one more piece like the largest may come.
    fn least(&self) -> NanoUsd {
        NanoUsd(self.seen.cost.0.saturating_add(self.seen.largest_step))
    }

    /// What is charged as things stand.
    pub fn running(&self) -> NanoUsd {
        self.seen.cost.min(self.held.cost)
    }

    fn wanted(&self, cost: NanoUsd) -> Booked {
        let passed = self.passed(None);
        Booked { cost, tokens: self.held.tokens.max(passed.total()), ..self.held }
    }
}

impl Permit {
    /// Raises the hold by a step while the stream waits. Dropped, the permit settles as it stands.
    pub fn extend(mut self) -> Raising {
        Box::pin(async move {
            let raised = self.step().await;
            (self, raised)
        })
    }

    async fn step(&mut self) -> Raised {
        let (shared, Some(hold), Some(meter)) = self.parts() else { return Raised::Enough };
        let shared: Arc<Shared> = Arc::clone(shared);
        let (held, least) = (meter.held.cost, meter.least());
        let step = STEP.0.max(held.0 / 4);
        let wanted = NanoUsd(held.0.saturating_add(step).max(least.0));
        let enforce = meter.policy.mode == Mode::Enforce;
        let now = shared.clock.now();
        let refused = match meter.raise(&shared, hold, meter.wanted(wanted), now, enforce).await {
            Ok(Err(refused)) => refused,
            Ok(Ok(_)) => return Raised::Enough,
            Err(error) => return meter.unbooked(&error),
        };
        // A step is more than there is; perhaps what is needed now is not.
        let rest = NanoUsd(held.0.saturating_add(left(&meter.limits, &refused)));
        if rest < least || rest >= wanted {
            return meter.exhausted();
        }
        match meter.raise(&shared, hold, meter.wanted(rest), now, enforce).await {
            Ok(Ok(_)) => Raised::Enough,
            Ok(Err(_)) => meter.exhausted(),
            Err(error) => meter.unbooked(&error),
        }
    }
}

impl Meter {
    /// There is no more; what is booked may still cover what is at hand.
    fn exhausted(&mut self) -> Raised {
        self.is_spent = self.policy.mode == Mode::Enforce;
        match self.policy.mode {
            Mode::Enforce => Raised::Exhausted,
            Mode::Shadow | Mode::Off => Raised::Enough,
        }
    }

    fn unbooked(&mut self, error: &StoreError) -> Raised {
        tracing::warn!(request_id = %self.id, %error, "a stream's hold could not be raised");
        self.exhausted()
    }
}

/// How much money the tightest limit has left.
fn left(limits: &crate::policy::limit::Limits, refused: &Refused) -> u64 {
    let states = limits.all().zip(&refused.standing.states);
    let money = states.filter(|(limit, _)| limit.counter.unit() == Unit::NanoUsd);
    money.map(|(_, state)| state.remaining).min().unwrap_or(0)
}
