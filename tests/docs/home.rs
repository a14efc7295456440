//! A directory as an operator would have it, and commands that run in it.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    pages::root,
    proxy::{Proxy, origin},
};

/// The longest that a block, or a start, may take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What the operators' listener asks for in every block.
pub const TOKEN: &str = "operators-only";

/// The public key of RFC 8037, A.2: somebody's, whose tokens nobody sends.
const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A directory as an operator would have it.
pub struct Home {
    directory: TempDir,
    ports: [u16; 2],
    /// What runs there.
    pub proxy: Option<Proxy>,
}

impl Home {
    /// Makes the directory; `start` starts a proxy in it, on other ports when these are just taken.
    pub fn furnish(start: Option<fn(&Path) -> Option<Proxy>>) -> Self {
        for _ in 0..5 {
            let directory = tempfile::Builder::new().prefix("weir-docs-").tempdir().expect("made");
            let ports = [free_port(), free_port()];
            let home = directory.path();
            let made = bash(home, "weir cert dev", &[]);
            assert!(made.status.success(), "{}", told(&made));
            fs::write(home.join("keys.toml"), "").expect("written");
            fs::write(home.join("certs/jwks.json"), JWKS).expect("written");
            let upstream = if start.is_some() { origin() } else { "127.0.0.1:8000".to_owned() };
            let policy = fs::read_to_string(root().join("policy.toml")).expect("the policy");
            let policy = with_ports(&policy, ports).replace("127.0.0.1:8000\"", &(upstream + "\""));
            fs::write(home.join("policy.toml"), policy).expect("written");
            let Some(start) = start else { return Self { directory, ports, proxy: None } };
            if let Some(proxy) = start(home) {
                return Self { directory, ports, proxy: Some(proxy) };
            }
        }
        panic!("no free ports were found");
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a script in it, on its ports.
    pub fn bash(&self, script: &str) -> Output {
        bash(self.path(), &with_ports(script, self.ports), &[("WEIR_ADMIN_TOKEN", TOKEN)])
    }
}

fn with_ports(text: &str, [public, admin]: [u16; 2]) -> String {
    text.replace("8443", &public.to_string()).replace("9901", &admin.to_string())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Runs a script in `directory`, with `weir` on `PATH`.
pub fn bash(directory: &Path, script: &str, environment: &[(&str, &str)]) -> Output {
    let weir = PathBuf::from(env!("CARGO_BIN_EXE_weir"));
    let own = weir.parent().expect("a directory").display().to_string();
    let path = format!("{own}:{}", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("timeout");
    command
        .arg(PATIENCE.as_secs().to_string())
        .args(["bash", "-euo", "pipefail", "-c", script])
        .current_dir(directory)
        .env("PATH", path)
        .env_remove("WEIR_ADMIN_TOKEN")
        .env_remove("WEIR_LOG")
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    command.output().expect("bash runs")
}

/// How a command ended, and what it said.
pub fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}
