//! Whether what has passed of a stream still fits what is booked for it.
//!
//! A [`Room`] is found for each piece before it goes on. Where the next piece may not
//! fit, the hold is raised by a step, in one call of the store, while the stream waits;
//! where the step does not fit, by all that is left; and where not even the piece at
//! hand fits into that, the stream is ended.
//!
//! # Limits
//! A step is a quarter of the hold, or [`STEP`], so that a stream of any length asks
//! the store about as often as its cost doubles by quarters. The store has its own deadline.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Booked, Meter};
use crate::{
    ledger::{Exceeded, Excess, Refused, StoreError},
    meter::{
        Notice, Usage,
        price::{Class, Price, Priced, ServiceTier},
    },
    policy::{
        limit::Unit,
        snapshot::{Mode, Policy},
    },
    proxy::{
        Shared, admit,
        exchange::Exchange,
        refusal::Refusal,
        settle::{Permit, Witness, recount},
    },
    units::NanoUsd,
};

/// The least by which a hold is raised: a tenth of a cent, and so many tokens.
const STEP: Booked = Booked { cost: NanoUsd(1_000_000), tokens: 64, bytes: 0 };
/// Tokens that a rate is given for.
const MILLION: u128 = 1_000_000;

/// What running costs are made of, as far as the answer has told.
#[derive(Debug, Default)]
pub(super) struct Rates {
    basis: Option<Basis>,
    /// What was reported so far costs this, and the prompt alone at least that.
    reported: NanoUsd,
    prompt: NanoUsd,
    /// Nano-dollars per million tokens of output: the dearer of output and reasoning. 0 without a price.
    output: NanoUsd,
}

/// What rates were worked out from.
#[derive(Debug)]
struct Basis {
    model: Box<str>,
    tier: Box<str>,
    usage: Option<Usage>,
}

/// What was seen of what passes: all of it, the answer's part, and the largest step of that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    all: Booked,
    answer: Booked,
    largest_step: Booked,
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
pub struct Raising {
    step: Pin<Box<dyn Future<Output = (Box<Permit>, Raised)> + Send>>,
    witness: Witness,
}

impl Raising {
    /// Ready with the permit, and with what came of it.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Box<Permit>, Raised)> {
        self.step.as_mut().poll(cx)
    }

    /// Gives up: the permit settles as it stands, and the facts of the exchange say what that came to.
    pub fn give_up(self, exchange: &mut Exchange) {
        drop(self.step);
        recount(&self.witness, exchange);
    }
}

impl Rates {
    /// Works them out anew where the answer has told something new.
    fn follow(&mut self, policy: &Policy, heard: &Heard<'_>) {
        let Heard { model, tier, usage, .. } = *heard;
        let known = self.basis.as_ref();
        if known.is_some_and(|it| *it.model == *model && *it.tier == *tier && it.usage == usage) {
            return;
        }
        self.basis = Some(Basis { model: model.into(), tier: tier.into(), usage });
        let price = match policy.prices.price_of(model, heard.unknown) {
            Priced::Known(_, price) | Priced::Ceiling(price) => price,
            Priced::Refused => policy.prices.ceiling(),
            Priced::Flat => return,
        };
        self.priced(price, heard);
    }

    fn priced(&mut self, price: &Price, heard: &Heard<'_>) {
        let tier = ServiceTier::named(heard.tier);
        let said = heard.usage.unwrap_or_default();
        let counted = Usage { input: heard.prompt, ..Usage::default() };
        // What the provider counts is the truth, as soon as it says so.
        let input = if said.all_input() > 0 { said.input_only() } else { counted };
        let rate = |class| price.rate(class, tier, input.all_input());
        self.reported = price.cost(&said, tier);
        self.prompt = price.cost(&input, tier);
        self.output = rate(Class::Output).max(rate(Class::Reasoning));
    }

    fn running(&self, output: u64) -> NanoUsd {
        let output = (u128::from(output) * u128::from(self.output.0)).div_ceil(MILLION);
        let counted = self.prompt.0.saturating_add(u64::try_from(output).unwrap_or(u64::MAX));
        NanoUsd(counted.max(self.reported.0))
    }
}

/// What is known of an answer under way.
struct Heard<'a> {
    model: &'a str,
    tier: &'a str,
    usage: Option<Usage>,
    /// The prompt, in tokens, as counted here.
    prompt: u64,
    unknown: crate::meter::price::UnknownModel,
}

impl Booked {
    fn covers(self, other: Self) -> bool {
        other.cost <= self.cost && other.tokens <= self.tokens
    }

    fn each(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let cost = NanoUsd(with(self.cost.0, other.cost.0));
        Self { cost, tokens: with(self.tokens, other.tokens), bytes: self.bytes }
    }

    fn plus(self, more: Self) -> Self {
        self.each(more, u64::saturating_add)
    }
}

impl Meter {
    /// Compares what has passed, the piece at hand included, with what is booked.
    pub fn room(&mut self) -> Room {
        if self.is_cut || !self.streams() {
            return Room::Enough;
        }
        let Some(reader) = &self.reader else { return Room::Enough };
        let (reported, asked) = (reader.usage(), self.asked.as_deref());
        let asked_model = asked.and_then(|asked| asked.model.as_deref());
        // An answer that nobody named a model for is charged as one without a price.
        let nameless = (self.output.tokens() > 0 || reported.is_some()).then_some("");
        if let Some(model) = reader.model().or(asked_model).or(nameless) {
            let asked_tier = asked.and_then(|asked| asked.service_tier.as_deref());
            self.rates.follow(
                &self.policy,
                &Heard {
                    model,
                    tier: reader.service_tier().or(asked_tier).unwrap_or_default(),
                    usage: reported,
                    prompt: self.prompt,
                    unknown: self.rules.unknown_model,
                },
            );
        }
        let output = reported.map_or(0, |usage| usage.all_output()).max(self.output.tokens());
        // Where no limit counts tokens the store need not hear of them.
        let tokens = |tokens: u64| if self.counts_tokens { tokens } else { 0 };
        let cost = self.rates.running(output);
        let answer = NanoUsd(cost.0.saturating_sub(self.rates.prompt.0));
        self.seen.saw(
            Booked { cost, tokens: tokens(self.passed(reported).total()), bytes: 0 },
            Booked { cost: answer, tokens: tokens(output), bytes: 0 },
        );
        if self.held.covers(self.least()) { Room::Enough } else { Room::Short }
    }

    /// What must be booked so that one more piece like the largest may come.
    fn least(&self) -> Booked {
        self.seen.all.plus(self.seen.largest_step)
    }
}

impl Seen {
    /// Takes in what has passed; only the answer grows by steps, the prompt was there from the beginning.
    fn saw(&mut self, all: Booked, answer: Booked) {
        if self.all.cost > NanoUsd(0) || self.all.tokens > 0 {
            let step = answer.each(self.answer, u64::saturating_sub);
            self.largest_step = self.largest_step.each(step, u64::max);
        }
        (self.all, self.answer) = (all, answer);
    }
}

impl Permit {
    /// Raises the hold by a step while the stream waits. Dropped, the permit settles as it stands.
    pub fn extend(mut self: Box<Self>, exchange: &Exchange) -> Raising {
        let witness = self.watched(exchange);
        let step = Box::pin(async move {
            let raised = self.step().await;
            (self, raised)
        });
        Raising { step, witness }
    }

    async fn step(&mut self) -> Raised {
        let (shared, Some(hold), Some(meter)) = self.parts() else { return Raised::Enough };
        let shared: Arc<Shared> = Arc::clone(shared);
        let (held, least) = (meter.held, meter.least());
        let quarter = Booked { cost: NanoUsd(held.cost.0 / 4), tokens: held.tokens / 4, bytes: 0 };
        let wanted = held.plus(STEP.each(quarter, u64::max)).each(least, u64::max);
        let enforce = meter.policy.mode == Mode::Enforce;
        let now = shared.clock.now();
        let refused = match meter.raise(&shared, hold, wanted, now, enforce).await {
            Ok(Err(refused)) => refused,
            Ok(Ok(_)) => return Raised::Enough,
            Err(error) => return meter.unbooked(&error),
        };
        // A step is more than there is; perhaps what is needed now is not. Where it is, all there is
        // is booked even so: the piece at hand was made, and is charged as far as there is room.
        let rest = wanted.each(held.plus(left(&meter.limits, &refused)), u64::min);
        if held.covers(rest) || rest.covers(wanted) {
            return meter.exhausted(meter.refusal(&refused));
        }
        match meter.raise(&shared, hold, rest, now, enforce).await {
            Ok(Ok(_)) if rest.covers(least) => Raised::Enough,
            Ok(Ok(_)) => meter.exhausted(meter.refusal(&refused)),
            Ok(Err(refused)) => meter.exhausted(meter.refusal(&refused)),
            Err(error) => meter.unbooked(&error),
        }
    }
}

impl Meter {
    /// There is no more; what is booked may still cover what is at hand.
    fn exhausted(&mut self, refusal: Box<Refusal>) -> Raised {
        match self.policy.mode {
            Mode::Enforce => {
                self.spent = Some(refusal);
                Raised::Exhausted
            }
            Mode::Shadow | Mode::Off => Raised::Enough,
        }
    }

    fn unbooked(&mut self, error: &StoreError) -> Raised {
        tracing::warn!(request_id = %self.id, %error, "a stream's hold could not be raised");
        self.exhausted(admit::unavailable(error))
    }

    /// Which limit has no room, as its caller is told.
    fn refusal(&self, refused: &Refused) -> Box<Refusal> {
        // That a whole step would never fit says nothing of what the stream still needs.
        let limit = match refused.limit {
            Exceeded::Never(index) => Exceeded::Limit(index),
            limit => limit,
        };
        let shown = &self.policy.terms(Some(self.operation), self.tier).shown;
        admit::refusal(&Excess { limit, retry_after: refused.retry_after }, shown)
    }
}

/// What is told in the terminal event of a stream that is ended for `refusal`.
pub(super) fn notice(refusal: &Refusal) -> Notice<'_> {
    let code = refusal.code.name();
    Notice { kind: code, code, message: &refusal.message }
}

/// How much the tightest limits have left.
fn left(limits: &crate::policy::limit::Limits, refused: &Refused) -> Booked {
    let least = |unit| {
        let states = limits.all().zip(&refused.standing.states);
        let counted = states.filter(|(limit, _)| limit.counter.unit() == unit);
        counted.map(|(_, state)| state.remaining).min().unwrap_or(u64::MAX)
    };
    Booked { cost: NanoUsd(least(Unit::NanoUsd)), tokens: least(Unit::Tokens), bytes: 0 }
}
