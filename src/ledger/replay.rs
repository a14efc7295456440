//! Reads journal segments back into accounts.
//!
//! The segments from the checkpoint's number on are applied in order. Holds that
//! were in flight when the process died stand as spent: their requests were
//! admitted. A tail that was being written when the power went is cut off and
//! reported in [`Recovery`].
//!
//! # Failure
//! Damage with sound records behind it is no torn tail: opening fails and says
//! where, so that spent money is never forgotten silently. So does a segment that
//! is missing.

use std::fs;
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;
use crate::ledger::StoreError;
use crate::ledger::account::Account;
use crate::ledger::checkpoint::Names;
use crate::ledger::codec::Reader;
use crate::ledger::journal::{FRAME_HEAD, HEADER, frame, header};
use crate::ledger::lane::kind;
use crate::ledger::slot::{Name, Step};

/// What was found when a store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Subjects that are counted.
    pub subjects: usize,
    /// Journal records that no checkpoint had yet.
    pub records: u64,
    /// Bytes at the ends of segments that a crash left torn, and that were cut off.
    pub torn_bytes: u64,
}

const MISSING_CURE: &str =
    "restore it from a backup, or move the store's directory away to begin from zero";
const DAMAGE_CURE: &str =
    "restore it from a backup, or cut it at that byte with `truncate` to give up what follows";

/// Applies the segments from `replay_from` on; `change` finds the account of a subject.
pub(super) fn segments(
    files: &[(u64, PathBuf)],
    replay_from: u64,
    recovery: &mut Recovery,
    mut change: impl FnMut(&str, &mut dyn FnMut(&mut Account)),
) -> Result<(), StoreError> {
    for (expected, (sequence, path)) in (replay_from..).zip(files) {
        if *sequence != expected {
            return Err(missing(path, expected));
        }
        let bytes = fs::read(path)
            .map_err(|source| StoreError::Unavailable { path: path.clone(), source })?;
        Segment { path, sequence: *sequence, bytes: &bytes }.replay(recovery, &mut change)?;
    }
    Ok(())
}

fn missing(path: &Path, sequence: u64) -> StoreError {
    let problem = format!("the segment number {sequence} before it is missing");
    StoreError::Corrupt { path: path.into(), problem, cure: MISSING_CURE }
}

struct Segment<'a> {
    path: &'a Path,
    sequence: u64,
    bytes: &'a [u8],
}

impl Segment<'_> {
    fn replay(
        &self,
        recovery: &mut Recovery,
        change: &mut impl FnMut(&str, &mut dyn FnMut(&mut Account)),
    ) -> Result<(), StoreError> {
        let expected = header(self.sequence);
        if !self.bytes.starts_with(&expected) {
            return self.headless(recovery, &expected);
        }
        let mut names = Names::new();
        let mut at = HEADER;
        while let Some(payload) = frame(&self.bytes[at..], self.sequence) {
            let applied = apply(payload, self.sequence, &mut names, change);
            recovery.records += applied.ok_or_else(|| self.damaged(at))?;
            at += FRAME_HEAD + payload.len();
        }
        self.check_tail(at)?;
        recovery.torn_bytes += (self.bytes.len() - at) as u64;
        Ok(())
    }

    /// A crash while a segment was made leaves less than a header, or zeros.
    fn headless(&self, recovery: &mut Recovery, expected: &[u8]) -> Result<(), StoreError> {
        let unfinished =
            expected.starts_with(self.bytes) || self.bytes.iter().all(|byte| *byte == 0);
        if !unfinished {
            return Err(self.damaged(0));
        }
        recovery.torn_bytes += self.bytes.len() as u64;
        Ok(())
    }

    /// What follows the last sound frame is torn only if no frame is behind it.
    fn check_tail(&self, at: usize) -> Result<(), StoreError> {
        let sound = (at + 1..self.bytes.len())
            .find(|from| frame(&self.bytes[*from..], self.sequence).is_some());
        sound.map_or(Ok(()), |_| Err(self.damaged(at)))
    }

    fn damaged(&self, at: usize) -> StoreError {
        let problem = format!("it is damaged at byte {at}, with records behind it");
        StoreError::Corrupt { path: self.path.into(), problem, cure: DAMAGE_CURE }
    }
}

/// Applies records that are anything; for `fuzz`.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    let mut names = Names::new();
    let mut account = Account::new("somebody", 0);
    for payload in bytes.split(|byte| *byte == 0xff) {
        apply(payload, 1, &mut names, &mut |_, change| change(&mut account));
    }
}

/// Applies one record; returns 1 if it changed an account, `None` if it makes no sense.
fn apply(
    payload: &[u8],
    sequence: u64,
    names: &mut Names,
    change: &mut impl FnMut(&str, &mut dyn FnMut(&mut Account)),
) -> Option<u64> {
    let mut record = Reader(payload);
    match record.byte()? {
        kind::NAME => {
            let id = record.id()?;
            names.insert(id, record.name(id)?);
            Some(0)
        }
        kind::MOVES => {
            let now = Timestamp(record.number()?);
            let subject = record.text()?;
            let steps = steps(record, names)?;
            change(subject, &mut |account| {
                account.changed = sequence;
                account.replay(now, steps.iter().cloned());
            });
            Some(1)
        }
        kind::RESET => {
            change(record.text()?, &mut |account| {
                account.changed = sequence;
                account.reset();
            });
            Some(1)
        }
        kind::PROBE => Some(0),
        _ => None,
    }
}

fn steps(mut record: Reader<'_>, names: &Names) -> Option<Vec<(Name, Step)>> {
    let count = record.number()?;
    let step = |_| {
        let name = names.get(&record.id()?)?.clone();
        let step = record.step(name.span)?;
        Some((name, step))
    };
    (0..count).map(step).collect()
}
