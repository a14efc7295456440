//! What a request may cost, booked before it is sent.
//!
//! The prompt is counted and the longest answer that the request allows is added, at
//! the model's price; where it allows any length, what nineteen of twenty requests of
//! the operation and tier have cost so far, or else a usual length. The hold is raised
//! to that, or the request is refused and everything given back.

use std::time::Instant;

use bytes::Bytes;

use super::{Booked, Meter};
use crate::{
    ledger::{Demand, Excess, Hold, Refused, Standing, Store, StoreError},
    meter::{
        Asked, Format,
        asked::CacheTime,
        include_usage,
        price::{self, Class, Price, Priced},
        tokens::{Counter, Family},
    },
    policy::snapshot::Mode,
    proxy::{
        Shared, admit,
        exchange::Exchange,
        refusal::{Code, Refusal},
        settle::Permit,
        upload::Upload,
        validate::Checked,
    },
};

/// Tokens that a provider puts around a prompt, beside a sixteenth of it: roles, separators, tools.
const FRAME: u64 = 16;

/// The share of requests, of a thousand, whose cost is taken for that of one that allows any length.
const USUAL: u32 = 950;

/// Books what the request may cost, and asks the upstream to report its usage.
///
/// # Errors
/// 402 or 429 when a limit has no room for it, 400 for a model without a price where the
/// policy wants one, 503 when the store cannot say.
pub async fn request(
    exchange: &mut Exchange,
    permit: &mut Permit,
    mut checked: Checked,
) -> Result<Checked, Box<Refusal>> {
    let Some(meter) = permit.meter().filter(|meter| meter.rules.by_usage) else {
        return Ok(checked);
    };
    let Some(body) = checked.body.as_whole().cloned() else { return Ok(checked) };
    let path = checked.head.uri.path_and_query().map_or("", |path| path.as_str());
    let demand = match meter.read(path, &body) {
        Ok(demand) => demand,
        Err(refusal) => {
            exchange.enforce(refusal)?;
            return Ok(checked);
        }
    };
    if let Some(body) = meter.ask_for_usage(&body) {
        checked.body = Upload::whole(body);
    }
    // Boxed because most requests never come here: their future would carry its room.
    Box::pin(book(exchange, permit, demand)).await?;
    Ok(checked)
}

async fn book(
    exchange: &mut Exchange,
    permit: &mut Permit,
    wanted: Booked,
) -> Result<(), Box<Refusal>> {
    let now = exchange.shared.clock.now();
    let enforce = exchange.policy.mode != Mode::Shadow;
    match permit.raise(wanted, now, enforce).await {
        Ok(Ok(standing)) => {
            let terms = exchange.policy.terms(exchange.operation, exchange.tier);
            if let Some(excess) = &standing.excess {
                exchange.facts.shadowed = Some(admit::code_of(excess, &terms.shown));
            }
            exchange.standing = Some(standing);
            admit::note_highest(exchange);
            Ok(())
        }
        Ok(Err(refused)) => {
            let excess = Excess { limit: refused.limit, retry_after: refused.retry_after };
            exchange.standing = Some(refused.standing);
            Err(admit::refusal(&excess, &exchange.terms().shown))
        }
        Err(error) => exchange.enforce(admit::unavailable(&error)),
    }
}

impl Permit {
    /// Raises what is booked; all or nothing.
    async fn raise(
        &mut self,
        wanted: Booked,
        now: crate::clock::Timestamp,
        enforce: bool,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        let (shared, hold, Some(meter)) = self.parts() else {
            return Ok(Ok(Standing::default()));
        };
        let Some(hold) = hold else { return Ok(Ok(Standing::default())) };
        meter.raise(shared, hold, wanted, now, enforce).await
    }
}

impl Meter {
    /// Raises what is booked; all or nothing.
    pub(super) async fn raise(
        &mut self,
        shared: &Shared,
        hold: &mut Hold,
        wanted: Booked,
        now: crate::clock::Timestamp,
        enforce: bool,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        let subject = std::sync::Arc::clone(hold.subject());
        let Booked { cost, tokens, bytes } = wanted;
        let demand =
            Demand { subject: &subject, limits: &self.limits, cost, tokens, bytes, now, enforce };
        let asked = Instant::now();
        let answer = shared.ledger.raise(hold, demand).await;
        shared.telemetry.metrics.store_wait.observe(asked.elapsed());
        if let Ok(Ok(_)) = answer {
            self.held.cost = self.held.cost.max(cost);
            self.held.tokens = self.held.tokens.max(tokens);
            self.held.bytes = self.held.bytes.max(bytes);
        }
        answer
    }

    /// Reads what the request asks for, and says what is to be booked.
    fn read(&mut self, path: &str, body: &Bytes) -> Result<Booked, Box<Refusal>> {
        // Read twice, because the model may stand behind the prompt, and says how that is counted.
        let asked = Asked::read(self.format, path, body, &mut |_| {});
        let family = asked.model.as_deref().map_or(Family::Other, Family::of);
        let mut prompt = Counter::new(family);
        Asked::read(self.format, path, body, &mut |text| prompt.push(text));
        self.output = Counter::new(family);
        let text = prompt.tokens();
        self.prompt = text.saturating_add(asked.attached_tokens());
        self.asked = Some(Box::new(asked));
        self.hold_for(text, body.len() as u64)
    }

    /// What is to be held for a request with so many tokens of text.
    fn hold_for(&mut self, text: u64, bytes: u64) -> Result<Booked, Box<Refusal>> {
        let mut wanted = Booked { tokens: self.prompt, bytes, ..self.held };
        let asked = self.asked.as_ref();
        let Some(model) = asked.and_then(|asked| asked.model.as_deref()) else {
            // There is no price before the answer: till then, what others turned out to cost.
            let usual = self.cell.learned().quantile(USUAL).unwrap_or_default();
            return Ok(Booked { cost: wanted.cost.max(usual), ..wanted });
        };
        let policy = std::sync::Arc::clone(&self.policy);
        let price = match policy.prices.price_of(model, self.rules.unknown_model) {
            Priced::Known(_, price) | Priced::Ceiling(price) => price,
            Priced::Flat => return Ok(wanted),
            Priced::Refused => return Err(Refusal::new(Code::UnknownModel)),
        };
        let estimate = self.estimate(price, text);
        wanted.cost = wanted.cost.max(estimate.cost);
        wanted.tokens = estimate.tokens;
        Ok(wanted)
    }

    fn estimate(&mut self, price: &Price, text: u64) -> Booked {
        let (tier, class) = (self.service_tier(), self.class(price));
        let Some(asked) = self.asked.as_deref() else { return Booked::default() };
        let request = price::Asked {
            input: framed(text),
            class,
            attached: asked.attached_tokens().saturating_add(asked.unsure_tokens()),
            max_output: asked.max_output,
            thinking: asked.thinking,
            answers: asked.answers,
            tier,
            ..price::Asked::default()
        };
        let most = price::estimate(&request, price);
        let usual = self.cell.learned().quantile(USUAL).filter(|_| asked.max_output.is_none());
        // A prompt longer than usual costs at least itself.
        let prompt = || {
            price::estimate(&price::Asked { max_output: Some(0), thinking: 0, ..request }, price)
        };
        let cost = match usual {
            Some(usual) if asked.stream => usual.max(prompt()),
            // Nobody can end an answer that is no stream: what is usual never lowers its hold.
            usual => most.max(usual.unwrap_or_default()),
        };
        let tokens = self.prompt.saturating_add(request.output(price));
        Booked { cost, tokens, ..Booked::default() }
    }

    /// What the prompt is charged as at most: OpenAI writes to its cache without being asked, where it
    /// has a price for that.
    fn class(&self, price: &Price) -> Class {
        let is_openai = matches!(self.format, Format::OpenAiChat | Format::OpenAiResponses);
        match self.asked.as_deref().and_then(|asked| asked.cache) {
            Some(CacheTime::Hour) => Class::CacheWrite1h,
            Some(CacheTime::Usual) => Class::CacheWrite,
            None if is_openai && price.has_cache_write() => Class::CacheWrite,
            None => Class::Input,
        }
    }

    /// The body that makes a stream of OpenAI's dialect end with its usage.
    fn ask_for_usage(&mut self, body: &Bytes) -> Option<Bytes> {
        let asked = self.asked.as_ref()?;
        if self.format != Format::OpenAiChat || !asked.stream || asked.include_usage {
            return None;
        }
        let body = include_usage(body)?;
        self.trims = true;
        Some(body)
    }
}

/// A prompt with what is put around it, so that a hold is hardly ever too small for it.
fn framed(prompt: u64) -> u64 {
    prompt.saturating_add(prompt / 16).saturating_add(FRAME)
}
