//! Costs that the upstream names in a header or a trailer.
//!
//! They are taken off the answer unless the policy shows them. What a caller sends
//! under such a name never counts, because it never reaches the upstream.
//!
//! # Failure
//! An amount that cannot be believed is logged and counted; the next source speaks.

use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::super::{exchange::Exchange, headers, settle::Permit};
use crate::{meter::cost, policy::metering::Metering, telemetry::MeteringError};

/// Fields that the policy shows, to be put back on a cleaned head.
type Shown = SmallVec<[(HeaderName, HeaderValue); 1]>;

/// Takes the cost off a head and hands it to the permit; returns what may be shown.
pub fn head(exchange: &Exchange, permit: &mut Permit, fields: &mut HeaderMap) -> Shown {
    let mut shown = Shown::new();
    let Some(metering) = metering(exchange) else { return shown };
    for name in &metering.headers {
        if !headers::has(fields, name) {
            continue;
        }
        let Some(value) = fields.remove(name) else { continue };
        match cost::header(value.as_bytes()) {
            Ok(cost) => permit.name_cost(cost),
            Err(error) => complain(exchange, name, &error.to_string()),
        }
        if metering.exposes_cost {
            shown.push((name.clone(), value));
        }
    }
    shown
}

/// Takes in what an answer cost that is given up for another attempt: it is spent all the same.
pub fn lost(exchange: &Exchange, permit: &mut Permit, fields: &HeaderMap) {
    let Some(metering) = metering(exchange) else { return };
    let values = metering.headers.iter().filter_map(|name| fields.get(name));
    let cost = values.filter_map(|value| cost::header(value.as_bytes()).ok()).last();
    permit.add_lost(cost.unwrap_or_default());
}

/// The same for what follows a body.
pub fn trailers(exchange: &Exchange, permit: Option<&mut Permit>, fields: &mut HeaderMap) -> Shown {
    permit.map(|permit| head(exchange, permit, fields)).unwrap_or_default()
}

/// Puts back what may be shown.
pub fn show(shown: Shown, fields: &mut HeaderMap) {
    for (name, value) in shown {
        fields.insert(name, value);
    }
}

fn metering(exchange: &Exchange) -> Option<&Metering> {
    exchange.policy.operation(exchange.operation?).metering.as_deref()
}

fn complain(exchange: &Exchange, name: &HeaderName, error: &str) {
    exchange.shared.telemetry.metrics.metering_error(MeteringError::Header);
    let (request_id, header) = (exchange.id_text(), name.as_str());
    tracing::warn!(request_id, header, error, "the upstream names a cost that cannot be used");
}
