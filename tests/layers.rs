//! Holds the floors: in a single crate nothing else keeps a module from
//! importing upward, in a circle, or everything at once.
//!
//! Reads every file under `src/` as tokens (comments, strings and lifetimes are
//! no imports) and resolves each path that begins with `crate`, `super` or
//! `self`, in `use` groups of any depth as well as inline.
//!
//! # Limits
//! A path that a macro puts together from pieces is not seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

/// Every module at the top of the crate, and the floor that it stands on.
const FLOORS: [(&str, u8); 18] = [
    ("units", 1),
    ("id", 1),
    ("clock", 1),
    ("secret", 1),
    ("telemetry", 2),
    ("sanitize", 2),
    ("policy", 3),
    ("server", 4),
    ("ledger", 4),
    ("upstream", 4),
    ("reload", 4),
    ("health", 4),
    ("proxy", 5),
    ("admin", 5),
    ("app", 6),
    ("demo", 7),
    ("cli", 7),
    ("main", 8),
];

/// Neighbours of which the first must never know the second.
const STRANGERS: [(&str, &str); 2] = [("admin", "proxy"), ("proxy", "admin")];

#[test]
fn every_module_imports_downward_only() {
    let mut faults = Vec::new();
    let mut graph = Graph::default();
    for file in sources() {
        let text = fs::read_to_string(root().join(&file.path)).expect("a source file is text");
        faults.extend(judge(&file, &text, &mut graph));
    }
    assert!(graph.0.len() > 10, "only these import anything: {:?}", graph.0.keys());
    let circle = graph.circle();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(circle.is_empty(), "these modules import each other in a circle: {circle:?}");
}

#[test]
fn every_module_of_the_crate_has_a_floor() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let (tokens, _) = tokens(&lib);
    let declared: Vec<&str> = tokens
        .windows(3)
        .filter_map(|three| match three {
            [Token::Word("mod"), Token::Word(name), Token::Mark(';')] => Some(*name),
            _ => None,
        })
        .collect();
    assert!(declared.len() > 10, "only {declared:?} were found in src/lib.rs");
    let homeless: Vec<_> = declared.iter().filter(|name| floor(name).is_none()).collect();
    assert!(homeless.is_empty(), "give these a floor in tests/layers.rs: {homeless:?}");
}

// The rules.

/// One file and the module that it is.
struct Source {
    path: PathBuf,
    module: Vec<String>,
}

/// Says what is wrong with the imports of one file, and adds the others to `graph`.
fn judge(file: &Source, text: &str, graph: &mut Graph) -> Vec<String> {
    let found = imports(&file.module, text);
    for import in &found {
        graph.add(file.top(), import.top());
    }
    let place = |import: &Import| format!("{}:{}: `{import}`", file.path.display(), import.line);
    let fault = |import| Some(format!("{}: {}", place(import), fault(file, import)?));
    found.iter().filter_map(fault).collect()
}

fn fault(file: &Source, import: &Import) -> Option<String> {
    let (own, top) = (file.top(), import.top());
    if top == "*" {
        return Some("name what is needed, not the whole crate".into());
    }
    if is_own_front_door(file, import) {
        return Some("the glob of a module that the file is in: name what is needed".into());
    }
    if top == own {
        return None;
    }
    let (Some(from), Some(to)) = (floor(own), floor(top)) else {
        return Some(format!("`{own}` or `{top}` has no floor in tests/layers.rs"));
    };
    if from < to {
        return Some(format!("{own} stands on floor {from} and reaches up to floor {to}"));
    }
    STRANGERS.contains(&(own, top)).then(|| format!("{own} must not know {top}"))
}

/// Whether a glob takes everything from a module around the file. A file called `tests` belongs to what it tests.
fn is_own_front_door(file: &Source, import: &Import) -> bool {
    let Some((last, module)) = import.path.split_last() else { return false };
    let around = module.len() < file.module.len() && file.module.starts_with(module);
    last == "*" && around && file.module.last().is_none_or(|name| name != "tests")
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// Which top module imports which.
#[derive(Default)]
struct Graph(BTreeMap<String, BTreeSet<String>>);

impl Graph {
    fn add(&mut self, from: &str, to: &str) {
        if from != to {
            self.0.entry(from.to_owned()).or_default().insert(to.to_owned());
        }
    }

    /// The modules that are part of a circle, or that lead into one.
    fn circle(mut self) -> Vec<String> {
        loop {
            let before = self.0.len();
            let open: BTreeSet<String> = self.0.keys().cloned().collect();
            self.0.retain(|_, to| !to.is_disjoint(&open));
            if self.0.len() == before {
                return self.0.into_keys().collect();
            }
        }
    }
}

// The files.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root().join("src"), &mut paths);
    assert!(paths.len() > 50, "only {} source files were found", paths.len());
    paths
        .iter()
        .map(|path| Source::at(path.strip_prefix(root()).expect("below the root")))
        .collect()
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

impl Source {
    /// The file at `path`, relative to the package.
    fn at(path: &Path) -> Self {
        let inside = path.strip_prefix("src").unwrap_or(path).with_extension("");
        let mut module: Vec<String> =
            inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|name| name == "mod" || name == "lib") {
            module.pop();
        }
        Self { path: path.to_owned(), module }
    }

    fn top(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }
}

// The paths.

/// One resolved path: `["policy", "file", "Name"]`; a glob ends with `*`.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    line: usize,
    path: Vec<String>,
}

impl Import {
    fn top(&self) -> &str {
        self.path.first().map_or("*", String::as_str)
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crate::{}", self.path.join("::"))
    }
}

/// Every path of `text`, the source of `module`, that begins in this crate.
fn imports(module: &[String], text: &str) -> Vec<Import> {
    let (tokens, lines) = tokens(text);
    let mut walk =
        Walk { tokens: &tokens, lines: &lines, here: module.to_vec(), found: Vec::new() };
    walk.all();
    walk.found
}

struct Walk<'a> {
    tokens: &'a [Token<'a>],
    lines: &'a [usize],
    /// The module around the current token, inline modules included.
    here: Vec<String>,
    found: Vec<Import>,
}

impl<'a> Walk<'a> {
    fn all(&mut self) {
        let mut inline = Vec::new();
        let (mut depth, mut at) = (0_usize, 0);
        while at < self.tokens.len() {
            let after_path = at > 0 && self.is(at - 1, Token::Path);
            match self.tokens[at] {
                Token::Word("mod") if self.is(at + 2, Token::Mark('{')) => {
                    self.here.extend(self.word(at + 1).map(str::to_owned));
                    inline.push(depth);
                }
                Token::Mark('{') => depth += 1,
                Token::Mark('}') => {
                    depth = depth.saturating_sub(1);
                    if inline.pop_if(|opened| *opened == depth).is_some() {
                        self.here.pop();
                    }
                }
                Token::Word(word) if !after_path => {
                    if let Some(next) = self.path(word, at) {
                        at = next;
                        continue;
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Reads a path that begins at `at` with `word`; the place behind it, if there is one.
    fn path(&mut self, word: &str, at: usize) -> Option<usize> {
        let is_main = self.here.first().is_some_and(|top| top == "main");
        let (base, mut next) = match word {
            // An alias would hide every later import.
            "crate" if self.is(at + 1, Token::Word("as")) => {
                self.note(at, vec!["*".to_owned()]);
                return None;
            }
            "crate" => (Vec::new(), at + 1),
            // The binary sees the library by its name.
            "weir" if is_main => (Vec::new(), at + 1),
            "self" => (self.here.clone(), at + 1),
            "super" => (self.here[..self.here.len().saturating_sub(1)].to_vec(), at + 1),
            _ => return None,
        };
        let mut base = base;
        while self.is(next, Token::Path) && self.is(next + 1, Token::Word("super")) {
            base.pop();
            next += 2;
        }
        self.is(next, Token::Path).then(|| self.tail(next + 1, base))
    }

    /// Reads what follows a `::`, noting every path that it ends in.
    fn tail(&mut self, at: usize, mut base: Vec<String>) -> usize {
        match self.tokens.get(at) {
            Some(Token::Word("self")) => {
                self.note(at, base);
                at + 1
            }
            Some(Token::Word(word)) => {
                base.push((*word).to_owned());
                if self.is(at + 1, Token::Path) {
                    return self.tail(at + 2, base);
                }
                self.note(at, base);
                at + 1
            }
            Some(Token::Mark('*')) => {
                base.push("*".to_owned());
                self.note(at, base);
                at + 1
            }
            Some(Token::Mark('{')) => self.group(at + 1, &base),
            // `Vec::<T>`: the path ends before the turbofish.
            _ => {
                self.note(at, base);
                at
            }
        }
    }

    fn group(&mut self, mut at: usize, base: &[String]) -> usize {
        while at < self.tokens.len() && !self.is(at, Token::Mark('}')) {
            at = match self.tokens[at] {
                Token::Mark(',') => at + 1,
                // The new name says nothing of the old one, which was noted.
                Token::Word("as") => at + 2,
                _ => self.tail(at, base.to_vec()),
            };
        }
        at + 1
    }

    fn note(&mut self, at: usize, path: Vec<String>) {
        let line = self.lines.get(at).or(self.lines.last()).copied().unwrap_or_default();
        self.found.push(Import { line, path });
    }

    fn is(&self, at: usize, token: Token<'_>) -> bool {
        self.tokens.get(at).is_some_and(|found| *found == token)
    }

    fn word(&self, at: usize) -> Option<&'a str> {
        match self.tokens.get(at) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }
}

// The tokens.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// An identifier, keyword or number.
    Word(&'a str),
    /// `::`
    Path,
    /// Any other character.
    Mark(char),
}

/// The tokens of `text`, and the line of each; without comments and literals.
fn tokens(text: &str) -> (Vec<Token<'_>>, Vec<usize>) {
    let (mut tokens, mut lines) = (Vec::new(), Vec::new());
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, token) = match blank(rest) {
            Some(length) => (length, None),
            None if rest.starts_with("::") => (2, Some(Token::Path)),
            None if is_word(first) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                (length, Some(Token::Word(&rest[..length])))
            }
            None => (first.len_utf8(), Some(Token::Mark(first))),
        };
        if let Some(token) = token {
            tokens.push(token);
            lines.push(line);
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    (tokens, lines)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The length of the space, comment, literal or lifetime that `text` begins with, if it does.
fn blank(text: &str) -> Option<usize> {
    let end = |found: Option<usize>| Some(found.unwrap_or(text.len()));
    let first = text.chars().next()?;
    if first.is_whitespace() {
        return Some(first.len_utf8());
    }
    if text.starts_with("//") {
        return end(text.find('\n'));
    }
    if text.starts_with("/*") {
        return Some(comment(text));
    }
    let quoted = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let before = text.len() - quoted.len();
    if let Some(raw) = quoted.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let inner = before + 1 + hashes + 1;
            return end(text[inner..].find(&close).map(|at| inner + at + close.len()));
        }
    }
    match quoted.chars().next()? {
        '"' => Some(before + string(quoted)),
        '\'' => Some(before + character(quoted)),
        _ => None,
    }
}

/// The length of a block comment, which may hold others.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a string literal.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of a character literal, or of a lifetime.
fn character(text: &str) -> usize {
    let mut inside = text.chars().skip(1);
    match (inside.next(), inside.next()) {
        (Some('\\'), Some(escaped)) => {
            let from = 2 + escaped.len_utf8();
            text[from..].find('\'').map_or(text.len(), |at| from + at + 1)
        }
        (Some(plain), Some('\'')) => plain.len_utf8() + 2,
        _ => 1 + text[1..].find(|c| !is_word(c)).unwrap_or(text.len() - 1),
    }
}

// What must fail does fail.

fn paths(module: &str, text: &str) -> Vec<String> {
    let module: Vec<String> = module.split("::").map(str::to_owned).collect();
    imports(&module, text).iter().map(ToString::to_string).collect()
}

fn faults(path: &str, text: &str) -> Vec<String> {
    judge(&Source::at(Path::new(path)), text, &mut Graph::default())
}

#[test]
fn a_nested_group_is_taken_apart() {
    let text =
        "use crate::{clock::Clock, policy::{self, file::{Name, Mode as M}, handle::*}, units};";
    let wanted = [
        "crate::clock::Clock",
        "crate::policy",
        "crate::policy::file::Name",
        "crate::policy::file::Mode",
        "crate::policy::handle::*",
        "crate::units",
    ];
    assert_eq!(paths("proxy", text), wanted);
}

#[test]
fn an_inline_path_is_an_import_too() {
    let text =
        "fn f(x: &crate::policy::Name) -> u8 { crate::units::parse::<u8>(x) + $crate::id::one() }";
    let wanted = ["crate::policy::Name", "crate::units::parse", "crate::id::one"];
    assert_eq!(paths("proxy", text), wanted);
}

#[test]
fn super_is_resolved_from_files_and_inline_modules() {
    assert_eq!(
        paths("policy::file::url", "use super::super::read::At;"),
        ["crate::policy::read::At"]
    );
    assert_eq!(paths("policy::cors", "use super::super::proxy::Code;"), ["crate::proxy::Code"]);
    let inline = "mod tests { use super::*; mod deep { use super::super::x; } } use self::y;";
    let wanted = ["crate::policy::cors::*", "crate::policy::cors::x", "crate::policy::cors::y"];
    assert_eq!(paths("policy::cors", inline), wanted);
}

#[test]
fn text_that_only_looks_like_an_import_is_none() {
    let text = r##"
        // use crate::app::run;
        /* use crate::app; /* crate::cli */ crate::demo */
        /// See [`crate::app`].
        const A: &str = "use crate::app; \" crate::app";
        const B: &str = r#"crate::app " crate::app"#;
        const C: (char, char, u8) = ('"', '\'', b'"');
        pub(crate) fn f<'a>(text: &'a str) { self.text = text }
    "##;
    assert_eq!(paths("policy", text), Vec::<String>::new());
    assert_eq!(paths("policy", "fn f<'a>(x: &'a crate::id::Id) {}"), ["crate::id::Id"]);
}

#[test]
fn an_import_from_a_floor_above_is_found() {
    let found = faults("src/policy/load.rs", "use std::fs;\nuse crate::{units, proxy::Code};\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("src/policy/load.rs:2: `crate::proxy::Code`"), "{found:?}");
    assert_eq!(faults("src/telemetry/mod.rs", "fn f() { crate::policy::load::read() }").len(), 1);
    assert_eq!(faults("src/policy/cors.rs", "use super::super::proxy::Code;").len(), 1);
    assert_eq!(faults("src/policy/cors.rs", "mod tests { use crate::ledger::Memory; }").len(), 1);
    assert_eq!(faults("src/app.rs", "use crate::main::run;").len(), 1);
    assert_eq!(faults("src/app.rs", "use crate::nowhere::run;").len(), 1);
    assert_eq!(faults("src/main.rs", "fn main() { weir::cli::main() }"), Vec::<String>::new());
}

#[test]
fn strangers_on_one_floor_are_kept_apart() {
    assert_eq!(faults("src/admin/mod.rs", "use crate::proxy::Refusal;").len(), 1);
    assert_eq!(faults("src/health.rs", "use crate::ledger::Ledger;"), Vec::<String>::new());
}

#[test]
fn globs_of_the_crate_and_of_ones_own_module_are_found() {
    for text in
        ["use crate::*;", "use crate::{clock, *};", "use crate as weir;", "use crate::{self};"]
    {
        assert_eq!(faults("src/app.rs", text).len(), 1, "{text}");
    }
    assert_eq!(faults("src/ledger/lane.rs", "use super::*;").len(), 1);
    assert_eq!(faults("src/ledger/lane.rs", "use crate::ledger::*;").len(), 1);
    assert_eq!(faults("src/policy/file/url.rs", "use super::super::*;").len(), 1);
    assert_eq!(faults("src/ledger/lane.rs", "mod tests { use super::*; }"), Vec::<String>::new());
    assert_eq!(faults("src/sanitize/tests.rs", "use super::*;"), Vec::<String>::new());
}

#[test]
fn a_circle_is_found_and_a_diamond_is_none() {
    let mut graph = Graph::default();
    for (from, to) in [("app", "reload"), ("app", "server"), ("reload", "server")] {
        graph.add(from, to);
    }
    assert_eq!(graph.circle(), Vec::<String>::new());

    let mut graph = Graph::default();
    for (from, to) in [("health", "ledger"), ("ledger", "upstream"), ("upstream", "health")] {
        graph.add(from, to);
    }
    assert_eq!(graph.circle(), ["health", "ledger", "upstream"]);
}
