//! `POST /admin/v1/settlements`: an agent says what a request cost.
//!
//! The operators' listener asks for its token, the agents' socket for the right to open it.
//! `{"request_id": "…", "cost_usd": "0.0123"}`; the amount is a decimal, as text or as a
//! number, and is read from its digits. The answer to the same callback is always the same.

use std::sync::Arc;

use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::Admin;
use crate::{
    id::RequestId,
    meter::cost,
    settlements::{ClaimError, Claimed},
    units::NanoUsd,
};

/// What an agent posts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Callback<'a> {
    request_id: &'a str,
    #[serde(borrow)]
    cost_usd: &'a RawValue,
}

/// Takes in one callback of whoever brought the token.
pub(super) async fn by_operator(
    State(admin): State<Arc<Admin>>,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    if admin.token.is_none() {
        return refused(StatusCode::FORBIDDEN, "changes need `admin.token` in the policy");
    }
    settlement(&admin, &body)
}

/// Takes in one callback of whoever may open the agents' socket.
pub(super) async fn by_agent(
    State(admin): State<Arc<Admin>>,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    settlement(&admin, &body)
}

fn settlement(admin: &Admin, body: &[u8]) -> (StatusCode, Json<Value>) {
    let Ok(Callback { request_id, cost_usd }) = serde_json::from_slice(body) else {
        let usage = r#"send {"request_id": "32 hex digits", "cost_usd": "0.0123"}"#;
        return refused(StatusCode::BAD_REQUEST, usage);
    };
    let Some(cost) = amount(cost_usd) else {
        return refused(StatusCode::BAD_REQUEST, "`cost_usd` is no amount of dollars");
    };
    let id = request_id.parse::<RequestId>().map_err(|_| ClaimError::Unknown);
    match id.and_then(|id| admin.settlements.claim(id, cost, admin.clock.now())) {
        Ok(claimed) => {
            let status = match claimed {
                Claimed::Settled => "settled",
                Claimed::Noted => "noted",
            };
            let cost_usd = cost.dollars(9).to_string();
            let told = json!({"request_id": request_id, "status": status, "cost_usd": cost_usd});
            (StatusCode::OK, Json(told))
        }
        Err(error @ ClaimError::Unknown) => refused(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error @ ClaimError::Different) => refused(StatusCode::CONFLICT, &error.to_string()),
    }
}

/// Dollars as text or as a number, never through a binary float.
fn amount(raw: &RawValue) -> Option<NanoUsd> {
    let written = raw.get();
    match written.starts_with('"') {
        true => cost::dollars(serde_json::from_str(written).ok()?).ok(),
        false => cost::dollars(written).ok(),
    }
}

fn refused(status: StatusCode, message: &str) -> (StatusCode, Json<Value>) {
    (status, Json(json!({"message": message})))
}
