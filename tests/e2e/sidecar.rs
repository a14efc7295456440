//! A running `weir run` in a directory of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use serde_json::Value;

use crate::{
    client::{Answer, Ask, Client},
    harness::{signal, until, until_async, weir, weir_in},
    plan::{Home, Plan},
};

/// A child process and what it said.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    out: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts the child; it may fail.
    pub fn spawn(home: &Home) -> Self {
        let mut command = weir();
        command.current_dir(home.path()).args(["run", "--threads", "2"]);
        command.envs(home.plan.environment.iter().map(|(name, value)| (name, value)));
        Self::of(command)
    }

    /// Starts this command as the child.
    pub fn of(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (log, out) = (Arc::default(), Arc::default());
        let readers = vec![
            read(child.stderr.take().unwrap(), Arc::clone(&log)),
            read(child.stdout.take().unwrap(), Arc::clone(&out)),
        ];
        Self { child, log, out, readers }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Descriptors that are sockets: those that come and go with connections.
    pub fn sockets(&self) -> usize {
        let all = fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap();
        // One that is closed meanwhile is none.
        let links = all.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    }

    /// Everything that it wrote to standard output so far, line by line.
    pub fn printed(&self) -> Vec<String> {
        self.out.lock().unwrap().clone()
    }

    /// Everything that it logged so far, line by line.
    pub fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for the end; the exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        until("the process ends", || self.try_ended()).await
    }

    /// The exit code, if it has ended.
    pub fn try_ended(&mut self) -> Option<Option<i32>> {
        let status = self.child.try_wait().unwrap()?;
        // The rest of what it said is still in the pipe.
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        Some(status.code())
    }

    async fn serving(&mut self) -> (SocketAddr, SocketAddr) {
        let line = until("the sidecar serves", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended at once: {:#?}", self.lines());
            let lines = self.log.lock().unwrap();
            lines.iter().map(|line| json(line)).find(|line| line["message"] == "serving")
        });
        let line = line.await;
        let address = |field: &str| line[field].as_str().unwrap().parse().unwrap();
        (address("address"), address("admin"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        self.readers.drain(..).for_each(|reader| drop(reader.join()));
    }
}

fn read(pipe: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            log.lock().unwrap().push(line);
        }
    })
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or(Value::Null)
}

/// A sidecar that serves.
#[derive(Debug)]
pub struct Sidecar {
    pub running: Running,
    pub home: Home,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub client: Client,
}

impl Sidecar {
    /// Starts a sidecar in this directory and waits until it serves.
    pub async fn of(home: Home) -> Self {
        let mut running = Running::spawn(&home);
        let (address, admin) = running.serving().await;
        let client = Client::new(address, &home.path().join("certs/ca.crt"));
        Self { running, home, address, admin, client }
    }

    /// A sidecar whose policy has these tables.
    pub fn with(tables: &str) -> Plan {
        Plan::new(tables)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Replaces the policy's tables, the way an editor does: write beside, rename.
    pub fn edit(&self, tables: &str) {
        self.write_policy(&self.home.plan.with(tables).text());
    }

    /// Replaces the whole policy file.
    pub fn write_policy(&self, text: &str) {
        let beside = self.file("policy.toml.new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.file("policy.toml")).unwrap();
    }

    /// Runs a command beside the sidecar.
    pub fn weir(&self, arguments: &[&str]) -> crate::harness::Printed {
        weir_in(self.home.path(), arguments)
    }

    pub fn signal(&self, name: &str) {
        signal(self.running.id(), name);
    }

    /// A new process on the same files and the same store.
    pub async fn restart(self) -> Self {
        let Self { mut running, home, .. } = self;
        // It may have been killed already.
        drop(running.child.kill());
        running.ended().await;
        drop(running);
        Self::of(home).await
    }

    /// Log lines that are JSON, in order.
    pub fn log(&self) -> Vec<Value> {
        self.running.lines().iter().map(|line| json(line)).collect()
    }

    /// The first log line that `is` accepts, as soon as it is there.
    pub async fn logged(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.log().into_iter().find(|line| is(line))).await
    }

    /// The access record of the exchange with this request id.
    pub async fn record(&self, answer: &Answer) -> Value {
        let id = answer.header("x-request-id").unwrap_or_default();
        let is = |line: &Value| line["message"] == "exchange" && line["request_id"] == id;
        self.logged("the exchange is recorded", is).await
    }

    /// The operators' listener.
    pub fn operator(&self, path: &str) -> Ask {
        Client::plain(self.admin).get(path)
    }

    /// The value of one series of the metrics page; 0 when it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let page = self.operator("/metrics").send().await.text();
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        page.lines().find_map(value).unwrap_or(0.0)
    }

    /// Waits until a series has a value.
    pub async fn metric_is(&self, series: &str, wanted: f64) {
        let look = || async {
            let value = self.metric(series).await;
            ((value - wanted).abs() < 1e-9).then_some(())
        };
        until_async(&format!("{series} is {wanted}"), look).await;
    }
}
