//! Reads journal segments back into accounts.
//!
//! The segments from the checkpoint's number on are applied in order. What was in
//! flight when the process died stands as spent, unless the store gives it back
//! ([`leases`](super::leases)). A tail that was being written when the power went is
//! cut off and reported in [`Recovery`].
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
/// Returns when the process that wrote them was alive last, if they say so.
pub(super) fn segments(
    files: &[(u64, PathBuf)],
    replay_from: u64,
    recovery: &mut Recovery,
    mut change: impl FnMut(&str, &mut dyn FnMut(&mut Account)),
) -> Result<Option<u64>, StoreError> {
    let mut alive = None;
    for (expected, (sequence, path)) in (replay_from..).zip(files) {
        if *sequence != expected {
            return Err(missing(path, expected));
        }
        let bytes = fs::read(path)
            .map_err(|source| StoreError::Unavailable { path: path.clone(), source })?;
        let segment = Segment { path, sequence: *sequence, bytes: &bytes };
        alive = segment.replay(recovery, &mut change)?.or(alive);
    }
    Ok(alive)
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
    ) -> Result<Option<u64>, StoreError> {
        let expected = header(self.sequence);
        if !self.bytes.starts_with(&expected) {
            return self.headless(recovery, &expected).map(|()| None);
        }
        let (mut names, mut last) = (Names::new(), None);
        let mut at = HEADER;
        while let Some(payload) = frame(&self.bytes[at..], self.sequence) {
            let applied = apply(payload, self.sequence, &mut names, change);
            let Applied { accounts, alive } = applied.ok_or_else(|| self.damaged(at))?;
            recovery.records += accounts;
            last = alive.or(last);
            at += FRAME_HEAD + payload.len();
        }
        self.check_tail(at)?;
        recovery.torn_bytes += (self.bytes.len() - at) as u64;
        Ok(last)
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

/// What a record did.
#[derive(Default)]
struct Applied {
    /// How many accounts it changed.
    accounts: u64,
    /// When it was written, if it says so.
    alive: Option<u64>,
}

/// Applies one record; `None` if it makes no sense.
fn apply(
    payload: &[u8],
    sequence: u64,
    names: &mut Names,
    change: &mut impl FnMut(&str, &mut dyn FnMut(&mut Account)),
) -> Option<Applied> {
    let mut record = Reader(payload);
    let kind = record.byte()?;
    let mut applied = Applied { accounts: 1, alive: None };
    match kind {
        kind::NAME => {
            let id = record.id()?;
            names.insert(id, record.name(id)?);
            applied.accounts = 0;
        }
        kind::MOVES | kind::OPEN | kind::CLOSED => {
            let now = Timestamp(record.number()?);
            applied.alive = Some(now.0);
            let subject = record.text()?;
            let hold = (kind != kind::MOVES).then(|| record.hold_id());
            let steps = steps(&mut record, names)?;
            let charges = if kind == kind::OPEN { record.charges()? } else { Vec::new() };
            let hold = hold.map_or(Some(None), |hold| hold.map(Some))?;
            change(subject, &mut |account| {
                account.changed = sequence;
                account.replay(now, steps.iter().cloned());
                match hold {
                    Some(id) if kind == kind::OPEN => account.restore_hold(id, None, &charges),
                    Some(id) => _ = account.close(id),
                    None => {}
                }
            });
        }
        kind::RESET => {
            change(record.text()?, &mut |account| {
                account.changed = sequence;
                account.reset();
            });
        }
        kind::ALIVE => applied = Applied { accounts: 0, alive: Some(record.number()?) },
        kind::PROBE => applied.accounts = 0,
        _ => return None,
    }
    Some(applied)
}

fn steps(record: &mut Reader<'_>, names: &Names) -> Option<Vec<(Name, Step)>> {
    let count = record.number()?;
    let step = |_| {
        let name = names.get(&record.id()?)?.clone();
        let step = record.step(name.span)?;
        Some((name, step))
    };
    (0..count).map(step).collect()
}
