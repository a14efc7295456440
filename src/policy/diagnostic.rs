//! Problems of a policy: what is wrong, where, and what would be right.
//!
//! A [`Diagnostic`] is one problem with its places; a [`Report`] is the sorted
//! list of them, together with the texts that they point into. A report renders
//! for people (like rustc, in colour only when asked) and as one line per
//! problem for logs.
//!
//! The texts inside a report are copies in which inline secrets are covered with
//! asterisks, so that a report may be logged and served.

use std::cmp::Ordering;

use annotate_snippets::Level;

mod render;
mod report;

pub use render::Color;
pub use report::{MAX_DIAGNOSTICS, Report};

/// A place in a source: byte offsets, `start` included, `end` not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte.
    pub end: usize,
}

impl Span {
    /// Makes a place from its offsets.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self::new(range.start, range.end)
    }
}

/// How bad a problem is; the worst sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// The policy can be used, but is probably not what is meant.
    Warning,
    /// Worth knowing: a key that is accepted but not yet effective.
    Note,
}

impl Severity {
    /// The word in front of the message.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }

    const fn level(self) -> Level<'static> {
        match self {
            Self::Error => Level::ERROR,
            Self::Warning => Level::WARNING,
            Self::Note => Level::NOTE,
        }
    }
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: one line, never a value that came from the environment.
    pub message: String,
    /// Where, the main place first, each with a short text (may be empty). No place: the file as a whole.
    pub labels: Vec<(Span, String)>,
    /// What would be right: one line.
    pub help: Option<String>,
    /// Which source of the report the places are in.
    pub file: usize,
}

impl Diagnostic {
    /// Begins an error.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    /// Begins a warning.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    /// Begins a note.
    pub fn note(message: impl Into<String>) -> Self {
        Self::new(Severity::Note, message)
    }

    fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self { severity, message: message.into(), labels: Vec::new(), help: None, file: 0 }
    }

    /// Adds a place; the first is the main one.
    #[must_use]
    pub fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push((span, label.into()));
        self
    }

    /// Says what would be right.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Keys of the file appear in messages; a line break in one must not forge a line of the log.
    fn make_printable(&mut self) {
        let labels = self.labels.iter_mut().map(|(_, label)| label);
        for text in std::iter::once(&mut self.message).chain(labels).chain(&mut self.help) {
            if text.chars().any(|c| printable(c) != c) {
                *text = text.chars().map(printable).collect();
            }
        }
    }

    fn main_span(&self) -> Span {
        self.labels.first().map(|(span, _)| *span).unwrap_or_default()
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |d: &Self| (d.file, d.main_span(), d.severity);
        key(self).cmp(&key(other))
    }
}

/// Stands in for characters that a terminal or a log would obey, those that turn the direction of text among them.
fn printable(c: char) -> char {
    let obeyed = c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if obeyed { char::REPLACEMENT_CHARACTER } else { c }
}
