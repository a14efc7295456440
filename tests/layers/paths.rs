//! Resolves the paths of a source file, as far as they begin in this crate.

use std::fmt;

use super::tokens::{Token, tokens};

/// One resolved path: `["policy", "file", "Name"]`; a glob ends with `*`.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// Its segments.
    pub path: Vec<String>,
}

impl Import {
    /// The module at the top of the crate; `*` for all of them.
    pub fn top(&self) -> &str {
        self.path.first().map_or("*", String::as_str)
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crate::{}", self.path.join("::"))
    }
}

/// Every path of `text`, the source of `module`, that begins in this crate.
pub fn imports(module: &[String], text: &str) -> Vec<Import> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(module: &str, text: &str) -> Vec<String> {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        imports(&module, text).iter().map(ToString::to_string).collect()
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
        let text = "fn f(x: &crate::policy::Name) -> u8 { crate::units::parse::<u8>(x) + $crate::id::one() }";
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
}
