//! Other people's programs, unchanged: where `make test` puts them and how a test runs one.
//!
//! They get a clean environment: nothing of the machine's settings reaches them, and the only
//! authority that they trust is the sidecar's, in the variables that their users would set.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    harness::eventually,
    sidecar::{Running, Sidecar},
};

/// The longest that a program may take: an interpreter with an SDK starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a script is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Python,
    Node,
}

impl Language {
    /// The interpreter: `make test` makes it.
    fn interpreter(self) -> PathBuf {
        let (variable, usual) = match self {
            Self::Python => ("WEIR_TEST_PYTHON", ".venv/bin/python"),
            Self::Node => ("WEIR_TEST_NODE", ".venv/bin/node"),
        };
        let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(usual);
        let path = std::env::var_os(variable).map_or(usual, PathBuf::from);
        assert!(
            path.exists(),
            "{} is not there: run `make clients`, which makes it",
            path.display()
        );
        path
    }

    /// This script of ours, without an ending in its name.
    pub fn script(self, name: &str) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let script = match self {
            Self::Python => root.join("python").join(name).with_extension("py"),
            Self::Node => root.join("node").join(name).with_extension("js"),
        };
        let mut command = Command::new(self.interpreter());
        command.arg(script);
        clean(&mut command);
        command
    }
}

/// A program of the system; `package` is what to install when it is missing.
pub fn program(name: &str, package: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|place| place.join(name)).find(|file| file.is_file());
    let found = found.unwrap_or_else(|| panic!("no {name}: `make tools` installs {package}"));
    let mut command = Command::new(found);
    clean(&mut command);
    command
}

/// The browser itself: `/usr/bin` has a script that would outlive it. It ends with the test.
pub fn chromium() -> Command {
    let usual = ["/usr/lib/chromium/chromium-headless-shell", "/usr/lib/chromium/chromium"];
    let told = std::env::var_os("WEIR_TEST_CHROMIUM").map(PathBuf::from);
    let found = told.or_else(|| usual.iter().map(PathBuf::from).find(|file| file.is_file()));
    let found = found.expect("no Chromium: `make tools` installs chromium-headless-shell");
    let mut command = program("setpriv", "util-linux");
    command.args(["--pdeathsig", "KILL"]).arg(found);
    command
}

/// Takes the machine's settings away: proxies, keys, certificates, start-up files.
fn clean(command: &mut Command) {
    command.env_clear().stdin(Stdio::null()).current_dir("/");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", "/nonexistent").env("LANG", "C.UTF-8").env("PYTHONDONTWRITEBYTECODE", "1");
}

/// Lets it trust the sidecar's authority, the way that users of each program do.
pub fn trust(command: &mut Command, sidecar: &Sidecar) {
    let authority = sidecar.file("certs/ca.crt");
    command.env("SSL_CERT_FILE", &authority).env("NODE_EXTRA_CA_CERTS", authority);
}

/// Waits for the end of a program that must succeed.
pub async fn succeeded(program: &mut Running) {
    let code = eventually(PATIENCE, || program.try_ended()).await;
    assert_eq!(code, Some(Some(0)), "{:#?} {:#?}", program.printed(), program.lines());
}

/// Everything that a program of ours printed until its end, one JSON value a line.
pub async fn values(command: Command) -> Vec<Value> {
    let mut program = Running::of(command);
    succeeded(&mut program).await;
    said(&program)
}

/// Everything that a program of ours printed so far.
pub fn said(program: &Running) -> Vec<Value> {
    let value = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    program.printed().iter().map(value).collect()
}

/// The value at `index`, as soon as it was printed.
pub async fn said_at(program: &Running, index: usize) -> Value {
    let look = || said(program).get(index).cloned();
    let value = eventually(PATIENCE, look).await;
    value.unwrap_or_else(|| panic!("{:#?} {:#?}", program.printed(), program.lines()))
}
