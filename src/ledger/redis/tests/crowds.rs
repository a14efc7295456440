//! Many who ask for the same at once.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::task::JoinSet;

use super::super::Redis;
use super::Server;
use super::servers::{at, until};
use super::trouble::{ask, hourly, slow_line};
use crate::clock::Timestamp;
use crate::ledger::{Decision, Outcome, Store};

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_refused_by_a_few_commands_and_nobody_for_what_is_free() {
    let server = Server::start();
    // A round trip takes longer than a crowd needs to gather.
    let port = slow_line(server.port, Arc::new(AtomicU64::new(5))).await;
    let settings = at(server.settings(), &format!("redis://127.0.0.1:{port}"));
    let store = Arc::new(Redis::open(&settings).unwrap());
    until("the server answers", || async { store.is_up() }).await;
    let few = hourly(8);
    let before = store.calls();

    let mut asked = JoinSet::new();
    for _ in 0..400 {
        let (store, few) = (Arc::clone(&store), Arc::clone(&few));
        asked.spawn(async move { ask(&store, &few).await.unwrap() });
    }
    let (mut admitted, mut refused) = (Vec::new(), Vec::new());
    for decision in asked.join_all().await {
        match decision {
            Decision::Admitted(hold, _) => admitted.push(hold),
            Decision::Refused(verdict) => refused.push(verdict),
        }
    }
    assert_eq!((admitted.len(), refused.len()), (8, 392));
    assert!(refused.iter().all(|refused| refused.standing.states[0].used == 8));
    let calls = store.calls() - before;
    assert!(calls < 40, "{calls} commands for 400 requests");

    // A refusal serves nobody who comes after it.
    store.settle(admitted.remove(0), Outcome::Refund, Timestamp(0));
    until("what was given back is free", || async {
        matches!(ask(&store, &few).await, Ok(Decision::Admitted(..)))
    })
    .await;
}
