//! Turns the TOML parser's errors into problems with a hint.

use toml::de::Error;

use super::super::diagnostic::{Diagnostic, Span};
use super::{Reader, conceal, definitions::Definitions};

/// The parser's words for a key that is written twice; the tree is sound in spite of it.
const DUPLICATE: &str = "duplicate key";

/// Reports all errors; gives the lines, from 0 and sorted, in which the tree may be wrong.
pub(super) fn report(reader: &Reader<'_>, errors: &[Error]) -> Vec<usize> {
    let mut broken = Vec::new();
    let mut definitions = None;
    for error in errors {
        let span = error.span().map_or_else(Span::default, Span::from);
        if error.message() == DUPLICATE {
            let definitions = definitions.get_or_insert_with(|| Definitions::of(reader.text));
            reader.push(duplicate(reader, span, definitions.first(span)));
        } else {
            reader.push(malformed(reader, error.message(), span));
            broken.push(reader.line_of(span));
        }
    }
    broken.sort_unstable();
    broken
}

fn duplicate(reader: &Reader<'_>, span: Span, first: Option<Span>) -> Diagnostic {
    let key = reader.slice(span);
    // The second value is not in the tree, so no reader knows whether it is a secret.
    if let Some(value) = conceal::value_of(reader.text, span) {
        reader.conceal(value);
    }
    let diagnostic =
        Diagnostic::error(format!("key `{key}` is defined twice")).at(span, "again here");
    let diagnostic = diagnostic.help("keep one of them");
    match first {
        Some(first) => diagnostic.at(first, "first defined here"),
        None => diagnostic,
    }
}

fn malformed(reader: &Reader<'_>, message: &str, span: Span) -> Diagnostic {
    let diagnostic = Diagnostic::error(format!("not valid TOML: {message}")).at(span, "");
    match hint(reader, span) {
        Some(hint) => diagnostic.help(hint),
        None => diagnostic,
    }
}

/// Guesses the usual mistake: a value without its quotes.
fn hint(reader: &Reader<'_>, span: Span) -> Option<&'static str> {
    let before = reader.text.get(..span.start)?;
    let line = before.rsplit('\n').next()?;
    let (_, value) = line.split_once('=')?;
    let next = reader.text[span.start..].chars().next();
    let bare = !value.contains(['"', '\'', '[', '{'])
        && next.is_some_and(|c| c.is_alphanumeric() || "/$.:%-*".contains(c));
    bare.then_some("text, lengths of time, sizes and money stand in quotes, such as \"30s\"")
}
