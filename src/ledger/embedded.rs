//! Counts in memory, kept in a directory.
//!
//! Decisions are made in memory, as in [`Memory`](crate::ledger::Memory), and each
//! admitted one is written to a journal before it is answered: a killed process
//! loses nothing, a power cut at most the last [`Options::sync_every`]. From time
//! to time a checkpoint moves what changed into one database file and the journal
//! begins anew; see [`checkpoint`](super::checkpoint) and [`lane`](super::lane).
//! What a crash leaves open is charged, or given back when its lease ends.
//!
//! # Failure
//! A reservation that cannot be journaled is undone and refused with
//! [`StoreError::Unavailable`]; [`Store::is_up`] is false until a write succeeds,
//! which a background thread tries on its own. The directory belongs to one process.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ledger::checkpoint::{Batch, Checkpoint};
use crate::ledger::codec::put_number;
use crate::ledger::decision::{CounterUsage, Decision, Demand, Hold, Outcome, Refused, Standing};
use crate::ledger::journal::{Journal, Segment, put_frame, remove_before, segment_files};
use crate::ledger::lane::{JournalLane, kind};
use crate::ledger::replay::{self, Recovery};
use crate::ledger::shards::{Shard, Shards};
use crate::ledger::worker::Worker;
use crate::ledger::{DEFAULT_MAX_SUBJECTS, Store, StoreError};

/// How an embedded store is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Subjects that may be counted at once. Default 1,000,000.
    pub max_subjects: usize,
    /// Length of a journal segment, in bytes, that calls for a checkpoint. Default 64 MiB:
    /// some 660,000 reservations of four limits, which replay in half a second.
    pub segment_bytes: u64,
    /// What a power cut may lose. Default 100 ms.
    pub sync_every: Duration,
    /// Gives back what requests in flight at a crash had booked, this long after the last sign of life.
    /// Default `None`: it stands as spent, which asks for no record at the end of most requests.
    pub release_after: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_subjects: DEFAULT_MAX_SUBJECTS,
            segment_bytes: 64 << 20,
            sync_every: Duration::from_millis(100),
            release_after: None,
        }
    }
}

/// How often to look whether a checkpoint is due.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);

/// A store in a directory.
#[derive(Debug)]
pub struct Embedded {
    // In the order of dropping: threads, files, and the lock at last.
    workers: Mutex<Vec<Worker>>,
    kept: Arc<Kept>,
    recovery: Recovery,
    _lock: File,
}

#[derive(Debug)]
struct Kept {
    journal: Arc<Journal>,
    shards: Shards<JournalLane>,
    checkpoint: Mutex<Checkpoint>,
    release_after: Option<Duration>,
}

impl Embedded {
    /// Opens the store in a directory, which is made if it is missing, and recovers what a crash left.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it, [`StoreError::Corrupt`] if a
    /// file cannot be read, [`StoreError::Unavailable`] if the directory cannot be used.
    pub fn open(directory: &Path, options: Options) -> Result<Self, StoreError> {
        let lock = claim(directory)?;
        let (kept, recovery) = Kept::recover(directory, options)?;
        kept.write_checkpoint()?;
        let kept = Arc::new(kept);
        let workers = Mutex::new(kept.clone().start(directory, options)?);
        Ok(Self { workers, kept, recovery, _lock: lock })
    }

    /// What was found when the store was opened.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// What a subject has used, without waiting.
    pub(super) fn used(&self, subject: &str, now: Timestamp) -> Vec<CounterUsage> {
        self.kept.shards.usage(subject, now)
    }

    /// Writes everything into the database file, now rather than when the journal is long.
    ///
    /// # Errors
    /// The file could not be written; the journal still has everything.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        self.kept.write_checkpoint()
    }

    /// Stops the threads and writes a last checkpoint.
    ///
    /// Late settlements are still journaled. A store that is dropped without it loses
    /// nothing either: the next opening replays the journal.
    ///
    /// # Errors
    /// As [`Embedded::checkpoint`].
    pub fn close(&self) -> Result<(), StoreError> {
        guard(&self.workers).clear();
        self.kept.write_checkpoint()?;
        self.kept.journal.sync()
    }
}

impl Kept {
    fn recover(directory: &Path, options: Options) -> Result<(Self, Recovery), StoreError> {
        let mut files = segment_files(directory)?;
        let checkpoint = Checkpoint::open(directory, !files.is_empty())?;
        let replay_from = checkpoint.replay_from();
        // A crash between a checkpoint and the deletion of what it covers.
        remove_before(directory, replay_from)?;
        files.retain(|(sequence, _)| *sequence >= replay_from);
        let next = files.last().map_or(replay_from, |(sequence, _)| sequence + 1);
        let (journal, segment) = Journal::start(directory, next)?;
        let journal = Arc::new(journal);
        let keeps_holds = options.release_after.is_some();
        let lane = || JournalLane::new(journal.clone(), segment.clone(), keeps_holds);
        let shards = Shards::new(options.max_subjects, lane);
        checkpoint.load(|subject, (latest, slots, holds)| {
            shards.load(subject, |account| {
                account.restore(latest, slots);
                account.stored = true;
                holds
                    .iter()
                    .for_each(|hold| account.restore_hold(hold.id, hold.ends, &hold.charges));
            });
        })?;
        let mut recovery = Recovery::default();
        let alive = replay::segments(&files, replay_from, &mut recovery, |subject, work| {
            shards.load(subject, work)
        })?;
        let alive = alive.unwrap_or(checkpoint.alive());
        recovery.subjects = shards.len();
        journal.is_alive(alive);
        let ends = options.release_after.map(|lease| Timestamp(alive).after(lease));
        shards.orphan(ends.map(|ends| ends.0), next);
        let (checkpoint, release_after) = (Mutex::new(checkpoint), options.release_after);
        Ok((Self { journal, shards, checkpoint, release_after }, recovery))
    }

    fn start(
        self: Arc<Self>,
        directory: &Path,
        options: Options,
    ) -> Result<Vec<Worker>, StoreError> {
        let (syncing, moving) = (self.clone(), self);
        let sync = Worker::start("ledger-sync", options.sync_every, move || syncing.sync());
        let check = Worker::start("ledger-checkpoint", CHECKPOINT_EVERY, move || {
            if moving.journal.is_due(options.segment_bytes) {
                // The journal is down then, and says so; the next round tries again.
                let _ = moving.write_checkpoint();
            }
        });
        let failed = |source| StoreError::Unavailable { path: directory.into(), source };
        Ok(vec![sync.map_err(failed)?, check.map_err(failed)?])
    }

    /// Brings the journal to the disk; when it is down, tries whether it takes bytes again.
    fn sync(&self) {
        if !self.journal.is_up()
            && let Some(segment) = self.journal.current()
        {
            let mut probe = Vec::new();
            put_frame(&mut probe, segment.sequence, |out| out.push(kind::PROBE));
            // Either outcome is noted by the journal.
            let _ = self.journal.append(&segment, &probe);
        }
        let _ = self.journal.sync();
    }

    /// Renews the lease of all holds at once, where a crash gives them back.
    fn show_life(&self, now: Timestamp) {
        let Some(lease) = self.release_after else { return };
        let due = now.since(Timestamp(self.journal.alive())) >= lease / 4;
        let open = || self.shards.each().any(|shard| shard.lane.open > 0);
        if let (true, Some(segment)) = (due && open(), self.journal.current()) {
            let mut frame = Vec::new();
            put_frame(&mut frame, segment.sequence, |out| {
                out.push(kind::ALIVE);
                put_number(out, now.0);
            });
            self.journal.is_alive(now.0);
            // Either outcome is noted by the journal.
            let _ = self.journal.append(&segment, &frame);
        }
    }

    fn write_checkpoint(&self) -> Result<(), StoreError> {
        let mut checkpoint = guard(&self.checkpoint);
        let owed = self.journal.take_debt();
        let written = self.move_into(&mut checkpoint);
        if let Err(StoreError::Unavailable { path, source }) = written {
            // Whatever the journal can do, what is owed to the file is still owed.
            return Err(self.journal.failed(&path, source));
        }
        if owed && written.is_err() {
            self.journal.failed(checkpoint.path(), std::io::ErrorKind::Other.into());
        }
        written
    }

    fn move_into(&self, checkpoint: &mut Checkpoint) -> Result<(), StoreError> {
        let sequence = self.journal.current().map_or(1, |segment| segment.sequence + 1);
        let next = self.journal.rotate(sequence)?;
        let since = checkpoint.replay_from();
        let mut removed = Vec::new();
        let batches = self.shards.each().map(|mut shard| {
            removed.push(shard.lane.removed.len());
            collect(&mut shard, &next, since)
        });
        checkpoint.write(sequence, self.journal.alive(), batches)?;
        for (mut shard, removed) in self.shards.each().zip(removed) {
            shard.lane.removed.drain(..removed);
        }
        self.journal.retire(sequence)
    }
}

/// Moves a shard to the next segment and copies what changed since the last checkpoint, under its lock.
fn collect(shard: &mut Shard<JournalLane>, next: &Arc<Segment>, since: u64) -> Batch {
    let mut batch = Batch::default();
    shard.lane.switch(next.clone());
    batch.remove(&shard.lane.removed);
    for account in shard.accounts.iter_mut().filter(|account| account.changed >= since) {
        account.stored = true;
        batch.put(account);
    }
    batch
}

/// Takes the directory for this process, until the file is closed.
pub(super) fn claim(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let opened = fs::create_dir_all(directory)
        .and_then(|()| File::options().write(true).create(true).truncate(false).open(&path));
    let file = opened.map_err(|source| StoreError::Unavailable { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { directory: directory.into() }),
        Err(TryLockError::Error(source)) => Err(StoreError::Unavailable { path, source }),
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for Embedded {
    async fn reserve(&self, demand: Demand<'_>) -> Result<Decision, StoreError> {
        self.kept.shards.reserve(&demand)
    }

    async fn raise(
        &self,
        hold: &mut Hold,
        demand: Demand<'_>,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        self.kept.shards.raise(hold, &demand)
    }

    fn settle(&self, hold: Box<Hold>, outcome: Outcome, now: Timestamp) {
        self.kept.shards.settle(&hold, outcome, now);
    }

    async fn usage(&self, subject: &str, now: Timestamp) -> Result<Vec<CounterUsage>, StoreError> {
        Ok(self.kept.shards.usage(subject, now))
    }

    async fn subjects(&self, prefix: &str, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        Ok(self.kept.shards.subjects(prefix, limit))
    }

    async fn reset(&self, subject: &str) -> Result<bool, StoreError> {
        self.kept.shards.reset(subject)
    }

    fn sweep(&self, now: Timestamp) -> usize {
        self.kept.show_life(now);
        self.kept.shards.sweep(now)
    }

    fn is_up(&self) -> bool {
        self.kept.journal.is_up()
    }
}
