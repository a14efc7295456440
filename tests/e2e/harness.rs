//! What every test stands on: a runtime with a deadline, waiting for a condition, the command.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The longest that any test may take.
const DEADLINE: Duration = Duration::from_secs(480);
/// The longest that one condition is waited for, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How soon a change of a file is in force; a tenth more for the asking.
pub const SECOND: Duration = Duration::from_millis(1_100);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Runs one test on a runtime of its own; fails it when it takes longer than [`DEADLINE`].
pub fn run(test: impl Future<Output = ()>) {
    let_midnight_pass();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await });
    runtime.shutdown_background();
    assert!(done.is_ok(), "the test is not over after {DEADLINE:?}");
}

/// Budgets are counted by the day of UTC: no test begins in the last moments of one, where a sum
/// that it asks for might be of the next.
fn let_midnight_pass() {
    const LAST: u64 = 120;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let left = 86_400 - now % 86_400;
    if left <= LAST {
        std::thread::sleep(Duration::from_secs(left));
    }
}

/// Waits until `look` finds something; fails when that takes longer than [`PATIENCE`].
pub async fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match eventually(PATIENCE, look).await {
        Some(found) => found,
        None => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Waits until `look` finds something, at most for `patience`.
pub async fn eventually<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if began.elapsed() > patience {
            return None;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until `look` finds something by asking; fails when that takes longer than [`PATIENCE`].
pub async fn until_async<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Fails when `future` takes longer than [`PATIENCE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// The command under test.
pub fn weir() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.stdin(Stdio::null()).env_remove("WEIR_LOG").env_remove("WEIR_ADMIN_TOKEN");
    command
}

/// What a finished command printed, and how it ended.
#[derive(Debug)]
pub struct Printed {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Printed {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs the command in `directory` to its end.
pub fn weir_in(directory: &Path, arguments: &[&str]) -> Printed {
    weir().current_dir(directory).args(arguments).output().unwrap().into()
}

/// Sends a signal to a process of ours.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(sent.unwrap().success(), "SIG{name} could not be sent");
}
