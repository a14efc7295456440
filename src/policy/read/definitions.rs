//! Finds where a key that is written twice was written first.
//!
//! The parser names only the second place. This walks the parser's events and
//! notes the first place of every path; paths are kept as hashes, so that deep
//! ones cost no more than flat ones. A collision would only mislead a label.

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use toml_parser::{
    ParseError, Source,
    parser::{Event, EventKind, EventReceiver, RecursionGuard, parse_document},
};

use super::super::diagnostic::Span;

/// As deep as the `toml` crate goes.
const MAX_DEPTH: u32 = 80;

/// A path of keys from the root, hashed.
type Path = u64;

/// Where keys are defined.
pub(super) struct Definitions {
    first: HashMap<Path, Span>,
    /// Places of a dotted key's or header's earlier parts, which define a table in passing.
    implicit: HashMap<Path, Span>,
    by_place: HashMap<Span, Path>,
}

impl Definitions {
    /// Finds the definitions in a document.
    pub(super) fn of(text: &str) -> Self {
        let source = Source::new(text);
        let tokens = source.lex().into_vec();
        let mut events = Vec::new();
        let mut collect = |event: Event| events.push(event);
        // Without the guard the parser would descend as deep as the text does.
        let mut guard = RecursionGuard::new(&mut collect as &mut dyn EventReceiver, MAX_DEPTH);
        parse_document(&tokens, &mut guard, &mut |_: ParseError| {});
        let mut walk = Walk::new(source);
        events.into_iter().for_each(|event| walk.step(event));
        walk.found
    }

    /// The place where the key at `place` was written first, if that is another place.
    pub(super) fn first(&self, place: Span) -> Option<Span> {
        let path = self.by_place.get(&place)?;
        let other = |span: &&Span| **span != place;
        self.first
            .get(path)
            .filter(other)
            .or_else(|| self.implicit.get(path).filter(other))
            .copied()
    }
}

/// A walk over the parser's events.
struct Walk<'i> {
    source: Source<'i>,
    found: Definitions,
    /// The table of the last header.
    header: Path,
    /// Elements of each array of tables so far.
    elements: HashMap<Path, u64>,
    /// Open inline tables and arrays: their path, and the next index of an array.
    open: Vec<(Path, Option<u64>)>,
    /// Parts of the key that is being read.
    key: Vec<(Cow<'i, str>, Span)>,
    /// The path whose value comes next.
    value: Path,
}

impl<'i> Walk<'i> {
    fn new(source: Source<'i>) -> Self {
        let found = Definitions {
            first: HashMap::new(),
            implicit: HashMap::new(),
            by_place: HashMap::new(),
        };
        Self {
            source,
            found,
            header: 0,
            elements: HashMap::new(),
            open: Vec::new(),
            key: Vec::new(),
            value: 0,
        }
    }

    fn step(&mut self, event: Event) {
        match event.kind() {
            EventKind::SimpleKey => self.push_key(event),
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                self.open.clear();
                self.key.clear();
            }
            EventKind::StdTableClose => self.header = self.define(0),
            EventKind::ArrayTableClose => self.header = self.append(),
            EventKind::KeyValSep => {
                let table = self.open.last().map_or(self.header, |(path, _)| *path);
                self.value = self.define(table);
            }
            EventKind::InlineTableOpen => {
                let path = self.next_value();
                self.open.push((path, None));
            }
            EventKind::ArrayOpen => {
                let path = self.next_value();
                self.open.push((path, Some(0)));
            }
            EventKind::InlineTableClose | EventKind::ArrayClose => drop(self.open.pop()),
            _ => {}
        }
    }

    fn push_key(&mut self, event: Event) {
        let span = Span::new(event.span().start(), event.span().end());
        let mut name = Cow::Borrowed("");
        if let Some(raw) = self.source.get(event) {
            raw.decode_key(&mut name, &mut |_: ParseError| {});
        }
        self.key.push((name, span));
    }

    /// Notes the key that was read, below `table`; gives its path.
    fn define(&mut self, table: Path) -> Path {
        let key = std::mem::take(&mut self.key);
        let last = key.len().saturating_sub(1);
        let mut path = table;
        for (index, (name, span)) in key.into_iter().enumerate() {
            path = child(path, &name);
            self.found.by_place.insert(span, path);
            let map = if index == last { &mut self.found.first } else { &mut self.found.implicit };
            map.entry(path).or_insert(span);
            // Inside an array of tables a header means the newest element.
            if let Some(count) = self.elements.get(&path).filter(|_| index < last) {
                path = child(path, count);
            }
        }
        path
    }

    /// Notes one more element of an array of tables; gives its path.
    fn append(&mut self) -> Path {
        let path = self.define(0);
        let count = self.elements.entry(path).or_insert(0);
        *count += 1;
        child(path, count)
    }

    /// The path of a value that opens.
    fn next_value(&mut self) -> Path {
        let Some((path, Some(index))) = self.open.last_mut() else {
            return self.value;
        };
        *index += 1;
        child(*path, index)
    }
}

fn child(parent: Path, name: &(impl Hash + ?Sized)) -> Path {
    let mut hasher = DefaultHasher::new();
    parent.hash(&mut hasher);
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text at the first definition of the last occurrence of `key`, with its offset.
    fn first(text: &str, key: &str) -> Option<usize> {
        let start = text.rfind(key).expect("the key is there");
        Definitions::of(text).first(Span::new(start, start + key.len())).map(|span| span.start)
    }

    #[test]
    fn the_first_definition_is_found() {
        assert_eq!(first("k = 1\nk = 2", "k"), Some(0));
        assert_eq!(first("[t]\nk = 1\n[u]\nk = 1\n[t]\nk = 2", "k"), Some(4));
        assert_eq!(first("[t]\n[u]\n[t]", "t"), Some(1));
        assert_eq!(first("t = 1\n[t]", "t"), Some(0));
        assert_eq!(first("t.a = 1\n[t]", "t"), Some(0));
        assert_eq!(first("x = { k = 1, k = 2 }", "k"), Some(6));
        assert_eq!(first("\"k\" = 1\nk = 2", "k"), Some(0));
    }

    #[test]
    fn other_keys_of_that_name_are_not_taken_for_it() {
        assert_eq!(first("[[t]]\nk = 1\n[[t]]\nk = 2", "k"), None);
        assert_eq!(first("[[t]]\n[t.k]\n[[t]]\n[t.k]", "k"), None);
        assert_eq!(first("x = [{ k = 1 }, { k = 2 }]", "k"), None);
    }
}
