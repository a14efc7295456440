//! Writes the changes of one shard to the journal.
//!
//! Works under its shard's lock, so the records of an account are in the order of
//! its changes. A checkpoint moves lanes to the next segment one by one; a record
//! always goes where its lane is, so none is counted twice or forgotten. A record
//! carries counters by key; their names are written once per lane and segment.
//!
//! Where open holds are given back after a crash, records say which hold they are of.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashSet;

use crate::ledger::StoreError;
use crate::ledger::account::{Account, Moves};
use crate::ledger::codec::{put_id, put_name, put_number, put_step, put_text};
use crate::ledger::journal::{Journal, Segment, put_frame};
use crate::ledger::leases::{Note, put_hold_id};
use crate::ledger::recording::Lane;
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
    /// As [`MOVES`], of a hold that is open: its id, and after the changes its charges.
    pub(crate) const OPEN: u8 = 5;
    /// As [`MOVES`], of a hold that is over: its id.
    pub(crate) const CLOSED: u8 = 6;
    /// A time at which the owner of all open holds was alive.
    pub(crate) const ALIVE: u8 = 7;
}

/// The journal as one shard sees it.
#[derive(Debug)]
pub(super) struct JournalLane {
    journal: Arc<Journal>,
    segment: Arc<Segment>,
    named: HashSet<CounterId, FixedState>,
    keeps_holds: bool,
    /// Holds of this process that are open here.
    pub(super) open: u64,
    buffer: Vec<u8>,
    /// Subjects that left memory and may have a row in the last checkpoint.
    pub(super) removed: Vec<Arc<str>>,
}

impl JournalLane {
    pub(super) fn new(journal: Arc<Journal>, segment: Arc<Segment>, keeps_holds: bool) -> Self {
        let named = HashSet::with_hasher(FixedState::default());
        Self {
            journal,
            segment,
            named,
            keeps_holds,
            open: 0,
            buffer: Vec::new(),
            removed: Vec::new(),
        }
    }

    /// Sends all further records to the next segment.
    pub(super) fn switch(&mut self, segment: Arc<Segment>) {
        self.segment = segment;
        self.named.clear();
    }

    fn append(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.journal.append(&self.segment, &self.buffer);
        self.buffer.clear();
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
    fn keeps_holds(&self) -> bool {
        self.keeps_holds
    }

    fn stage(&mut self, account: &mut Account, moves: &Moves, note: Note<'_>) {
        if moves.is_empty() && matches!(note, Note::None) {
            return;
        }
        account.changed = self.segment.sequence;
        match note {
            Note::Opened(..) => self.open += 1,
            Note::Closed(_) => self.open = self.open.saturating_sub(1),
            Note::None | Note::Raised(..) | Note::Expired(_) => {}
        }
        if self.keeps_holds {
            self.journal.is_alive(account.latest());
        }
        self.put_names(account, moves);
        put_frame(&mut self.buffer, self.segment.sequence, |out| {
            let (kind, hold) = match note {
                Note::None => (kind::MOVES, None),
                Note::Opened(id, _) | Note::Raised(id, _) => (kind::OPEN, Some(id)),
                Note::Closed(id) | Note::Expired(id) => (kind::CLOSED, Some(id)),
            };
            out.push(kind);
            put_number(out, account.latest());
            put_text(out, &account.subject);
            hold.into_iter().for_each(|id| put_hold_id(out, id));
            put_number(out, moves.len() as u64);
            for &(index, step) in moves {
                put_id(out, account.slots()[index as usize].name.id);
                put_step(out, step);
            }
            if let Note::Opened(_, charges) | Note::Raised(_, charges) = note {
                account.put_charges(out, charges);
            }
        });
    }

    fn write(&mut self, other: Option<&mut Self>) -> Result<(), StoreError> {
        match other {
            // One write, so that a crash leaves both or none.
            Some(other) if Arc::ptr_eq(&self.segment, &other.segment) => {
                self.buffer.append(&mut other.buffer);
                let written = self.append();
                if written.is_err() {
                    other.named.clear();
                }
                written
            }
            Some(other) => {
                let written = self.append();
                other.append().and(written)
            }
            None => self.append(),
        }
    }

    fn record_reset(&mut self, account: &mut Account) -> Result<(), StoreError> {
        account.changed = self.segment.sequence;
        put_frame(&mut self.buffer, self.segment.sequence, |out| {
            out.push(kind::RESET);
            put_text(out, &account.subject);
        });
        self.append()
    }

    fn dropped(&mut self, account: Account) {
        if account.stored {
            self.removed.push(account.subject);
        }
    }
}
