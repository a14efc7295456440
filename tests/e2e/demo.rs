//! `weir demo`, used as its own output says.

use std::{fs, process::Command};

use crate::{
    harness::{Printed, run, signal, until, weir},
    sidecar::Running,
};

/// The requests to try, as printed: a title and a line for the shell.
fn blocks(printed: &[String]) -> Vec<(String, String)> {
    let pairs = printed.windows(2).filter_map(|pair| {
        let title = pair[0].strip_prefix("# ")?;
        Some((title.to_owned(), pair[1].clone()))
    });
    pairs.collect()
}

fn paste(block: &str) -> String {
    let printed = Printed::from(Command::new("sh").args(["-c", block]).output().unwrap());
    assert_eq!(printed.code, Some(0), "{block}\n{printed:?}");
    printed.out
}

#[test]
fn the_demo_does_what_it_prints_and_leaves_nothing_behind() {
    run(async {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = weir();
        command.args(["demo", "--port", "0", "--admin-port", "0"]).env("TMPDIR", temporary.path());
        command.current_dir(temporary.path());
        let mut demo = Running::of(command);
        let end = || demo.printed().iter().any(|line| line.contains("Ctrl-C")).then_some(());
        until("the demo prints what to try", end).await;
        let printed = demo.printed();
        let blocks = blocks(&printed);
        assert_eq!(blocks.len(), 4, "{printed:#?}");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1, "one directory of its own");

        for round in 1..=2 {
            for (title, block) in &blocks {
                let out = paste(block);
                let has = |wanted: &str| out.contains(wanted);
                let good = match title.split_whitespace().nth(1).unwrap() {
                    "success," => {
                        has(" 200") && has("x-ratelimit-remaining: ") && has("x-cost-used-today: ")
                    }
                    "stream" => has("\"content\":\"Hello\"") && has("data: [DONE]"),
                    "refusal:" => {
                        out.matches(" 200\n").count() == 3
                            && out.matches(" 429\n").count() == 1
                            && has("quota_exceeded")
                    }
                    "leak," => {
                        has("Drink some water.")
                            && !has("hunter2")
                            && !has("10.0.12.7")
                            && !has("Traceback")
                            && !has("sk-demo")
                    }
                    _ => false,
                };
                assert!(good, "round {round}, {title}:\n{block}\n{out}");
            }
        }
        let page = printed.iter().find_map(|line| line.split("look at ").nth(1)).unwrap();
        assert!(paste(&format!("curl -sS {page}")).contains("<h1>Weir"), "the status page");

        signal(demo.id(), "INT");
        assert_eq!(demo.ended().await, Some(0), "{:?}", demo.lines());
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "its files are gone");
    });
}

#[test]
fn a_demo_on_a_taken_port_says_which_and_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let temporary = tempfile::tempdir().unwrap();
    let mut command = weir();
    command.args(["demo", "--admin-port", "0", "--port", &port]).env("TMPDIR", temporary.path());

    let printed = Printed::from(command.output().unwrap());

    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.err.contains(&port) && printed.err.contains("--port"), "{}", printed.err);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "its files are gone");
}
