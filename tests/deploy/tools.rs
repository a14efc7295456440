//! What the tests of all deployments use: files, YAML, and commands that are run.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// The package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the package.
pub fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The documents of a YAML file.
pub fn yaml(text: &str) -> Vec<Value> {
    let program =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let output = feed(Command::new(python()).args(["-c", program]), text);
    assert!(output.status.success(), "{}", shown(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The interpreter with the packages of `tests/python/requirements.txt`.
pub fn python() -> PathBuf {
    let own = root().join("tests/python/.venv/bin/python");
    let python = std::env::var_os("WEIR_TEST_PYTHON").map_or(own, PathBuf::from);
    let needed = "import check_jsonschema, kubernetes_validate, yaml";
    let probe = Command::new(&python).args(["-c", needed]).output();
    let usable = probe.is_ok_and(|probe| probe.status.success());
    assert!(usable, "{} lacks the tools of this test: run `make test`", python.display());
    python
}

/// A program that came with a package of `tests/python/requirements.txt`.
pub fn beside_python(name: &str) -> Command {
    Command::new(python().with_file_name(name))
}

/// Asks a judge about a file with this name and text.
pub fn judge(command: &mut Command, name: &str, text: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join(name);
    fs::write(&file, text).expect("written");
    command.arg(file).stdin(Stdio::null()).output().expect("the judge runs")
}

/// The built binary.
pub fn weir() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.stdin(Stdio::null());
    command
}

/// The standard output of a command that succeeds.
pub fn run(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    assert!(output.status.success(), "{command:?}: {}", shown(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// How a command ended, and what it said.
pub fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// The port of an address or URL.
pub fn port_of(address: &str) -> u64 {
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// Whole seconds, as policies, units and Compose write them.
pub fn seconds(written: &str) -> u64 {
    written.trim_end_matches('s').parse().expect("seconds")
}

/// How long a stop may take by this policy: announced, drained, and the fixed 4 s of what follows.
pub fn stop_takes(policy: &toml::Table) -> u64 {
    let key = |name: &str| policy["listen"].get(name).and_then(toml::Value::as_str).map(seconds);
    key("drain_delay").unwrap_or(0) + key("drain_timeout").expect("a length of time") + 4
}

fn feed(command: &mut Command, input: &str) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the command starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("all is read");
    drop(stdin);
    child.wait_with_output().expect("the command ends")
}
