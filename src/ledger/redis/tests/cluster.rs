//! A cluster of real servers: whose keys move, whose members fail, and where pools lie elsewhere.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use super::super::{Redis, script};
use super::Server;
use super::servers::{at, counts, until};
use crate::clock::Timestamp;
use crate::ledger::contract::quota;
use crate::ledger::{Decision, Demand, Outcome, Store, StoreError};
use crate::policy::limit::{Limits, POOLS, Unit};
use crate::units::NanoUsd;

/// Masters that share all slots.
struct Members(Vec<Server>);

impl Members {
    async fn start(count: usize) -> Self {
        let with = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
        let servers: Vec<_> = (0..count).map(|_| Server::with(&with)).collect();
        let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let ok = |server: &Server| server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        until("the cluster is whole", || async { servers.iter().all(ok) }).await;
        Self(servers)
    }

    async fn store(&self) -> Redis {
        let url = format!("redis+cluster://127.0.0.1:1,127.0.0.1:{}", self.0[0].port);
        let store = Redis::open(&at(self.0[0].settings(), &url)).unwrap();
        until("all slots are known", || async { store.is_up() }).await;
        store
    }

    /// The member that has a subject's account, and another one.
    fn of(&self, subject: &str) -> (&Server, &Server) {
        let account = script::account(subject);
        let has = |server: &&Server| !server.cli(&["EXISTS", &account]).starts_with("MOVED");
        let member = self.0.iter().find(has).unwrap();
        let other = self.0.iter().find(|server| server.port != member.port).unwrap();
        (member, other)
    }
}

/// A slot on its way from one member to another.
struct Moving<'s> {
    from: &'s Server,
    to: &'s Server,
    slot: String,
    account: String,
}

impl Moving<'_> {
    fn begin(&self) {
        let (source, target) =
            (self.from.cli(&["CLUSTER", "MYID"]), self.to.cli(&["CLUSTER", "MYID"]));
        self.to.cli(&["CLUSTER", "SETSLOT", &self.slot, "IMPORTING", &source]);
        self.from.cli(&["CLUSTER", "SETSLOT", &self.slot, "MIGRATING", &target]);
        let port = self.to.port.to_string();
        self.from.cli(&["MIGRATE", "127.0.0.1", &port, &self.account, "0", "5000"]);
    }

    fn end(&self) {
        let target = self.to.cli(&["CLUSTER", "MYID"]);
        for server in [self.to, self.from] {
            server.cli(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &target]);
        }
    }
}

fn moving<'s>(from: &'s Server, to: &'s Server, subject: &str) -> Moving<'s> {
    let account = script::account(subject);
    Moving { from, to, slot: from.cli(&["CLUSTER", "KEYSLOT", &account]), account }
}

fn hourly(own: u64, pool: Option<u64>) -> Arc<Limits> {
    let pools = pool.map(|amount| quota("tier:free", Unit::Requests, 3_600, amount));
    let limits = Box::new([quota("chat", Unit::Requests, 3_600, own)]);
    Arc::new(Limits { limits, pools: pools.into_iter().collect(), ..Limits::default() })
}

fn demand<'d>(subject: &'d str, limits: &'d Arc<Limits>) -> Demand<'d> {
    let (cost, now) = (NanoUsd(0), Timestamp(0));
    Demand { subject, limits, cost, tokens: 0, bytes: 0, now, enforce: true }
}

async fn used(store: &Redis, subject: &str) -> Option<u64> {
    let usage = store.usage(subject, Timestamp(0)).await.ok()?;
    Some(usage.first().map_or(0, |usage| usage.used))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_counts_each_subject_where_it_lies_and_follows_it() {
    let members = Members::start(3).await;
    let store = members.store().await;
    for subject in 0..20 {
        counts(&store, &format!("user-{subject}")).await;
    }
    for server in &members.0 {
        assert!(server.cli(&["DBSIZE"]) != "0", "each member has some");
    }
    assert_eq!(store.subjects("user-", 99).await.unwrap().len(), 20);
    // The slot of one subject moves, and the store follows.
    let (from, to) = members.of("user-7");
    let moving = moving(from, to, "user-7");
    moving.begin();
    until("the store asks there (ASK)", || async { used(&store, "user-7").await == Some(2) }).await;
    moving.end();
    until("the store goes there (MOVED)", || async { used(&store, "user-7").await == Some(2) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_moves_under_load_counts_every_request_once() {
    let members = Members::start(3).await;
    let (store, limits) = (Arc::new(members.store().await), hourly(1_000_000, None));
    let (stop, admitted) = (Arc::new(AtomicBool::default()), Arc::new(AtomicU64::default()));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, limits) = (Arc::clone(&store), Arc::clone(&limits));
        let (stop, admitted) = (Arc::clone(&stop), Arc::clone(&admitted));
        callers.spawn(async move {
            while !stop.load(SeqCst) {
                // Whoever is told to go elsewhere more often than is sane is away for a moment.
                if let Ok(Decision::Admitted(hold, _)) = store.reserve(demand("ada", &limits)).await
                {
                    store.settle(hold, Outcome::Keep, Timestamp(0));
                    admitted.fetch_add(1, SeqCst);
                }
                tokio::task::yield_now().await;
            }
        });
    }
    let goes_on = async |more: u64| {
        let wanted = admitted.load(SeqCst) + more;
        until("requests go on", || async { admitted.load(SeqCst) >= wanted }).await;
    };
    goes_on(50).await;
    // There and back again.
    let (from, to) = members.of("ada");
    for moving in [moving(from, to, "ada"), moving(to, from, "ada")] {
        moving.begin();
        goes_on(50).await;
        moving.end();
        goes_on(50).await;
    }
    stop.store(true, SeqCst);
    while callers.join_next().await.is_some() {}
    store.close();
    let again = members.store().await;
    let admitted = admitted.load(SeqCst);
    until("every request counts once", || async { used(&again, "ada").await == Some(admitted) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pools_on_another_member_refuse_or_miss_is_not_booked_here() {
    let members = Members::start(3).await;
    let (store, limits) = (members.store().await, hourly(100, Some(2)));
    let pools = members.of(POOLS).0.port;
    let elsewhere = |name: &String| members.of(name).0.port != pools;
    let mut names = (0..).map(|n| format!("user-{n}")).filter(elsewhere);
    let (name, other) = (names.next().unwrap(), names.next().unwrap());
    for admitted in [true, true, false, false] {
        match store.reserve(demand(&name, &limits)).await.unwrap() {
            Decision::Admitted(hold, _) if admitted => {
                store.settle(hold, Outcome::Keep, Timestamp(0));
            }
            Decision::Refused(_) if !admitted => {}
            other => panic!("{other:?}"),
        }
    }
    until("what was refused there is given back here", || async {
        used(&store, &name).await == Some(2) && used(&store, POOLS).await == Some(2)
    })
    .await;
    // The second member dies between the two steps, as far as the first can tell.
    let pools = members.of(POOLS).0;
    pools.signal("KILL");
    let asked = store.reserve(demand(&name, &limits)).await;
    assert!(matches!(asked, Err(StoreError::Away)), "{asked:?}");
    until("what was missed there is given back here", || async {
        used(&store, &name).await == Some(2)
    })
    .await;
    // Who is in no pool, on a member that lives, is counted as ever.
    counts(&store, &other).await;
}
