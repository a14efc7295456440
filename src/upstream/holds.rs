//! Who must not be asked for again before when, because the upstream said so.
//!
//! A hold is for those who share an account, or for one caller, and for one kind
//! of work; see [`Names`]. Usually there is none: then looking costs one atomic.
//!
//! # Limits
//! [`LONGEST`] for any hold, [`MOST`] holds; when there are more, those that
//! would be over first make room. A clock that steps back ends them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::clock::Timestamp;

/// No hold is longer, whatever the upstream says.
pub(super) const LONGEST: Duration = Duration::from_secs(3_600);
/// Holds at once.
const MOST: usize = 1_024;

/// Those for whom a hold is: a name that only this process can make, so that nobody can choose one that is somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Whose(u64);

/// Makes names for those who are held.
#[derive(Debug, Default)]
pub(super) struct Names(RandomState);

impl Names {
    /// Those who use `credential` for `operation`; `None` is the credential that the policy sets, or that nobody has one.
    pub(super) fn account(&self, operation: &str, credential: Option<&[u8]>) -> Whose {
        Whose(self.0.hash_one((1, operation, credential)))
    }

    /// One caller's requests for `operation`.
    pub(super) fn caller(&self, operation: &str, subject: &str) -> Whose {
        Whose(self.0.hash_one((2, operation, subject)))
    }
}

/// The holds of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// When the last of them ends, in milliseconds.
    latest: AtomicU64,
    /// Taken while holds run, for one look or one change.
    until: Mutex<HashMap<Whose, Timestamp>>,
}

impl Holds {
    /// Whether anybody is held.
    pub(super) fn any(&self, now: Timestamp) -> bool {
        left(Timestamp(self.latest.load(Relaxed)), now).is_some()
    }

    /// When the last hold ends or ended.
    pub(super) fn latest(&self) -> Timestamp {
        Timestamp(self.latest.load(Relaxed))
    }

    /// Holds `whose` requests for `length`, at most [`LONGEST`]. A hold that runs longer stands.
    pub(super) fn add(&self, whose: Whose, length: Duration, now: Timestamp) {
        let until = now.after(length.min(LONGEST));
        let mut all = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(&whose) {
            make_room(&mut all, now);
        }
        let kept = all.entry(whose).or_insert(until);
        if *kept < until || left(*kept, now).is_none() {
            *kept = until;
        }
        let latest = all.values().filter(|until| left(**until, now).is_some()).max();
        self.latest.store(latest.map_or(0, |until| until.as_millis()), Relaxed);
    }

    /// The longest of what is left for any of `names`.
    pub(super) fn left(&self, names: &[Whose], now: Timestamp) -> Option<Duration> {
        if !self.any(now) {
            return None;
        }
        let all = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().filter_map(|name| left(*all.get(name)?, now)).max()
    }
}

fn left(until: Timestamp, now: Timestamp) -> Option<Duration> {
    let left = until.since(now);
    (left > Duration::ZERO && left <= LONGEST).then_some(left)
}

fn make_room(all: &mut HashMap<Whose, Timestamp>, now: Timestamp) {
    all.retain(|_, until| left(*until, now).is_some());
    if all.len() >= MOST {
        let first = all.iter().min_by_key(|(_, until)| **until).map(|(whose, _)| *whose);
        first.and_then(|first| all.remove(&first));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_hold_is_for_whom_it_is_and_ends() {
        let (names, holds) = (Names::default(), Holds::default());
        let (chat, other) = (names.account("chat", None), names.account("chat", Some(b"key")));
        assert!(!holds.any(NOW));

        holds.add(chat, seconds(20), NOW);

        assert_eq!(holds.left(&[chat], NOW), Some(seconds(20)));
        assert_eq!(holds.left(&[other], NOW), None);
        assert_eq!(holds.left(&[], NOW), None);
        assert_eq!(holds.left(&[other, chat], NOW.after(seconds(19))), Some(seconds(1)));
        assert_eq!(holds.left(&[chat], NOW.after(seconds(20))), None);
        assert!(!holds.any(NOW.after(seconds(20))));
    }

    #[test]
    fn accounts_callers_and_operations_are_told_apart() {
        let names = Names::default();
        let all = [
            names.account("chat", None),
            names.account("chat", Some(b"")),
            names.account("embeddings", None),
            names.caller("chat", "a"),
            names.caller("chat", "b"),
        ];
        let distinct: std::collections::HashSet<_> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(names.caller("chat", "a"), names.caller("chat", "a"));
    }

    #[test]
    fn a_longer_hold_stands_and_none_is_longer_than_an_hour() {
        let (holds, whose) = (Holds::default(), Whose(1));
        holds.add(whose, seconds(30), NOW);
        holds.add(whose, seconds(10), NOW);
        assert_eq!(holds.left(&[whose], NOW), Some(seconds(30)));
        holds.add(whose, seconds(1_000_000), NOW);
        assert_eq!(holds.left(&[whose], NOW), Some(LONGEST));
    }

    #[test]
    fn a_clock_that_steps_back_ends_holds() {
        let (holds, whose) = (Holds::default(), Whose(1));
        holds.add(whose, seconds(30), NOW);
        let earlier = Timestamp(1_600_000_000_000);
        assert_eq!(holds.left(&[whose], earlier), None);
        holds.add(whose, seconds(5), earlier);
        assert_eq!(holds.left(&[whose], earlier), Some(seconds(5)));
    }

    #[test]
    fn ever_new_callers_do_not_fill_the_memory() {
        let (names, holds, whose) = (Names::default(), Holds::default(), Whose(1));
        holds.add(whose, seconds(3_000), NOW);
        for number in 0..3 * MOST as u64 {
            let name = names.caller("chat", &number.to_string());
            holds.add(name, Duration::from_millis(1_000 + number), NOW);
        }
        let kept = holds.until.lock().expect("unbroken").len();
        assert_eq!(kept, MOST);
        assert_eq!(holds.left(&[whose], NOW), Some(seconds(3_000)), "the longest stay");
    }
}
