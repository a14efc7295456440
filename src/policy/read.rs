//! Reads a TOML document by a typed cursor that finds all problems at once.
//!
//! The text becomes a tree with places (its syntax errors are collected), which
//! is walked by [`Table`] and [`Value`]: they note the keys that were asked for,
//! resolve references, parse values and put every problem into the report. What
//! a reader did not ask for is an unknown key.
//!
//! # Failure
//! Reading never stops early. After a syntax error, unknown and missing keys and
//! problems in the broken lines are not reported, because the tree may be wrong there.
//!
//! # Limits
//! A source has at most [`MAX_SOURCE`] bytes; its references expand to at most
//! 4 MiB in all; TOML nests at most 80 levels.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use toml::de::DeTable;

use super::diagnostic::{Diagnostic, MAX_DIAGNOSTICS, Report, Severity, Span};
use super::interpolate::{self, Environment, Expanded};

mod conceal;
mod definitions;
mod parsed;
mod suggest;
mod syntax;
mod table;
mod value;

pub(super) use parsed::{Parsed, Wrong, unknown_word, words};
pub(super) use suggest::closest;
pub(super) use table::{Named, Table};
pub(super) use value::{Read, Value};

/// The largest policy that is read, in bytes. Hundreds of times a large policy, and quick to refuse.
pub const MAX_SOURCE: usize = 1024 * 1024;
/// What all references of one source may expand to, in bytes.
const MAX_EXPANDED: usize = 4 * 1024 * 1024;

/// A text to read, and the name under which problems show it.
#[derive(Debug, Clone)]
pub struct Source {
    /// Shown in messages, such as `policy.toml`.
    pub name: String,
    /// The TOML document.
    pub text: String,
}

impl Source {
    /// Makes a source of a text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Makes a source of the bytes of a file.
    ///
    /// # Errors
    /// A report that points at the first byte that is not UTF-8.
    pub fn decode(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, Report> {
        let name = name.into();
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes());
                let place = Span::new(valid, valid + char::REPLACEMENT_CHARACTER.len_utf8());
                let mut report = Report::new();
                report.add_source(name, conceal::concealed(&text, &[]));
                report.push(
                    Diagnostic::error("the file is not UTF-8")
                        .at(place, "the first bad byte")
                        .help("save the file as UTF-8"),
                );
                Err(report)
            }
        }
    }
}

/// A value and where it is written.
#[derive(Debug, Clone, Copy)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it is written; for a default, the table that it belongs to.
    pub span: Span,
    /// Whether references were resolved in it: then no message may quote the value, only its place.
    pub from_reference: bool,
}

impl<T> At<T> {
    /// Makes a default that belongs to the table at `span`.
    pub const fn default_in(span: Span, value: T) -> Self {
        Self { value, span, from_reference: false }
    }

    /// Changes the value and keeps the place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At { value: change(self.value), span: self.span, from_reference: self.from_reference }
    }
}

impl<T> std::ops::Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Reads a document: parses it, lets `read` walk it and reports what remains.
///
/// The value is `None` when there are errors, also those that `read` did not notice.
pub(super) fn document<T>(
    source: &Source,
    environment: &dyn Environment,
    read: impl FnOnce(&mut Table<'_, '_>) -> Option<T>,
) -> (Option<T>, Report) {
    let reader = Reader::new(source, environment);
    let value = if source.text.len() > MAX_SOURCE {
        let size = format!("the file is larger than {}", crate::units::Bytes(MAX_SOURCE as u64));
        reader
            .push(Diagnostic::error(size).help("a policy is a few pages; is this the right file?"));
        None
    } else {
        reader.walk(read)
    };
    let report = reader.into_report(&source.name);
    (value, report)
}

/// What all cursors of one document share.
pub(super) struct Reader<'t> {
    text: &'t str,
    /// Offsets of the line breaks, sorted.
    breaks: Vec<usize>,
    environment: &'t dyn Environment,
    found: RefCell<Found>,
}

/// What the walk has found so far.
#[derive(Default)]
struct Found {
    report: Report,
    /// Lines, from 0, that do not parse; sorted.
    broken: Vec<usize>,
    notes: Report,
    secrets: Vec<Span>,
    files: Vec<String>,
    expanded: usize,
}

impl<'t> Reader<'t> {
    fn new(source: &'t Source, environment: &'t dyn Environment) -> Self {
        Self {
            text: &source.text,
            breaks: source.text.match_indices('\n').map(|(at, _)| at).collect(),
            environment,
            found: RefCell::default(),
        }
    }

    fn walk<T>(&self, read: impl FnOnce(&mut Table<'_, '_>) -> Option<T>) -> Option<T> {
        let (tree, errors) = DeTable::parse_recoverable(self.text);
        let broken = syntax::report(self, &errors);
        self.found.borrow_mut().broken = broken;
        let mut root = Table::root(self, tree.get_ref());
        let value = read(&mut root);
        root.finish();
        value
    }

    fn into_report(self, name: &str) -> Report {
        let found = self.found.into_inner();
        let mut report = found.report;
        report.add_source(name, conceal::concealed(self.text, &found.secrets));
        report
    }

    /// Adds a problem, unless it is in a line that does not parse.
    pub(super) fn push(&self, diagnostic: Diagnostic) {
        let mut found = self.found.borrow_mut();
        let place = diagnostic.labels.first().map(|(span, _)| *span);
        if let Some(span) = place
            && !found.broken.is_empty()
            && found.broken.binary_search(&self.line_of(span)).is_ok()
        {
            return;
        }
        found.report.push(diagnostic);
    }

    /// Whether further errors would only be counted.
    fn is_full(&self) -> bool {
        self.found.borrow().report.count(Severity::Error) >= MAX_DIAGNOSTICS
    }

    /// Adds a problem of the document's shape, which a syntax error elsewhere may have caused.
    pub(super) fn push_shape(&self, diagnostic: Diagnostic) {
        if self.found.borrow().broken.is_empty() {
            self.push(diagnostic);
        }
    }

    /// Keeps a note apart: notes are listed when somebody asks, not at every reload.
    fn note(&self, note: Diagnostic) {
        self.found.borrow_mut().notes.push(note);
    }

    /// The notes so far, sorted by place.
    pub(super) fn notes(&self) -> Vec<Diagnostic> {
        self.found.borrow().notes.diagnostics().to_vec()
    }

    /// Reports keys that occur again, each with its first place.
    pub(super) fn refuse_repeated<K: Eq + Hash>(
        &self,
        keys: impl IntoIterator<Item = (K, Span)>,
        message: &str,
        help: &str,
    ) {
        let mut seen = HashMap::new();
        for (key, span) in keys {
            match seen.entry(key) {
                Entry::Vacant(free) => _ = free.insert(span),
                Entry::Occupied(first) => {
                    let error = Diagnostic::error(message).at(span, "again here");
                    self.push(error.at(*first.get(), "first defined here").help(help));
                }
            }
        }
    }

    /// Covers a place wherever the report shows the text.
    pub(super) fn conceal(&self, span: Span) {
        self.found.borrow_mut().secrets.push(span);
    }

    /// Files that references named so far, as written.
    pub(super) fn files(&self) -> Vec<String> {
        self.found.borrow().files.clone()
    }

    /// The text at a place.
    fn slice(&self, span: Span) -> &'t str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// The line of a place, from 0.
    fn line_of(&self, span: Span) -> usize {
        self.breaks.partition_point(|at| *at < span.start)
    }

    /// Resolves the references of the string at `span`.
    fn expand(&self, text: &'t str, span: Span, path: &str) -> Option<Expanded<'t>> {
        let expanded = match interpolate::expand(text, self.environment) {
            Ok(expanded) => expanded,
            Err(faults) => {
                for (range, fault) in faults {
                    let place = self.place_inside(span, text, range);
                    self.push(
                        Diagnostic::error(format!("`{path}`: {fault}"))
                            .at(place, "")
                            .help(fault.hint()),
                    );
                }
                return None;
            }
        };
        let mut found = self.found.borrow_mut();
        found.files.extend(expanded.files.iter().cloned());
        if let Cow::Owned(text) = &expanded.text {
            found.expanded += text.len();
        }
        if found.expanded <= MAX_EXPANDED {
            return Some(expanded);
        }
        drop(found);
        let message =
            format!("the references of this file expand to more than {MAX_EXPANDED} bytes");
        self.push(Diagnostic::error(message).at(span, ""));
        None
    }

    /// The place of a range of a string; the whole string when escapes shift it.
    fn place_inside(&self, span: Span, text: &str, range: std::ops::Range<usize>) -> Span {
        match self.slice(span).find(text) {
            Some(offset) => {
                Span::new(span.start + offset + range.start, span.start + offset + range.end)
            }
            None => span,
        }
    }
}
