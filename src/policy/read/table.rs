//! A cursor on one table of the document: notes the keys that are asked for.

use std::{ops::RangeInclusive, time::Duration};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::super::diagnostic::{Diagnostic, Span};
use super::{At, Read, Reader, Value, Wrong, suggest};
use crate::units::{Bytes, Rate, written};

/// A table, where it is, and the path of keys that leads to it.
pub(in crate::policy) struct Table<'r, 't> {
    reader: &'r Reader<'t>,
    /// `None` stands for a table that is not written.
    entries: Option<&'t DeTable<'t>>,
    span: Span,
    path: String,
    known: Vec<&'static str>,
    /// Unknown keys are not reported.
    open: bool,
}

/// An entry whose key is a name that the author chose.
pub(in crate::policy) struct Named<'r, 't> {
    /// The name and its place.
    pub(in crate::policy) name: At<String>,
    /// What it stands for.
    pub(in crate::policy) value: Value<'r, 't>,
}

impl Named<'_, '_> {
    /// Reports that the name is not what it should be.
    pub(in crate::policy) fn refuse_name(&self, wrong: &Wrong) {
        self.refuse(&wrong.message, wrong.hint.as_str());
    }

    /// Reports an error of the name: a message that follows the path, and what would be right.
    pub(in crate::policy) fn refuse(&self, message: &str, help: impl Into<String>) {
        let message = format!("`{}`: {message}", self.value.path);
        self.value.reader.push(Diagnostic::error(message).at(self.name.span, "").help(help));
    }
}

impl<'r, 't> Table<'r, 't> {
    pub(super) fn root(reader: &'r Reader<'t>, entries: &'t DeTable<'t>) -> Self {
        Self::new(reader, Some(entries), Span::default(), String::new())
    }

    pub(super) fn new(
        reader: &'r Reader<'t>,
        entries: Option<&'t DeTable<'t>>,
        span: Span,
        path: String,
    ) -> Self {
        Self { reader, entries, span, path, known: Vec::new(), open: false }
    }

    /// What the cursors of this document share.
    pub(in crate::policy) fn reader(&self) -> &'r Reader<'t> {
        self.reader
    }

    /// Where the table is: its header, or its braces.
    pub(in crate::policy) fn span(&self) -> Span {
        self.span
    }

    /// Whether nothing is written in the table.
    pub(in crate::policy) fn is_empty(&self) -> bool {
        self.entries.is_none_or(|entries| entries.is_empty())
    }

    /// The value of a key, if it is written. Marks the key as known.
    pub(in crate::policy) fn value(&mut self, key: &'static str) -> Option<Value<'r, 't>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let node = self.entries?.get(key)?;
        Some(Value::new(self.reader, node, self.path_of(key)))
    }

    /// Reads a key that may be left out.
    pub(in crate::policy) fn optional<T: Read>(&mut self, key: &'static str) -> Option<At<T>> {
        self.value(key)?.at()
    }

    /// Reads a key that must be there; `example` is what could be written.
    pub(in crate::policy) fn required<T: Read>(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<At<T>> {
        match self.value(key) {
            Some(value) => value.at(),
            None => {
                self.missing(key, example);
                None
            }
        }
    }

    /// Reads a key that has a default.
    pub(in crate::policy) fn or<T: Read>(&mut self, key: &'static str, default: T) -> At<T> {
        let default = At::default_in(self.span, default);
        self.optional(key).unwrap_or(default)
    }

    /// Reads a key that has a default and a range.
    pub(in crate::policy) fn within<T: Bounded>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> At<T> {
        let default = At::default_in(self.span, default);
        self.optional_within(key, range).unwrap_or(default)
    }

    /// Reads a key that may be left out and has a range.
    pub(in crate::policy) fn optional_within<T: Bounded>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Option<At<T>> {
        let value = self.value(key)?;
        let read = T::read_any(&value)?;
        if let Some(read) = read.filter(|read| range.contains(read)) {
            return Some(value.placed(read));
        }
        let (low, high) = (range.start().shown(), range.end().shown());
        value.refuse("this is out of range", format!("write {low} to {high}"));
        None
    }

    /// Walks the table at a key, if it is written.
    pub(in crate::policy) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Table<'r, 't>) -> T,
    ) -> Option<T> {
        self.value(key)?.table(read)
    }

    /// Walks the table at a key, or an empty one in its place, so that its defaults apply.
    pub(in crate::policy) fn table_or_empty<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Table<'r, 't>) -> T,
    ) -> T {
        let written = self.table(key, &read);
        written.unwrap_or_else(|| {
            read(&mut Table::new(self.reader, None, self.span, self.path_of(key)))
        })
    }

    /// Notes that a key, if it is written, has no effect in this version.
    pub(in crate::policy) fn not_yet(&self, key: &str) {
        let Some((key, _)) = self.entries.and_then(|entries| entries.get_key_value(key)) else {
            return;
        };
        self.not_yet_at(key.span().into(), &format!("`{}`", self.path_of(key_text(key))));
    }

    /// Notes that what is written at `span` has no effect in this version.
    pub(in crate::policy) fn not_yet_at(&self, span: Span, what: &str) {
        let note = Diagnostic::note(format!("{what} is not yet effective"));
        self.reader.note(note.at(span, "checked, but without effect so far"));
    }

    /// Takes all keys as known: when it is not clear what the table is, its keys cannot be wrong.
    pub(in crate::policy) fn accept_all(&mut self) {
        self.open = true;
    }

    /// Walks each table of the array of tables at a key.
    pub(in crate::policy) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Table<'r, 't>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        if value.is_table() {
            value.mismatch(
                "a list of tables",
                Some(format!("[[{}]], with two brackets", value.path)),
            );
            return Vec::new();
        }
        let values = value.array("a list of tables").unwrap_or_default();
        values.iter().filter_map(|value| value.table(&mut read).flatten()).collect()
    }

    /// All entries, in the order of the file; for tables whose keys are names.
    pub(in crate::policy) fn named(&mut self) -> Vec<Named<'r, 't>> {
        self.open = true;
        let entry = |(key, node): (&'t Spanned<DeString<'t>>, &'t Spanned<DeValue<'t>>)| Named {
            name: At::default_in(key.span().into(), key_text(key).to_owned()),
            value: Value::new(self.reader, node, self.path_of(key_text(key))),
        };
        let mut entries: Vec<_> = self.entries.into_iter().flatten().map(entry).collect();
        // The tree sorts by name; people think in the order of their file.
        entries.sort_by_key(|entry| entry.name.span);
        entries
    }

    /// Reports a key that must be there.
    pub(in crate::policy) fn missing(&self, key: &str, example: &str) {
        let message = format!("`{}` is missing", self.path_of(key));
        let diagnostic = Diagnostic::error(message).help(format!("write {example}"));
        self.reader.push_shape(match self.path.is_empty() {
            true => diagnostic,
            false => diagnostic.at(self.span, format!("needs `{key}`")),
        });
    }

    /// Reports what the reader did not ask for.
    pub(super) fn finish(self) {
        if self.open {
            return;
        }
        for (key, _) in self.entries.into_iter().flatten() {
            if !self.known.contains(&key_text(key)) {
                self.unknown(key_text(key), key.span().into());
            }
        }
    }

    fn unknown(&self, key: &str, span: Span) {
        let place = match self.path.as_str() {
            "" => "at the top of the file".to_owned(),
            path => format!("in [{path}]"),
        };
        let message = format!("unknown key `{}` {place}", shortened(key));
        self.reader.push_shape(Diagnostic::error(message).at(span, "").help(self.hint_for(key)));
    }

    fn hint_for(&self, key: &str) -> String {
        // Thousands of unknown keys shall not cost thousands of comparisons.
        if self.reader.is_full() {
            return String::new();
        }
        if let Some(home) = suggest::home(key) {
            return format!("`{key}` belongs {home}");
        }
        match suggest::closest(key, self.known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("keys here are {}", suggest::listed(&self.known, "and")),
        }
    }

    fn path_of(&self, key: &str) -> String {
        let key = shortened(key);
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn key_text<'a>(key: &'a Spanned<DeString<'_>>) -> &'a str {
    key.get_ref()
}

/// A key that is short enough for a message.
fn shortened(key: &str) -> &str {
    &key[..key.floor_char_boundary(80)]
}

/// A value that a range may bound.
pub(in crate::policy) trait Bounded: PartialOrd + Sized {
    /// Reads `value`, or reports why not; the inner `None` is a number that the type cannot hold.
    fn read_any(value: &Value<'_, '_>) -> Option<Option<Self>>;

    /// The value as the policy would write it.
    fn shown(&self) -> String;
}

impl Bounded for u32 {
    fn read_any(value: &Value<'_, '_>) -> Option<Option<Self>> {
        value.number().map(|number| number.try_into().ok())
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Bounded for Bytes {
    fn read_any(value: &Value<'_, '_>) -> Option<Option<Self>> {
        Self::read(value).map(Some)
    }

    fn shown(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Bounded for Rate {
    fn read_any(value: &Value<'_, '_>) -> Option<Option<Self>> {
        Self::read(value).map(Some)
    }

    fn shown(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Bounded for Duration {
    fn read_any(value: &Value<'_, '_>) -> Option<Option<Self>> {
        Self::read(value).map(Some)
    }

    fn shown(&self) -> String {
        format!("\"{}\"", written(*self))
    }
}
