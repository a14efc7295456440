//! How the true cost of a request is found, from as written to as run.

use std::sync::Arc;

use http::HeaderName;

use crate::{
    meter::{Style, price::UnknownModel},
    policy::{
        file::{self, MeteringFile, OnClientAbort, OnExhausted, PolicyFile},
        metering::{CostSource, DrainRules, Metering},
    },
};

/// Headers in which agents and LiteLLM name dollars.
const COST_HEADERS: [&str; 2] = ["x-agent-cost-usd", "x-litellm-response-cost"];

/// `None` when every request costs the same.
pub(super) fn build(file: &PolicyFile, written: &MeteringFile) -> Option<Arc<Metering>> {
    let unknown = written.unknown_model.as_ref().unwrap_or(&file.unknown_model);
    let mut metering = Metering {
        sources: Vec::new(),
        headers: Vec::new(),
        exposes_cost: written.expose_cost.value,
        pointer: None,
        by_usage: false,
        unknown_model: unknown_model(unknown.value),
        callback: None,
        on_exhausted: match written.on_exhausted.value {
            OnExhausted::Finish => Style::Finish,
            OnExhausted::Cut => Style::Error,
        },
        drain: (written.on_client_abort.value == OnClientAbort::Drain).then_some(DrainRules {
            timeout: written.drain_timeout.value,
            bytes: written.drain_bytes.value.0,
        }),
    };
    for source in &written.sources {
        metering.sources.push(match &source.value {
            file::CostSource::Header => {
                metering.headers = headers(written);
                CostSource::Header
            }
            file::CostSource::Pointer(pointer) => {
                metering.pointer = Some(Arc::new(pointer.clone()));
                CostSource::Pointer
            }
            file::CostSource::Usage => {
                metering.by_usage = true;
                CostSource::Usage
            }
            file::CostSource::Callback => {
                metering.callback = Some(written.callback_timeout.value);
                CostSource::Callback
            }
            file::CostSource::Flat => continue,
        });
    }
    (!metering.sources.is_empty()).then(|| Arc::new(metering))
}

fn headers(written: &MeteringFile) -> Vec<HeaderName> {
    match &written.cost_header {
        Some(name) => vec![name.value.clone()],
        None => COST_HEADERS.map(HeaderName::from_static).into(),
    }
}

fn unknown_model(written: file::UnknownModel) -> UnknownModel {
    match written {
        file::UnknownModel::Ceiling => UnknownModel::Ceiling,
        file::UnknownModel::Refuse => UnknownModel::Refuse,
        file::UnknownModel::Flat => UnknownModel::Flat,
    }
}
