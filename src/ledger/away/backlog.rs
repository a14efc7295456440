//! What the authority has yet to hear, on disk.
//!
//! Entries are appended before a request is answered, as the embedded store does
//! it: a killed process loses nothing, a power cut at most the last
//! [`SYNC_EVERY`]. They are read back from the files, oldest first, so that
//! memory holds one batch however long the authority stays away. What was
//! delivered is noted in a small file; it is a hint only: the authority knows
//! each entry by its id and books it once.
//!
//! # Failure
//! An entry that cannot be written is an error, and the request behind it is not
//! admitted. Damage in the middle of a segment keeps the process from starting,
//! so that spent money is never forgotten silently; a torn end is cut off.
//!
//! # Limits
//! At most `max_bytes` wait; the last eighth is kept for the ends of requests
//! that were admitted before.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::ledger::StoreError;
use crate::ledger::authority::{Entry, EntryId, Move, Outbox};
use crate::ledger::away::record::{self, Record};
use crate::ledger::journal::{FRAME_HEAD, HEADER, Journal, Segment, frame, put_frame};
use crate::ledger::journal::{remove_before, segment_files};

/// What a power cut may lose.
pub(super) const SYNC_EVERY: Duration = Duration::from_millis(100);
/// The length at which another segment begins: what was delivered is deleted by the segment.
const SEGMENT_BYTES: u64 = 4 << 20;
/// How much is read at once: more than any one record.
const CHUNK: usize = 256 << 10;
/// The longest settlement in the authority's own bytes.
const MAX_SETTLEMENT: usize = 64 << 10;

/// A durable queue with many writers and one reader.
#[derive(Debug)]
pub(super) struct Backlog {
    directory: PathBuf,
    journal: Journal,
    writer: Mutex<Writer>,
    reader: Mutex<Reader>,
    depth: AtomicU64,
    bytes: AtomicU64,
    max_bytes: u64,
}

#[derive(Debug)]
struct Writer {
    segment: Arc<Segment>,
    journal: u128,
    sequence: u64,
    buffer: Vec<u8>,
}

/// How far the authority has heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    segment: u64,
    offset: usize,
    /// The journal of the segment, once its head was read.
    journal: u128,
}

#[derive(Debug)]
struct Reader {
    at: Position,
    mark: Mark,
}

/// The file that says what was delivered.
#[derive(Debug)]
struct Mark {
    file: File,
    last: EntryId,
}

/// Entries that are to be delivered next.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    bytes: u64,
    next: Position,
}

/// For what a record needs room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// A new request.
    Admission,
    /// The end of a request that was admitted.
    Settlement,
}

impl Backlog {
    /// Opens what waits in a directory, which must belong to this process.
    ///
    /// # Errors
    /// The directory cannot be used, or a segment is damaged.
    pub(super) fn open(directory: &Path, max_bytes: u64) -> Result<Self, StoreError> {
        let unavailable = |source| StoreError::Unavailable { path: directory.into(), source };
        let mark = Mark::open(directory).map_err(unavailable)?;
        let files = segment_files(directory)?;
        let (mut depth, mut bytes) = (0, 0);
        for (number, path) in &files {
            let found = scan(*number, path, mark.last)?;
            depth += found.0;
            bytes += found.1;
        }
        let first = files.first().map_or(1, |(number, _)| *number);
        let next = files.last().map_or(1, |(number, _)| number + 1);
        let (journal, segment) = Journal::start(directory, next)?;
        let at = Position { segment: first, offset: HEADER, journal: 0 };
        let id = rand::random();
        let writer = Writer { segment, journal: id, sequence: 0, buffer: Vec::new() };
        let backlog = Self {
            directory: directory.into(),
            journal,
            writer: Mutex::new(writer),
            reader: Mutex::new(Reader { at, mark }),
            depth: AtomicU64::new(depth),
            bytes: AtomicU64::new(bytes),
            max_bytes,
        };
        backlog.begin(&mut lock(&backlog.writer))?;
        Ok(backlog)
    }

    /// Writes down what happened to counters of a subject.
    ///
    /// # Errors
    /// It is not written: there is no room, or the disk does not take it.
    pub(super) fn change(
        &self,
        room: Room,
        subject: &str,
        at: Timestamp,
        moves: &[Move],
    ) -> Result<(), StoreError> {
        self.append(room, |out, sequence| record::put_change(out, sequence, subject, at, moves))
    }

    fn append(&self, room: Room, write: impl FnOnce(&mut Vec<u8>, u64)) -> Result<(), StoreError> {
        let bytes = self.bytes.load(Relaxed);
        let kept = if room == Room::Admission { self.max_bytes / 8 } else { 0 };
        if bytes >= self.max_bytes - kept {
            return Err(StoreError::JournalFull { bytes });
        }
        // Held over one write into the page cache: the order of ids is the order in the file.
        let mut writer = lock(&self.writer);
        if self.journal.is_due(SEGMENT_BYTES) {
            self.turn(&mut writer)?;
        }
        let writer = &mut *writer;
        writer.buffer.clear();
        let sequence = writer.sequence + 1;
        put_frame(&mut writer.buffer, writer.segment.sequence, |out| write(out, sequence));
        // Before it is written: the reader may see it, and take it off again, at once.
        let length = writer.buffer.len() as u64;
        self.bytes.fetch_add(length, Relaxed);
        self.depth.fetch_add(1, Relaxed);
        if let Err(error) = self.journal.append(&writer.segment, &writer.buffer) {
            self.bytes.fetch_sub(length, Relaxed);
            self.depth.fetch_sub(1, Relaxed);
            return Err(error);
        }
        writer.sequence = sequence;
        Ok(())
    }

    /// Begins the next segment.
    fn turn(&self, writer: &mut Writer) -> Result<(), StoreError> {
        self.journal.take_debt();
        writer.segment = self.journal.rotate(writer.segment.sequence + 1)?;
        self.begin(writer)
    }

    fn begin(&self, writer: &mut Writer) -> Result<(), StoreError> {
        writer.buffer.clear();
        put_frame(&mut writer.buffer, writer.segment.sequence, |out| {
            record::put_head(out, writer.journal);
        });
        self.journal.append(&writer.segment, &writer.buffer)
    }

    /// The oldest entries that were not delivered, at most `limit`; `None` when there are none.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn batch(&self, limit: usize) -> Result<Option<Batch>, StoreError> {
        let mut reader = lock(&self.reader);
        loop {
            // Asked before reading: what is read to its end then gets no more entries.
            let current = lock(&self.writer).segment.sequence;
            let batch = reader.read(&self.directory, reader.at, limit)?;
            if !batch.entries.is_empty() {
                return Ok(Some(batch));
            }
            if batch.next != reader.at {
                reader.at = batch.next;
            } else if reader.at.segment < current {
                reader.at = Position { segment: reader.at.segment + 1, offset: HEADER, journal: 0 };
                self.journal.retire(reader.at.segment)?;
            } else {
                return Ok(None);
            }
        }
    }

    /// Adds what follows a batch in the same file, at most `limit` entries; `false` when there is nothing.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn more(&self, batch: &mut Batch, limit: usize) -> Result<bool, StoreError> {
        let found = lock(&self.reader).read(&self.directory, batch.next, limit)?;
        let any = !found.entries.is_empty();
        (batch.next, batch.bytes) = (found.next, batch.bytes + found.bytes);
        batch.entries.extend(found.entries);
        Ok(any)
    }

    /// Notes that the authority has booked a batch.
    pub(super) fn delivered(&self, batch: &Batch) {
        let mut reader = lock(&self.reader);
        reader.at = batch.next;
        if let Some(last) = batch.entries.last() {
            // Only a hint: after a crash they are told again, and known by their ids.
            let _ = reader.mark.note(last.id);
        }
        self.bytes.fetch_sub(batch.bytes.min(self.bytes.load(Relaxed)), Relaxed);
        self.depth.fetch_sub(batch.entries.len() as u64, Relaxed);
    }

    /// Deletes what was delivered, if that is everything.
    pub(super) fn tidy(&self) -> Result<(), StoreError> {
        let (mut reader, mut writer) = (lock(&self.reader), lock(&self.writer));
        if self.depth() > 0 || reader.at.offset <= HEADER + 64 {
            return Ok(());
        }
        self.turn(&mut writer)?;
        reader.at = Position { segment: writer.segment.sequence, offset: HEADER, journal: 0 };
        self.journal.retire(reader.at.segment)
    }

    /// Brings everything to the disk.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.journal.sync()
    }

    /// How many entries wait.
    pub(super) fn depth(&self) -> u64 {
        self.depth.load(Relaxed)
    }
}

impl Outbox for Backlog {
    fn keep(&self, settlement: &[u8]) -> Result<(), StoreError> {
        if settlement.len() > MAX_SETTLEMENT {
            return Err(StoreError::JournalFull { bytes: settlement.len() as u64 });
        }
        self.append(Room::Settlement, |out, sequence| {
            record::put_settlement(out, sequence, settlement);
        })
    }
}

impl Reader {
    /// Reads on from a place; may find nothing and yet move on.
    fn read(&self, directory: &Path, at: Position, limit: usize) -> Result<Batch, StoreError> {
        let path = directory.join(crate::ledger::journal::file_name(at.segment));
        let bytes = match chunk(&path, at.offset as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(StoreError::Unavailable { path, source }),
        };
        let mut batch = Batch { entries: Vec::new(), bytes: 0, next: at };
        let mut rest = &bytes[..];
        while batch.entries.len() < limit
            && let Some(payload) = frame(rest, at.segment)
        {
            let length = FRAME_HEAD + payload.len();
            rest = &rest[length..];
            batch.next.offset += length;
            match record::read(payload) {
                Some(Record::Head(journal)) => batch.next.journal = journal,
                Some(Record::Entry(sequence, deed)) => {
                    let id = EntryId { journal: batch.next.journal, sequence };
                    if !self.mark.covers(id) {
                        batch.bytes += length as u64;
                        batch.entries.push(Entry { id, deed });
                    }
                }
                // Made by another version: it was checked when the journal was opened.
                None => {}
            }
        }
        Ok(batch)
    }
}

impl Mark {
    const LENGTH: usize = 28;

    fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("delivered");
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = [0; Self::LENGTH];
        let read = file.read_at(&mut bytes, 0)?;
        let last = Self::parse(&bytes).filter(|_| read == Self::LENGTH);
        let none = EntryId { journal: 0, sequence: 0 };
        Ok(Self { file, last: last.unwrap_or(none) })
    }

    fn parse(bytes: &[u8; Self::LENGTH]) -> Option<EntryId> {
        let (journal, rest) = bytes.split_first_chunk()?;
        let (sequence, check) = rest.split_first_chunk()?;
        let sound = check == crc32fast::hash(&bytes[..24]).to_le_bytes();
        sound.then_some(EntryId {
            journal: u128::from_le_bytes(*journal),
            sequence: u64::from_le_bytes(*sequence),
        })
    }

    fn note(&mut self, last: EntryId) -> io::Result<()> {
        self.last = last;
        let mut bytes = [0; Self::LENGTH];
        bytes[..16].copy_from_slice(&last.journal.to_le_bytes());
        bytes[16..24].copy_from_slice(&last.sequence.to_le_bytes());
        let check = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&check.to_le_bytes());
        self.file.write_all_at(&bytes, 0)
    }

    fn covers(&self, id: EntryId) -> bool {
        id.journal == self.last.journal && id.sequence <= self.last.sequence
    }
}

/// Up to [`CHUNK`] bytes of a file.
fn chunk(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let left = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(left).unwrap_or(CHUNK).min(CHUNK)];
    let read = file.read_at(&mut bytes, offset)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Entries of a segment that the mark does not cover, and their bytes.
fn scan(number: u64, path: &Path, last: EntryId) -> Result<(u64, u64), StoreError> {
    let bytes =
        fs::read(path).map_err(|source| StoreError::Unavailable { path: path.into(), source })?;
    let (mut at, mut journal, mut found) = (HEADER, 0, (0, 0));
    while let Some(payload) = bytes.get(at..).and_then(|rest| frame(rest, number)) {
        let length = FRAME_HEAD + payload.len();
        match record::read(payload).ok_or_else(|| damaged(path, at))? {
            Record::Head(id) => journal = id,
            Record::Entry(sequence, _) => {
                if journal != last.journal || sequence > last.sequence {
                    found = (found.0 + 1, found.1 + length as u64);
                }
            }
        }
        at += length;
    }
    // What follows the last sound frame is torn only if no frame is behind it.
    let behind = at + 1..bytes.len();
    if behind.clone().any(|from| frame(&bytes[from..], number).is_some()) {
        return Err(damaged(path, at));
    }
    Ok(found)
}

fn damaged(path: &Path, at: usize) -> StoreError {
    StoreError::Corrupt {
        path: path.into(),
        problem: format!("it is damaged at byte {at}"),
        cure: "move it away to give up what it has and was not delivered",
    }
}

/// Deletes a backlog that has nothing left.
pub(super) fn remove(directory: &Path) -> Result<(), StoreError> {
    remove_before(directory, u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
