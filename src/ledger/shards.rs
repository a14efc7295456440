//! The map from subjects to accounts, cut into shards that lock on their own.
//!
//! Every operation takes one shard's lock, does arithmetic on one account, lets
//! its [`Lane`] make the change durable, and lets go: nothing else of
//! another subject's is touched, and no lock is held over an await. A subject is
//! looked up by `&str` and hashed once per reservation.
//!
//! # Limits
//! At most `max_subjects` accounts. When they are reached, a new subject is
//! refused with [`StoreError::Full`] unless a sweep of its shard, at most one a
//! second, makes room; known subjects go on.

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::clock::Timestamp;
use crate::ledger::StoreError;
use crate::ledger::account::{Account, Sweep};
use crate::ledger::decide::{self, Parties};
use crate::ledger::decision::{
    CounterUsage, Decision, Demand, Hold, HoldId, MAX_SUBJECT, Outcome, Refused, ReplicaId,
    Standing,
};
use crate::ledger::recording::{Lane, expire, record};
use crate::policy::limit::POOLS;

/// Enough that two of a few dozen threads rarely meet.
const SHARDS: usize = 64;

/// All accounts of a store.
#[derive(Debug)]
pub(super) struct Shards<L> {
    /// The last one has the account of the pools only, and is always locked after any other.
    shards: Box<[Padded<L>]>,
    replica: ReplicaId,
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
    /// Holds that were made here.
    holds: u64,
    /// When a full store last looked for room here.
    searched: Timestamp,
}

impl<L: Lane> Shards<L> {
    pub(super) fn new(max_subjects: usize, mut lane: impl FnMut() -> L) -> Self {
        let shard = |_| {
            let (accounts, searched) = (HashTable::new(), Timestamp(0));
            Padded(Mutex::new(Shard { accounts, lane: lane(), holds: 0, searched }))
        };
        Self {
            shards: (0..=SHARDS).map(shard).collect(),
            replica: ReplicaId::mint(),
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
        if demand.subject == POOLS {
            return Err(StoreError::ReservedSubject);
        }
        let hash = self.hasher.hash_one(demand.subject);
        let mut shard = self.shard(hash);
        let id = self.next_hold(&mut shard, hash);
        let Shard { accounts, lane, searched, .. } = &mut *shard;
        let own = match accounts.find_mut(hash, |a| *a.subject == *demand.subject) {
            Some(account) => account,
            None => {
                self.make_room(accounts, lane, searched, demand.now)?;
                admit(accounts, Account::new(demand.subject, hash))
            }
        };
        let mut pools = self.pools(demand);
        let mut pool = pools.as_mut().map(|pools| self.pool(pools));
        expire(own, lane, demand.now);
        if let Some((pool, lane)) = &mut pool {
            expire(pool, &mut **lane, demand.now);
        }
        let parties =
            Parties { own: &mut *own, pool: pool.as_mut().map(|(account, _)| &mut **account) };
        let (decision, changes) = decide::reserve(parties, demand, id);
        let hold = match &decision {
            Decision::Admitted(hold, _) => Some(&**hold),
            Decision::Refused(_) => None,
        };
        let recorded = record((own, lane), pool.as_mut(), &changes, hold);
        if let (Decision::Admitted(hold, _), Err(error)) = (&decision, recorded) {
            own.settle(&hold.charges, Outcome::Refund, demand.now);
            own.close(hold.id);
            if let Some((pool, _)) = pool {
                pool.settle(&hold.pooled, Outcome::Refund, demand.now);
                pool.close(hold.id);
            }
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
        let Some(own) = accounts.find_mut(hold.hash, |a| *a.subject == *hold.subject) else {
            return Err(StoreError::UnknownHold);
        };
        let mut pools = self.pools(demand);
        let mut pool = pools.as_mut().map(|pools| self.pool(pools));
        expire(own, lane, demand.now);
        if let Some((pool, lane)) = &mut pool {
            expire(pool, &mut **lane, demand.now);
        }
        let parties =
            Parties { own: &mut *own, pool: pool.as_mut().map(|(account, _)| &mut **account) };
        let (verdict, changes) = decide::raise(parties, hold, demand);
        // On an error the hold stays raised: its owner refunds it in full.
        record((own, lane), pool.as_mut(), &changes, Some(hold))?;
        Ok(verdict)
    }

    pub(super) fn settle(&self, hold: &Hold, outcome: Outcome, now: Timestamp) {
        let end = |shard: &mut Shard<L>, hash, subject: &str, charges: &[_]| {
            let Shard { accounts, lane, .. } = shard;
            // An account stays while holds are out, so it is there.
            if let Some(account) = accounts.find_mut(hash, |a| *a.subject == *subject) {
                let moves = account.settle(charges, outcome, now);
                let note = account.close(hold.id);
                lane.stage(account, &moves, note);
            }
        };
        let mut shard = self.shard(hold.hash);
        end(&mut shard, hold.hash, &hold.subject, &hold.charges);
        let mut pools = (!hold.pooled.is_empty()).then(|| lock(&self.shards[SHARDS]));
        if let Some(pools) = &mut pools {
            end(pools, self.hasher.hash_one(POOLS), POOLS, &hold.pooled);
        }
        // A lane that could not write remembers to: the next checkpoint has the account.
        let _ = shard.lane.write(pools.as_mut().map(|pools| &mut pools.lane));
    }

    pub(super) fn reset(&self, subject: &str) -> Result<bool, StoreError> {
        let (hash, mut shard) = self.shard_of(subject);
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
        let next = self.next_sweep.fetch_add(1, Ordering::Relaxed) % SHARDS;
        if next == 0 {
            let mut pools = lock(&self.shards[SHARDS]);
            let Shard { accounts, lane, .. } = &mut *pools;
            accounts.iter_mut().for_each(|account| expire(account, lane, now));
            sweep_shard(accounts, lane, now, Sweep::Gentle);
        }
        let mut shard = lock(&self.shards[next]);
        let Shard { accounts, lane, .. } = &mut *shard;
        accounts.iter_mut().for_each(|account| expire(account, lane, now));
        let dropped = sweep_shard(accounts, lane, now, Sweep::Gentle);
        self.subjects.fetch_sub(dropped, Ordering::Relaxed);
        dropped
    }

    pub(super) fn usage(&self, subject: &str, now: Timestamp) -> Vec<CounterUsage> {
        let (hash, mut shard) = self.shard_of(subject);
        let Shard { accounts, lane, .. } = &mut *shard;
        let account = accounts.find_mut(hash, |a| *a.subject == *subject);
        let usage = |account: &mut Account| {
            expire(account, lane, now);
            account.usage(now)
        };
        account.map(usage).unwrap_or_default()
    }

    /// The first `limit` subjects that begin with `prefix`, sorted, without the pools.
    pub(super) fn subjects(&self, prefix: &str, limit: usize) -> Vec<Arc<str>> {
        let mut first = BTreeSet::new();
        for shard in &self.shards[..SHARDS] {
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
        let (hash, mut shard) = self.shard_of(subject);
        let accounts = &mut shard.accounts;
        match accounts.find_mut(hash, |a| *a.subject == *subject) {
            Some(account) => work(account),
            None => {
                let counts = usize::from(subject != POOLS);
                self.subjects.fetch_add(counts, Ordering::Relaxed);
                work(admit(accounts, Account::new(subject, hash)));
            }
        }
    }

    /// Makes orphans, until `ends`, of what the process before left open; without `ends` it stands.
    pub(super) fn orphan(&self, ends: Option<u64>, changed: u64) {
        let mut known = HashSet::new();
        // The pools come last, when what stands on the subjects' own accounts is known.
        for mut shard in self.each() {
            for account in shard.accounts.iter_mut().filter(|account| account.leases.is_some()) {
                account.changed = changed;
                let is_pool = *account.subject == *POOLS;
                known.extend(account.open_holds().filter(|_| !is_pool));
                match ends {
                    Some(ends) => account.orphan(ends, |id| !is_pool || known.contains(id)),
                    None => account.leases = None,
                }
            }
        }
    }

    /// Visits every shard, each under its own lock only.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Shard<L>>> {
        self.shards.iter().map(lock)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<L>> {
        lock(&self.shards[place(hash)])
    }

    fn shard_of(&self, subject: &str) -> (u64, MutexGuard<'_, Shard<L>>) {
        let hash = self.hasher.hash_one(subject);
        let index = if subject == POOLS { SHARDS } else { place(hash) };
        (hash, lock(&self.shards[index]))
    }

    /// The shard of the pools, if the demand has any; taken after the subject's own.
    fn pools(&self, demand: &Demand<'_>) -> Option<MutexGuard<'_, Shard<L>>> {
        (!demand.limits.pools.is_empty()).then(|| lock(&self.shards[SHARDS]))
    }

    fn pool<'a>(&self, pools: &'a mut Shard<L>) -> (&'a mut Account, &'a mut L) {
        let hash = self.hasher.hash_one(POOLS);
        (admit(&mut pools.accounts, Account::new(POOLS, hash)), &mut pools.lane)
    }

    /// Numbers are unique over all shards without a word that they share.
    fn next_hold(&self, shard: &mut Shard<L>, hash: u64) -> HoldId {
        shard.holds += 1;
        let serial = shard.holds * SHARDS as u64 + place(hash) as u64;
        HoldId { replica: self.replica, serial }
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
            let dropped = sweep_shard(accounts, lane, now, Sweep::Thorough);
            self.subjects.fetch_sub(dropped, Ordering::Relaxed);
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
}

/// The shard of a subject; the table takes the low and the top bits of its hash.
fn place(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

fn admit(accounts: &mut HashTable<Account>, account: Account) -> &mut Account {
    match accounts.entry(account.hash, |a| a.subject == account.subject, |a| a.hash) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(vacant) => vacant.insert(account).into_mut(),
    }
}

fn sweep_shard<L: Lane>(
    accounts: &mut HashTable<Account>,
    lane: &mut L,
    now: Timestamp,
    sweep: Sweep,
) -> usize {
    let gone = accounts.extract_if(|account| account.sweep(now.0, sweep));
    gone.map(|account| lane.dropped(account)).count()
}

/// A panic elsewhere must not end all counting: accounts are changed by steps that do not panic.
fn lock<L>(shard: &Padded<L>) -> MutexGuard<'_, Shard<L>> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}
