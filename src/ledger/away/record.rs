//! The bytes of what is written down while the authority is away.
//!
//! Each record is one frame of a [`journal`](crate::ledger::journal) segment. The
//! first of a segment names the journal, so that an entry's id needs only its
//! sequence. Whatever does not parse is `None`: nothing here panics or allocates
//! more than its input holds.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::ledger::authority::{Amount, Deed, Move};
use crate::ledger::codec::{Reader, put_id, put_name, put_number, put_text};

/// What a record is, its first byte.
mod kind {
    /// The journal's 128 bits.
    pub(super) const HEAD: u8 = 1;
    /// Counters that changed.
    pub(super) const CHANGE: u8 = 2;
    /// A settlement in the authority's bytes.
    pub(super) const SETTLEMENT: u8 = 3;
}

/// One record.
#[derive(Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "moved once, into a batch; heads are rare")]
pub(super) enum Record {
    /// The journal that the following entries belong to.
    Head(u128),
    /// The entry with this sequence.
    Entry(u64, Deed),
}

pub(super) fn put_head(out: &mut Vec<u8>, journal: u128) {
    out.push(kind::HEAD);
    out.extend_from_slice(&journal.to_le_bytes());
}

pub(super) fn put_change(
    out: &mut Vec<u8>,
    sequence: u64,
    subject: &str,
    at: Timestamp,
    moves: &[Move],
) {
    out.push(kind::CHANGE);
    put_number(out, sequence);
    put_number(out, at.0);
    put_text(out, subject);
    put_number(out, moves.len() as u64);
    for step in moves {
        put_id(out, step.name.id);
        put_name(out, &step.name);
        put_number(out, step.period.0);
        put_number(out, step.period.1);
        match step.amount {
            Amount::Add(amount) => {
                out.push(0);
                put_number(out, amount);
            }
            Amount::Take { at, amount } => {
                out.push(1);
                put_number(out, at);
                put_number(out, amount);
            }
        }
    }
}

pub(super) fn put_settlement(out: &mut Vec<u8>, sequence: u64, settlement: &[u8]) {
    out.push(kind::SETTLEMENT);
    put_number(out, sequence);
    out.extend_from_slice(settlement);
}

/// Reads the payload of one frame.
pub(super) fn read(payload: &[u8]) -> Option<Record> {
    let mut record = Reader(payload);
    match record.byte()? {
        kind::HEAD => {
            let bytes: [u8; 16] = record.0.try_into().ok()?;
            Some(Record::Head(u128::from_le_bytes(bytes)))
        }
        kind::CHANGE => {
            let sequence = record.number()?;
            let at = Timestamp(record.number()?);
            let subject: Arc<str> = record.text()?.into();
            let count = record.number()?;
            let moves: SmallVec<_> =
                (0..count).map(|_| step(&mut record)).collect::<Option<_>>()?;
            let whole = record.is_empty();
            whole.then_some(Record::Entry(sequence, Deed::Change { subject, at, moves }))
        }
        kind::SETTLEMENT => {
            Some(Record::Entry(record.number()?, Deed::Settlement(record.0.into())))
        }
        _ => None,
    }
}

fn step(record: &mut Reader<'_>) -> Option<Move> {
    let id = record.id()?;
    let name = record.name(id)?;
    let period = (record.number()?, record.number()?);
    let amount = match record.byte()? {
        0 => Amount::Add(record.number()?),
        1 => Amount::Take { at: record.number()?, amount: record.number()? },
        _ => return None,
    };
    Some(Move { name, period, amount })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::contract::{NOON, budget, quota};
    use crate::ledger::slot::Name;
    use crate::policy::calendar::Period;
    use crate::policy::limit::Unit;

    fn moves(amounts: &[(bool, u64, u64)]) -> SmallVec<[Move; 6]> {
        let names = [
            Name::from(&quota("chat", Unit::Requests, 60, 1).counter),
            Name::from(&budget(Period::Day, "UTC", 1).counter),
        ];
        let step = |(index, (add, at, amount)): (usize, &(bool, u64, u64))| Move {
            name: names[index % 2].clone(),
            period: (*at, at.wrapping_add(1)),
            amount: match add {
                true => Amount::Add(*amount),
                false => Amount::Take { at: *at, amount: *amount },
            },
        };
        amounts.iter().enumerate().map(step).collect()
    }

    proptest! {
        #[test]
        fn records_come_back(
            sequence: u64,
            subject: String,
            amounts in prop::collection::vec(any::<(bool, u64, u64)>(), 0..9),
            settlement: Vec<u8>,
        ) {
            let moves = moves(&amounts);
            let mut out = Vec::new();
            put_change(&mut out, sequence, &subject, Timestamp(NOON), &moves);
            let change = Deed::Change { subject: (*subject).into(), at: Timestamp(NOON), moves };
            prop_assert_eq!(read(&out), Some(Record::Entry(sequence, change)));
            out.clear();
            put_settlement(&mut out, sequence, &settlement);
            let settlement = Deed::Settlement(settlement.into());
            prop_assert_eq!(read(&out), Some(Record::Entry(sequence, settlement)));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_cut_change_is_none(cut in 0usize..40) {
            let mut out = Vec::new();
            put_change(&mut out, 7, "ada", Timestamp(NOON), &moves(&[(true, 1, 2), (false, 3, 4)]));
            let whole = out.len();
            out.truncate(cut.min(whole - 1));
            prop_assert_eq!(read(&out), None);
        }
    }
}
