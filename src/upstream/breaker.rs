//! The circuit breaker of one endpoint: a state machine in one atomic.
//!
//! ```text
//!            failures in a row            open_for is over, one trial
//!   Closed ───────────────────► Open ◄──────────────────────► HalfOpen
//!     ▲                               the trial fails            │
//!     └───────────────────────── the trial succeeds ─────────────┘
//! ```
//!
//! A success in between begins the row anew, so that rare failures of a busy
//! upstream never add up. What is a failure is the caller's to say. Results of
//! requests that began before the circuit opened do not move it.
//!
//! # Limits
//! Time is an argument, and may step back: a circuit never stays open for
//! longer than its `open_for`, by any clock.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::recent::Recent;
use crate::{clock::Timestamp, policy::resilience::Breaker as Rule};

/// How long others wait while one trial is under way: nobody knows when it ends.
const TRIAL: Duration = Duration::from_secs(1);

const CLOSED: u64 = 0;
const HALF_OPEN: u64 = u64::MAX;

/// What a circuit does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// They pass.
    Closed,
    /// One is under way, to see.
    HalfOpen,
    /// They do not.
    Open,
}

impl Circuit {
    /// As in the metric: 0, 1, 2.
    pub(super) const fn number(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// A way through a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The circuit is closed.
    Free,
    /// This is the one that may try.
    Trial,
}

/// The state of one circuit.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// [`CLOSED`], [`HALF_OPEN`], or the millisecond until which it is open.
    word: AtomicU64,
    failures: Recent,
    /// Whether there are failures to forget: a success looks here first.
    failing: AtomicBool,
}

impl Breaker {
    /// The state; an open circuit stays so until somebody tries.
    pub(super) fn circuit(&self) -> Circuit {
        match self.word.load(Relaxed) {
            CLOSED => Circuit::Closed,
            HALF_OPEN => Circuit::HalfOpen,
            _ => Circuit::Open,
        }
    }

    /// How long a request would have to wait; `None` when it would pass.
    pub(super) fn wait(&self, rule: &Rule, now: Timestamp) -> Option<Duration> {
        match self.word.load(Relaxed) {
            CLOSED => None,
            HALF_OPEN => Some(TRIAL),
            until => left(until, rule, now),
        }
    }

    /// Asks for a way through.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn pass(&self, rule: &Rule, now: Timestamp) -> Result<Way, Duration> {
        let word = self.word.load(Relaxed);
        if word == CLOSED {
            return Ok(Way::Free);
        }
        if let Some(wait) = self.wait(rule, now) {
            return Err(wait);
        }
        let taken = self.word.compare_exchange(word, HALF_OPEN, Relaxed, Relaxed);
        taken.map(|_| Way::Trial).map_err(|_| TRIAL)
    }

    /// The upstream did what it should. Returns whether that closed the circuit.
    pub(super) fn succeeded(&self, way: Way) -> bool {
        if self.failing.load(Relaxed) {
            self.failing.store(false, Relaxed);
            self.failures.clear();
        }
        way == Way::Trial && self.leave(HALF_OPEN, CLOSED)
    }

    /// The upstream failed. Returns whether that opened the circuit.
    pub(super) fn failed(&self, rule: &Rule, way: Way, now: Timestamp) -> bool {
        let until = now.after(rule.open_for).as_millis().max(1);
        if way == Way::Trial {
            return self.leave(HALF_OPEN, until);
        }
        if self.circuit() != Circuit::Closed {
            return false;
        }
        self.failures.add(now, rule.within);
        self.failing.store(true, Relaxed);
        let enough = self.failures.count(now, rule.within) >= u64::from(rule.failures);
        enough && self.leave(CLOSED, until)
    }

    /// A trial ended without a result, because its caller left: the next request may try.
    pub(super) fn abandoned(&self) {
        self.leave(HALF_OPEN, 1);
    }

    /// Closes the circuit because the policy has none any more.
    pub(super) fn reset(&self) {
        self.word.store(CLOSED, Relaxed);
        self.failures.clear();
    }

    fn leave(&self, from: u64, to: u64) -> bool {
        self.word.compare_exchange(from, to, Relaxed, Relaxed).is_ok()
    }
}

/// What is left of a time that ends at `until`; nothing when that is further away than it can be.
fn left(until: u64, rule: &Rule, now: Timestamp) -> Option<Duration> {
    let left = Timestamp(until).since(now);
    (left > Duration::ZERO && left <= rule.open_for).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const RULE: Rule =
        Rule { failures: 3, within: Duration::from_secs(30), open_for: Duration::from_secs(15) };

    fn clock() -> Clock {
        Clock::manual(Timestamp(1_700_000_000_000))
    }

    fn opened(clock: &Clock) -> Breaker {
        let breaker = Breaker::default();
        let opened = [(); 3].map(|()| breaker.failed(&RULE, Way::Free, clock.now()));
        assert_eq!(opened, [false, false, true]);
        breaker
    }

    #[test]
    fn enough_failures_in_a_row_open_it_for_its_time() {
        let clock = clock();
        let breaker = opened(&clock);

        assert_eq!(breaker.circuit(), Circuit::Open);
        assert_eq!(breaker.pass(&RULE, clock.now()), Err(RULE.open_for));
        clock.advance(Duration::from_secs(5));
        assert_eq!(breaker.wait(&RULE, clock.now()), Some(Duration::from_secs(10)));
    }

    #[test]
    fn failures_that_are_old_or_followed_by_a_success_do_not_add_up() {
        let (clock, breaker) = (clock(), Breaker::default());
        for _ in 0..10 {
            assert!(!breaker.failed(&RULE, Way::Free, clock.now()));
            assert!(!breaker.failed(&RULE, Way::Free, clock.now()));
            assert!(!breaker.succeeded(Way::Free));
        }
        for _ in 0..10 {
            assert!(!breaker.failed(&RULE, Way::Free, clock.now()));
            clock.advance(Duration::from_secs(20));
        }
        assert_eq!(breaker.circuit(), Circuit::Closed);
    }

    #[test]
    fn one_trial_at_a_time_decides() {
        let clock = clock();
        let breaker = opened(&clock);
        clock.advance(RULE.open_for);

        assert_eq!(breaker.wait(&RULE, clock.now()), None);
        assert_eq!(breaker.pass(&RULE, clock.now()), Ok(Way::Trial));
        assert_eq!(breaker.pass(&RULE, clock.now()), Err(TRIAL));
        assert_eq!(breaker.circuit(), Circuit::HalfOpen);

        assert!(breaker.failed(&RULE, Way::Trial, clock.now()), "it opens again");
        assert_eq!(breaker.pass(&RULE, clock.now()), Err(RULE.open_for));
        clock.advance(RULE.open_for);
        assert_eq!(breaker.pass(&RULE, clock.now()), Ok(Way::Trial));
        assert!(breaker.succeeded(Way::Trial));
        assert_eq!(breaker.pass(&RULE, clock.now()), Ok(Way::Free));
    }

    #[test]
    fn a_trial_that_nobody_waits_for_leaves_the_next_one_its_chance() {
        let clock = clock();
        let breaker = opened(&clock);
        clock.advance(RULE.open_for);
        assert_eq!(breaker.pass(&RULE, clock.now()), Ok(Way::Trial));

        breaker.abandoned();

        assert_eq!(breaker.circuit(), Circuit::Open);
        assert_eq!(breaker.pass(&RULE, clock.now()), Ok(Way::Trial));
    }

    #[test]
    fn what_began_before_it_opened_does_not_move_it() {
        let clock = clock();
        let breaker = opened(&clock);

        assert!(!breaker.succeeded(Way::Free));
        assert!(!breaker.failed(&RULE, Way::Free, clock.now()));

        assert_eq!(breaker.circuit(), Circuit::Open);
        clock.advance(RULE.open_for);
        assert_eq!(breaker.pass(&RULE, clock.now()), Ok(Way::Trial), "its time was not prolonged");
    }

    #[test]
    fn a_clock_that_steps_back_does_not_keep_it_open() {
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        let breaker = opened(&clock);
        let earlier = Timestamp(1_600_000_000_000);
        assert_eq!(breaker.pass(&RULE, earlier), Ok(Way::Trial));
    }

    #[test]
    fn of_many_that_come_at_once_one_tries() {
        let clock = clock();
        let breaker = opened(&clock);
        clock.advance(RULE.open_for);
        let now = clock.now();

        let trials = std::thread::scope(|scope| {
            let ask = || (0..100).filter(|_| breaker.pass(&RULE, now).is_ok()).count();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).sum::<usize>()
        });

        assert_eq!(trials, 1);
    }
}
