//! What runs beside a block: a real proxy, and a service behind it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Instant,
};

use super::home::{PATIENCE, TOKEN};

/// A running `weir run`, ended when it is dropped.
pub struct Proxy {
    child: Child,
    /// Of the operators' listener.
    pub admin: SocketAddr,
    log: Receiver<String>,
}

impl Proxy {
    /// Starts it in `home` and waits until it serves and knows the upstream; `None` when a port is taken.
    pub fn start(home: &Path) -> Option<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["run", "--threads", "1"]).current_dir(home).env("WEIR_ADMIN_TOKEN", TOKEN);
        command.env_remove("WEIR_LOG").stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                // Nobody may listen any more; the pipe is to be emptied all the same.
                let _ = sender.send(line);
            }
        });
        let unspecified = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Self { child, admin: unspecified, log };
        let serving = proxy.wait_for(|line| {
            line.contains("\"message\":\"serving\"") || line.contains("cannot listen")
        });
        let serving: serde_json::Value = serde_json::from_str(&serving).ok()?;
        proxy.admin = serving["admin"].as_str().and_then(|text| text.parse().ok())?;
        proxy.line("upstream reachability changed");
        Some(proxy)
    }

    /// The next line of the log with `text` in it.
    pub fn line(&self, text: &str) -> String {
        self.wait_for(|line| line.contains(text))
    }

    fn wait_for(&self, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("the proxy did not say it ({error}):\n{}", seen.join("\n")),
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A service that answers everything alike, until the test ends; its address.
pub fn origin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A probe connects and says nothing.
            let _ = answer(stream);
        }
    });
    address
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    let body = r#"{"status":"success"}"#;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())
}

/// The body that a plain HTTP server answers with.
pub fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).expect("a body")
}
