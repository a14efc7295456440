//! A real Redis for each test, and what only this store promises.

mod cluster;
mod crowds;
mod edits;
mod imports;
mod lasting;
mod leases;
mod recovery;
mod servers;
mod telling;
mod trouble;

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Redis;
use crate::policy::compile::{OnExpired, RedisSettings};
use crate::policy::redis_url::RedisUrl;
use crate::units::Percent;

/// The program that is tried: `redis-server`, or what `WEIR_TEST_REDIS_SERVER` names, as a Valkey.
fn program() -> String {
    std::env::var("WEIR_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// A port that is nobody else's, also while nothing listens there: a socket that is bound and never
/// listens keeps it, and a server that sets `SO_REUSEADDR`, as Redis does, gets it all the same.
pub(in crate::ledger) struct Place {
    pub(in crate::ledger) port: u16,
    _held: socket2::Socket,
}

impl Place {
    pub(in crate::ledger) fn free() -> Self {
        let held = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let held = held.unwrap();
        held.set_reuse_address(true).unwrap();
        held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = held.local_addr().unwrap().as_socket().unwrap().port();
        Self { port, _held: held }
    }
}

/// A server without persistence; ends with the test.
pub(in crate::ledger) struct Server {
    process: Child,
    pub(in crate::ledger) port: u16,
    directory: tempfile::TempDir,
    _places: [Place; 2],
}

impl Server {
    pub(in crate::ledger) fn start() -> Self {
        Self::with(&[])
    }

    /// A server with more options.
    fn with(options: &[&str]) -> Self {
        let (place, bus) = (Place::free(), Place::free());
        let mut command = Command::new(program());
        command.args(["--bind", "127.0.0.1", "--port", &place.port.to_string()]);
        command.args(["--cluster-port", &bus.port.to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]);
        Self::of(command.args(options), [place, bus])
    }

    /// What this command starts, as soon as it listens at the first of these places.
    fn of(command: &mut Command, places: [Place; 2]) -> Self {
        let port = places[0].port;
        let directory = tempfile::tempdir().unwrap();
        let process = command.current_dir(directory.path()).stdout(Stdio::null()).spawn();
        let process = process.expect("the server is installed");
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(30), "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { process, port, directory, _places: places }
    }

    /// What `redis-cli` prints.
    fn cli(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output =
            Command::new("redis-cli").args(["-p", &port]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.process.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    pub(in crate::ledger) fn settings(&self) -> RedisSettings {
        RedisSettings {
            url: RedisUrl::parse(&format!("redis://127.0.0.1:{}", self.port)).unwrap(),
            // A busy machine is no reason to be away.
            deadline: Duration::from_secs(10),
            max_wait: Duration::from_secs(10),
            lease: Duration::from_secs(10),
            share: Percent::whole(10),
            on_expired: OnExpired::Charge,
            ca: None,
            own: None,
        }
    }

    /// A store on the server's clock.
    fn open(&self) -> Redis {
        Redis::open(&self.settings()).unwrap()
    }

    /// A store whose callers tell the time, and whose holds outlive the hours that they let pass: a
    /// hold is renewed by a clock that nobody can tell anything.
    pub(in crate::ledger) fn patient_store(&self) -> Redis {
        let lease = Duration::from_secs(3_600);
        Self::told(&RedisSettings { lease, ..self.settings() })
    }

    /// A store whose callers tell the time.
    pub(in crate::ledger) fn store(&self) -> Redis {
        Self::told(&self.settings())
    }

    /// Opening waits for two seconds; a machine that is busy with other tests may need another try.
    fn told(settings: &RedisSettings) -> Redis {
        let open = |_| Redis::start(settings, true).unwrap();
        let store = (0..20).map(open).find(|store| store.connections() > 0);
        store.expect("the server answers while it is waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        assert!(self.directory.path().exists());
    }
}
