//! A directory that stands for the root of an image or a host, with the files
//! of a deployment at their places, and Weir started as that deployment does.
//!
//! Absolute paths in a policy and in arguments are moved below the directory;
//! ports 8443 and 9901 become free ones.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::tools::{run, shown, weir};

/// The longest that a start or a stop may take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What a deployment's paths begin with.
const PLACES: [&str; 3] = ["/etc/weir", "/run/secrets", "/var/lib/weir"];

/// Files at their places below a temporary directory.
pub struct Installed {
    home: TempDir,
    ports: [u16; 2],
    environment: Vec<(String, PathBuf)>,
    /// Whether Weir sees the real root, so that paths have to be moved.
    moves: bool,
}

impl Installed {
    /// The files of a host, or of a container without its root.
    pub fn new() -> Self {
        Self::with(true)
    }

    /// The root itself: paths stay what they are.
    pub fn image() -> Self {
        Self::with(false)
    }

    fn with(moves: bool) -> Self {
        let home = tempfile::Builder::new().prefix("weir-deploy-").tempdir().expect("made");
        let ports = [free_port(), free_port()];
        let installed = Self { home, ports, environment: Vec::new(), moves };
        fs::create_dir_all(installed.at("/var/lib/weir")).expect("made");
        installed
    }

    /// Where the public listener is.
    pub fn public_port(&self) -> u16 {
        self.ports[0]
    }

    /// Where an absolute path is.
    pub fn at(&self, absolute: &str) -> PathBuf {
        self.home.path().join(absolute.trim_start_matches('/'))
    }

    /// Sets a variable of the environment to a place in here.
    pub fn points(mut self, name: &str, absolute: &str) -> Self {
        self.environment.push((name.to_owned(), self.at(absolute)));
        self
    }

    /// A file with this text.
    pub fn file(self, absolute: &str, text: &str) -> Self {
        fs::write(self.place(absolute), text).expect("written");
        self
    }

    /// Where a file is to be; its directory is made.
    fn place(&self, absolute: &str) -> PathBuf {
        let path = self.at(absolute);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        path
    }

    /// A policy, moved here.
    pub fn policy(self, absolute: &str, text: &str) -> Self {
        let moved = self.moved(text);
        let moved = moved.replace("8443", &self.ports[0].to_string());
        let moved = moved.replace("9901", &self.ports[1].to_string());
        self.file(absolute, &moved)
    }

    /// A pair for development.
    pub fn certificate(self, certificate: &str, key: &str) -> Self {
        run(weir().args(["cert", "dev", "--dir"]).arg(self.at("/made")));
        for (made, place) in [("server.crt", certificate), ("server.key", key)] {
            fs::copy(self.at("/made").join(made), self.place(place)).expect("copied");
        }
        self
    }

    /// A file of hashed keys, with one.
    pub fn keys(self, absolute: &str) -> Self {
        let new = ["keys", "new", "--subject", "alice", "--tier", "premium", "--keys"];
        run(weir().args(new).arg(self.place(absolute)));
        self
    }

    /// Demands that `weir check` has nothing to say against the policy.
    pub fn check(&self, policy: &str) {
        let checked = run(self.command(["check", policy]).env("NO_COLOR", "1"));
        assert!(checked.contains("0 warnings, 0 keys not yet effective"), "{checked}");
        assert!(!checked.contains("certificate cannot be used"), "{checked}");
    }

    /// The status of an answer of the operators' listener.
    pub fn admin_status(&self, path: &str) -> u16 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[1])).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        let head = format!("GET {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    /// The binary with these arguments, as a deployment writes them.
    pub fn command<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = weir();
        command.args(arguments.into_iter().map(|argument| self.moved(argument.as_ref())));
        command.env_remove("WEIR_LOG").env("WEIR_ADMIN_TOKEN", "operators-only");
        command.envs(self.environment.iter().map(|(name, path)| (name, path)));
        command
    }

    fn moved(&self, text: &str) -> String {
        if !self.moves {
            return text.to_owned();
        }
        let home = self.home.path().display();
        let moved = |text: String, place: &&str| text.replace(place, &format!("{home}{place}"));
        PLACES.iter().fold(text.to_owned(), moved)
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A running `weir run`, killed when it is dropped.
pub struct Running {
    child: Child,
    log: Receiver<String>,
}

impl Running {
    /// Starts what `install` prepares and waits until it serves; again on other ports when these are just taken.
    pub fn start(install: impl Fn() -> (Installed, Command)) -> (Installed, Self) {
        for _ in 0..5 {
            let (installed, mut command) = install();
            if let Some(running) = Self::spawn(&mut command) {
                return (installed, running);
            }
        }
        panic!("no free ports were found");
    }

    fn spawn(command: &mut Command) -> Option<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                // Nobody may listen any more; the pipe is to be emptied all the same.
                let _ = sender.send(line);
            }
        });
        let running = Self { child, log };
        let line =
            running.line(|line| line.contains("\"serving\"") || line.contains("cannot listen"));
        line.contains("\"serving\"").then_some(running)
    }

    /// The next line of the log that is wanted.
    pub fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("it did not say so ({error}):\n{}", seen.join("\n")),
            }
        }
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        run(Command::new("kill").args(["-s", name, &self.child.id().to_string()]));
    }

    /// Waits for its end.
    pub fn ended(mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Demands that a probe says "ready".
pub fn is_ready(probe: &mut Command) {
    let output: Output = probe.output().expect("the probe runs");
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(output.stdout, b"ready\n", "{}", shown(&output));
}
