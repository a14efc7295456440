//! Append-only segment files, written before a reservation is answered.
//!
//! A [`Segment`] is a header and frames: length, CRC-32, payload. Each frame is one
//! `write(2)` into the page cache, so a killed process loses nothing; `fdatasync`
//! follows within [`Options::sync_every`](crate::ledger::Options), which bounds
//! what a power cut may lose. The CRC is seeded with the segment's number, so that
//! old bytes under new ones are not taken for frames.
//!
//! # Failure
//! A frame that could not be written whole is cut off again before the next one is
//! tried. From then on the journal is down, until a write succeeds; and a
//! checkpoint is owed, because memory may know more than the file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ledger::StoreError;

/// Name and version of the format; another version is another name.
pub(super) const MAGIC: &[u8; 8] = b"WEIRJNL1";
/// The magic and the segment's number.
pub(super) const HEADER: usize = 16;
/// Length and CRC before each payload.
pub(super) const FRAME_HEAD: usize = 8;
/// A length beyond it is damage: a subject and some 25,000 counters fit.
pub(super) const MAX_PAYLOAD: usize = 1 << 20;

/// The segments that are not yet covered by a checkpoint.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    /// Oldest first; the last one takes new frames.
    segments: Mutex<Vec<Arc<Segment>>>,
    up: AtomicBool,
    owes_checkpoint: AtomicBool,
    /// The last instant at which somebody wrote here, in milliseconds since the Unix epoch.
    alive: AtomicU64,
}

/// One file of the journal.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    path: PathBuf,
    file: File,
    tail: Mutex<Tail>,
}

#[derive(Debug)]
struct Tail {
    /// End of the last whole frame.
    length: u64,
    synced: u64,
    /// Bytes of a torn frame may lie beyond `length`.
    torn: bool,
}

impl Journal {
    /// Starts a journal whose first segment has this number.
    pub(super) fn start(
        directory: &Path,
        sequence: u64,
    ) -> Result<(Self, Arc<Segment>), StoreError> {
        let journal = Self {
            directory: directory.into(),
            segments: Mutex::default(),
            up: AtomicBool::new(true),
            owes_checkpoint: AtomicBool::new(false),
            alive: AtomicU64::new(0),
        };
        let segment = journal.rotate(sequence)?;
        Ok((journal, segment))
    }

    /// Opens the next segment; the earlier ones stay until they are retired.
    pub(super) fn rotate(&self, sequence: u64) -> Result<Arc<Segment>, StoreError> {
        let path = self.directory.join(file_name(sequence));
        let segment = Segment::create(path.clone(), sequence)
            .and_then(|segment| File::open(&self.directory)?.sync_all().map(|()| Arc::new(segment)))
            .map_err(|source| StoreError::Unavailable { path, source })?;
        lock(&self.segments).push(segment.clone());
        Ok(segment)
    }

    /// The segment that was opened last.
    pub(super) fn current(&self) -> Option<Arc<Segment>> {
        lock(&self.segments).last().cloned()
    }

    /// Writes whole frames to a segment.
    pub(super) fn append(&self, segment: &Segment, frames: &[u8]) -> Result<(), StoreError> {
        match segment.append(frames) {
            Ok(()) => {
                if !self.is_up() {
                    self.up.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
            Err(source) => Err(self.failed(&segment.path, source)),
        }
    }

    /// Brings all segments to the disk.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        // Cloned, so that a slow disk does not stop a rotation.
        let segments = lock(&self.segments).clone();
        for segment in segments {
            segment.sync().map_err(|source| self.failed(&segment.path, source))?;
        }
        Ok(())
    }

    /// Deletes the segments before `sequence`, whose content a checkpoint has.
    pub(super) fn retire(&self, sequence: u64) -> Result<(), StoreError> {
        let mut segments = lock(&self.segments);
        segments.retain(|segment| segment.sequence >= sequence);
        drop(segments);
        remove_before(&self.directory, sequence)
    }

    /// Notes that memory and disk may differ until the next checkpoint.
    pub(super) fn failed(&self, path: &Path, source: io::Error) -> StoreError {
        self.up.store(false, Ordering::Relaxed);
        self.owes_checkpoint.store(true, Ordering::Relaxed);
        StoreError::Unavailable { path: path.into(), source }
    }

    /// Takes the debt of a checkpoint, to be given back if that fails.
    pub(super) fn take_debt(&self) -> bool {
        self.owes_checkpoint.swap(false, Ordering::Relaxed)
    }

    /// Whether a checkpoint is due: one is owed and possible, or the segment is this long.
    pub(super) fn is_due(&self, segment_bytes: u64) -> bool {
        let owed = self.is_up() && self.owes_checkpoint.load(Ordering::Relaxed);
        owed || self.current().is_some_and(|segment| lock(&segment.tail).length >= segment_bytes)
    }

    /// Notes that the process was alive at this instant; returns the one noted before.
    pub(super) fn is_alive(&self, now: u64) -> u64 {
        self.alive.swap(now, Ordering::Relaxed)
    }

    /// The last instant at which the process was alive, as far as it was noted.
    pub(super) fn alive(&self) -> u64 {
        self.alive.load(Ordering::Relaxed)
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }
}

impl Segment {
    fn create(path: PathBuf, sequence: u64) -> io::Result<Self> {
        // What is there under this number is the rest of an attempt that failed before.
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        file.write_all_at(&header(sequence), 0)?;
        file.sync_all()?;
        let length = HEADER as u64;
        Ok(Self {
            sequence,
            path,
            file,
            tail: Mutex::new(Tail { length, synced: length, torn: false }),
        })
    }

    fn append(&self, frames: &[u8]) -> io::Result<()> {
        let mut tail = lock(&self.tail);
        if tail.torn {
            self.file.set_len(tail.length)?;
            tail.torn = false;
        }
        if let Err(error) = self.file.write_all_at(frames, tail.length) {
            tail.torn = self.file.set_len(tail.length).is_err();
            return Err(error);
        }
        tail.length += frames.len() as u64;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (length, synced) = {
            let tail = lock(&self.tail);
            (tail.length, tail.synced)
        };
        if length > synced {
            self.file.sync_data()?;
            lock(&self.tail).synced = length;
        }
        Ok(())
    }
}

/// Appends one frame to `out`: `payload` writes its content.
pub(super) fn put_frame(out: &mut Vec<u8>, sequence: u64, payload: impl FnOnce(&mut Vec<u8>)) {
    let head = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD]);
    payload(out);
    let body = head + FRAME_HEAD;
    let length = (out.len() - body) as u32;
    let check = checksum(sequence, &out[body..]);
    out[head..head + 4].copy_from_slice(&length.to_le_bytes());
    out[head + 4..body].copy_from_slice(&check.to_le_bytes());
}

/// The payload of the frame at the head of `bytes`, if it is whole and sound.
pub(super) fn frame(bytes: &[u8], sequence: u64) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (check, rest) = rest.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    let payload = rest.get(..length).filter(|_| (1..=MAX_PAYLOAD).contains(&length))?;
    (checksum(sequence, payload) == u32::from_le_bytes(*check)).then_some(payload)
}

fn checksum(sequence: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(sequence as u32);
    crc.update(payload);
    crc.finalize()
}

pub(super) fn header(sequence: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..].copy_from_slice(&sequence.to_le_bytes());
    header
}

pub(super) fn file_name(sequence: u64) -> String {
    format!("journal-{sequence:020}.log")
}

/// All segment files of a directory with their numbers, oldest first.
pub(super) fn segment_files(directory: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let unavailable = |source| StoreError::Unavailable { path: directory.into(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(unavailable)? {
        let entry = entry.map_err(unavailable)?;
        let name = entry.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix("journal-")?.strip_suffix(".log"));
        files.extend(
            number.and_then(|number| number.parse().ok()).map(|number| (number, entry.path())),
        );
    }
    files.sort_unstable();
    Ok(files)
}

/// Deletes the files of all segments before `sequence`.
pub(super) fn remove_before(directory: &Path, sequence: u64) -> Result<(), StoreError> {
    for (number, path) in segment_files(directory)? {
        if number < sequence {
            fs::remove_file(&path).map_err(|source| StoreError::Unavailable { path, source })?;
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_sound_only_as_a_whole_and_in_its_own_segment() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, 3, |out| out.extend_from_slice(b"payload"));
        assert_eq!(frame(&bytes, 3), Some(&b"payload"[..]));
        assert_eq!(frame(&bytes, 4), None);
        for cut in 0..bytes.len() {
            assert_eq!(frame(&bytes[..cut], 3), None);
        }
        for flipped in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[flipped] ^= 1;
            assert_eq!(frame(&damaged, 3), None);
        }
    }

    #[test]
    fn a_torn_frame_is_cut_off_before_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let (journal, segment) = Journal::start(directory.path(), 1).unwrap();
        let mut frames = Vec::new();
        put_frame(&mut frames, 1, |out| out.extend_from_slice(b"next"));
        // As a full disk leaves it when even the cut fails: half a frame beyond the tail.
        segment.file.write_all_at(&[0xaa; 100], HEADER as u64).unwrap();
        lock(&segment.tail).torn = true;
        journal.append(&segment, &frames).unwrap();
        let written = fs::read(&segment.path).unwrap();
        assert_eq!(written[HEADER..], frames);
    }
}
