//! The life of the process as whoever runs it sees it: told by `sd_notify`, ended by signals,
//! bounded by what the system grants.

use std::{fs, os::unix::net::UnixDatagram, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    harness::{run, signal, soon, until, until_async, weir},
    origin::Origin,
    sidecar::{Running, Sidecar},
};

/// A service manager that listens.
struct Manager {
    socket: UnixDatagram,
    home: TempDir,
    said: Vec<String>,
}

impl Manager {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(home.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, home, said: Vec::new() }
    }

    fn path(&self) -> String {
        self.home.path().join("notify").display().to_string()
    }

    /// Waits until this was said, after all that was waited for before.
    async fn hears(&mut self, wanted: &str) -> String {
        until(&format!("the manager hears {wanted}"), || {
            let mut bytes = [0; 4096];
            while let Ok(length) = self.socket.recv(&mut bytes) {
                self.said.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
            }
            let found = self.said.iter().position(|it| it.lines().any(|line| line == wanted))?;
            Some(self.said.drain(..=found).next_back().unwrap())
        })
        .await
    }
}

#[test]
fn the_service_manager_is_told_of_every_turn() {
    run(async {
        let origin = Origin::start().await;
        let mut manager = Manager::new();
        let plan = Sidecar::with("").environment("NOTIFY_SOCKET", &manager.path());
        let plan = plan.environment("WATCHDOG_USEC", "100000");
        let mut sidecar = plan.before(&origin).start().await;

        assert!(manager.hears("READY=1").await.contains("STATUS=serving"));
        manager.hears("WATCHDOG=1").await;
        manager.hears("WATCHDOG=1").await;
        sidecar.signal("HUP");
        let reloading = manager.hears("RELOADING=1").await;
        assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
        assert!(manager.hears("READY=1").await.contains("STATUS=serving\n"));
        sidecar.write_policy("half a po");
        sidecar.metric_is(r#"weir_policy_reloads_total{result="rejected"}"#, 1.0).await;
        sidecar.signal("HUP");
        manager.hears("RELOADING=1").await;
        assert!(manager.hears("READY=1").await.contains("rejected"));
        sidecar.signal("TERM");
        manager.hears("STOPPING=1").await;
        assert_eq!(sidecar.running.ended().await, Some(0));
    });
}

/// Whether the process catches this signal.
fn catches(process: u32, number: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (number - 1)) != 0
}

#[test]
fn a_stop_is_obeyed_while_files_are_still_being_read() {
    run(async {
        let home = Sidecar::with("").furnish();
        let fifo = home.path().join("fifo.toml");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let mut command = weir();
        // Reading a pipe into which nobody writes takes for ever.
        command.current_dir(home.path()).args(["run", "--policy", "fifo.toml"]);
        let mut running = Running::of(command);
        let id = running.id();
        until("signals are taken", || (catches(id, 15) && catches(id, 1)).then_some(())).await;

        signal(id, "HUP");
        signal(id, "TERM");

        assert_eq!(soon("the end", running.ended()).await, Some(0));
        let lines = running.lines();
        assert!(lines.iter().any(|line| line.contains("before it had started")), "{lines:?}");
    });
}

#[test]
fn a_drain_serves_on_for_a_moment_so_that_balancers_notice() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").listen("drain_delay = \"1m\"").before(&origin);
        let mut sidecar = plan.start().await;

        sidecar.signal("TERM");

        let not_ready = || async {
            let answer = sidecar.operator("/readyz").send().await;
            (answer.status == 503).then_some(())
        };
        until_async("it is not ready any more", not_ready).await;
        for _ in 0..3 {
            let answer = sidecar.client.get("/x").send().await;
            assert_eq!((answer.status.as_u16(), answer.header("connection")), (200, None));
        }
        sidecar.signal("TERM");
        assert_eq!(sidecar.running.ended().await, Some(0), "a second signal hastens");
    });
}

#[test]
fn a_service_that_went_first_is_told_as_draining() {
    run(async {
        let plan = Sidecar::with("").listen("drain_delay = \"1m\"");
        let mut sidecar = plan.start().await;
        let answer = sidecar.client.get("/x").send().await;
        assert_eq!(answer.refusal(), (502, "upstream_unreachable".to_owned()));

        sidecar.signal("TERM");

        let draining = || async {
            let answer = sidecar.client.get("/x").send().await;
            (answer.refusal() == (503, "draining".to_owned())).then_some(answer)
        };
        let answer = until_async("it is told as draining", draining).await;
        assert!(answer.header("retry-after").is_some());
        sidecar.signal("TERM");
        assert_eq!(sidecar.running.ended().await, Some(0));
    });
}

#[test]
fn after_the_moment_it_ends_by_itself() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").listen("drain_delay = \"300ms\"").before(&origin);
        let mut sidecar = plan.start().await;
        let feed = origin.paces("/stream");
        let (mut h1, mut h2) = (sidecar.client.h1().await, sidecar.client.h2().await);
        let mut stream = sidecar.client.get("/stream").open(&mut h2).await;
        assert_eq!(sidecar.client.get("/x").on(&mut h1).await.status, 200);

        sidecar.signal("TERM");

        feed.send("data: 1\n\n".into()).await.unwrap();
        assert_eq!(stream.text().await, "data: 1\n\n");
        let refused = || async {
            tokio::net::TcpStream::connect(sidecar.address).await.is_err().then_some(())
        };
        until_async("new connections are refused", refused).await;
        feed.send("data: 2\n\n".into()).await.unwrap();
        assert_eq!(stream.text().await, "data: 2\n\n", "what runs goes on");
        drop(feed);
        assert!(stream.next().await.is_none());
        assert_eq!(sidecar.running.ended().await, Some(0));
    });
}

/// Starts a sidecar under `ulimit`s and waits until it serves.
async fn under(limits: &str, listen: &str) -> (Running, tempfile::TempDir, Vec<Value>) {
    let home = Sidecar::with("").listen(listen).furnish();
    let directory = home.path().to_owned();
    let binary = env!("CARGO_BIN_EXE_weir");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limits} && exec {binary} run --threads 1")]);
    command.current_dir(&directory);
    let running = Running::of(command);
    let serves = || running.lines().iter().any(|line| line.contains("serving")).then_some(());
    until("it serves", serves).await;
    let lines = running.lines();
    let lines = lines.iter().map(|line| serde_json::from_str(line).unwrap_or_default()).collect();
    (running, home.into_directory(), lines)
}

#[test]
fn descriptors_are_taken_as_far_as_they_are_granted_and_too_few_are_told_with_the_cure() {
    run(async {
        let (running, _home, _) = under("ulimit -Sn 256", "max_connections = 100").await;
        let limits = fs::read_to_string(format!("/proc/{}/limits", running.id())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[3], words[4], "soft is hard: {line}");

        let (_running, _home, lines) = under("ulimit -n 300", "max_connections = 1000").await;
        let told = lines.iter().find(|line| line["descriptors"] == 300 && line["level"] == "WARN");
        let told = told.unwrap_or_else(|| panic!("nothing is told: {lines:#?}"));
        assert_eq!(told["max_connections"], 54);
        assert!(told["message"].as_str().unwrap().contains("LimitNOFILE"), "{told}");
    });
}

#[test]
fn the_memory_limit_is_told_at_the_start() {
    run(async {
        let (_running, _home, lines) = under("true", "max_memory = \"512MiB\"").await;
        let told = lines.iter().find(|line| line["limit_bytes"] == 512 << 20);
        assert_eq!(told.map(|line| &line["from"]), Some(&"listen.max_memory".into()), "{lines:#?}");
    });
}
