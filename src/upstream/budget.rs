//! How many requests may be sent again.
//!
//! Retries mend rare failures. When everything fails they only multiply the
//! load, so over [`SPAN`] they may be at most the policy's share of the requests,
//! beside [`FLOOR`] that are always free: a quiet sidecar has too few requests
//! for a share to mean anything.
//!
//! # Limits
//! One for the process. Counts are approximate under contention, by as many as
//! there are threads.

use std::time::Duration;

use super::recent::Recent;
use crate::{clock::Timestamp, units::Percent};

/// What "lately" means.
const SPAN: Duration = Duration::from_secs(10);
/// Repeats within [`SPAN`] that need no request to pay for them: 3 a second.
const FLOOR: u64 = 30;

/// Requests and repeats of the last [`SPAN`].
#[derive(Debug, Default)]
pub(super) struct Budget {
    requests: Recent,
    repeats: Recent,
}

impl Budget {
    /// A request that might be repeated begins.
    pub(super) fn deposit(&self, now: Timestamp) {
        self.requests.add(now, SPAN);
    }

    /// Whether one more repeat is within the budget; if so, it is booked.
    pub(super) fn withdraw(&self, share: Percent, now: Timestamp) -> bool {
        let allowed = FLOOR + share.of(self.requests.count(now, SPAN));
        let within = self.repeats.count(now, SPAN) < allowed;
        if within {
            self.repeats.add(now, SPAN);
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn drawn(budget: &Budget, now: Timestamp) -> usize {
        (0..10_000).take_while(|_| budget.withdraw(Percent::whole(20), now)).count()
    }

    #[test]
    fn a_quiet_process_has_the_floor() {
        assert_eq!(drawn(&Budget::default(), NOW), 30);
    }

    #[test]
    fn a_busy_one_has_its_share_beside_it_and_gets_it_anew() {
        let budget = Budget::default();
        (0..1_000).for_each(|_| budget.deposit(NOW));
        assert_eq!(drawn(&budget, NOW), 230);
        assert_eq!(drawn(&budget, NOW.after(SPAN / 2)), 0);
        assert_eq!(drawn(&budget, NOW.after(SPAN)), 30, "the requests are over, too");
    }
}
