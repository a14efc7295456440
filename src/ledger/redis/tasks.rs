//! What goes on behind the requests: deliveries, signs of life, and the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::live::Keys;
use super::node::Who;
use super::script::Invocation;
use super::server::{Server, names};
use crate::clock::Timestamp;

/// How often to look whether something waits to be delivered.
const DELIVER: Duration = Duration::from_millis(20);
/// Commands that are told again at once.
const BATCH: usize = 64;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often shares are looked at that may have spending to report.
const REPORT: Duration = Duration::from_millis(200);
/// Reports on their way at once.
const REPORTS: usize = 256;
/// Holds that one command renews.
const RENEWALS: usize = 200;
/// How long the end may take.
const END: Duration = Duration::from_secs(2);

/// Works until asked to stop, then delivers what it can.
pub(super) async fn run(server: Arc<Server>, stop: Arc<Notify>) {
    let mut tasks = JoinSet::new();
    tasks.spawn(deliver(Arc::clone(&server)));
    // Where callers tell the time, they also say when these are due.
    if !server.clock.is_told() {
        tasks.spawn(renew(Arc::clone(&server)));
        tasks.spawn(report(Arc::clone(&server)));
    }
    stop.notified().await;
    tasks.shutdown().await;
    // What is on its way keeps its place: everything is answered in order.
    let _ = tokio::time::timeout(END, finish(&server)).await;
}

async fn finish(server: &Arc<Server>) {
    if !server.clock.is_told() {
        server.shares.end_all();
        // A report that was on its way, and the one that ends the share.
        for _ in 0..2 {
            report_all(server).await;
        }
        hand_over(server, server.clock.ticks(Timestamp(0)), None);
    }
    while server.router.is_up() && !server.backlog.is_empty() {
        deliver_some(server).await;
    }
    for node in server.router.nodes() {
        let ping = super::resp::command(&[b"PING"]);
        // Either answer ends the wait for what was sent before.
        let _ = node.ask(Who::Task, (ping, 0), Instant::now() + PATIENCE).await;
    }
}

async fn deliver(server: Arc<Server>) {
    loop {
        tokio::time::sleep(DELIVER).await;
        if server.router.is_connected() && !server.backlog.is_empty() {
            deliver_some(&server).await;
        }
    }
}

async fn deliver_some(server: &Arc<Server>) {
    let mut told = JoinSet::new();
    for call in server.backlog.take(BATCH) {
        let server = Arc::clone(server);
        told.spawn(async move {
            let answer = server.router.tell(&call, Instant::now() + PATIENCE).await;
            server.backlog.judge(call, &answer);
        });
    }
    while told.join_next().await.is_some() {}
}

/// Renews what lives; a renewal that is lost is made up for by the next, long before the lease ends.
async fn renew(server: Arc<Server>) {
    let third = server.lease / 3;
    loop {
        tokio::time::sleep(third / 2).await;
        renew_all(&server, third);
    }
}

/// Renews what has not been for so long.
pub(super) fn renew_all(server: &Server, age: Duration) {
    for (keys, serials) in server.live.due(age) {
        for some in serials.chunks(RENEWALS) {
            let call = renewal(server, &keys, some);
            server.router.send(&call, Box::new(drop));
        }
    }
}

/// Tells what was spent of the shares in hand.
async fn report(server: Arc<Server>) {
    loop {
        tokio::time::sleep(REPORT).await;
        if server.router.is_connected() {
            report_all(&server).await;
        } else {
            hand_over(&server, server.clock.ticks(Timestamp(0)), None);
        }
    }
}

/// Writes down how the shares ended that a server which is away cannot be told of: this process may not live
/// to see it return.
pub(super) fn hand_over(server: &Server, now: u64, told: Option<u64>) {
    let lease = server.lease.as_millis() as u64;
    for share in server.shares.tend(now) {
        let keep = |calls: &[Invocation]| server.backlog.keep(calls);
        if share.hand_over(&server.id(share.serial), (lease, told), keep) {
            server.shares.ended(&share);
        }
    }
}

async fn report_all(server: &Arc<Server>) {
    let now = server.clock.ticks(Timestamp(0));
    report_at(server, now, None).await;
}

/// One report of each share that has something to say.
pub(super) async fn report_at(server: &Arc<Server>, now: u64, told: Option<u64>) {
    let lease = server.lease.as_millis() as u64;
    let mut telling = JoinSet::new();
    for share in server.shares.tend(now) {
        let Some(call) = share.report(&server.id(share.serial), (now, lease), told) else {
            continue;
        };
        let server = Arc::clone(server);
        telling.spawn(async move {
            // Without an answer the same report is told again.
            if let Ok(reply) = server.router.tell(&call, Instant::now() + PATIENCE).await
                && share.told(&reply)
            {
                server.shares.ended(&share);
            }
        });
        if telling.len() >= REPORTS {
            let _ = telling.join_next().await;
        }
    }
    while telling.join_next().await.is_some() {}
}

fn renewal(server: &Server, keys: &Keys, serials: &[u64]) -> Invocation {
    let mut call = Invocation::new("renew", &names(keys), server.clock.told(None));
    call.number(server.lease.as_millis() as u64);
    for serial in serials {
        call.text(&server.id(*serial));
    }
    call
}
