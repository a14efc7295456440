//! Tokens that were verified, by their SHA-256, until they end.
//!
//! Only what verified is remembered: forgeries cannot push anything out. The
//! cache belongs to one compiled policy and goes with it; what another key set
//! verified is not found.
//!
//! # Limits
//! Bounded, in shards of which each is under a lock for one look-up. A shard has
//! two halves: when the young one is full it becomes the old one, and the old one
//! goes. What is used stays, and nothing is ever searched for something to drop.

use std::{
    mem,
    sync::{Mutex, PoisonError},
};

use hashbrown::HashMap;

use crate::{clock::Timestamp, policy::identity::Caller};

/// Enough that workers seldom meet.
const SHARDS: usize = 16;

/// SHA-256 of something.
type Digest = [u8; 32];

/// What a token stood for.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    /// Who bears it.
    pub(super) caller: Caller,
    /// Which issuer it is of, by its index.
    pub(super) issuer: usize,
    /// From then on it counts no more.
    pub(super) end: Timestamp,
    /// The key set that verified it.
    pub(super) keys: Digest,
}

/// Remembers at most about as many tokens as it was made for.
#[derive(Debug)]
pub(super) struct Cache {
    shards: Vec<Mutex<Shard>>,
    /// Entries of half a shard; 0 remembers nothing.
    half: usize,
}

#[derive(Debug, Default)]
struct Shard {
    young: HashMap<Digest, Verified>,
    old: HashMap<Digest, Verified>,
}

impl Cache {
    /// A cache for `tokens` tokens.
    pub(super) fn new(tokens: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, half: tokens.div_ceil(2 * SHARDS) }
    }

    /// What the token with this digest stands for, if it was verified and has not ended.
    pub(super) fn find(&self, token: &Digest, now: Timestamp) -> Option<Verified> {
        if self.half == 0 {
            return None;
        }
        let mut shard = self.shard(token);
        if let Some(found) = shard.young.get(token) {
            return Some(found.clone()).filter(|found| now < found.end);
        }
        let found = shard.old.remove(token).filter(|found| now < found.end)?;
        shard.insert(*token, found.clone(), self.half);
        Some(found)
    }

    /// Remembers what was just verified.
    pub(super) fn insert(&self, token: Digest, verified: Verified) {
        if self.half > 0 {
            self.shard(&token).insert(token, verified, self.half);
        }
    }

    fn shard(&self, token: &Digest) -> std::sync::MutexGuard<'_, Shard> {
        let index = usize::from(token[0]) % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn insert(&mut self, token: Digest, verified: Verified, half: usize) {
        if self.young.len() >= half && !self.young.contains_key(&token) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(token, verified);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::snapshot::TierId;

    fn verified(end: u64) -> Verified {
        let caller = Caller { subject: "alice".into(), tier: TierId(0) };
        Verified { caller, issuer: 0, end: Timestamp(end), keys: [0; 32] }
    }

    fn digest(number: u64) -> Digest {
        crate::policy::identity::digest(&number.to_be_bytes())
    }

    #[test]
    fn a_token_is_found_until_it_ends() {
        let cache = Cache::new(100);
        cache.insert(digest(1), verified(10));
        assert!(cache.find(&digest(1), Timestamp(9)).is_some());
        assert!(cache.find(&digest(1), Timestamp(10)).is_none());
        assert!(cache.find(&digest(2), Timestamp(0)).is_none());
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let cache = Cache::new(100);
        for number in 0..10_000 {
            cache.insert(digest(number), verified(10));
            assert!(cache.find(&digest(0), Timestamp(0)).is_some(), "{number}");
        }
        let shards = cache.shards.iter().map(|shard| shard.lock().expect("no panic"));
        let held: usize = shards.map(|shard| shard.young.len() + shard.old.len()).sum();
        assert!((50..=2 * SHARDS * 4).contains(&held), "{held}");
    }

    #[test]
    fn a_cache_of_none_remembers_nothing() {
        let cache = Cache::new(0);
        cache.insert(digest(1), verified(10));
        assert!(cache.find(&digest(1), Timestamp(0)).is_none());
    }
}
