//! End-to-end tests: the built binary as a child process, real certificates, real sockets.
//!
//! Nothing here is simulated: each test writes a policy, starts `weir run` on free ports in
//! front of an origin that lives in the test, and looks at it from outside. `harness`, `plan`,
//! `sidecar`, `origin`, `dialect`, `site`, `tools`, `client` and `raw` hide the plumbing; the other
//! files hold the promises, one subject each. Every test has a deadline; none sleeps to be right.
// A test that cannot go on has failed: panics are how it says so.
#![allow(clippy::unwrap_used, clippy::panic)]

mod authority;
mod bare;
mod bare_http2;
mod client;
mod dialect;
mod door;
mod faulty;
mod frames;
mod harness;
mod issuer;
mod keeper;
mod origin;
mod pki;
mod plan;
mod raw;
mod shake;
mod sidecar;
mod site;
mod talk;
mod tools;

mod blocked;
mod bodies;
mod browser;
mod caps;
mod certificates;
mod chaos;
mod charging;
mod circuit;
mod cleaning;
mod client_certificates;
mod commands;
mod cors;
mod crash;
mod curl;
mod demo;
mod dependencies;
mod enforcement;
mod grpc;
mod headers;
mod identity;
mod lifecycle;
mod limits;
mod listeners;
mod mcp;
mod metering;
mod metrics;
mod outage;
mod passing;
mod paths;
mod providers;
mod proxies;
mod proxy_protocol;
mod refunds;
mod reload;
mod retries;
mod sdk;
mod sdk_budget;
mod sdk_errors;
mod sdk_grpc;
mod sdk_mcp;
mod sdk_streams;
mod sdk_websocket;
mod secrecy;
mod seeing;
mod slow;
mod smuggling;
mod spoofing;
mod storm;
mod streams;
mod supervision;
mod tenants;
mod tls;
mod tokens;
mod trailers;
mod upgrades;
mod upstream_framing;
mod upstream_http2;
mod upstream_pool;
mod upstream_tls;
mod upstream_trouble;
mod upstream_tunnels;
mod upstream_unix;
mod upstreams;
mod websocket;
mod websocket_limits;
mod wire_http1;
mod wire_http2;
mod wire_slow;
