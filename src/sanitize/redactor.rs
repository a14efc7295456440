//! Compiles packs and own rules into one immutable redactor.
//!
//! Own rules are parsed as Unicode regexes over bytes; `\b` and its kin are
//! ASCII, because only those can be decided byte by byte. At the same place a
//! pack wins over an own rule, so that an own rule never shortens what a pack
//! would mask.
//!
//! # Failure
//! A bad own rule is named by its index, with a phrase for the operator.
//!
//! # Limits
//! All patterns together must fit into a DFA of 16 MiB.

use std::borrow::Cow;

use regex_syntax::hir::{Class, Hir, HirKind, Look};
use regex_syntax::{Parser, ParserBuilder};

use super::Hits;
use super::automaton::{Automaton, TooComplex};
use super::machine::Machine;
use super::output::Output;
use super::packs::judge::{self, Judge};
use super::packs::{self, Pack};

/// An operator's own rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The metric label.
    pub name: String,
    /// A regex in the syntax of the `regex` crate; must not match the empty string.
    pub pattern: String,
    /// What a match is replaced with, literally.
    pub replace: String,
}

/// Why the rules cannot be compiled. `index` is that of the operator's rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The pattern is not a regex.
    #[error("the pattern is not a valid regular expression: {phrase}")]
    Syntax {
        /// Which of the operator's rules.
        index: usize,
        /// What is wrong, in the words of the regex parser.
        phrase: String,
        /// Where in the pattern, in bytes.
        offset: usize,
    },
    /// The pattern would match between any two bytes.
    #[error("the pattern matches the empty string")]
    MatchesEmpty {
        /// Which of the operator's rules.
        index: usize,
    },
    /// The pattern cannot match any text.
    #[error("the pattern can never match")]
    NeverMatches {
        /// Which of the operator's rules.
        index: usize,
    },
    /// The pattern needs too much memory, alone or together with the packs and the rules before it.
    #[error("the pattern is too complex: use shorter repetitions or narrower classes")]
    TooComplex {
        /// Which of the operator's rules.
        index: usize,
    },
}

impl RuleError {
    /// Index of the operator's rule that is at fault.
    pub const fn index(&self) -> usize {
        match self {
            Self::Syntax { index, .. }
            | Self::MatchesEmpty { index }
            | Self::NeverMatches { index }
            | Self::TooComplex { index } => *index,
        }
    }
}

/// Finds and replaces; immutable, built once per policy.
#[derive(Debug)]
pub struct Redactor {
    /// `None` without any pattern.
    pub(super) automaton: Option<Automaton>,
    pub(super) entries: Vec<Entry>,
    pub(super) labels: Vec<Label>,
}

/// What one pattern of the automaton stands for.
#[derive(Debug)]
pub(super) struct Entry {
    /// Index of its label.
    pub label: usize,
    pub judge: Judge,
}

/// A pack or own rule as the outside sees it.
#[derive(Debug)]
pub(super) struct Label {
    name: Box<str>,
    pub replacement: Box<[u8]>,
}

impl Redactor {
    /// Compiles packs and own rules.
    ///
    /// # Errors
    /// The first own rule that is not a regex, matches the empty string, can
    /// never match, or makes the whole too complex.
    pub fn compile(packs: &[Pack], rules: &[Rule]) -> Result<Self, RuleError> {
        let mut draft = Draft::default();
        for pack in Pack::ALL.into_iter().filter(|pack| packs.contains(pack)) {
            draft.add_pack(pack);
        }
        let builtin = draft.patterns.len();
        for (index, rule) in rules.iter().enumerate() {
            draft.add_rule(index, rule)?;
        }
        let automaton = match draft.patterns.is_empty() {
            true => None,
            false => Some(build(&draft.patterns).map_err(|_| draft.culprit(builtin))?),
        };
        Ok(Self { automaton, entries: draft.entries, labels: draft.labels })
    }

    /// Says whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.automaton.is_none()
    }

    /// The value of the metric label `rule` for each pack, then each own rule; the index is that of [`Hits`].
    pub fn rule_names(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|label| &*label.name)
    }

    /// Heap memory of the tables, in bytes.
    pub fn memory_usage(&self) -> usize {
        self.automaton.as_ref().map_or(0, Automaton::memory_usage)
    }

    /// Redacts a whole text; borrows it when nothing matched.
    pub fn redact<'a>(&self, text: &'a [u8], hits: &mut Hits) -> Cow<'a, [u8]> {
        let mut output = Output::default();
        let mut machine = Machine::new(self);
        machine.advance(self, text, &mut output, hits);
        machine.finish(self, text, &mut output, hits);
        output.into_whole(text)
    }
}

/// Patterns and labels while they are collected.
#[derive(Default)]
struct Draft {
    patterns: Vec<Hir>,
    entries: Vec<Entry>,
    labels: Vec<Label>,
}

impl Draft {
    fn add_pack(&mut self, pack: Pack) {
        let label = self.label(pack.name(), packs::REPLACEMENT);
        for secret in pack.secrets() {
            for pattern in packs::expand(secret.pattern) {
                let hir =
                    bytes_parser().parse(&pattern).expect("built-in patterns are parsed by a test");
                self.patterns.push(hir);
                self.entries.push(Entry { label, judge: secret.judge });
            }
        }
    }

    fn add_rule(&mut self, index: usize, rule: &Rule) -> Result<(), RuleError> {
        let hir =
            unicode_parser().parse(&rule.pattern).map_err(|error| syntax_error(index, &error))?;
        match hir.properties().minimum_len() {
            Some(0) => return Err(RuleError::MatchesEmpty { index }),
            None => return Err(RuleError::NeverMatches { index }),
            Some(_) => {}
        }
        let label = self.label(&rule.name, &rule.replace);
        self.patterns.push(with_ascii_borders(&hir));
        self.entries.push(Entry { label, judge: judge::exact });
        Ok(())
    }

    fn label(&mut self, name: &str, replacement: &str) -> usize {
        let replacement = replacement.as_bytes().into();
        self.labels.push(Label { name: name.into(), replacement });
        self.labels.len() - 1
    }

    /// Names the first own rule with which the patterns no longer fit.
    fn culprit(&self, builtin: usize) -> RuleError {
        let (mut fits, mut fails) = (builtin, self.patterns.len());
        while fits + 1 < fails {
            let middle = fits.midpoint(fails);
            match build(&self.patterns[..middle]) {
                Ok(_) => fits = middle,
                Err(_) => fails = middle,
            }
        }
        RuleError::TooComplex { index: fails.saturating_sub(builtin + 1) }
    }
}

fn build(patterns: &[Hir]) -> Result<Automaton, TooComplex> {
    Automaton::build(&patterns.iter().collect::<Vec<_>>())
}

fn bytes_parser() -> Parser {
    ParserBuilder::new().unicode(false).utf8(false).build()
}

fn unicode_parser() -> Parser {
    ParserBuilder::new().utf8(false).build()
}

fn syntax_error(index: usize, error: &regex_syntax::Error) -> RuleError {
    let (phrase, offset) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start.offset),
        regex_syntax::Error::Translate(error) => {
            (error.kind().to_string(), error.span().start.offset)
        }
        _ => ("unsupported".to_owned(), 0),
    };
    RuleError::Syntax { index, phrase, offset }
}

/// Replaces Unicode word borders, which a DFA cannot decide, by ASCII ones.
fn with_ascii_borders(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0.clone()),
        HirKind::Class(class) => Hir::class(Class::clone(class)),
        HirKind::Look(look) => Hir::look(ascii_border(*look)),
        HirKind::Repetition(repetition) => {
            Hir::repetition(repetition.with(with_ascii_borders(&repetition.sub)))
        }
        // The group itself is of no use here.
        HirKind::Capture(capture) => with_ascii_borders(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(with_ascii_borders).collect()),
        HirKind::Alternation(parts) => {
            Hir::alternation(parts.iter().map(with_ascii_borders).collect())
        }
    }
}

const fn ascii_border(look: Look) -> Look {
    match look {
        Look::WordUnicode => Look::WordAscii,
        Look::WordUnicodeNegate => Look::WordAsciiNegate,
        Look::WordStartUnicode => Look::WordStartAscii,
        Look::WordEndUnicode => Look::WordEndAscii,
        Look::WordStartHalfUnicode => Look::WordStartHalfAscii,
        Look::WordEndHalfUnicode => Look::WordEndHalfAscii,
        other => other,
    }
}
