//! The sorted list of problems, and one line for each.
//!
//! The texts inside a [`Report`] are copies in which inline secrets are covered
//! with asterisks, so that a report may be logged and served.
//!
//! # Failure
//! None: places outside the text are moved inside, control characters replaced.
//!
//! # Limits
//! At most [`MAX_DIAGNOSTICS`] of each severity are kept; the rest is counted.

use std::cmp::Ordering;

use super::{Diagnostic, Severity, Span, printable};

/// How many problems of one severity a report keeps. Nobody reads more; a hostile file must not cost more.
pub const MAX_DIAGNOSTICS: usize = 100;

/// All problems of one reading, sorted by file and place, with the texts they point into.
#[derive(Debug, Clone, Default)]
pub struct Report {
    sources: Vec<(String, String)>,
    diagnostics: Vec<Diagnostic>,
    omitted: usize,
}

impl Report {
    /// Makes a report without problems and without sources.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a source by the name that is shown and a text without secrets; gives its `file` index.
    pub fn add_source(&mut self, name: impl Into<String>, text: impl Into<String>) -> usize {
        self.sources.push((shown_name(&name.into()), text.into()));
        self.sources.len() - 1
    }

    /// Adds a problem at its place in the order, or counts it when there are too many.
    pub fn push(&mut self, mut diagnostic: Diagnostic) {
        if self.count(diagnostic.severity) >= MAX_DIAGNOSTICS {
            self.omitted += 1;
            return;
        }
        diagnostic.make_printable();
        let after = |other: &Diagnostic| other.order(&diagnostic) != Ordering::Greater;
        let place = self.diagnostics.partition_point(after);
        self.diagnostics.insert(place, diagnostic);
    }

    /// Adds all problems of an iterator.
    pub fn extend(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        diagnostics.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Adds another report's problems and sources behind ours; returns the number of its first source.
    pub fn merge(&mut self, other: Self) -> usize {
        let offset = self.sources.len();
        self.sources.extend(other.sources);
        self.omitted += other.omitted;
        self.extend(other.diagnostics.into_iter().map(|mut diagnostic| {
            diagnostic.file += offset;
            diagnostic
        }));
        offset
    }

    /// The problems, sorted by file and place.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many problems were found beyond [`MAX_DIAGNOSTICS`] of their severity.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Tells whether the policy cannot be used.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many problems of a severity are kept.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == severity).count()
    }

    /// The line of a problem's main place, from 1.
    pub fn line(&self, diagnostic: &Diagnostic) -> usize {
        1 + self.before(diagnostic).matches('\n').count()
    }

    /// The column of a problem's main place in characters, from 1.
    pub fn column(&self, diagnostic: &Diagnostic) -> usize {
        let before = self.before(diagnostic);
        let line = before.rsplit('\n').next().unwrap_or(before);
        1 + line.chars().count()
    }

    /// Writes a problem in one line: `policy.toml:12:9: error: message; help`.
    pub fn one_line(&self, diagnostic: &Diagnostic) -> String {
        let (line, column) = (self.line(diagnostic), self.column(diagnostic));
        let (name, word) = (self.name(diagnostic), diagnostic.severity.as_str());
        let message = &diagnostic.message;
        match &diagnostic.help {
            Some(help) => format!("{name}:{line}:{column}: {word}: {message}; {help}"),
            None => format!("{name}:{line}:{column}: {word}: {message}"),
        }
    }

    pub(super) fn name(&self, diagnostic: &Diagnostic) -> &str {
        self.sources.get(diagnostic.file).map_or("policy", |(name, _)| name)
    }

    pub(super) fn text(&self, diagnostic: &Diagnostic) -> &str {
        self.sources.get(diagnostic.file).map_or("", |(_, text)| text)
    }

    /// The text in front of a problem's main place.
    fn before(&self, diagnostic: &Diagnostic) -> &str {
        let text = self.text(diagnostic);
        &text[..clamped(diagnostic.main_span(), text).start]
    }
}

/// Moves a place to character borders inside `text`; the renderer would panic on others.
pub(super) fn clamped(span: Span, text: &str) -> Span {
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end.min(text.len()));
    Span::new(start, end.max(start))
}

/// A file name without line breaks and other control characters.
fn shown_name(name: &str) -> String {
    name.chars().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Color;
    use super::*;

    fn report(text: &str, diagnostics: impl IntoIterator<Item = Diagnostic>) -> Report {
        let mut report = Report::new();
        report.add_source("policy.toml", text);
        report.extend(diagnostics);
        report
    }

    #[test]
    fn problems_are_sorted_by_place() {
        let late = Diagnostic::error("late").at(Span::new(9, 10), "");
        let early = Diagnostic::note("early").at(Span::new(1, 2), "");

        let report = report("0123456789", [late, early]);

        let messages: Vec<_> = report.diagnostics().iter().map(|d| d.message.as_str()).collect();
        assert_eq!(messages, ["early", "late"]);
        assert!(report.has_errors());
        assert_eq!(report.count(Severity::Note), 1);
    }

    #[test]
    fn columns_count_characters() {
        let report =
            report("a\nüü x", [Diagnostic::error("here").at(Span::new(7, 8), "").help("there")]);

        let one_line = report.one_line(&report.diagnostics()[0]);

        assert_eq!(one_line, "policy.toml:2:4: error: here; there");
    }

    #[test]
    fn too_many_errors_are_counted_and_never_hide_that_there_are_errors() {
        let warnings = (0..300).map(|_| Diagnostic::warning("w"));

        let report = report("", warnings.chain([Diagnostic::error("e")]));

        assert_eq!(report.diagnostics().len(), MAX_DIAGNOSTICS + 1);
        assert_eq!(report.omitted(), 200);
        assert!(report.has_errors());
        assert!(report.render(Color::Never).ends_with("and 200 more problems\n"));
    }

    #[test]
    fn a_message_is_one_line() {
        let diagnostic =
            Diagnostic::error("key `a\nb`").at(Span::new(0, 1), "\u{1b}[2J").help("c\r");

        let report = report("x", [diagnostic]);

        assert_eq!(
            report.one_line(&report.diagnostics()[0]),
            "policy.toml:1:1: error: key `a\u{fffd}b`; c\u{fffd}"
        );
        assert!(!report.render(Color::Never).contains('\u{1b}'));
    }

    #[test]
    fn merged_reports_keep_their_own_sources() {
        let mut first = report("abc", [Diagnostic::error("one").at(Span::new(2, 3), "")]);
        let mut second = Report::new();
        second.add_source("keys.toml", "x\ny");
        second.push(Diagnostic::error("two").at(Span::new(2, 3), ""));

        first.merge(second);

        let lines: Vec<_> = first.diagnostics().iter().map(|d| first.one_line(d)).collect();
        assert_eq!(lines, ["policy.toml:1:3: error: one", "keys.toml:2:1: error: two"]);
    }
}
