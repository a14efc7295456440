//! Shares of several replicas, on a real server, against what was truly spent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::super::held::Amounts;
use super::super::{Redis, tasks};
use super::Server;
use crate::clock::Timestamp;
use crate::ledger::authority::{Authority, Deed, Entry, EntryId, Outbox};
use crate::ledger::contract::{NOON, budget, limits, quota};
use crate::ledger::{CounterUsage, Decision, Demand, Hold, Outcome, Store, StoreError};
use crate::policy::calendar::Period;
use crate::policy::limit::{Limits, Unit};
use crate::units::NanoUsd;

const REPLICAS: usize = 3;
const MINUTE: u64 = 60_000;
const TOKENS: u64 = 1_000;
const MONEY: u64 = 2_000;
const REQUESTS: u64 = 120;

#[derive(Clone, Debug)]
enum Op {
    Reserve {
        replica: usize,
        cost: u64,
        tokens: u64,
    },
    Raise {
        hold: usize,
        tokens: u64,
    },
    Settle {
        hold: usize,
        part: u64,
    },
    Wait(u64),
    Report(usize),
    Crash(usize),
    /// Its shares end out of the server's reach, perhaps behind a report of which it never hears whether
    /// it arrived; then it crashes, if that was all that it had.
    Part {
        replica: usize,
        report: Option<bool>,
    },
    /// Somebody tells what was written down, perhaps twice.
    Tell(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let reserve = (0..REPLICAS, 1u64..5, 1u64..5);
    prop_oneof![
        30 => reserve.prop_map(|(replica, cost, tokens)| Op::Reserve { replica, cost, tokens }),
        3 => (0usize..99, 1u64..9).prop_map(|(hold, tokens)| Op::Raise { hold, tokens }),
        20 => (0usize..99, 0u64..=100).prop_map(|(hold, part)| Op::Settle { hold, part }),
        8 => (0u64..900).prop_map(Op::Wait),
        1 => (0u64..20_000).prop_map(Op::Wait),
        8 => (0..REPLICAS).prop_map(Op::Report),
        1 => (0..REPLICAS).prop_map(Op::Crash),
        3 => (0..REPLICAS, any::<Option<bool>>())
            .prop_map(|(replica, report)| Op::Part { replica, report }),
        2 => (1usize..3).prop_map(Op::Tell),
    ]
}

/// What one request truly took.
struct Spent {
    at: u64,
    cost: u64,
    tokens: u64,
    requests: u64,
}

struct Flight {
    replica: usize,
    hold: Box<Hold>,
    spent: usize,
}

/// What a replica writes down, to be told by whoever can.
#[derive(Default)]
struct Kept(Mutex<Vec<Box<[u8]>>>);

impl Outbox for Kept {
    fn keep(&self, settlement: &[u8]) -> Result<(), StoreError> {
        self.0.lock().unwrap().push(settlement.into());
        Ok(())
    }
}

struct Run {
    server: Server,
    kept: Arc<Kept>,
    replicas: Vec<Redis>,
    limits: Arc<Limits>,
    flights: Vec<Flight>,
    spent: Vec<Spent>,
    now: u64,
    crashed: bool,
}

impl Run {
    fn new() -> Self {
        let (server, kept) = (Server::start(), Arc::<Kept>::default());
        let replicas = (0..REPLICAS).map(|_| Self::replica(&server, &kept)).collect();
        let limits = limits([
            quota("chat", Unit::Requests, MINUTE / 1000, REQUESTS),
            quota("*", Unit::Tokens, MINUTE / 1000, TOKENS),
            budget(Period::Day, "UTC", MONEY),
        ]);
        let (flights, spent) = (Vec::new(), Vec::new());
        Self { server, kept, replicas, limits, flights, spent, now: NOON, crashed: false }
    }

    fn replica(server: &Server, kept: &Arc<Kept>) -> Redis {
        let replica = server.store();
        replica.post(Arc::clone(kept) as Arc<dyn Outbox>);
        replica
    }

    fn demand<'a>(limits: &'a Arc<Limits>, now: u64, cost: u64, tokens: u64) -> Demand<'a> {
        let (cost, now) = (NanoUsd(cost), Timestamp(now));
        Demand { subject: "ada", limits, cost, tokens, bytes: 0, now, enforce: true }
    }

    async fn step(&mut self, op: Op) {
        match op {
            Op::Reserve { replica, cost, tokens } => {
                let demand = Self::demand(&self.limits, self.now, cost, tokens);
                // On a machine that is too busy for the deadline nothing is booked.
                let decision = self.replicas[replica].reserve(demand).await;
                if let Ok(Decision::Admitted(hold, _)) = decision {
                    let spent = self.spent.len();
                    self.spent.push(Spent { at: self.now, cost, tokens, requests: 1 });
                    self.flights.push(Flight { replica, hold, spent });
                }
            }
            Op::Raise { hold, tokens } if !self.flights.is_empty() => {
                let index = hold % self.flights.len();
                let flight = &mut self.flights[index];
                let spent = &mut self.spent[flight.spent];
                let tokens = spent.tokens.max(tokens);
                let demand = Self::demand(&self.limits, self.now, spent.cost, tokens);
                // A hold that expired cannot be raised; its request is none that counts.
                if let Ok(Ok(_)) =
                    self.replicas[flight.replica].raise(&mut flight.hold, demand).await
                {
                    spent.tokens = tokens;
                }
            }
            Op::Settle { hold, part } if !self.flights.is_empty() => {
                let index = hold % self.flights.len();
                let flight = self.flights.swap_remove(index);
                self.settle(flight, part).await;
            }
            Op::Raise { .. } | Op::Settle { .. } => {}
            Op::Wait(ms) => {
                // Nobody sleeps through a lease without a sign of life.
                for _ in 0..ms / 2_000 {
                    self.now += 2_000;
                    self.live().await;
                }
                self.now += ms % 2_000;
            }
            Op::Report(replica) => self.report(replica).await,
            Op::Crash(replica) => {
                self.crashed = true;
                self.flights.retain(|flight| flight.replica != replica);
                self.replicas[replica] = Self::replica(&self.server, &self.kept);
            }
            Op::Part { replica, report } => self.part(replica, report).await,
            Op::Tell(times) => self.tell(times).await,
        }
        self.check().await;
    }

    async fn part(&mut self, replica: usize, report: Option<bool>) {
        let server = &self.replicas[replica].server;
        let lease = server.lease.as_millis() as u64;
        if let Some(arrives) = report {
            for share in server.shares.tend(self.now) {
                let id = server.id(share.serial);
                let call = share.report(&id, (self.now, lease), Some(self.now));
                if let Some(call) = call.filter(|_| arrives) {
                    let patience = std::time::Instant::now() + Duration::from_secs(60);
                    server.router.tell(&call, patience).await.unwrap();
                }
            }
        }
        server.shares.end_all();
        tasks::hand_over(server, self.now, Some(self.now));
        let is_left = !server.shares.tend(self.now).is_empty();
        if !is_left && self.flights.iter().all(|flight| flight.replica != replica) {
            // Nothing that it knew is lost with it.
            self.replicas[replica] = Self::replica(&self.server, &self.kept);
        }
    }

    async fn tell(&mut self, times: usize) {
        let mut kept = std::mem::take(&mut *self.kept.0.lock().unwrap());
        kept.iter_mut().for_each(|bytes| heard_at(bytes, self.now));
        let entries: Vec<_> = kept
            .into_iter()
            .enumerate()
            .map(|(index, bytes)| Entry {
                id: EntryId { journal: 7, sequence: index as u64 },
                deed: Deed::Settlement(bytes),
            })
            .collect();
        for _ in 0..times {
            while self.replicas[0].import(&entries).await.is_err() {}
        }
    }

    async fn settle(&mut self, flight: Flight, part: u64) {
        let spent = &mut self.spent[flight.spent];
        let store = &self.replicas[flight.replica];
        if part == 0 {
            (spent.cost, spent.tokens, spent.requests) = (0, 0, 0);
            store.settle(flight.hold, Outcome::Refund, Timestamp(self.now));
        } else {
            (spent.cost, spent.tokens) = (spent.cost * part / 100, spent.tokens * part / 100);
            let (cost, tokens) = (NanoUsd(spent.cost), spent.tokens);
            let actual = Outcome::Actual { cost, tokens, bytes: 0 };
            store.settle(flight.hold, actual, Timestamp(self.now));
        }
        // Whoever asks on the same connection is answered after the settlement.
        self.ask(store).await;
    }

    /// Asks until there is an answer.
    async fn ask(&self, store: &Redis) -> Vec<CounterUsage> {
        let began = std::time::Instant::now();
        loop {
            match store.usage("ada", Timestamp(self.now)).await {
                Ok(usage) => return usage,
                Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn report(&self, replica: usize) {
        let server = &self.replicas[replica].server;
        tasks::report_at(server, self.now, Some(self.now)).await;
    }

    async fn live(&self) {
        for replica in 0..REPLICAS {
            self.report(replica).await;
            let server = &self.replicas[replica].server;
            server.clock.told(Some(Timestamp(self.now)));
            tasks::renew_all(server, Duration::ZERO);
            self.ask(&self.replicas[replica]).await;
        }
    }

    /// What was spent within the limits' present spans: requests, tokens, money.
    fn truth(&self) -> [u64; 3] {
        let recent = self.spent.iter().filter(|spent| spent.at + MINUTE > self.now);
        let (requests, tokens) =
            recent.fold((0, 0), |sum, spent| (sum.0 + spent.requests, sum.1 + spent.tokens));
        [requests, tokens, self.spent.iter().map(|spent| spent.cost).sum()]
    }

    async fn books(&self) -> [u64; 3] {
        let usage = self.ask(&self.replicas[0]).await;
        let mut books = [0; 3];
        books.iter_mut().zip(usage).for_each(|(books, usage)| *books = usage.used);
        books
    }

    async fn check(&self) {
        let (truth, books) = (self.truth(), self.books().await);
        for (index, limit) in [REQUESTS, TOKENS, MONEY].into_iter().enumerate() {
            assert!(truth[index] <= limit, "{truth:?} was spent at {}", self.now);
            assert!(books[index] <= limit, "{books:?} is booked at {}", self.now);
            assert!(
                books[index] >= truth[index],
                "{books:?} is booked of {truth:?} at {}",
                self.now
            );
        }
    }

    /// Everybody goes; what was spent stays, to the last unit.
    async fn end(mut self) {
        for flight in std::mem::take(&mut self.flights) {
            self.settle(flight, 50).await;
        }
        for replica in &self.replicas {
            replica.server.shares.end_all();
        }
        for _ in 0..3 {
            self.live().await;
            self.tell(1).await;
        }
        let (truth, books) = (self.truth(), self.books().await);
        if !self.crashed {
            assert_eq!(books[2], truth[2], "all the money, and no more");
        }
        // Reports come later than what they tell of: a window may keep it for longer, never shorter.
        self.now += MINUTE + 20_000;
        assert_eq!(self.books().await[..2], [0, 0]);
    }
}

/// Reports are booked when they are heard: here the time that stands in for the server's clock is in
/// the command.
fn heard_at(kept: &mut [u8], now: u64) {
    let (command, now) = (b"$6\r\nreport\r\n$13\r\n", now.to_string());
    let places = kept.windows(command.len()).enumerate().filter(|(_, part)| part == command);
    let places: Vec<_> = places.map(|(at, part)| at + part.len()).collect();
    places.into_iter().for_each(|at| kept[at..][..13].copy_from_slice(now.as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn shares_never_pass_a_limit_nor_forget_a_request(ops in prop::collection::vec(op(), 1..250)) {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let mut run = Run::new();
            for op in ops {
                run.step(op).await;
            }
            run.end().await;
        });
    }
}

async fn rush(store: &Redis, limits: &Arc<Limits>, count: u64) -> u64 {
    let mut admitted = 0;
    for _ in 0..count {
        let demand = Run::demand(limits, 0, 3, 1);
        if let Decision::Admitted(hold, _) = store.reserve(demand).await.unwrap() {
            store.settle(hold, Outcome::Keep, Timestamp(0));
            admitted += 1;
        }
    }
    admitted
}

#[tokio::test(flavor = "multi_thread")]
async fn far_from_a_limit_one_request_in_twenty_asks_at_most() {
    let server = Server::start();
    let store = server.open();
    let plenty = limits([
        quota("chat", Unit::Requests, 3600, 1_000_000),
        budget(Period::Day, "UTC", 10_000_000),
    ]);
    assert_eq!(rush(&store, &plenty, 3_000).await, 3_000);
    assert!(store.calls() <= 150, "{} calls for 3000 requests", store.calls());
    store.close();
    let again = server.open();
    let usage = again.usage("ada", Timestamp(0)).await.unwrap();
    let figures: Vec<_> = usage.iter().map(|usage| (usage.used, usage.held)).collect();
    assert_eq!(figures, [(3_000, 0), (9_000, 0)], "a clean end gives back what was not spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_replica_does_not_spend_is_spent_here_in_the_end() {
    let server = Server::start();
    let (one, other) = (server.open(), server.open());
    let day = limits([budget(Period::Day, "UTC", 3_000)]);
    let mut admitted = rush(&one, &day, 300).await;
    // Whatever is refused here is in the other one's hands for a second or so.
    let began = std::time::Instant::now();
    while admitted < 1_000 && began.elapsed() < Duration::from_secs(60) {
        let more = rush(&other, &day, 20).await;
        admitted += more;
        if more == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(admitted, 1_000);
    assert_eq!(rush(&one, &day, 20).await + rush(&other, &day, 20).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_over_when_the_last_part_of_a_request_that_was_raised_is_settled() {
    let server = Server::start();
    let store = server.store();
    let day = limits([budget(Period::Day, "UTC", 1_000_000)]);
    for _ in 0..2 {
        let demand = Run::demand(&day, NOON, 3, 1);
        let Decision::Admitted(hold, _) = store.reserve(demand).await.unwrap() else {
            panic!("there is plenty")
        };
        store.settle(hold, Outcome::Keep, Timestamp(NOON));
    }
    let share = store.server.shares.tend(NOON).pop().expect("the second came soon");
    let (request, raise) = (Amounts([1, 1, 0, 3]), Amounts([0, 0, 0, 4]));
    let (first, _) = share.spend(&request, NOON).expect("there is enough");
    let (second, _) = share.spend(&raise, NOON).expect("there is enough");
    share.end();
    let is_over = || share.hand_over("1", (1_000, Some(NOON)), |_| true);
    share.settle(&request, &request, &first);
    assert!(!is_over(), "its second part is not told yet");
    share.settle(&raise, &raise, &second);
    assert!(is_over());
}
