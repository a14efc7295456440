//! The bytes of journal records and checkpoint rows.
//!
//! Numbers are LEB128, so that small ones take one byte; texts carry their length.
//! [`Reader`] never panics and never allocates more than its input holds: whatever
//! does not parse is `None`.

use std::sync::Arc;

use crate::ledger::slot::{Name, Step};
use crate::policy::calendar::Period;
use crate::policy::limit::{CounterId, SpanKey, Unit};

pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_id(out: &mut Vec<u8>, id: CounterId) {
    out.extend_from_slice(&id.to_u64().to_le_bytes());
}

/// The name without its key, which the row or record has beside it.
pub(super) fn put_name(out: &mut Vec<u8>, name: &Name) {
    out.push(match name.unit {
        Unit::Requests => 0,
        Unit::Tokens => 1,
        Unit::Bytes => 2,
        Unit::NanoUsd => 3,
    });
    match name.span {
        SpanKey::Window { ms } => {
            out.push(0);
            put_number(out, ms);
        }
        SpanKey::Period(Period::Day) => out.push(1),
        SpanKey::Period(Period::Month) => out.push(2),
        SpanKey::Period(Period::Week) => out.push(3),
        SpanKey::InFlight => out.push(4),
    }
    put_text(out, &name.scope);
}

pub(super) fn put_step(out: &mut Vec<u8>, step: Step) {
    match step {
        Step::Add(amount) => {
            out.push(0);
            put_number(out, amount);
        }
        Step::Take { at, amount } => {
            out.push(1);
            put_number(out, at);
            put_number(out, amount);
        }
        Step::Set { total, last, until, since } => {
            out.push(4);
            put_number(out, total);
            put_number(out, last);
            put_number(out, until);
            put_number(out, last.saturating_sub(since));
        }
        Step::Adopt { from } => {
            out.push(3);
            put_id(out, from);
        }
    }
}

/// Takes values off the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            value |= bits << shift;
            if byte < 0x80 {
                // The tenth byte has room for one bit only.
                return (bits << shift >> shift == bits).then_some(value);
            }
        }
        None
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    pub(super) fn id(&mut self) -> Option<CounterId> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(CounterId::from_u64(u64::from_le_bytes(*bytes)))
    }

    /// Reads a name and checks that it hashes to `id`.
    pub(super) fn name(&mut self, id: CounterId) -> Option<Name> {
        let unit = match self.byte()? {
            0 => Unit::Requests,
            1 => Unit::Tokens,
            2 => Unit::Bytes,
            3 => Unit::NanoUsd,
            _ => return None,
        };
        let span = match self.byte()? {
            0 => SpanKey::Window { ms: self.number()?.max(1) },
            1 => SpanKey::Period(Period::Day),
            2 => SpanKey::Period(Period::Month),
            3 => SpanKey::Period(Period::Week),
            4 => SpanKey::InFlight,
            _ => return None,
        };
        let scope: Arc<str> = self.text()?.into();
        (CounterId::of(&scope, unit, span) == id).then_some(Name { id, scope, unit, span })
    }

    /// Reads a step that fits a counter of this span.
    pub(super) fn step(&mut self, span: SpanKey) -> Option<Step> {
        let window = matches!(span, SpanKey::Window { .. });
        Some(match (self.byte()?, window) {
            (0, true) => Step::Add(self.number()?),
            (1, true) => Step::Take { at: self.number()?, amount: self.number()? },
            (tag @ (2 | 4), false) => {
                let (total, last, until) = (self.number()?, self.number()?, self.number()?);
                // The older form does not say since when it counts.
                let since = if tag == 2 { 0 } else { last.saturating_sub(self.number()?) };
                Step::Set { total, last, until, since }
            }
            (3, _) => Step::Adopt { from: self.id()? },
            _ => return None,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_texts_come_back(value: u64, text: String) {
            let mut out = Vec::new();
            put_number(&mut out, value);
            put_text(&mut out, &text);
            let mut reader = Reader(&out);
            prop_assert_eq!((reader.number(), reader.text()), (Some(value), Some(text.as_str())));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let (id, span) = (CounterId::from_u64(1), SpanKey::Window { ms: 1 });
            let _ = (Reader(&bytes).number(), Reader(&bytes).text(), Reader(&bytes).name(id));
            let _ = (Reader(&bytes).step(span), Reader(&bytes).id());
        }
    }

    #[test]
    fn a_name_under_a_foreign_key_is_refused() {
        let span = SpanKey::Period(Period::Month);
        let id = CounterId::of("*", Unit::NanoUsd, span);
        let name = Name { id, scope: "*".into(), unit: Unit::NanoUsd, span };
        let mut out = Vec::new();
        put_name(&mut out, &name);
        assert_eq!(Reader(&out).name(id), Some(name));
        assert_eq!(Reader(&out).name(CounterId::from_u64(7)), None);
    }
}
