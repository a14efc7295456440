//! Whether a request may be sent again, and when.
//!
//! Only what is safe to repeat ever is. Either nothing was sent: no connection,
//! or one that took nothing of the request. Or the method is idempotent by
//! RFC 9110, 9.2.2, and the policy lists it. A POST whose fate is unknown is
//! never sent again.

use std::time::Duration;

use http::{Method, StatusCode};

use super::{ConnectError, SendError};
use crate::policy::resilience::{Retry, RetryOn};

/// Most repeats of what the upstream may have begun, whatever the policy says.
const MOST_REPEATS: u32 = 3;

/// Why an attempt was in vain, in the policy's words; `None` when nothing of the sort is known.
pub fn reason(error: &SendError) -> Option<RetryOn> {
    match error {
        SendError::Connect(ConnectError::Refused(_))
        | SendError::Unsent(_)
        | SendError::Refused(_) => Some(RetryOn::Refused),
        SendError::Connect(_) | SendError::Full => Some(RetryOn::Connect),
        SendError::Dead(_) | SendError::Broken(_) => Some(RetryOn::Reset),
        // There was an answer, of a sort: another one would be no better.
        SendError::Malformed(_) | SendError::Invalid(_) | SendError::NoTunnels => None,
    }
}

/// Why an answer is as good as none; `None` when it is one.
pub fn reason_of(status: StatusCode) -> Option<RetryOn> {
    match status {
        StatusCode::BAD_GATEWAY => Some(RetryOn::BadGateway),
        StatusCode::SERVICE_UNAVAILABLE => Some(RetryOn::Unavailable),
        StatusCode::GATEWAY_TIMEOUT => Some(RetryOn::GatewayTimeout),
        _ => None,
    }
}

/// Whether the upstream has certainly not begun with the request.
pub fn is_unsent(reason: RetryOn) -> bool {
    matches!(reason, RetryOn::Connect | RetryOn::Refused)
}

/// What was done so far for one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Made {
    /// Attempts.
    pub attempts: u32,
    /// Of those, repeats of what the upstream may have begun.
    pub repeats: u32,
}

/// Whether the policy and the standards allow another attempt.
pub fn is_allowed(retry: &Retry, method: &Method, reason: RetryOn, made: Made) -> bool {
    let repeatable = || retry.methods.contains(method) && made.repeats < MOST_REPEATS;
    made.attempts < retry.attempts
        && retry.on.contains(&reason)
        && (is_unsent(reason) || repeatable())
}

/// The pause before the next attempt; `None` when the upstream asks for more than the longest one.
///
/// Drawn from 0 to an upper bound that doubles ("full jitter": Brooker, "Exponential Backoff And
/// Jitter"), so that callers who failed together do not come back together.
pub fn pause(
    retry: &Retry,
    attempts: u32,
    asked: Option<Duration>,
    random: u64,
) -> Option<Duration> {
    if let Some(asked) = asked {
        return (asked <= retry.longest).then_some(asked);
    }
    let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let bound = retry.shortest.saturating_mul(doubled).min(retry.longest);
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    Some(Duration::from_nanos(random % nanos.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Percent;

    fn retry() -> Retry {
        Retry {
            attempts: 10,
            shortest: Duration::from_millis(100),
            longest: Duration::from_secs(2),
            on: RetryOn::ALL.to_vec(),
            methods: vec![Method::GET, Method::PUT],
            budget: Percent::whole(20),
        }
    }

    fn made(attempts: u32) -> Made {
        Made { attempts, repeats: attempts.saturating_sub(1) }
    }

    #[test]
    fn a_post_of_unknown_fate_is_never_sent_again() {
        for reason in RetryOn::ALL {
            let allowed = is_allowed(&retry(), &Method::POST, *reason, made(1));
            assert_eq!(allowed, is_unsent(*reason), "{reason:?}");
        }
    }

    #[test]
    fn an_idempotent_request_of_unknown_fate_is_sent_three_more_times_at_most() {
        let allowed = |attempts| is_allowed(&retry(), &Method::GET, RetryOn::Reset, made(attempts));
        assert_eq!([1, 2, 3, 4, 5].map(allowed), [true, true, true, false, false]);
        let unsent =
            |attempts| is_allowed(&retry(), &Method::GET, RetryOn::Connect, made(attempts));
        assert_eq!([1, 9, 10].map(unsent), [true, true, false]);
    }

    #[test]
    fn only_what_the_policy_lists_is_repeated() {
        let little = Retry { on: RetryOn::USUAL.to_vec(), methods: vec![], ..retry() };
        assert!(!is_allowed(&little, &Method::GET, RetryOn::Reset, made(1)));
        assert!(is_allowed(&little, &Method::POST, RetryOn::Refused, made(1)));
        assert!(!is_allowed(&retry(), &Method::DELETE, RetryOn::Unavailable, made(1)));
        assert!(is_allowed(&retry(), &Method::PUT, RetryOn::Unavailable, made(1)));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_drawn_below() {
        let longest = |attempts| {
            let draws = (0..200).map(|draw| pause(&retry(), attempts, None, draw * 7_919_993));
            draws.map(|pause| pause.expect("a pause")).max().expect("draws")
        };
        for (attempts, bound) in [(1, 100), (2, 200), (3, 400), (6, 2_000), (40, 2_000)] {
            let (longest, bound) = (longest(attempts), Duration::from_millis(bound));
            assert!(longest <= bound && longest > bound / 2, "{attempts}: {longest:?}");
        }
        assert_eq!(pause(&retry(), 1, None, 0), Some(Duration::ZERO));
    }

    #[test]
    fn what_the_upstream_asks_for_is_honoured_or_not_tried() {
        let asked = |seconds| pause(&retry(), 1, Some(Duration::from_secs(seconds)), 9);
        assert_eq!(asked(2), Some(Duration::from_secs(2)));
        assert_eq!(asked(3), None);
    }
}
