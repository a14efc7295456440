//! How long a caller's body is waited for: a deadline for the whole, and a rate.
//!
//! Only the time counts in which we wait for the caller: an upstream that does
//! not take a body costs its sender nothing but the deadline.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::time::{Sleep, sleep_until};

use crate::server::Pace;

/// Patience with one body.
pub struct Patience {
    pace: Pace,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Patience {
    /// Until `deadline`, and while `min_rate` bytes a second come; 0 is any.
    pub fn new(deadline: Instant, min_rate: u64) -> Self {
        let timer = Box::pin(sleep_until(deadline.into()));
        Self { pace: Pace::new(min_rate), deadline, timer }
    }

    /// Nothing is there; ready when it was waited for too long.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pace.wait(Instant::now());
        let ends = self.pace.ends().map_or(self.deadline, |ends| ends.min(self.deadline));
        loop {
            // A timer that fires too early is set again then: that is cheaper than to set it always.
            if self.timer.deadline().into_std() > ends {
                self.timer.as_mut().reset(ends.into());
            }
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() >= ends {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(ends.into());
        }
    }

    /// So many bytes came.
    pub fn went_on(&mut self, bytes: u64) {
        self.pace.moved(Instant::now(), bytes);
    }
}
