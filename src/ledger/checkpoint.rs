//! The accounts as of the last checkpoint, in one redb file.
//!
//! A checkpoint is one durable transaction: the rows of accounts that changed, the
//! names of their counters, and the number of the journal segment from which to
//! replay. Whatever the moment of a crash, the file and the segments from that
//! number on are together the whole truth.
//!
//! # Failure
//! A file that is missing, damaged or of another version is an error that names it:
//! nothing begins from zero by itself. After a failed write the file is opened
//! afresh, because redb trusts a handle no further than its first I/O error.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use crate::ledger::StoreError;
use crate::ledger::account::Account;
use crate::ledger::codec::{Reader, put_id, put_name, put_number};
use crate::ledger::leases::StoredHold;
use crate::ledger::slot::{Name, Slot, Usage};
use crate::ledger::tally::Tally;
use crate::ledger::window::Window;
use crate::policy::limit::CounterId;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const NAMES: TableDefinition<u64, &[u8]> = TableDefinition::new("names");
const ACCOUNTS: TableDefinition<&str, &[u8]> = TableDefinition::new("accounts");

const FORMAT: u64 = 1;
const FILE: &str = "ledger.redb";
/// A file under this name was never finished and holds nothing.
const UNFINISHED: &str = "ledger.redb.new";
/// Rows are written in batches and read once: a cache would only be memory.
const CACHE_BYTES: usize = 2 << 20;

const CURE: &str = "restore the directory from a backup, or move it away to begin from zero";

/// The names that rows and records refer to.
pub(super) type Names = HashMap<CounterId, Name>;

/// The checkpoint file.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    /// Unset after a failed write.
    database: Option<Database>,
    replay_from: u64,
    alive: u64,
}

/// A row: the account's time, its counters, and the holds that were open.
pub(super) type Row = (u64, Vec<Slot>, Vec<StoredHold>);

/// What one shard adds to a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Batch {
    removed: Vec<Arc<str>>,
    rows: Vec<(Arc<str>, Vec<u8>)>,
    names: Names,
}

impl Batch {
    pub(super) fn put(&mut self, account: &Account) {
        let mut row = Vec::new();
        put_number(&mut row, account.latest());
        let kept = || account.slots().iter().filter(|slot| slot.is_kept());
        put_number(&mut row, kept().count() as u64);
        for slot in kept() {
            put_slot(&mut row, slot);
            self.names.entry(slot.name.id).or_insert_with(|| slot.name.clone());
        }
        account.put_holds(&mut row);
        self.rows.push((account.subject.clone(), row));
    }

    pub(super) fn remove(&mut self, subjects: &[Arc<str>]) {
        self.removed.extend_from_slice(subjects);
    }
}

impl Checkpoint {
    /// Opens the file, or makes it where no store has ever been.
    pub(super) fn open(directory: &Path, has_journal: bool) -> Result<Self, StoreError> {
        let (path, unfinished) = (directory.join(FILE), directory.join(UNFINISHED));
        let mut checkpoint = Self { path, database: None, replay_from: 1, alive: 0 };
        let interrupted = unfinished.exists();
        if !checkpoint.path.exists() {
            if has_journal && !interrupted {
                return Err(checkpoint.corrupt("it is missing beside its journal"));
            }
            checkpoint.create(&unfinished)?;
        }
        checkpoint.replay_from = checkpoint.connect()?;
        Ok(checkpoint)
    }

    /// The first segment whose records the rows do not contain.
    pub(super) fn replay_from(&self) -> u64 {
        self.replay_from
    }

    /// The last instant at which the process that wrote it was alive; 0 when it did not say.
    pub(super) fn alive(&self) -> u64 {
        self.alive
    }

    /// Reads every row.
    pub(super) fn load(&self, mut each: impl FnMut(&str, Row)) -> Result<(), StoreError> {
        let failed = |error: redb::Error| self.unreadable(error);
        let database = self.database()?;
        let transaction = database.begin_read().map_err(|e| failed(e.into()))?;
        let mut names = Names::new();
        let table = transaction.open_table(NAMES).map_err(|e| failed(e.into()))?;
        for entry in table.iter().map_err(|e| failed(e.into()))? {
            let (id, name) = entry.map_err(|e| failed(e.into()))?;
            let id = CounterId::from_u64(id.value());
            let name = Reader(name.value())
                .name(id)
                .ok_or_else(|| self.corrupt("a name does not parse"))?;
            names.insert(id, name);
        }
        let table = transaction.open_table(ACCOUNTS).map_err(|e| failed(e.into()))?;
        for entry in table.iter().map_err(|e| failed(e.into()))? {
            let (subject, row) = entry.map_err(|e| failed(e.into()))?;
            let row = read_row(Reader(row.value()), &names)
                .ok_or_else(|| self.corrupt("a row does not parse"))?;
            each(subject.value(), row);
        }
        Ok(())
    }

    /// Writes all batches and the segment to replay from as one durable step.
    pub(super) fn write(
        &mut self,
        replay_from: u64,
        alive: u64,
        batches: impl Iterator<Item = Batch>,
    ) -> Result<(), StoreError> {
        if self.database.is_none() {
            self.connect()?;
        }
        if let Err(error) = write_all(self.database()?, (replay_from, alive), batches) {
            self.database = None;
            return Err(unavailable(&self.path, error));
        }
        self.replay_from = replay_from;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Under another name until it is whole, so that a crash leaves no half-made file.
    fn create(&self, unfinished: &Path) -> Result<(), StoreError> {
        let io_failed = |source| StoreError::Unavailable { path: unfinished.into(), source };
        if unfinished.exists() {
            fs::remove_file(unfinished).map_err(io_failed)?;
        }
        let created = builder().create(unfinished).map_err(redb::Error::from);
        created
            .and_then(|database| write_all(&database, (1, 0), std::iter::empty()))
            .map_err(|error| unavailable(unfinished, error))?;
        fs::rename(unfinished, &self.path).map_err(io_failed)?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_failed)
    }

    /// Opens the database; returns the segment to replay from.
    fn connect(&mut self) -> Result<u64, StoreError> {
        let opened = builder().set_check_integrity_on_open(true).open(&self.path);
        let database = opened.map_err(|error| self.unreadable(error.into()))?;
        let [format, replay_from, alive] =
            read_meta(&database).map_err(|error| self.unreadable(error))?;
        if format != Some(FORMAT) {
            return Err(self.corrupt("it was made by another version of this program"));
        }
        self.database = Some(database);
        self.alive = alive.unwrap_or(0);
        replay_from.ok_or_else(|| self.corrupt("it does not say where its journal begins"))
    }

    fn database(&self) -> Result<&Database, StoreError> {
        let closed = || unavailable(&self.path, redb::Error::DatabaseClosed);
        self.database.as_ref().ok_or_else(closed)
    }

    fn corrupt(&self, problem: &str) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), problem: problem.into(), cure: CURE }
    }

    fn unreadable(&self, error: redb::Error) -> StoreError {
        match error {
            // redb tells a file that is not its own, or is cut short, in these kinds.
            redb::Error::Io(io)
                if !matches!(
                    io.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                unavailable(&self.path, redb::Error::Io(io))
            }
            error => self.corrupt(&error.to_string()),
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// The format, where to replay from, and when the process was last alive.
fn read_meta(database: &Database) -> Result<[Option<u64>; 3], redb::Error> {
    let meta = database.begin_read()?.open_table(META)?;
    let value = |key: &str| meta.get(key).map(|value| value.map(|value| value.value()));
    Ok([value("format")?, value("replay_from")?, value("alive")?])
}

fn write_all(
    database: &Database,
    (replay_from, alive): (u64, u64),
    batches: impl Iterator<Item = Batch>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut accounts = transaction.open_table(ACCOUNTS)?;
        let mut names = transaction.open_table(NAMES)?;
        for batch in batches {
            // First the removals: a subject may have gone and come back.
            for subject in &batch.removed {
                accounts.remove(&**subject)?;
            }
            for (subject, row) in &batch.rows {
                accounts.insert(&**subject, row.as_slice())?;
            }
            for name in batch.names.values() {
                let mut value = Vec::new();
                put_name(&mut value, name);
                names.insert(name.id.to_u64(), value.as_slice())?;
            }
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("replay_from", replay_from)?;
        meta.insert("alive", alive)?;
    }
    transaction.commit()?;
    Ok(())
}

fn put_slot(row: &mut Vec<u8>, slot: &Slot) {
    put_id(row, slot.name.id);
    match &slot.usage {
        Usage::Window(window) => {
            put_number(row, window.entries().len() as u64);
            for entry in window.entries() {
                put_number(row, entry.time);
                put_number(row, entry.amount);
            }
        }
        Usage::Period(tally) => {
            put_number(row, tally.used());
            put_number(row, tally.last());
            put_number(row, tally.until());
        }
        // Not kept, and so not here.
        Usage::InFlight(_) | Usage::Moved(_) => {}
    }
}

fn read_row(mut row: Reader<'_>, names: &Names) -> Option<Row> {
    let latest = row.number()?;
    let count = row.number()?;
    let slots = (0..count).map(|_| read_slot(&mut row, names)).collect::<Option<_>>()?;
    let holds = row.holds()?;
    row.is_empty().then_some((latest, slots, holds))
}

fn read_slot(row: &mut Reader<'_>, names: &Names) -> Option<Slot> {
    let name = names.get(&row.id()?)?.clone();
    let mut usage = Usage::empty(name.span);
    match &mut usage {
        Usage::Window(window) => read_entries(row, window)?,
        Usage::Period(tally) => {
            *tally = Tally::restored(row.number()?, row.number()?, row.number()?, 0)
        }
        Usage::InFlight(_) | Usage::Moved(_) => return None,
    }
    Some(Slot { name, generation: 0, usage })
}

fn read_entries(row: &mut Reader<'_>, window: &mut Window) -> Option<()> {
    for _ in 0..row.number()? {
        let (time, amount) = (row.number()?, row.number()?);
        window.add(time, amount);
    }
    Some(())
}

fn unavailable(path: &Path, error: redb::Error) -> StoreError {
    let source = match error {
        redb::Error::Io(source) => source,
        error => io::Error::other(error),
    };
    StoreError::Unavailable { path: path.into(), source }
}
