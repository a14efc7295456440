//! `deploy/weir.service`: valid for systemd, hardened as far as it claims, and
//! in step with the policy beside it and with the binary.

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use super::{
    installed::{Installed, PATIENCE, Running, is_ready},
    tools::{seconds, shown, stop_takes, text},
    unit::Unit,
};

/// Where the unit expects the binary.
const BINARY: &str = "/usr/local/bin/weir";
/// Where systemd puts the copies of `LoadCredential=`.
const CREDENTIALS: &str = "/run/credentials/weir.service";
/// Most exposure, in tenths of what `systemd-analyze security` shows (0 to 10; below 2 it says OK).
const MOST_EXPOSURE: u32 = 12;

// What systemd would say.

#[test]
fn systemd_would_take_the_unit() {
    let verified = analyze(&["verify", "--recursive-errors=no"], &text("deploy/weir.service"));
    assert!(verified.status.success(), "{}", shown(&verified));
    assert!(verified.stderr.is_empty(), "{}", shown(&verified));
}

#[test]
fn systemd_finds_an_unknown_setting_and_a_program_that_is_not_there() {
    for (right, wrong) in
        [("WatchdogSec=", "WatchDogSeconds="), ("ExecReload=/bin/", "ExecReload=/no/")]
    {
        let wrong = text("deploy/weir.service").replace(right, wrong);
        let verified = analyze(&["verify", "--recursive-errors=no"], &wrong);
        assert!(!verified.stderr.is_empty(), "{}", shown(&verified));
    }
}

#[test]
fn little_is_left_for_somebody_who_takes_the_process_over() {
    let threshold = format!("--threshold={MOST_EXPOSURE}");
    let review = ["security", "--offline=true", "--no-pager", &threshold];
    let reviewed = analyze(&review, &text("deploy/weir.service"));
    assert!(reviewed.status.success(), "{}", shown(&reviewed));
    let open = text("deploy/weir.service").replace("SystemCallFilter=@system-service\n", "");
    let reviewed = analyze(&review, &open.replace("PrivateUsers=yes\n", ""));
    assert!(!reviewed.status.success(), "{}", shown(&reviewed));
}

/// Asks `systemd-analyze` about the unit, with the built binary in its place.
fn analyze(arguments: &[&str], unit: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("weir.service");
    let unit = unit.replace(BINARY, env!("CARGO_BIN_EXE_weir"));
    fs::write(&file, unit).expect("written");
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg(file).stdin(Stdio::null());
    command.output().expect("systemd-analyze is there: `make tools` installs it")
}

// In step with the policy and the binary.

#[test]
fn the_directories_of_the_unit_are_those_of_the_policy() {
    let (unit, policy) = (unit(), policy());
    let state = format!("embedded:/var/lib/{}/", unit.one("StateDirectory"));
    let store = policy["store"]["url"].as_str().expect("a store");
    assert!(store.starts_with(&state), "{store} is not below {state}");
    let configuration = format!("/etc/{}/", unit.one("ConfigurationDirectory"));
    assert!(start().contains(&format!("{configuration}policy.toml")), "{:?}", start());
    let keys = policy["identity"][0]["keys"].as_str().expect("a file");
    assert!(keys.starts_with(&configuration), "{keys} is not below {configuration}");
}

#[test]
fn every_credential_is_loaded_and_none_that_nobody_reads() {
    let policy = text("deploy/systemd/policy.toml");
    let mut read: Vec<&str> = policy
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once("${CREDENTIALS_DIRECTORY}/"))
        .filter_map(|(_, name)| name.split('"').next())
        .collect();
    let unit = unit();
    let pairs = unit.all("LoadCredential").map(|pair| pair.split_once(':').expect("a path"));
    let (mut loaded, paths): (Vec<&str>, Vec<&str>) = pairs.unzip();
    read.sort_unstable();
    loaded.sort_unstable();
    assert_eq!(read, loaded);
    for (name, path) in loaded.iter().zip(&paths) {
        assert!(path.starts_with("/etc/weir/credentials/"), "{name} is loaded from {path}");
    }
}

#[test]
fn a_stop_may_take_as_long_as_the_drain() {
    let patience = seconds(unit().one("TimeoutStopSec"));
    let needed = stop_takes(&policy());
    assert!(needed < patience, "{needed} s do not fit into {patience} s");
}

#[test]
fn descriptors_suffice_for_all_connections() {
    let limit: u64 = unit().one("LimitNOFILE").parse().expect("a number");
    // The default of listen.max_connections: each may have one upstream.
    let listen = &policy()["listen"];
    let connections = listen.get("max_connections").and_then(toml::Value::as_integer);
    let connections = u64::try_from(connections.unwrap_or(10_000)).expect("positive");
    assert!(2 * connections < limit, "{limit} descriptors for {connections} connections");
}

#[test]
fn the_page_installs_everything_where_the_unit_looks() {
    let (page, unit) = (text("deploy/README.md"), unit());
    let sources = unit.all("LoadCredential").filter_map(|pair| pair.split_once(':'));
    let directories = sources.filter_map(|(_, path)| path.rsplit_once('/')).map(|(path, _)| path);
    let keys = policy()["identity"][0]["keys"].as_str().expect("a file").to_owned();
    for path in directories.chain([BINARY.trim_end_matches("weir"), &keys]) {
        let installs = page.lines().any(|line| line.starts_with("sudo ") && line.contains(path));
        assert!(installs, "the page does not fill {path}");
    }
}

#[test]
fn the_policy_is_valid_where_the_unit_puts_it() {
    installed().check("/etc/weir/policy.toml");
}

#[test]
fn it_starts_reloads_and_stops_as_the_unit_says() {
    let manager = Manager::new();
    assert_eq!(unit().one("Type"), "notify");
    let install = || {
        let installed = installed();
        let mut command = installed.command(start());
        let watchdog = seconds(unit().one("WatchdogSec")) * 1_000_000;
        command.env("NOTIFY_SOCKET", manager.path()).env("WATCHDOG_USEC", watchdog.to_string());
        (installed, command)
    };
    let (installed, running) = Running::start(install);
    manager.is_told(&["READY=1", "WATCHDOG=1"]);
    is_ready(&mut installed.command(["health", "--policy", "/etc/weir/policy.toml"]));

    let reload = unit().one("ExecReload").to_owned();
    let signal = reload.strip_prefix("/bin/kill -").and_then(|rest| rest.strip_suffix(" $MAINPID"));
    running.signal(signal.expect("a signal to the main process"));
    manager.is_told(&["RELOADING=1", "READY=1"]);

    running.signal("TERM");
    manager.is_told(&["STOPPING=1"]);
    assert!(running.ended().success());
}

/// The end of the notification socket that systemd would hold.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        Self { socket, directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    /// Waits until all of this was said, in any order, from now on.
    fn is_told(&self, wanted: &[&str]) {
        let mut missing = wanted.to_vec();
        let mut buffer = [0; 1024];
        while !missing.is_empty() {
            let length = self.socket.recv(&mut buffer);
            let length = length.unwrap_or_else(|error| panic!("{missing:?} was not said: {error}"));
            let said = String::from_utf8_lossy(&buffer[..length]);
            missing.retain(|state| !said.lines().any(|line| line == *state));
        }
    }
}

// The unit.

fn unit() -> Unit {
    Unit::parse(&text("deploy/weir.service"))
}

/// The arguments that the unit starts Weir with.
fn start() -> Vec<String> {
    let unit = unit();
    let line = unit.one("ExecStart").strip_prefix(BINARY).expect("the binary").to_owned();
    line.split_whitespace().map(str::to_owned).collect()
}

fn policy() -> toml::Table {
    text("deploy/systemd/policy.toml").parse().expect("TOML")
}

/// A host with the policy, its keys, and the credentials where systemd copies them.
fn installed() -> Installed {
    let credential = |name: &str| format!("{CREDENTIALS}/{name}");
    Installed::new()
        .policy("/etc/weir/policy.toml", &text("deploy/systemd/policy.toml"))
        .certificate(&credential("server.crt"), &credential("server.key"))
        .keys("/etc/weir/keys.toml")
        .points("CREDENTIALS_DIRECTORY", CREDENTIALS)
}
