use super::*;
use crate::{
    ledger::{Decision, Demand, Memory},
    policy::{
        calendar::{Calendar, Period},
        limit::{Counter, Limit, Limits, Span, Unit},
    },
    telemetry::Metrics,
};

const CENT: u64 = 10_000_000;
const NOON: Timestamp = Timestamp(1_773_144_000_000);
const WAIT: Duration = Duration::from_secs(60);

struct Desk {
    settlements: Settlements,
    ledger: Arc<Ledger>,
    cell: Arc<Cell>,
}

impl Desk {
    fn new() -> Self {
        let (ledger, metrics) =
            (Arc::new(Ledger::Memory(Memory::default())), Arc::new(Metrics::default()));
        let cell = metrics.cell(&"agent".into(), &"free".into());
        Self { settlements: Settlements::new(Arc::clone(&ledger), metrics), ledger, cell }
    }

    /// A request that booked two cents and is known.
    async fn admitted(&self) -> (RequestId, Box<Hold>) {
        let (id, _) = RequestId::mint();
        let day = Span::Period(Calendar::new(Period::Day, "UTC").expect("a zone"));
        let limit = Limit { counter: Counter::new("*", Unit::NanoUsd, day), amount: 50 * CENT };
        let limits = Arc::new(Limits { limits: Box::new([limit]), ..Limits::default() });
        let demand = Demand {
            subject: "ada",
            limits: &limits,
            cost: NanoUsd(2 * CENT),
            tokens: 0,
            bytes: 0,
            now: NOON,
            enforce: true,
        };
        let Ok(Decision::Admitted(hold, _)) = self.ledger.reserve(demand).await else {
            panic!("refused")
        };
        self.settlements.begin(id, NOON);
        (id, hold)
    }

    fn end(&self, id: RequestId, hold: Box<Hold>, is_certain: bool) -> Option<u64> {
        let bill = Bill::flat(NanoUsd(2 * CENT));
        let cell = Arc::clone(&self.cell);
        let ended = Ended { hold, bill, is_certain, timeout: WAIT, cell, bytes: 0 };
        self.settlements.end(id, ended, NOON).map(|bill| bill.cost.0 / CENT)
    }

    /// What is on the books, and how much of it is held.
    async fn books(&self) -> (u64, u64) {
        let usage = self.ledger.usage("ada", NOON).await.expect("asked");
        (usage[0].used / CENT, usage[0].held / CENT)
    }

    fn claim(&self, id: RequestId, cents: u64) -> Result<Claimed, ClaimError> {
        self.settlements.claim(id, NanoUsd(cents * CENT), NOON)
    }
}

#[tokio::test]
async fn a_callback_after_the_answer_is_the_charge_once() {
    let desk = Desk::new();
    let (id, hold) = desk.admitted().await;

    assert_eq!(desk.end(id, hold, false), None);
    assert_eq!(desk.books().await, (2, 2));

    assert_eq!(desk.claim(id, 3), Ok(Claimed::Settled));
    assert_eq!(desk.books().await, (3, 0));
    assert_eq!(desk.claim(id, 3), Ok(Claimed::Settled));
    assert_eq!(desk.claim(id, 4), Err(ClaimError::Different));
    assert_eq!(desk.books().await, (3, 0));
    assert_eq!(desk.cell.cost.value(), 3 * CENT);
}

#[tokio::test]
async fn a_callback_before_the_end_of_the_answer_waits_for_it() {
    let desk = Desk::new();
    let (id, hold) = desk.admitted().await;

    assert_eq!(desk.claim(id, 1), Ok(Claimed::Noted));
    assert_eq!(desk.claim(id, 1), Ok(Claimed::Noted));
    assert_eq!(desk.claim(id, 5), Err(ClaimError::Different));
    assert_eq!(desk.books().await, (2, 2));

    assert_eq!(desk.end(id, hold, false), Some(1));
    assert_eq!(desk.books().await, (1, 0));
    assert_eq!(desk.claim(id, 1), Ok(Claimed::Settled));
}

#[tokio::test]
async fn an_earlier_source_is_not_overruled() {
    let desk = Desk::new();
    let (id, hold) = desk.admitted().await;

    assert_eq!(desk.end(id, hold, true), Some(2));
    assert_eq!(desk.claim(id, 3), Err(ClaimError::Different));
    assert_eq!(desk.books().await, (2, 0));
}

#[tokio::test]
async fn without_a_callback_the_next_source_stands_when_the_wait_is_over() {
    let desk = Desk::new();
    let (id, hold) = desk.admitted().await;
    desk.end(id, hold, false);

    desk.settlements.sweep(NOON.after(WAIT - Duration::from_millis(1)));
    assert_eq!(desk.books().await, (2, 2));
    desk.settlements.sweep(NOON.after(WAIT));
    assert_eq!(desk.books().await, (2, 0));
    assert_eq!(desk.claim(id, 3), Err(ClaimError::Different));
    // What nobody will ask for again is forgotten.
    desk.settlements.sweep(NOON.after(WAIT * 2));
    assert_eq!(desk.claim(id, 2), Err(ClaimError::Unknown));
}

#[tokio::test]
async fn a_callback_for_a_request_that_was_never_admitted_changes_nothing() {
    let desk = Desk::new();
    let (id, hold) = desk.admitted().await;
    assert_eq!(desk.claim(RequestId::mint().0, 3), Err(ClaimError::Unknown));
    desk.settlements.forget(id);
    assert_eq!(desk.claim(id, 3), Err(ClaimError::Unknown));
    desk.ledger.settle(hold, Outcome::Refund, NOON);
    assert_eq!(desk.books().await, (0, 0));
}

#[tokio::test]
async fn the_end_of_the_process_settles_what_waits() {
    let desk = Desk::new();
    let (id, hold) = desk.admitted().await;
    desk.end(id, hold, false);
    desk.settlements.close(NOON);
    assert_eq!(desk.books().await, (2, 0));
}
