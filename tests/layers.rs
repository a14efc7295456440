//! Holds the floors: in a single crate nothing else keeps a module from
//! importing upward, in a circle, or everything at once.
//!
//! Reads every file under `src/` as tokens (comments, strings and lifetimes are
//! no imports) and resolves each path that begins with `crate`, `super` or
//! `self`, in `use` groups of any depth as well as inline.
//!
//! # Limits
//! A path that a macro puts together from pieces is not seen.

#[path = "layers/paths.rs"]
mod paths;
#[path = "layers/tokens.rs"]
mod tokens;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use paths::{Import, imports};
use tokens::{Token, tokens};

/// Every module at the top of the crate, and the floor that it stands on.
const FLOORS: [(&str, u8); 25] = [
    ("units", 1),
    ("id", 1),
    ("clock", 1),
    ("secret", 1),
    ("resources", 1),
    ("supervisor", 1),
    ("mishap", 1),
    ("telemetry", 2),
    ("sanitize", 2),
    ("trust", 2),
    ("meter", 2),
    ("policy", 3),
    ("server", 4),
    ("ledger", 4),
    ("upstream", 4),
    ("reload", 4),
    ("jwks", 4),
    ("health", 4),
    ("settlements", 4),
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

// What must fail does fail.

fn faults(path: &str, text: &str) -> Vec<String> {
    judge(&Source::at(Path::new(path)), text, &mut Graph::default())
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
