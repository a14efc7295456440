//! The operators' listener: probes, metrics, health, a status page.
//!
//! Plain HTTP on its own port, never on the public one. `/livez`, `/readyz`,
//! `/metrics` and the health path need no token; everything else does when one
//! is set. Without a token only a loopback address is accepted, and changes are
//! refused.
//!
//! Agents of this machine may have a unix socket beside it, where the file's
//! permissions stand in for the token. It takes settlements and answers probes;
//! what concerns other callers, or changes anything else, is not there.

mod page;
mod settle;
pub mod usage;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    health::HealthState,
    ledger::Ledger,
    policy::handle::PolicyHandle,
    secret::Secret,
    server::Drain,
    settlements::Settlements,
    telemetry::{OPENMETRICS, PROMETHEUS, Telemetry, render},
};

/// What the operators' listener shows and may do.
pub struct Admin {
    /// What the health document says.
    pub health: Arc<HealthState>,
    /// Metrics.
    pub telemetry: Telemetry,
    /// The policy in force.
    pub policy: Arc<PolicyHandle>,
    /// What callers have used.
    pub ledger: Arc<Ledger>,
    /// Time.
    pub clock: Clock,
    /// Requests whose cost an agent may tell.
    pub settlements: Arc<Settlements>,
    /// What `/` and `/admin/v1` ask for.
    pub token: Option<Secret>,
    /// Told when an operator asks for a drain.
    pub drain_asked: Arc<Notify>,
    /// Ends the listener.
    pub drain: Drain,
}

/// Serves until `ended` is told.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    admin: Arc<Admin>,
    listener: TcpListener,
    ended: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, routes(admin)).with_graceful_shutdown(ended.cancelled_owned()).await
}

/// Serves agents of this machine until `ended` is told.
///
/// # Errors
/// When the socket fails.
pub async fn serve_agents(
    admin: Arc<Admin>,
    listener: UnixListener,
    ended: CancellationToken,
) -> std::io::Result<()> {
    let routes = open(Router::new().route("/admin/v1/settlements", post(settle::by_agent)), admin);
    axum::serve(listener, routes).with_graceful_shutdown(ended.cancelled_owned()).await
}

fn routes(admin: Arc<Admin>) -> Router {
    let guarded = Router::new()
        .route("/", get(page::status))
        .route("/admin/v1/drain", post(drain))
        .route("/admin/v1/settlements", post(settle::by_operator))
        .route("/admin/v1/usage", get(usage::usage))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&admin), authorize));
    open(guarded.route("/metrics", get(metrics)), admin)
}

/// Adds what anybody may ask who reaches the listener.
fn open(routes: Router<Arc<Admin>>, admin: Arc<Admin>) -> Router {
    routes
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .fallback(elsewhere)
        .with_state(admin)
}

async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    match admin.health.is_ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

async fn metrics(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let openmetrics = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let (metrics, output) = (&admin.telemetry.metrics, &admin.telemetry.output);
    match render(metrics, output, admin.clock.now(), openmetrics) {
        Ok(text) => {
            let media = if openmetrics { OPENMETRICS } else { PROMETHEUS };
            ([(header::CONTENT_TYPE, HeaderValue::from_static(media))], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The health document at the policy's path, which may change with the policy; else 404.
async fn elsewhere(State(admin): State<Arc<Admin>>, request: Request) -> Response {
    if request.uri().path() != admin.policy.load().health.path {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    }
    let (status, body) = admin.health.document(admin.clock.now());
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, json, Body::from(body)).into_response()
}

/// Begins a drain and answers once every connection has ended.
async fn drain(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    if admin.token.is_none() {
        return (StatusCode::FORBIDDEN, "changes need `admin.token` in the policy\n");
    }
    admin.drain_asked.notify_one();
    admin.drain.finished().await;
    (StatusCode::OK, "drained\n")
}

/// Lets those pass who bring the token, as `Authorization: Bearer …`.
async fn authorize(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let Some(token) = &admin.token else { return next.run(request).await };
    let brought = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let same = brought.is_some_and(|brought| {
        aws_lc_rs::constant_time::verify_slices_are_equal(brought, token.expose().as_bytes())
            .is_ok()
    });
    if same {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
    (StatusCode::UNAUTHORIZED, challenge, "an operator's token is needed\n").into_response()
}
