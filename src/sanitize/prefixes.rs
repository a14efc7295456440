//! Tells at a glance that a text has nothing for the own rules.
//!
//! If every own rule begins with one of a few literals, a text without any of
//! them need not be stepped through byte by byte. Rules for which that cannot be
//! said (`.+x`, `\d+`) have no prefixes, and cost what the automaton costs.

use regex_automata::util::prefilter::Prefilter;
use regex_automata::{MatchKind, Span};
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Hir, Look, LookSet};

/// More literals than this let too much through.
const MAX_LITERALS: usize = 64;

/// Longer beginnings do not tell more.
const MAX_LENGTH: usize = 6;

/// The literals with which the matches of all rules begin.
#[derive(Debug)]
pub(super) struct Prefixes {
    literals: Vec<Vec<u8>>,
    search: Prefilter,
}

impl Prefixes {
    /// `None` if some rule may begin with too much.
    pub fn of(hirs: &[Hir]) -> Option<Self> {
        let literals: Vec<Vec<u8>> =
            hirs.iter().map(literals).collect::<Option<Vec<_>>>()?.concat();
        if literals.len() > MAX_LITERALS {
            return None;
        }
        let search = Prefilter::new(MatchKind::LeftmostFirst, &literals)?;
        Some(Self { literals, search })
    }

    /// Says that no match begins from `at` on, and none can begin in this window and end in the next.
    pub fn rule_out(&self, text: &[u8], at: usize, last: bool) -> bool {
        let found = self.search.find(text, Span::from(at..text.len())).is_some();
        !found && (last || !self.ends_in_part(&text[at..]))
    }

    fn ends_in_part(&self, text: &[u8]) -> bool {
        let ends =
            |literal: &[u8]| (1..literal.len()).any(|length| text.ends_with(&literal[..length]));
        self.literals.iter().any(|literal| ends(literal))
    }
}

fn literals(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    // With other borders, "nothing in progress" is not always seen at once.
    if !hir.properties().look_set().iter().all(is_word_border) {
        return None;
    }
    let mut prefixes = Extractor::new().extract(hir);
    prefixes.keep_first_bytes(MAX_LENGTH);
    prefixes.dedup();
    if prefixes.min_literal_len()? < 2 {
        return None;
    }
    Some(prefixes.literals()?.iter().map(|literal| literal.as_bytes().to_vec()).collect())
}

fn is_word_border(look: Look) -> bool {
    LookSet::singleton(look).contains_word_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(patterns: &[&str]) -> Option<Prefixes> {
        let parse = |pattern: &&str| {
            regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern).expect("a regex")
        };
        Prefixes::of(&patterns.iter().map(parse).collect::<Vec<_>>())
    }

    #[test]
    fn a_text_without_any_prefix_is_ruled_out() {
        let prefixes = prefixes(&[r"EMP-\d{6}", r"(?-u:\b)(?:cat|dog)s?"]).expect("finite");
        for (text, ruled_out) in [
            ("nothing here", true),
            ("an EMP- here", false),
            ("a dog", false),
            ("ends in E", false),
            ("EM P", true),
        ] {
            assert_eq!(prefixes.rule_out(text.as_bytes(), 0, false), ruled_out, "{text}");
        }
        assert!(prefixes.rule_out(b"ends in E", 0, true));
    }

    #[test]
    fn rules_that_begin_with_anything_have_none() {
        for pattern in [r"\d+", ".x", "a?b", "^abc", "[a-z]+@x"] {
            assert!(prefixes(&["abc", pattern]).is_none(), "{pattern}");
        }
    }
}
