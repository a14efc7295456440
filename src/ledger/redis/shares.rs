//! The shares in hand, and how much to draw.
//!
//! A subject that comes once asks the server and draws nothing. One that comes
//! again soon draws a share: some requests' worth at first, four times as many
//! whenever a share was spent within one lease, half when it was not spent at all. One
//! request of a subject draws at a time; the others ask for themselves alone.
//!
//! A share is of the limits that it was drawn under: after a reload, nobody spends
//! what the policy before allowed.
//!
//! # Limits
//! At most [`SUBJECTS`] subjects draw; those beyond ask the server each time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::held::Amounts;
use super::share::{Share, Stamp};
use crate::ledger::decision::{Demand, Standing};
use crate::policy::limit::Limits;

/// Enough that worker threads rarely meet.
const SHARDS: usize = 64;
/// Subjects per shard that draw at once.
const SUBJECTS: usize = 4_096;
/// Requests' worth of the first share, and of the largest.
const FIRST: u64 = 32;
const LARGEST: u64 = 1 << 16;
/// How long nobody need come before a share goes back, and its subject is forgotten; in milliseconds.
const IDLE: u64 = 1_000;
const FORGOTTEN: u64 = 10_000;

/// The shares of this replica.
pub(super) struct Shares {
    shards: [Mutex<HashMap<Box<str>, Lanes, RandomState>>; SHARDS],
    /// Shares of which requests in flight still hold a part, or whose end is not told yet.
    ending: Mutex<Vec<Arc<Share>>>,
    hasher: RandomState,
}

impl Default for Shares {
    fn default() -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, ending: Mutex::default(), hasher: RandomState::default() }
    }
}

type Lanes = SmallVec<[Lane; 1]>;

/// One subject under one set of limits.
struct Lane {
    limits: Arc<Limits>,
    share: Option<Arc<Share>>,
    drawing: bool,
    most: u64,
    last: u64,
}

/// What there is for a request.
pub(super) enum Found {
    /// It was spent from a share.
    Spent(Arc<Share>, Stamp, Standing),
    /// The server is to be asked, for at most so many requests' worth.
    Ask(u64),
}

impl Shares {
    /// Spends from the subject's share, or says how much to draw.
    pub(super) fn spend(&self, demand: &Demand<'_>, amounts: &Amounts, now: u64) -> Found {
        let mut shard = self.shard(demand.subject);
        let Some(lanes) = shard.get_mut(demand.subject) else {
            if shard.len() < SUBJECTS {
                let lane = Lane::new(demand.limits, now);
                shard.insert(demand.subject.into(), SmallVec::from_iter([lane]));
            }
            return Found::Ask(1);
        };
        let Some(lane) = lanes.iter_mut().find(|lane| Arc::ptr_eq(&lane.limits, demand.limits))
        else {
            lanes.push(Lane::new(demand.limits, now));
            return Found::Ask(1);
        };
        lane.last = now;
        if let Some(share) = &lane.share
            && let Some((stamp, standing)) = share.spend(amounts, now)
        {
            return Found::Spent(Arc::clone(share), stamp, standing);
        }
        if lane.drawing {
            return Found::Ask(1);
        }
        if let Some(share) = lane.share.take() {
            // Spent within one lease: more the next time.
            if share.is_open(now, u64::MAX) && share.is_young(now) {
                lane.most = (lane.most * 4).min(LARGEST);
            }
            share.end();
            self.ending().push(share);
        }
        lane.drawing = true;
        Found::Ask(lane.most)
    }

    /// Ends a drawing, with what came of it.
    pub(super) fn drawn(&self, subject: &str, limits: &Arc<Limits>, share: Option<Arc<Share>>) {
        let mut shard = self.shard(subject);
        let mut lanes = shard.get_mut(subject).into_iter().flatten();
        match lanes.find(|lane| Arc::ptr_eq(&lane.limits, limits)) {
            Some(lane) => (lane.drawing, lane.share) = (false, share),
            // The subject was forgotten meanwhile: nobody will spend it.
            None => self.ending().extend(share.inspect(|share| share.end())),
        }
    }

    /// Every share that may have something to tell; those that nobody spends any more are ended.
    pub(super) fn tend(&self, now: u64) -> Vec<Arc<Share>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, lanes| {
                lanes.retain(|lane| {
                    if let Some(share) = lane.share.take_if(|share| !share.is_open(now, IDLE)) {
                        lane.most = (lane.most / 2).max(FIRST);
                        self.ending().push(share);
                    }
                    all.extend(lane.share.clone());
                    lane.drawing
                        || lane.share.is_some()
                        || now.saturating_sub(lane.last) < FORGOTTEN
                });
                !lanes.is_empty()
            });
        }
        all.extend(self.ending().iter().cloned());
        all
    }

    /// Ends all shares: what is left goes back with the next reports.
    pub(super) fn end_all(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for lane in shard.values_mut().flatten() {
                self.ending().extend(lane.share.take().inspect(|share| share.end()));
            }
        }
    }

    /// Forgets a share whose end was told.
    pub(super) fn ended(&self, share: &Arc<Share>) {
        self.ending().retain(|other| !Arc::ptr_eq(other, share));
    }

    fn ending(&self) -> MutexGuard<'_, Vec<Arc<Share>>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, subject: &str) -> MutexGuard<'_, HashMap<Box<str>, Lanes, RandomState>> {
        use std::hash::BuildHasher as _;
        let index = (self.hasher.hash_one(subject) >> 32) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn new(limits: &Arc<Limits>, now: u64) -> Self {
        let limits = Arc::clone(limits);
        Self { limits, share: None, drawing: false, most: FIRST, last: now }
    }
}
