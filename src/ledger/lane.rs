//! Writes the changes of one shard to the journal.
//!
//! Works under its shard's lock, so the records of an account are in the order of
//! its changes. A checkpoint moves lanes to the next segment one by one; a record
//! always goes where its lane is, so none is counted twice or forgotten. A record
//! carries counters by key; their names are written once per lane and segment.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::ledger::StoreError;
use crate::ledger::account::{Account, Moves};
use crate::ledger::codec::{put_id, put_name, put_number, put_step, put_text};
use crate::ledger::journal::{Journal, Segment, put_frame};
use crate::ledger::shards::Lane;
use crate::policy::limit::CounterId;

/// What a record is, its first byte.
pub(super) mod kind {
    /// A counter's key and name.
    pub(crate) const NAME: u8 = 1;
    /// A time, a subject, and its changes.
    pub(crate) const MOVES: u8 = 2;
    /// A subject whose use was forgotten.
    pub(crate) const RESET: u8 = 3;
    /// Nothing: written to see whether the disk takes bytes again.
    pub(crate) const PROBE: u8 = 4;
}

/// The journal as one shard sees it.
#[derive(Debug)]
pub(super) struct JournalLane {
    journal: Arc<Journal>,
    segment: Arc<Segment>,
    named: HashSet<CounterId, FixedState>,
    buffer: Vec<u8>,
    /// Subjects that left memory and may have a row in the last checkpoint.
    pub(super) removed: Vec<Arc<str>>,
}

impl JournalLane {
    pub(super) fn new(journal: Arc<Journal>, segment: Arc<Segment>) -> Self {
        let named = HashSet::with_hasher(FixedState::default());
        Self { journal, segment, named, buffer: Vec::new(), removed: Vec::new() }
    }

    /// Sends all further records to the next segment.
    pub(super) fn switch(&mut self, segment: Arc<Segment>) {
        self.segment = segment;
        self.named.clear();
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let written = self.journal.append(&self.segment, &self.buffer);
        if written.is_err() {
            // The names in the buffer are not in the file either.
            self.named.clear();
        }
        written
    }

    fn put_names(&mut self, account: &Account, moves: &Moves) {
        for (index, _) in moves {
            let name = &account.slots()[*index as usize].name;
            if self.named.insert(name.id) {
                put_frame(&mut self.buffer, self.segment.sequence, |out| {
                    out.push(kind::NAME);
                    put_id(out, name.id);
                    put_name(out, name);
                });
            }
        }
    }
}

impl Lane for JournalLane {
    fn record(&mut self, account: &mut Account, moves: &Moves) -> Result<(), StoreError> {
        if moves.is_empty() {
            return Ok(());
        }
        account.changed = self.segment.sequence;
        self.buffer.clear();
        self.put_names(account, moves);
        put_frame(&mut self.buffer, self.segment.sequence, |out| {
            out.push(kind::MOVES);
            put_number(out, account.latest());
            put_text(out, &account.subject);
            put_number(out, moves.len() as u64);
            for &(index, step) in moves {
                put_id(out, account.slots()[index as usize].name.id);
                put_step(out, step);
            }
        });
        self.write()
    }

    fn record_reset(&mut self, account: &mut Account) -> Result<(), StoreError> {
        account.changed = self.segment.sequence;
        self.buffer.clear();
        put_frame(&mut self.buffer, self.segment.sequence, |out| {
            out.push(kind::RESET);
            put_text(out, &account.subject);
        });
        self.write()
    }

    fn dropped(&mut self, account: Account) {
        if account.stored {
            self.removed.push(account.subject);
        }
    }
}
