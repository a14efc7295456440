//! Renders a report for people: source lines, underlines, help, like rustc.
//!
//! # Failure
//! None: places outside the text are moved inside.
//!
//! # Limits
//! A line of more than 1000 bytes is named, not shown.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::{Diagnostic, Report, Span, report::clamped};

/// The longest line that is shown, in bytes. A longer one was not written by hand, and costs the renderer seconds.
const MAX_SHOWN_LINE: usize = 1_000;

/// Whether a rendering may contain terminal colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Plain text.
    Never,
    /// ANSI escapes.
    Always,
}

impl Report {
    /// Writes all problems for people: source lines, underlines, help; an empty line between two problems.
    pub fn render(&self, color: Color) -> String {
        let renderer = match color {
            Color::Never => Renderer::plain(),
            // Hyperlinks would put the file's path into the terminal's history.
            Color::Always => Renderer::styled().hyperlink(false),
        };
        let mut rendered = String::new();
        for diagnostic in self.diagnostics() {
            rendered.push_str(&renderer.render(&[self.group(diagnostic)]));
            rendered.push_str("\n\n");
        }
        if self.omitted() > 0 {
            rendered.push_str(&format!("and {} more problems\n", self.omitted()));
        }
        rendered
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let title = diagnostic.severity.level().primary_title(&diagnostic.message);
        let group = Group::with_title(title);
        let group = match self.snippet(diagnostic) {
            Some(snippet) => group.element(snippet),
            None => group.element(self.origin(diagnostic)),
        };
        match &diagnostic.help {
            Some(help) => group.element(Level::HELP.message(help)),
            None => group,
        }
    }

    /// Stands in for a snippet: the file, and the place if there is one.
    fn origin<'a>(&'a self, diagnostic: &'a Diagnostic) -> Origin<'a> {
        let origin = Origin::path(self.name(diagnostic));
        match diagnostic.labels.is_empty() {
            true => origin,
            false => origin.line(self.line(diagnostic)).char_column(self.column(diagnostic)),
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
        let too_long = |span: Span| line_length(text, span) > MAX_SHOWN_LINE;
        if diagnostic.labels.iter().any(|(span, _)| too_long(clamped(*span, text))) {
            return None;
        }
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
}

/// The length of the lines that a place is in, in bytes.
fn line_length(text: &str, span: Span) -> usize {
    let before = text[..span.start].bytes().rev().take_while(|b| *b != b'\n').count();
    let after = text[span.end..].bytes().take_while(|b| *b != b'\n').count();
    before + (span.end - span.start) + after
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
    fn a_line_that_is_too_long_is_only_named() {
        let text = format!("a = 1\nb = \"{}\"", "x".repeat(2_000));

        let report = report(&text, [Diagnostic::error("long").at(Span::new(10, 12), "here")]);

        assert_eq!(report.render(Color::Never), "error: long\n--> policy.toml:2:5\n\n");
    }
}
