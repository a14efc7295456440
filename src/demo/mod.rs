//! `weir demo`: everything in one process, in a fresh temporary directory.
//!
//! Makes development certificates and one API key, starts a small sample agent,
//! and runs the very proxy that `weir run` runs in front of it, on the policy
//! that comes with the project. Prints requests to try; each names a subject
//! that was never seen before, so that it works again the second time.

mod agent;
mod certificates;

use std::{
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use rand::Rng;

pub use certificates::{CertificateError, Made, certificates};

use crate::{
    app::{self, Addresses, RunOptions, StartError},
    id::hex,
    policy::identity::digest,
    server::Runtimes,
    telemetry::LogFormat,
};

/// The policy that comes with the project.
const POLICY: &str = include_str!("../../policy.toml");
/// The upstream that it names, which the sample agent stands in for.
const UPSTREAM: &str = "http://127.0.0.1:8000";

/// Arguments of `weir demo`.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Port of the proxy.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Port of the operators' listener.
    #[arg(long, default_value_t = 9901)]
    admin_port: u16,
}

/// Why the demo cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Files cannot be written.
    #[error("the demo's files cannot be written")]
    Files(#[from] io::Error),
    /// Certificates cannot be made.
    #[error("the demo's certificates cannot be made")]
    Certificates(#[from] CertificateError),
    /// A port is taken.
    #[error("{0}; choose another with --port or --admin-port")]
    Taken(String),
    /// The proxy cannot start.
    #[error(transparent)]
    Start(StartError),
}

impl Demo {
    /// Runs until a signal asks for the end; the directory is removed then.
    ///
    /// # Errors
    /// Whatever keeps the demo from starting.
    pub fn run(self) -> Result<(), DemoError> {
        let home = Home::make()?;
        let agent = agent::start()?;
        let key = home.furnish(agent)?;
        let local = |port| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let options = RunOptions {
            policy: home.0.join("policy.toml"),
            log_format: LogFormat::Text,
            threads: None,
            runtimes: Runtimes::PerCore,
            address: local(self.port),
            admin_address: local(self.admin_port),
        };
        let result = app::run(&options, |at| {
            let text = welcome(&home.0, &key, &at);
            // Without a terminal to read it the demo still runs.
            drop(io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()));
        });
        result.map_err(|error| match error {
            StartError::Bind(taken) if taken.source.kind() == io::ErrorKind::AddrInUse => {
                DemoError::Taken(format!("{} is taken", taken.address))
            }
            other => DemoError::Start(other),
        })
    }
}

/// The demo's directory, removed at the end.
struct Home(PathBuf);

impl Home {
    fn make() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut random = [0_u8; 4];
        rand::rng().fill_bytes(&mut random);
        let number = COUNT.fetch_add(1, Relaxed);
        let name = format!("weir-demo-{}-{number}-{}", std::process::id(), hex(&random));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Writes certificates, keys and the policy; returns the API key.
    fn furnish(&self, agent: SocketAddr) -> Result<String, DemoError> {
        certificates(&self.0.join("certs"), &[])?;
        let mut random = [0_u8; 32];
        rand::rng().fill_bytes(&mut random);
        let key = format!("weir_{}", hex(&random));
        let entry = format!(
            "[[key]]\nid = \"k_demo\"\nsubject = \"demo\"\ntier = \"premium\"\nsha256 = \"{}\"\n\
             created = \"2026-01-01T00:00:00Z\"\n",
            hex(&digest(key.as_bytes()))
        );
        fs::write(self.0.join("keys.toml"), entry)?;
        let policy = POLICY.replace(UPSTREAM, &format!("http://{agent}"));
        fs::write(self.0.join("policy.toml"), policy)?;
        Ok(key)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be removed stays in the system's temporary directory.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What to try. Each block is one paste.
fn welcome(home: &Path, key: &str, at: &Addresses) -> String {
    let (url, admin) = (format!("https://localhost:{}", at.port().unwrap_or_default()), at.admin);
    let curl = format!("curl -sS --cacert {}", home.join("certs/ca.crt").display());
    let json = "-H 'Content-Type: application/json'";
    let policy = home.join("policy.toml");
    format!(
        r#"
Weir stands in front of a sample agent at {url}
Operators look at http://{admin}/
The policy is {policy}; edit it and see the next request.

# a success, with the state of its limits
{curl} -i {json} -d '{{}}' {url}/api/user/u$(date +%s%N)/routine/generate

# a stream
{curl} -N {json} -H 'X-API-Key: {key}' -d '{{"model":"sample","stream":true,"messages":[{{"role":"user","content":"hi"}}]}}' {url}/v1/chat/completions

# a refusal: the fourth of 3 an hour
u=u$(date +%s%N); for i in 1 2 3 4; do {curl} -w ' %{{http_code}}\n' {json} -d '{{}}' {url}/api/user/$u/behavior/analyze; done

# a leak, cleaned: the agent answers with a connection string, a key and a stack trace
{curl} {url}/api/user/u$(date +%s%N)/leak

Ctrl-C ends the demo and removes its files.
"#,
        policy = policy.display(),
    )
}
