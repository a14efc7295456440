//! How long requests wait for a server: until one answer took longer than the deadline.
//!
//! A server that is away, or far too slow, does not answer the command that is due next in time.
//! One that has a queue does: hundreds of requests at once, each of which it takes a tenth
//! of a millisecond to decide, are answered in turn, although the last waits longer than
//! the deadline. To decide those here instead would cost the exactness of every limit just
//! when many ask at once. So the deadline is one of each command on the wire, of which there
//! are few (see `node::WINDOW`), and of nobody's place in the queue before it.
//!
//! Where processors are fought for, a server on the same machine may be waiting for one, and its
//! answers for us: then a command has [`STARVED`] more deadlines.
//!
//! # Limits
//! Nobody waits longer than the policy's `max_wait`, for all answers and in the queue together.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until};

use super::node::Fault;
use super::resp::Reply;
use crate::resources::processor_stall;

/// How many deadlines more an answer may take on a machine whose processors are fought for.
const STARVED: u32 = 4;

/// Whether a server answers in time.
#[derive(Default)]
pub(super) struct Patience {
    deadline: Duration,
    asked: Notify,
    answered: Notify,
    missed: Notify,
    misses: AtomicU64,
}

impl Patience {
    pub(super) fn new(deadline: Duration) -> Self {
        Self { deadline, ..Self::default() }
    }

    /// Says that commands were written.
    pub(super) fn ask(&self) {
        self.asked.notify_one();
    }

    /// Says that an answer came.
    pub(super) fn hear(&self) {
        self.answered.notify_one();
    }

    /// Returns when an answer came since this was asked last.
    pub(super) async fn answered(&self) {
        self.answered.notified().await;
    }

    /// How often an answer did not come in time.
    pub(super) fn misses(&self) -> u64 {
        self.misses.load(Relaxed)
    }

    /// Waits for an answer; `None` when the server is not worth waiting for.
    pub(super) async fn wait(
        &self,
        answer: oneshot::Receiver<Result<Reply, Fault>>,
        last: Instant,
    ) -> Option<Result<Reply, Fault>> {
        tokio::select! {
            biased;
            reply = answer => Some(reply.unwrap_or(Err(Fault::Lost))),
            () = self.missed.notified() => None,
            () = sleep_until(last.into()) => None,
        }
    }

    /// Looks for an answer that is overdue, for ever; `oldest` says when the command was written
    /// that is to be answered next. To be polled behind what reads the answers, in the same task:
    /// so that what has come is read before it is missed.
    pub(super) async fn watch(&self, oldest: impl Fn() -> Option<Instant>) {
        let mut pressure = Pressure::from_now();
        loop {
            let Some(asked) = oldest() else {
                self.asked.notified().await;
                pressure = Pressure::from_now();
                continue;
            };
            let due = asked + self.deadline;
            pressure.look(self.deadline);
            let is_overdue = || oldest().is_some_and(|asked| asked + self.deadline <= due);
            let mut until = due;
            sleep_until(until.into()).await;
            // Woken by the clock, perhaps late: a turn for the sockets first.
            yield_now().await;
            while is_overdue() && until < due + self.deadline * STARVED && pressure.is_high() {
                until += self.deadline;
                sleep_until(until.into()).await;
                yield_now().await;
            }
            if is_overdue() {
                self.misses.fetch_add(1, Relaxed);
                self.missed.notify_waiters();
                // For those who ask meanwhile.
                sleep(self.deadline / 4).await;
            }
        }
    }
}

/// Whether processors are fought for: since the look before the last, a deadline ago or longer,
/// or since the first.
struct Pressure([(Instant, Option<Duration>); 2]);

impl Pressure {
    fn from_now() -> Self {
        Self([(Instant::now(), processor_stall()); 2])
    }

    fn look(&mut self, every: Duration) {
        let Self([before, last]) = self;
        if last.0.elapsed() >= every {
            (*before, *last) = (*last, (Instant::now(), processor_stall()));
        }
    }

    /// Whether some task waited for a processor for half of the time or more.
    fn is_high(&self) -> bool {
        let (since, before) = self.0[0];
        let stalled = before.zip(processor_stall());
        stalled.is_some_and(|(before, now)| now.saturating_sub(before) >= since.elapsed() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn nobody_waits_for_a_server_that_does_not_answer() {
        let (patience, (_answer, answered)) = (Patience::new(DEADLINE), oneshot::channel());
        let asked = Instant::now();
        tokio::select! {
            reply = patience.wait(answered, asked + DEADLINE * 1_000) => assert_eq!(reply, None),
            () = patience.watch(|| Some(asked)) => {}
        }
        assert!(patience.misses() == 1 && asked.elapsed() >= DEADLINE);
    }

    #[tokio::test]
    async fn whoever_is_in_a_queue_is_answered_in_turn() {
        let (patience, (answer, answered)) = (Patience::new(DEADLINE), oneshot::channel());
        let began = Instant::now();
        let turns = async {
            // Judged by the clock alone: where this task is late the watch is, too.
            while began.elapsed() < DEADLINE * 3 {
                yield_now().await;
            }
            answer.send(Ok(Reply::Number(1))).expect("somebody waits");
            std::future::pending().await
        };
        // Each command was written just now: those before it were answered.
        let reply = tokio::select! {
            biased;
            () = turns => None,
            () = patience.watch(|| Some(Instant::now())) => None,
            reply = patience.wait(answered, Instant::now() + DEADLINE * 4) => reply,
        };
        assert_eq!((reply, patience.misses()), (Some(Ok(Reply::Number(1))), 0));
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_in_a_queue() {
        let (patience, (_answer, answered)) = (Patience::new(DEADLINE), oneshot::channel());
        // Nothing was written: nothing can be overdue.
        tokio::select! {
            reply = patience.wait(answered, Instant::now() + DEADLINE * 4) => assert_eq!(reply, None),
            () = patience.watch(|| None) => {}
        }
        assert_eq!(patience.misses(), 0);
    }

    #[tokio::test]
    async fn an_answer_that_lies_in_the_socket_is_not_missed() {
        let (patience, (answer, answered)) = (Patience::new(DEADLINE), oneshot::channel());
        let (asked, is_answered) = (Instant::now(), std::cell::Cell::new(false));
        let reading = async {
            yield_now().await;
            // This machine has no time for us.
            std::thread::sleep(DEADLINE * 2);
            yield_now().await;
            is_answered.set(true);
            answer.send(Ok(Reply::Number(1))).expect("somebody waits");
            std::future::pending().await
        };
        let reply = tokio::select! {
            biased;
            () = reading => None,
            () = patience.watch(|| (!is_answered.get()).then_some(asked)) => None,
            reply = patience.wait(answered, Instant::now() + DEADLINE * 4) => reply,
        };
        assert_eq!((reply, patience.misses()), (Some(Ok(Reply::Number(1))), 0));
    }
}
