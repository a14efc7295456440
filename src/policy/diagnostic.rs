//! Problems of a policy: what is wrong, where, and what would be right.
//!
//! A [`Diagnostic`] is one problem with its places; a [`Report`] is the sorted
//! list of them, together with the texts that they point into. A report renders
//! for people (like rustc, in colour only when asked) and as one line per
//! problem for logs.
//!
//! The texts inside a report are copies in which inline secrets are covered with
//! asterisks, so that a report may be logged and served.
//!
//! # Limits
//! At most [`MAX_DIAGNOSTICS`] of each severity are kept; the rest is counted.

use std::cmp::Ordering;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// How many problems of one severity a report keeps. Nobody reads more; a hostile file must not cost more.
pub const MAX_DIAGNOSTICS: usize = 100;

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
            if text.contains(char::is_control) {
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

/// Whether a rendering may contain terminal colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Plain text.
    Never,
    /// ANSI escapes.
    Always,
}

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

    /// Writes all problems for people: source lines, underlines, help; an empty line between two problems.
    pub fn render(&self, color: Color) -> String {
        let renderer = match color {
            Color::Never => Renderer::plain(),
            // Hyperlinks would put the file's path into the terminal's history.
            Color::Always => Renderer::styled().hyperlink(false),
        };
        let mut rendered = String::new();
        for diagnostic in &self.diagnostics {
            rendered.push_str(&renderer.render(&[self.group(diagnostic)]));
            rendered.push_str("\n\n");
        }
        if self.omitted > 0 {
            rendered.push_str(&format!("and {} more problems\n", self.omitted));
        }
        rendered
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let title = diagnostic.severity.level().primary_title(&diagnostic.message);
        let group = Group::with_title(title);
        let group = match self.snippet(diagnostic) {
            Some(snippet) => group.element(snippet),
            None => group.element(Origin::path(self.name(diagnostic))),
        };
        match &diagnostic.help {
            Some(help) => group.element(Level::HELP.message(help)),
            None => group,
        }
    }

    /// Shows only the lines from the first place to the last: a snippet costs what it shows, not what the file is.
    fn snippet<'a>(
        &'a self,
        diagnostic: &'a Diagnostic,
    ) -> Option<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let text = self.text(diagnostic);
        let spans = diagnostic.labels.iter().map(|(span, _)| clamped(*span, text));
        let first = spans.clone().map(|span| span.start).min()?;
        let last = spans.map(|span| span.end).max()?;
        let from = text[..first].rfind('\n').map_or(0, |newline| newline + 1);
        let to = text[last..].find('\n').map_or(text.len(), |newline| last + newline + 1);
        let line = 1 + text[..from].matches('\n').count();
        let snippet = Snippet::source(&text[from..to]).path(self.name(diagnostic)).line_start(line);
        let kinds = std::iter::once(AnnotationKind::Primary)
            .chain(std::iter::repeat(AnnotationKind::Context));
        let annotations = diagnostic.labels.iter().zip(kinds).map(|((span, label), kind)| {
            let span = clamped(*span, text);
            let label = Some(label.as_str()).filter(|label| !label.is_empty());
            kind.span(span.start - from..span.end - from).label(label)
        });
        Some(snippet.annotations(annotations))
    }

    fn name(&self, diagnostic: &Diagnostic) -> &str {
        self.sources.get(diagnostic.file).map_or("policy", |(name, _)| name)
    }

    fn text(&self, diagnostic: &Diagnostic) -> &str {
        self.sources.get(diagnostic.file).map_or("", |(_, text)| text)
    }

    /// The text in front of a problem's main place.
    fn before(&self, diagnostic: &Diagnostic) -> &str {
        let text = self.text(diagnostic);
        &text[..clamped(diagnostic.main_span(), text).start]
    }
}

/// Moves a place to character borders inside `text`; the renderer would panic on others.
fn clamped(span: Span, text: &str) -> Span {
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end.min(text.len()));
    Span::new(start, end.max(start))
}

/// Stands in for characters that a terminal or a log would obey.
fn printable(c: char) -> char {
    if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }
}

/// A file name without line breaks and other control characters.
fn shown_name(name: &str) -> String {
    name.chars().map(printable).collect()
}

#[cfg(test)]
mod tests {
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
    fn any_place_renders() {
        let text = "ü = 1\r\nöö\n";
        for start in 0..14 {
            for end in 0..14 {
                let diagnostic = Diagnostic::warning("w")
                    .at(Span::new(start, end), "x")
                    .at(Span::new(end, 3), "");
                let report = report(text, [diagnostic]);
                assert!(report.render(Color::Always).contains("w"));
                assert!(report.line(&report.diagnostics()[0]) >= 1);
            }
        }
    }

    #[test]
    fn two_places_render_with_their_texts() {
        let diagnostic = Diagnostic::error("key `a` is written twice")
            .at(Span::new(6, 7), "again here")
            .at(Span::new(0, 1), "first defined here");

        let rendered = report("a = 1\na = 2\n", [diagnostic]).render(Color::Never);

        let expected = "\
error: key `a` is written twice
 --> policy.toml:2:1
  |
1 | a = 1
  | - first defined here
2 | a = 2
  | ^ again here

";
        assert_eq!(rendered, expected);
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
