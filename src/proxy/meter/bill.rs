//! Closes the books of one request: who says what it cost.
//!
//! Usage that an answer reported to its end is exact. Where there is none, because a
//! side left or the upstream does not report, what has passed is charged: the prompt
//! and the output as counted here, or what had been reported by then if that is more.
//! A request that was sent and never answered keeps what was booked for it, and so does
//! one whose answer cannot be read; an answer that is an error, and reports nothing, costs the flat cost.

use std::sync::Arc;

use super::{Heard, Meter, Shared};
use crate::{
    meter::{
        Bill, Confidence, Reader, Reading, Source, Usage,
        price::{Price, Priced, ServiceTier},
    },
    mishap,
    policy::metering::CostSource,
    telemetry::MeteringError,
    units::NanoUsd,
};

impl Meter {
    /// What the first source says that speaks, and whether it stands before any callback.
    pub(super) fn bill(mut self, shared: &Shared, heard: &Heard) -> (Bill, bool) {
        let model = self.asked.as_ref().and_then(|asked| asked.model.as_deref());
        mishap::at("settled", model.unwrap_or_default().as_bytes());
        // An answer that cannot be read may have cost all that was held.
        let is_lost = self.reader.is_none() && self.asked.is_some();
        let is_lost = is_lost && self.status.is_some_and(|status| status.is_success());
        let reading = self.reader.take().map(Reader::finish).unwrap_or_default();
        let mut is_certain = true;
        for source in &self.rules.sources {
            let bill = match source {
                CostSource::Header => heard.named.map(|cost| named(cost, Source::Header, &reading)),
                CostSource::Pointer => {
                    reading.pointed.map(|cost| named(cost, Source::Pointer, &reading))
                }
                CostSource::Usage if is_lost => Some(self.unanswered()),
                CostSource::Usage => self.by_usage(shared, &reading, heard.flat),
                CostSource::Callback => {
                    is_certain = false;
                    None
                }
            };
            if let Some(bill) = bill {
                return (bill, is_certain);
            }
        }
        (Bill::flat(heard.flat), is_certain)
    }

    fn by_usage(&self, shared: &Shared, reading: &Reading, flat: NanoUsd) -> Option<Bill> {
        let Some(status) = self.status else { return Some(self.unanswered()) };
        // It was encoded: whatever it used, it was not free.
        if self.is_unread && status.is_success() {
            return Some(self.unanswered());
        }
        let whole = reading.usage.filter(|_| reading.complete);
        if let Some(usage) = whole {
            let bill = self.reported(shared, reading, usage, flat);
            if bill.source == Source::Usage {
                self.cell.learned().note(bill.cost);
            }
            return Some(bill);
        }
        if !status.is_success() || self.asked.is_none() && reading.usage.is_none() {
            return None;
        }
        if reading.complete {
            shared.telemetry.metrics.metering_error(MeteringError::NoUsage);
        }
        let bill = self.priced(shared, reading, self.passed(reading.usage), flat);
        let confidence = Confidence::Estimated;
        // What outgrew the hold within one piece, before it could be ended, is not charged.
        let most = if self.spent.is_some() { self.held.cost } else { bill.cost };
        Some(Bill { source: Source::Counted, confidence, cost: bill.cost.min(most), ..bill })
    }

    /// What was reported; whole classes that it is silent on, as counted here. A report of no
    /// tokens for text that has passed is silence, too: some servers fill in zeros.
    fn reported(&self, shared: &Shared, reading: &Reading, usage: Usage, flat: NanoUsd) -> Bill {
        let mut all = usage;
        let said = self.output.tokens();
        if usage.all_output() == 0 {
            all.output = said;
        }
        if usage.all_input() == 0 && (reading.lacks_input || said > 0) {
            all.input = self.prompt;
        }
        let bill = self.priced(shared, reading, all, flat);
        if all == usage || reading.cost.is_some() {
            return bill;
        }
        Bill { confidence: Confidence::Estimated, ..bill }
    }

    /// Sent, and nobody knows what became of it.
    fn unanswered(&self) -> Bill {
        let usage = Usage { input: self.prompt, ..Usage::default() };
        Bill {
            cost: self.held.cost,
            source: Source::Counted,
            confidence: Confidence::Estimated,
            model: None,
            usage: Some(usage),
        }
    }

    /// What has passed of an answer: as counted, or as reported by then if that is more.
    pub(super) fn passed(&self, reported: Option<Usage>) -> Usage {
        let mut usage = reported.unwrap_or_default();
        if usage.all_input() == 0 {
            usage.input = self.prompt;
        }
        let missing = self.output.tokens().saturating_sub(usage.all_output());
        usage.output = usage.output.saturating_add(missing);
        usage
    }

    fn priced(&self, shared: &Shared, reading: &Reading, usage: Usage, flat: NanoUsd) -> Bill {
        let asked = self.asked.as_ref();
        let model = reading.model.as_deref().or(asked.and_then(|asked| asked.model.as_deref()));
        let tier = reading.service_tier.as_deref().map_or(self.service_tier(), ServiceTier::named);
        let prices = &self.policy.prices;
        let cost = |price: &Price| price.cost(&usage, tier);
        let (cost, source, confidence, label) = match prices
            .price_of(model.unwrap_or_default(), self.rules.unknown_model)
        {
            Priced::Known(id, price) => {
                (cost(price), Source::Usage, Confidence::Exact, prices.label(id))
            }
            // It has answered all the same.
            Priced::Ceiling(price) => (cost(price), Source::Usage, Confidence::Estimated, OTHER),
            Priced::Refused => {
                (cost(prices.ceiling()), Source::Usage, Confidence::Estimated, OTHER)
            }
            Priced::Flat => (flat, Source::Flat, Confidence::Exact, OTHER),
        };
        if label == OTHER {
            shared.telemetry.metrics.metering_error(MeteringError::UnknownModel);
        }
        // Dollars that the usage itself names are the provider's own sum.
        let cost = reading.cost.filter(|_| reading.complete).unwrap_or(cost);
        Bill { cost, source, confidence, model: Some(Arc::from(label)), usage: Some(usage) }
    }
}

/// The label of all models without a price.
const OTHER: &str = "other";

/// A cost that somebody names, with the tokens that the answer reports besides.
fn named(cost: NanoUsd, source: Source, reading: &Reading) -> Bill {
    Bill { usage: reading.usage, ..Bill::named(cost, source) }
}
