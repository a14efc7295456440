//! The map from subjects to accounts, cut into shards that lock on their own.
//!
//! Every operation takes one shard's lock, does arithmetic on one account, lets
//! the shard's [`Lane`] make the change durable, and lets go: nothing else of
//! another subject's is touched, and no lock is held over an await. A subject is
//! looked up by `&str` and hashed once per reservation.
//!
//! # Limits
//! At most `max_subjects` accounts. When they are reached, a new subject is
//! refused with [`StoreError::Full`] unless a sweep of its shard, at most one a
//! second, makes room; known subjects go on.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::clock::Timestamp;
use crate::ledger::StoreError;
use crate::ledger::account::{Account, Moves, Sweep};
use crate::ledger::decision::{
    CounterUsage, Decision, Demand, Hold, MAX_SUBJECT, Outcome, Refused, Standing,
};

/// Enough that two of a few dozen threads rarely meet.
const SHARDS: usize = 64;

/// Makes the changes of one shard durable, under the shard's lock.
pub(super) trait Lane: Send {
    /// Records `moves` of an account, already made; on an error they are undone.
    ///
    /// # Errors
    /// The record could not be written, and nothing of it will be read again.
    fn record(&mut self, account: &mut Account, moves: &Moves) -> Result<(), StoreError>;

    /// Records that an account was reset.
    ///
    /// # Errors
    /// As [`Lane::record`].
    fn record_reset(&mut self, account: &mut Account) -> Result<(), StoreError>;

    /// Takes note that an account is no longer in memory.
    fn dropped(&mut self, account: Account);
}

/// The lane of a store that forgets: nothing is recorded.
impl Lane for () {
    fn record(&mut self, _: &mut Account, _: &Moves) -> Result<(), StoreError> {
        Ok(())
    }

    fn record_reset(&mut self, _: &mut Account) -> Result<(), StoreError> {
        Ok(())
    }

    fn dropped(&mut self, _: Account) {}
}

/// All accounts of a store.
#[derive(Debug)]
pub(super) struct Shards<L> {
    shards: Box<[Padded<L>]>,
    hasher: RandomState,
    subjects: AtomicUsize,
    max_subjects: usize,
    next_sweep: AtomicUsize,
}

/// A shard on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<L>(Mutex<Shard<L>>);

#[derive(Debug)]
pub(super) struct Shard<L> {
    pub(super) accounts: HashTable<Account>,
    pub(super) lane: L,
    /// When a full store last looked for room here.
    searched: Timestamp,
}

impl<L: Lane> Shards<L> {
    pub(super) fn new(max_subjects: usize, mut lane: impl FnMut() -> L) -> Self {
        let shard = |_| {
            let (accounts, searched) = (HashTable::new(), Timestamp(0));
            Padded(Mutex::new(Shard { accounts, lane: lane(), searched }))
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            hasher: RandomState::default(),
            subjects: AtomicUsize::new(0),
            max_subjects,
            next_sweep: AtomicUsize::new(0),
        }
    }

    pub(super) fn reserve(&self, demand: &Demand<'_>) -> Result<Decision, StoreError> {
        if demand.subject.len() > MAX_SUBJECT {
            return Err(StoreError::SubjectTooLong { bytes: demand.subject.len() });
        }
        let hash = self.hasher.hash_one(demand.subject);
        let mut shard = self.shard(hash);
        let Shard { accounts, lane, searched } = &mut *shard;
        let account = match accounts.find_mut(hash, |a| *a.subject == *demand.subject) {
            Some(account) => account,
            None => {
                self.make_room(accounts, lane, searched, demand.now)?;
                self.admit(accounts, Account::new(demand.subject, hash))
            }
        };
        let (decision, moves) = account.reserve(demand);
        if let (Decision::Admitted(hold, _), Err(error)) = (&decision, lane.record(account, &moves))
        {
            account.settle(hold, Outcome::Refund, demand.now);
            return Err(error);
        }
        Ok(decision)
    }

    pub(super) fn raise(
        &self,
        hold: &mut Hold,
        demand: &Demand<'_>,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        let mut shard = self.shard(hold.hash);
        let Shard { accounts, lane, .. } = &mut *shard;
        let Some(account) = accounts.find_mut(hold.hash, |a| *a.subject == *hold.subject) else {
            return Err(StoreError::UnknownHold);
        };
        let (verdict, moves) = account.raise(hold, demand);
        // On an error the hold stays raised: its owner refunds it in full.
        lane.record(account, &moves)?;
        Ok(verdict)
    }

    pub(super) fn settle(&self, hold: &Hold, outcome: Outcome, now: Timestamp) {
        let mut shard = self.shard(hold.hash);
        let Shard { accounts, lane, .. } = &mut *shard;
        // An account stays while holds are out, so it is there.
        if let Some(account) = accounts.find_mut(hold.hash, |a| *a.subject == *hold.subject) {
            let moves = account.settle(hold, outcome, now);
            // A lane that could not write remembers to: the next checkpoint has the account.
            let _ = lane.record(account, &moves);
        }
    }

    pub(super) fn reset(&self, subject: &str) -> Result<bool, StoreError> {
        let hash = self.hasher.hash_one(subject);
        let mut shard = self.shard(hash);
        let Shard { accounts, lane, .. } = &mut *shard;
        let Some(account) = accounts.find_mut(hash, |a| *a.subject == *subject) else {
            return Ok(false);
        };
        lane.record_reset(account)?;
        account.reset();
        Ok(true)
    }

    /// Drops empty accounts of the next shard; returns how many.
    pub(super) fn sweep(&self, now: Timestamp) -> usize {
        let next = self.next_sweep.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        let mut shard = lock(&self.shards[next]);
        let Shard { accounts, lane, .. } = &mut *shard;
        self.sweep_shard(accounts, lane, now, Sweep::Gentle)
    }

    pub(super) fn usage(&self, subject: &str, now: Timestamp) -> Vec<CounterUsage> {
        let hash = self.hasher.hash_one(subject);
        let shard = self.shard(hash);
        let account = shard.accounts.find(hash, |a| *a.subject == *subject);
        account.map(|account| account.usage(now)).unwrap_or_default()
    }

    /// The first `limit` subjects that begin with `prefix`, sorted.
    pub(super) fn subjects(&self, prefix: &str, limit: usize) -> Vec<Arc<str>> {
        let mut first = BTreeSet::new();
        for shard in &self.shards {
            let shard = lock(shard);
            for account in shard.accounts.iter().filter(|a| a.subject.starts_with(prefix)) {
                first.insert(account.subject.clone());
                if first.len() > limit {
                    first.pop_last();
                }
            }
        }
        first.into_iter().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.subjects.load(Ordering::Relaxed)
    }

    /// Works on the account of a subject, made where it was missing; only for loading.
    pub(super) fn load(&self, subject: &str, work: impl FnOnce(&mut Account)) {
        let hash = self.hasher.hash_one(subject);
        let mut shard = self.shard(hash);
        let accounts = &mut shard.accounts;
        match accounts.find_mut(hash, |a| *a.subject == *subject) {
            Some(account) => work(account),
            None => {
                self.subjects.fetch_add(1, Ordering::Relaxed);
                work(self.admit(accounts, Account::new(subject, hash)));
            }
        }
    }

    /// Visits every shard, each under its own lock only.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Shard<L>>> {
        self.shards.iter().map(lock)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<L>> {
        // The table takes the low and the top bits.
        lock(&self.shards[(hash >> 32) as usize % self.shards.len()])
    }

    fn admit<'a>(&self, accounts: &'a mut HashTable<Account>, account: Account) -> &'a mut Account {
        match accounts.entry(account.hash, |a| a.subject == account.subject, |a| a.hash) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(account).into_mut(),
        }
    }

    /// Claims a place for one more account.
    fn make_room(
        &self,
        accounts: &mut HashTable<Account>,
        lane: &mut L,
        searched: &mut Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.claim() {
            return Ok(());
        }
        // Strangers must not buy a walk over the shard with every request.
        if now.0.abs_diff(searched.0) >= 1000 {
            *searched = now;
            self.sweep_shard(accounts, lane, now, Sweep::Thorough);
        }
        if self.claim() { Ok(()) } else { Err(StoreError::Full { subjects: self.max_subjects }) }
    }

    fn claim(&self) -> bool {
        let claimed = self.subjects.fetch_add(1, Ordering::Relaxed) < self.max_subjects;
        if !claimed {
            self.subjects.fetch_sub(1, Ordering::Relaxed);
        }
        claimed
    }

    fn sweep_shard(
        &self,
        accounts: &mut HashTable<Account>,
        lane: &mut L,
        now: Timestamp,
        sweep: Sweep,
    ) -> usize {
        let mut dropped = 0;
        for account in accounts.extract_if(|account| account.sweep(now.0, sweep)) {
            lane.dropped(account);
            dropped += 1;
        }
        self.subjects.fetch_sub(dropped, Ordering::Relaxed);
        dropped
    }
}

/// A panic elsewhere must not end all counting: accounts are changed by steps that do not panic.
fn lock<L>(shard: &Padded<L>) -> MutexGuard<'_, Shard<L>> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}
