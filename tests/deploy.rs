//! The ways to deploy: each file under `deploy/` is one that its consumer would
//! take, and agrees with the others, with the policy beside it and with what
//! the binary accepts.
//!
//! The consumers' own judges are asked: `systemd-analyze`, hadolint, and the
//! schemas of Kubernetes and of the Compose specification, which `make test`
//! installs. Each has a test in which it finds a fault.
//!
//! # Limits
//! No container engine and no service manager runs here. What they would start
//! is started with the same arguments below a temporary directory instead, with
//! the policy's paths and ports moved there ([`installed`]).

#![allow(clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[path = "deploy/compose.rs"]
mod compose;
#[path = "deploy/dockerfile.rs"]
mod dockerfile;
#[path = "deploy/empty_root.rs"]
mod empty_root;
#[path = "deploy/image.rs"]
mod image;
#[path = "deploy/installed.rs"]
mod installed;
#[path = "deploy/kubernetes.rs"]
mod kubernetes;
#[path = "deploy/makefile.rs"]
mod makefile;
#[path = "deploy/release.rs"]
mod release;
#[path = "deploy/service.rs"]
mod service;
#[path = "deploy/tools.rs"]
mod tools;
#[path = "deploy/unit.rs"]
mod unit;
