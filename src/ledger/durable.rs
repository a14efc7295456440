//! What the embedded store promises beyond the contract: nothing is lost or counted twice by a crash.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::ledger::contract::{NOON, budget, demand, limits, quota};
use crate::ledger::{
    Decision, Demand, Embedded, Hold, Options, Outcome, Recovery, Store, StoreError,
};
use crate::policy::calendar::Period;
use crate::policy::limit::{Limits, Unit};

fn open(directory: &Path) -> Embedded {
    Embedded::open(directory, Options::default()).unwrap()
}

fn mixed() -> Arc<Limits> {
    let million = 1_000_000;
    limits([
        quota("chat", Unit::Requests, 3600, million),
        quota("chat", Unit::Tokens, 60, million * 1000),
        budget(Period::Day, "UTC", u64::MAX),
    ])
}

async fn reserve(store: &Embedded, subject: &str, limits: &Arc<Limits>) -> Box<Hold> {
    match store.reserve(Demand { subject, ..demand(limits, NOON) }).await.unwrap() {
        Decision::Admitted(hold, _) => hold,
        Decision::Refused(refused) => panic!("{refused:?}"),
    }
}

async fn keep(store: &Embedded, subject: &str) {
    let hold = reserve(store, subject, &mixed()).await;
    store.settle(hold, Outcome::Keep, Timestamp(NOON));
}

async fn used(store: &Embedded, subject: &str) -> Vec<u64> {
    store.usage(subject, Timestamp(NOON)).await.unwrap().iter().map(|usage| usage.used).collect()
}

async fn requests(store: &Embedded, subject: &str) -> u64 {
    used(store, subject).await.first().copied().unwrap_or(0)
}

/// The directory as a crash would leave it at this moment: the lock is not copied.
fn crashed(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

/// The only segment with anything in it.
fn journal(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    logs.pop().unwrap()
}

fn refusal_to_open(directory: &Path) -> String {
    let error = Embedded::open(directory, Options::default()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_crash_keeps_everything_and_what_was_in_flight_stands() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    keep(&store, "ada").await;
    let refunded = reserve(&store, "ada", &mixed()).await;
    store.settle(refunded, Outcome::Refund, Timestamp(NOON));
    let actual = Outcome::Actual { cost: crate::units::NanoUsd(7), tokens: 150, bytes: 0 };
    store.settle(reserve(&store, "ada", &mixed()).await, actual, Timestamp(NOON));
    let in_flight = reserve(&store, "eve", &mixed()).await;

    let copy = crashed(directory.path());
    let again = open(copy.path());

    assert_eq!(used(&again, "ada").await, [2, 250, 20_000_007]);
    assert_eq!(used(&again, "eve").await, [1, 100, 20_000_000]);
    let usage = again.usage("eve", Timestamp(NOON)).await.unwrap();
    assert_eq!(usage.iter().map(|usage| usage.held).sum::<u64>(), 0);
    assert_eq!(again.recovery(), Recovery { subjects: 2, records: 6, torn_bytes: 0 });
    store.settle(in_flight, Outcome::Keep, Timestamp(NOON));
}

#[tokio::test]
async fn a_clean_stop_leaves_nothing_to_replay() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    keep(&store, "ada").await;
    store.close().unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.recovery(), Recovery { subjects: 1, records: 0, torn_bytes: 0 });
    assert_eq!(requests(&store, "ada").await, 1);
}

#[tokio::test]
async fn a_reset_and_a_swept_account_stay_gone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    keep(&store, "ada").await;
    keep(&store, "eve").await;
    store.checkpoint().unwrap();
    store.reset("ada").await.unwrap();
    assert_eq!(used(&open(crashed(directory.path()).path()), "ada").await, [0, 0, 0]);
    let later = Timestamp(NOON + 4 * 86_400_000);
    assert_eq!((0..64).map(|_| store.sweep(later)).sum::<usize>(), 2);
    store.close().unwrap();
    drop(store);
    assert_eq!(open(directory.path()).recovery().subjects, 0);
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_is_cut_off_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    keep(&store, "ada").await;
    let log = journal(directory.path());
    let whole = fs::metadata(&log).unwrap().len();
    keep(&store, "ada").await;
    let end = fs::metadata(&log).unwrap().len();
    for cut in whole..end {
        let copy = crashed(directory.path());
        let torn = copy.path().join(log.file_name().unwrap());
        fs::File::options().write(true).open(torn).unwrap().set_len(cut).unwrap();
        let again = open(copy.path());
        assert_eq!(again.recovery(), Recovery { subjects: 1, records: 1, torn_bytes: cut - whole });
        keep(&again, "ada").await;
        drop(again);
        assert_eq!(requests(&open(copy.path()), "ada").await, 2);
    }
}

#[tokio::test]
async fn damage_before_sound_records_is_an_error_that_names_file_and_cure() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    keep(&store, "ada").await;
    keep(&store, "ada").await;
    drop(store);
    let log = journal(directory.path());
    let mut bytes = fs::read(&log).unwrap();
    bytes[20] ^= 1;
    fs::write(&log, bytes).unwrap();
    let message = refusal_to_open(directory.path());
    assert!(message.contains(&*log.to_string_lossy()), "{message}");
    assert!(message.contains("at byte 16") && message.contains("truncate"), "{message}");
    fs::File::options().write(true).open(&log).unwrap().set_len(16).unwrap();
    assert_eq!(open(directory.path()).recovery().subjects, 0, "the cure works");
}

#[tokio::test]
async fn segments_that_a_checkpoint_has_are_not_counted_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    keep(&store, "ada").await;
    let before = crashed(directory.path());
    let log = journal(before.path());
    store.checkpoint().unwrap();
    keep(&store, "ada").await;
    let copy = crashed(directory.path());
    // As if the crash had come between the checkpoint and the deletion.
    fs::copy(&log, copy.path().join(log.file_name().unwrap())).unwrap();
    assert_eq!(used(&open(copy.path()), "ada").await, [2, 200, 40_000_000]);
}

#[tokio::test]
async fn a_missing_segment_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    keep(&store, "ada").await;
    drop(store);
    let log = journal(directory.path());
    fs::rename(&log, log.with_file_name("journal-00000000000000000099.log")).unwrap();
    assert!(refusal_to_open(directory.path()).contains("is missing"));
}

#[tokio::test]
async fn a_database_that_is_missing_cut_short_or_foreign_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    keep(&store, "ada").await;
    store.close().unwrap();
    drop(store);
    let file = directory.path().join("ledger.redb");
    let bytes = fs::read(&file).unwrap();
    let length = bytes.len();
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x55;
        bytes
    };
    let foreign = b"#!/bin/sh".repeat(1000);
    let damaged =
        [vec![], bytes[..100].to_vec(), bytes[..length / 2].to_vec(), foreign, flipped(2)];
    for content in damaged {
        fs::write(&file, content).unwrap();
        let message = refusal_to_open(directory.path());
        assert!(message.contains("ledger.redb") && message.contains("backup"), "{message}");
    }
    for at in (0..length).step_by(length / 150) {
        let copy = crashed(directory.path());
        fs::write(copy.path().join("ledger.redb"), flipped(at)).unwrap();
        // A byte that nothing uses may differ; what opens is the whole truth.
        match Embedded::open(copy.path(), Options::default()) {
            Ok(store) => assert_eq!(requests(&store, "ada").await, 1),
            Err(error) => assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}"),
        }
    }
    fs::remove_file(&file).unwrap();
    assert!(refusal_to_open(directory.path()).contains("missing beside its journal"));
    fs::write(&file, bytes).unwrap();
    assert_eq!(requests(&open(directory.path()), "ada").await, 1);
}

#[tokio::test]
async fn an_interrupted_first_start_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("ledger.redb.new"), b"half").unwrap();
    let store = open(directory.path());
    assert_eq!(store.recovery(), Recovery::default());
}

/// What a child process does, told by [`CHILD`]: the tests below run this very binary.
const CHILD: &str = "WEIR_LEDGER_CHILD";
const DIRECTORY: &str = "WEIR_LEDGER_DIRECTORY";

fn child(role: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "ledger::durable::as_a_child", "--ignored", "--nocapture"]);
    command.env(CHILD, role).env(DIRECTORY, directory);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn say(line: &str) {
    std::io::stdout().lock().write_all(format!("+{line}\n").as_bytes()).unwrap();
}

/// What the child said, to its end.
fn heard(output: impl std::io::Read, mut each: impl FnMut(&str)) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        // The test harness writes lines of its own, and may begin ours on one of them.
        if let Some((_, line)) = line.split_once('+') {
            each(line);
        }
    }
}

#[tokio::test]
#[ignore = "run by other tests, in a process of its own"]
async fn as_a_child() {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    match std::env::var(CHILD).unwrap().as_str() {
        "locked" => say(&Embedded::open(&directory, Options::default()).unwrap_err().to_string()),
        "killed" => count_until_killed(open(&directory)),
        "full" => count_until_full(&directory).await,
        role => panic!("unknown role {role}"),
    }
}

fn count_until_killed(store: Embedded) {
    let count = |thread: usize| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for _ in 0..1_000_000 {
                keep(&store, &format!("thread-{thread}")).await;
                say(&thread.to_string());
            }
        });
    };
    std::thread::scope(|scope| {
        (0..3).for_each(|thread| drop(scope.spawn(move || count(thread))));
        loop {
            store.checkpoint().unwrap();
        }
    });
}

#[tokio::test]
async fn kill_9_amid_reservations_and_checkpoints_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut printed = [0u64; 3];
    let mut counted = [0u64; 3];
    for stop_after in [1, 10, 300, 1000, 3000] {
        let mut process = child("killed", directory.path()).spawn().unwrap();
        let (output, mut heard_now) = (process.stdout.take().unwrap(), 0);
        heard(output, |line| {
            printed[line.parse::<usize>().unwrap()] += 1;
            heard_now += 1;
            if heard_now == stop_after {
                process.kill().unwrap();
            }
        });
        process.wait().unwrap();
        let store = open(directory.path());
        for thread in 0..3 {
            let count = requests(&store, &format!("thread-{thread}")).await;
            let unheard = printed[thread]..=printed[thread] + 1;
            assert!(unheard.contains(&count), "thread {thread}: {count}, {unheard:?}");
            assert!(count >= counted[thread]);
            // An admission that was never heard of is part of the past now.
            (printed[thread], counted[thread]) = (count, count);
        }
    }
}

#[tokio::test]
async fn a_second_process_is_told_which_directory_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(directory.path());
    let output = child("locked", directory.path()).output().unwrap();
    let mut lines = Vec::new();
    heard(&*output.stdout, |line| lines.push(line.to_owned()));
    let expected =
        format!("the store in {} is in use by another process", directory.path().display());
    assert_eq!(lines, [expected]);
}

/// Runs under `ulimit -f`, which fails writes as a full disk does, torn ones included.
async fn count_until_full(directory: &Path) {
    let options = Options { segment_bytes: u64::MAX, ..Options::default() };
    let store = Embedded::open(directory, options).unwrap();
    let limits = mixed();
    let mut admitted = 0;
    let error = loop {
        let subject = format!("{:01000}", admitted % 10);
        match store.reserve(Demand { subject: &subject, ..demand(&limits, NOON) }).await {
            Ok(Decision::Admitted(hold, _)) => store.settle(hold, Outcome::Keep, Timestamp(NOON)),
            Ok(Decision::Refused(refused)) => panic!("{refused:?}"),
            Err(error) => break error,
        }
        admitted += 1;
    };
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    say(&format!("{admitted} {}", store.is_up()));
    let mut counted = 0;
    for n in 0..10 {
        counted += requests(&store, &format!("{n:01000}")).await;
    }
    say(&format!("{counted} {}", store.is_up()));
    // A new segment has room again.
    store.checkpoint().unwrap();
    keep(&store, "ada").await;
    say(&format!("{} {}", requests(&store, "ada").await, store.is_up()));
}

#[tokio::test]
async fn a_full_disk_refuses_undoes_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    let inner = child("full", directory.path());
    // 8192 blocks of 512 bytes, room for the database; an ignored signal stays ignored in the child.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""]).arg(inner.get_program());
    shell
        .args(inner.get_args())
        .envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = shell.stderr(Stdio::null()).output().unwrap();
    let mut lines = Vec::new();
    heard(&*output.stdout, |line| lines.push(line.to_owned()));
    let [full, counted, again] = &lines[..] else { panic!("{lines:?}") };
    let admitted = full.strip_suffix(" false").expect("down after the failure");
    assert_eq!(counted.split_once(' ').unwrap().0, admitted, "the failed one is undone");
    assert_eq!(again, "1 true");

    let store = open(directory.path());
    let mut counted = 0;
    for n in 0..10 {
        counted += requests(&store, &format!("{n:01000}")).await;
    }
    assert_eq!(counted.to_string(), admitted);
    assert_eq!(requests(&store, "ada").await, 1);
}
