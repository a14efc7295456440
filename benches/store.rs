//! Measures what a decision costs on each store: `cargo bench --bench store`.
//!
//! Starts a `redis-server` of its own. "Direct" asks it for every request, "leased" draws shares; "paced"
//! is a hundred subjects of ten requests a second. "Return" is a Redis that comes back to what was decided
//! without it. `QUICK=1` in the environment does a fifth.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::clock::Clock;
use weir::ledger::{Decision, Demand, Embedded, Fallback, Keeping, Options, Outcome, Redis, Store};
use weir::policy::calendar::{Calendar, Period};
use weir::policy::compile::{OnExpired, RedisSettings};
use weir::policy::limit::{Away, Counter, Limit, Limits, Span, Unit};
use weir::policy::redis_url::RedisUrl;
use weir::telemetry::Metrics;
use weir::units::{NanoUsd, Percent};

/// Subjects of the paced load, their requests per second, and how long it lasts.
const PACED: (u64, u64) = (100, 10);
const SECONDS: u64 = 25;
/// How long it goes on before that: shares grow to what is spent.
const WARM: u64 = 5;
const TASKS: u64 = 64;

/// A server without persistence, on a free port.
struct Server(Child, u16);

impl Server {
    fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        Self::at(port)
    }

    fn at(port: u16) -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
        let child = command.stdout(Stdio::null()).spawn().expect("redis-server is installed");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child, port)
    }

    fn store(&self, share: u16) -> Redis {
        let settings = RedisSettings {
            url: RedisUrl::parse(&format!("redis://127.0.0.1:{}", self.1)).expect("a URL"),
            deadline: Duration::from_secs(5),
            max_wait: Duration::from_secs(10),
            lease: Duration::from_secs(10),
            share: Percent::whole(share),
            on_expired: OnExpired::Charge,
            ca: None,
            own: None,
        };
        Redis::open(&settings).expect("a store")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Two windows and two budgets, as a tier has them, all far.
fn limits() -> Arc<Limits> {
    let limit = |scope: &str, unit, span| Limit {
        counter: Counter::new(scope, unit, span),
        amount: 1 << 52,
    };
    let budget =
        |period| Span::Period(Calendar::new(period, "Europe/Berlin").expect("a known zone"));
    let limits = Box::new([
        limit("chat", Unit::Requests, Span::Window(Duration::from_secs(3600))),
        limit("*", Unit::Requests, Span::Window(Duration::from_secs(60))),
        limit("*", Unit::NanoUsd, budget(Period::Day)),
        limit("*", Unit::NanoUsd, budget(Period::Month)),
    ]);
    let away = Away::Local(Arc::new(Limits { limits: limits.clone(), ..Limits::default() }));
    Arc::new(Limits { limits, away, ..Limits::default() })
}

async fn once(store: &impl Store, limits: &Arc<Limits>, subject: &str) {
    let (cost, now) = (NanoUsd(20_000), Clock::System.now());
    let demand = Demand { subject, limits, cost, tokens: 0, bytes: 0, now, enforce: true };
    if let Ok(Decision::Admitted(hold, _)) = store.reserve(demand).await {
        store.settle(hold, Outcome::Keep, now);
    }
}

async fn rounds<S: Store>(store: Arc<S>, subjects: u64, rounds: u64) {
    let limits = limits();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (store, limits) = (Arc::clone(&store), Arc::clone(&limits));
        tasks.spawn(async move {
            for round in 0..rounds / TASKS {
                let subject = format!("user-{}", (task + round * TASKS) % subjects);
                once(&*store, &limits, &subject).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// All threads of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(12) + ticks(13)) * 10)
}

async fn measure<S: Store>(name: &str, store: Arc<S>, count: u64, calls: impl Fn(&S) -> u64) {
    for subjects in [1, 100] {
        let (start, before, asked) = (Instant::now(), cpu(), calls(&store));
        rounds(Arc::clone(&store), subjects, count).await;
        let (wall, used) = (start.elapsed(), cpu().saturating_sub(before));
        println!(
            "{name:14} {subjects:4} subjects: {:9.0} decisions/s, {:6.2} us CPU each, {:.4} commands each",
            count as f64 / wall.as_secs_f64(),
            used.as_secs_f64() * 1e6 / count as f64,
            (calls(&store) - asked) as f64 / count as f64,
        );
    }
}

/// As many requests as people make, evenly: what a decision costs where shares are spent slowly.
async fn paced(store: &Redis, seconds: u64) {
    let (limits, (subjects, each)) = (limits(), PACED);
    let mut asked = 0;
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / (subjects * each)));
    let (before, count) = (subjects * each * WARM, subjects * each * seconds);
    for round in 0..before + count {
        if round == before {
            asked = store.calls();
        }
        tick.tick().await;
        once(store, &limits, &format!("person-{}", round % subjects)).await;
    }
    let commands = (store.calls() - asked) as f64 / count as f64;
    println!(
        "{:14} {subjects:4} subjects: {each} requests/s of each, {commands:.4} commands each",
        "Redis paced"
    );
}

/// How long a Redis takes to hear what was decided while it was away.
async fn returning(server: Server, directory: &Path, count: u64) {
    let (port, limits) = (server.1, limits());
    let keeping = Keeping { max_bytes: 1 << 30, ..Keeping::within(directory.join("journal")) };
    let store = Fallback::open(server.store(10), &keeping, Arc::new(Metrics::default()));
    let store = store.expect("a store");
    drop(server);
    while store.authority().is_up() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for round in 0..count {
        once(&store, &limits, &format!("user-{}", round % 1_000)).await;
    }
    let (entries, _server) = (store.depth(), Server::at(port));
    let (back, before) = (Instant::now(), cpu());
    let tending = store.tend();
    tokio::pin!(tending);
    while !store.is_up() || store.depth() > 0 {
        let pause = tokio::time::sleep(Duration::from_millis(5));
        tokio::select! { () = &mut tending => {}, () = pause => {} }
    }
    let (wall, used) = (back.elapsed(), cpu().saturating_sub(before));
    println!(
        "{:14} 1000 subjects: {entries} entries known {:.2} s after it is back, {:6.2} us CPU each",
        "Redis return",
        wall.as_secs_f64(),
        used.as_secs_f64() * 1e6 / entries.max(1) as f64,
    );
}

/// Prints one line per store and number of subjects; the direct one sends a settlement per decision, too.
#[tokio::main]
async fn main() {
    let directory = std::env::temp_dir().join(format!("weir-store-{}", std::process::id()));
    let part = if std::env::var_os("QUICK").is_some() { 5 } else { 1 };
    let rounds = 200_000 / part;
    let embedded = Embedded::open(&directory, Options::default()).expect("a store");
    measure("embedded", Arc::new(embedded), rounds, |_| 0).await;
    let server = Server::start();
    measure("Redis direct", Arc::new(server.store(0)), rounds / 4, Redis::calls).await;
    let leased = Arc::new(server.store(10));
    measure("Redis leased", Arc::clone(&leased), rounds, Redis::calls).await;
    paced(&leased, SECONDS / part).await;
    leased.close();
    returning(server, &directory, 300_000 / part).await;
    let _ = std::fs::remove_dir_all(&directory);
}
