//! Hands what the scanner finds to the notes, and what was generated to the caller.

use super::{
    cost,
    notes::Notes,
    reader::Delta,
    scan::{Sink, Value},
    wire::Field,
};

/// [`Notes`] that tell what was generated.
pub struct Telling<'a, F> {
    pub notes: &'a mut Notes,
    pub deltas: &'a mut F,
}

impl<F: FnMut(Delta<'_>)> Sink<Field> for Telling<'_, F> {
    fn text(&mut self, leaf: Field, text: &str) {
        let kind = self.notes.kind(leaf);
        kind.into_iter().for_each(|kind| (self.deltas)(Delta { kind, text }));
    }

    fn value(&mut self, leaf: Field, value: Value<'_>) {
        match value {
            Value::String(text) => self.notes.word(leaf, text),
            Value::Bare(text) => self.notes.set(leaf, text),
        }
    }

    fn open(&mut self, mark: Field) {
        self.notes.opened(mark);
    }

    fn close(&mut self, mark: Field) {
        self.notes.closed(mark);
    }

    fn pointed(&mut self, value: Value<'_>) {
        let (Value::String(text) | Value::Bare(text)) = value;
        if let Ok(cost) = cost::dollars(text) {
            self.notes.pointed = Some(cost);
        }
    }
}
