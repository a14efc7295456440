//! Compiles packs and own rules into one immutable redactor.
//!
//! Own rules are parsed as Unicode regexes over bytes; `\b` and its kin are
//! ASCII, because only those can be decided byte by byte.
//!
//! # Failure
//! A bad own rule is named by its index, with a phrase for the operator.
//!
//! # Limits
//! All own rules together must fit into an automaton of 16 MiB.

use std::borrow::Cow;
use std::fmt;

use regex_syntax::hir::{Class, Hir, HirKind, Look};
use regex_syntax::{Parser, ParserBuilder};

use super::Hits;
use super::automaton::Seeker;
use super::built_in::{self, BuiltIn};
use super::own::{self, Own, OwnRule};
use super::packs::Pack;
use super::prefixes::Prefixes;
use super::stage::Stage;
use super::window::{Before, Window};

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
    /// The pattern needs too much memory, alone or together with the rules before it.
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
pub struct Redactor {
    pub(super) built_in: Option<BuiltIn>,
    pub(super) own: Option<Own>,
    names: Vec<Box<str>>,
}

impl Redactor {
    /// Compiles packs and own rules.
    ///
    /// # Errors
    /// The first own rule that is not a regex, matches the empty string, can
    /// never match, or makes the whole too complex.
    pub fn compile(packs: &[Pack], rules: &[Rule]) -> Result<Self, RuleError> {
        let packs: Vec<Pack> = Pack::ALL.into_iter().filter(|pack| packs.contains(pack)).collect();
        let own = match rules {
            [] => None,
            rules => Some(compile_own(packs.len(), rules)?),
        };
        let built_in = (!packs.is_empty()).then(|| BuiltIn::new(packs.iter().copied().enumerate()));
        let names =
            packs.iter().map(|pack| pack.name()).chain(rules.iter().map(|rule| &*rule.name));
        Ok(Self { built_in, own, names: names.map(Box::from).collect() })
    }

    /// Says whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.built_in.is_none() && self.own.is_none()
    }

    /// The value of the metric label `rule` for each pack, then each own rule; the index is that of [`Hits`].
    pub fn rule_names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Heap memory of the automata, in bytes.
    pub fn memory_usage(&self) -> usize {
        let built_in = self.built_in.as_ref().map_or(0, BuiltIn::memory_usage);
        built_in + self.own.as_ref().map_or(0, |own| own.seeker.table.memory_usage())
    }

    /// Redacts a whole text; borrows it when nothing matched.
    pub fn redact<'a>(&self, text: &'a [u8], hits: &mut Hits) -> Cow<'a, [u8]> {
        let mut text = Cow::Borrowed(text);
        if let Some(rules) = &self.built_in {
            text = whole::<built_in::Search>(rules, text, hits);
        }
        if let Some(rules) = &self.own {
            text = whole::<own::Search>(rules, text, hits);
        }
        text
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rule_names()).finish()
    }
}

fn whole<'a, S: Stage>(rules: &S::Rules, text: Cow<'a, [u8]>, hits: &mut Hits) -> Cow<'a, [u8]> {
    let mut window = Window::new(&text, Before::default(), true, hits);
    S::begin(rules).advance(rules, &mut window);
    let output = window.into_output();
    output.into_whole(text)
}

fn compile_own(packs: usize, rules: &[Rule]) -> Result<Own, RuleError> {
    let parsed = rules.iter().enumerate().map(|(index, rule)| parse(index, &rule.pattern));
    let hirs = parsed.collect::<Result<Vec<Hir>, RuleError>>()?;
    let seeker = Seeker::build(&hirs).map_err(|_| culprit(&hirs))?;
    let labels = rules.iter().zip(packs..);
    let rules =
        labels.map(|(rule, label)| OwnRule { label, replacement: rule.replace.as_bytes().into() });
    Ok(Own { seeker, prefixes: Prefixes::of(&hirs), rules: rules.collect() })
}

fn parse(index: usize, pattern: &str) -> Result<Hir, RuleError> {
    let hir = own_parser().parse(pattern).map_err(|error| syntax_error(index, &error))?;
    match hir.properties().minimum_len() {
        Some(0) => Err(RuleError::MatchesEmpty { index }),
        None => Err(RuleError::NeverMatches { index }),
        Some(_) => Ok(with_ascii_borders(&hir)),
    }
}

/// Names the first rule with which the patterns no longer fit.
fn culprit(hirs: &[Hir]) -> RuleError {
    let (mut fits, mut fails) = (0, hirs.len());
    while fits + 1 < fails {
        let middle = fits.midpoint(fails);
        match Seeker::build(&hirs[..middle]) {
            Ok(_) => fits = middle,
            Err(_) => fails = middle,
        }
    }
    RuleError::TooComplex { index: fails.saturating_sub(1) }
}

fn own_parser() -> Parser {
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
