//! The stage of the packs: a head, its tail, and the judge's word.
//!
//! Heads are literals and found by [`Heads`]; what must follow one is matched by
//! an automaton of its own, so that many long patterns do not multiply. If the
//! tail does not match or the judge leaves the candidate, the search goes on
//! with the next head at the same place.
//!
//! # Limits
//! A tail that has not matched after [`MAX_TAIL`] bytes is given up. A match that
//! is longer than [`MAX_HELD`] is judged by its beginning.

use regex_syntax::ParserBuilder;

use super::automaton::{Follower, Head, Stop};
use super::heads::{Heads, Literal, Sight};
use super::packs::judge::{Judge, Site, Verdict};
use super::packs::{self, Class, MAX_REACH, Pack, RUN, Secret};
use super::stage::{MAX_HELD, Stage};
use super::window::Window;

/// The most bytes that a tail may go on without a match. Small, because what
/// follows a false head is read once more.
pub(super) const MAX_TAIL: usize = 1 << 10;

/// The compiled packs.
#[derive(Debug)]
pub(super) struct BuiltIn {
    heads: Heads,
    followers: Vec<Follower>,
    entries: Vec<Entry>,
}

/// What a head stands for.
#[derive(Debug)]
struct Entry {
    label: usize,
    follower: usize,
    word: bool,
    reach: Class,
    judge: Judge,
}

/// The search for one response.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Where the search began, or the last replacement ended; may lie before the window.
    origin: isize,
    /// Where heads are looked for next, and there only from this index on.
    at: usize,
    first: usize,
    follow: Option<Follow>,
    /// The match is already replaced; its further bytes are dropped.
    swallowing: bool,
}

/// A head that was found, and its tail as far as it goes.
#[derive(Debug, Clone, Copy)]
struct Follow {
    start: usize,
    entry: usize,
    head: Head,
    /// Where the longest match so far ends.
    end: Option<usize>,
}

impl BuiltIn {
    /// Compiles packs; each comes with the index of its label.
    pub fn new(packs: impl Iterator<Item = (usize, Pack)>) -> Self {
        let (mut literals, mut entries) = (Vec::new(), Vec::new());
        let (mut followers, mut tails) = (Vec::new(), Vec::new());
        for (label, pack) in packs {
            for secret in pack.secrets() {
                let follower = tails
                    .iter()
                    .position(|tail| *tail == (secret.tail, secret.spelling))
                    .unwrap_or_else(|| {
                        tails.push((secret.tail, secret.spelling));
                        followers.push(follower(secret));
                        tails.len() - 1
                    });
                let literal = |head: &&'static str| Literal {
                    bytes: head.as_bytes(),
                    fold: secret.fold,
                    entry: entries.len(),
                };
                literals.extend(secret.heads.iter().map(literal));
                let Secret { word, reach, judge, .. } = *secret;
                entries.push(Entry { label, follower, word, reach, judge });
            }
        }
        Self { heads: Heads::new(literals), followers, entries }
    }

    /// Heap memory of the automata, in bytes.
    pub fn memory_usage(&self) -> usize {
        self.followers.iter().map(|follower| follower.memory_usage()).sum()
    }
}

/// Built-in patterns are bytes and ASCII only.
fn follower(secret: &Secret) -> Follower {
    let mut parser = ParserBuilder::new().unicode(false).utf8(false).build();
    let hir = parser
        .parse(&packs::expand(secret.tail, secret.spelling))
        .expect("a test parses every built-in pattern");
    Follower::build(&hir).expect("a test compiles every built-in pattern")
}

impl Stage for Search {
    type Rules = BuiltIn;

    fn begin(_: &BuiltIn) -> Self {
        Self::default()
    }

    fn advance(&mut self, rules: &BuiltIn, window: &mut Window<'_>) {
        loop {
            let more = match self.follow {
                Some(follow) => self.follow(rules, window, follow),
                None => self.seek(rules, window),
            };
            if !more {
                return;
            }
        }
    }

    fn hold(&mut self, _: &BuiltIn, window: &Window<'_>) -> usize {
        match self.follow {
            Some(Follow { end: Some(end), .. }) if self.swallowing => end,
            Some(follow) => self.reach_back(window, follow.start, Some(&RUN)),
            None => self.reach_back(window, self.at, Some(&RUN)),
        }
    }

    fn rebase(&mut self, gone: usize) {
        self.origin -= gone as isize;
        // While swallowing, only the end counts; the rest may lie before the window.
        self.at = self.at.saturating_sub(gone);
        if let Some(follow) = &mut self.follow {
            follow.start = follow.start.saturating_sub(gone);
            follow.head.at -= gone;
            follow.end = follow.end.map(|end| end.saturating_sub(gone));
        }
    }
}

impl Search {
    /// Looks for a head. Says whether there may be more to do.
    fn seek(&mut self, rules: &BuiltIn, window: &Window<'_>) -> bool {
        match rules.heads.find(window.text, self.at, self.first, window.last) {
            Sight::Nothing => self.go_on(window.text.len()),
            Sight::Maybe(at) => self.go_on(at),
            Sight::Head(at, index) => {
                (self.at, self.first) = (at, index + 1);
                self.begin_follow(rules, window, index);
                return true;
            }
        }
        false
    }

    fn go_on(&mut self, at: usize) {
        if at > self.at {
            (self.at, self.first) = (at, 0);
        }
    }

    fn begin_follow(&mut self, rules: &BuiltIn, window: &Window<'_>, index: usize) {
        let literal = rules.heads.literal(index);
        let entry = &rules.entries[literal.entry];
        if entry.word && !window.begins_word(self.at) {
            return;
        }
        let tail = self.at + literal.bytes.len();
        self.follow = Some(Follow {
            start: self.start(window, entry.reach),
            entry: literal.entry,
            head: rules.followers[entry.follower].pin(tail, window.byte_before(tail)),
            end: None,
        });
    }

    /// Where the candidate begins, with what belongs to it before its head.
    fn start(&self, window: &Window<'_>, reach: Class) -> usize {
        let start = self.reach_back(window, self.at, reach);
        if start == self.at {
            return start;
        }
        // The run must not begin with the letters of an escape sequence before it.
        let escape = match (window.byte_before(start), window.text[start]) {
            (Some(b'\\'), b'u') => 5,
            (Some(b'\\'), _) => 1,
            (Some(b'%'), _) => 2,
            _ => 0,
        };
        self.at.min(start + escape)
    }

    fn reach_back(&self, window: &Window<'_>, at: usize, reach: Class) -> usize {
        let Some(class) = reach else { return at };
        let origin = usize::try_from(self.origin).unwrap_or(0);
        let first = origin.max(at.saturating_sub(MAX_REACH));
        let run = window.text[first..at].iter().rev().take_while(|byte| class[usize::from(**byte)]);
        at - run.count()
    }

    /// Follows a tail to the next event. Says whether there may be more to do.
    fn follow(&mut self, rules: &BuiltIn, window: &mut Window<'_>, mut follow: Follow) -> bool {
        let follower = &rules.followers[rules.entries[follow.entry].follower];
        let length = window.text.len();
        let limit = length.min(self.limit(&follow));
        match follower.run(window.text, &mut follow.head, limit) {
            Stop::Match(_) => self.lengthen(window, &mut follow, -1),
            Stop::Dead => self.settle(rules, window, follow),
            Stop::Limit if limit < length => self.cap(rules, window, follow),
            Stop::Limit if window.last => {
                if follower.end(follow.head).is_some() {
                    self.lengthen(window, &mut follow, 0);
                }
                self.settle(rules, window, follow);
            }
            Stop::Limit => {
                self.follow = Some(follow);
                return false;
            }
        }
        true
    }

    fn limit(&self, follow: &Follow) -> usize {
        match follow.end {
            Some(end) if self.swallowing => end + MAX_HELD,
            Some(_) => follow.start + MAX_HELD,
            None => follow.start + MAX_TAIL,
        }
    }

    fn lengthen(&mut self, window: &mut Window<'_>, follow: &mut Follow, offset: isize) {
        let end = follow.head.at.saturating_add_signed(offset);
        follow.end = Some(end);
        self.follow = Some(*follow);
        if self.swallowing {
            window.drop_to(end);
        }
    }

    /// The tail is over: the candidate is as long as it gets.
    fn settle(&mut self, rules: &BuiltIn, window: &mut Window<'_>, follow: Follow) {
        match follow.end {
            Some(end) if self.swallowing => self.restart(end),
            Some(end) => {
                if self.replace(rules, window, &follow, false) {
                    self.restart(end);
                }
            }
            None => self.follow = None,
        }
    }

    /// The candidate is too long to be kept: a match is swallowed from here on.
    fn cap(&mut self, rules: &BuiltIn, window: &mut Window<'_>, follow: Follow) {
        match follow.end {
            Some(end) if !self.swallowing => {
                if self.replace(rules, window, &follow, true) {
                    window.drop_to(end);
                    self.follow = Some(follow);
                    self.swallowing = true;
                }
            }
            _ => self.settle(rules, window, follow),
        }
    }

    /// Asks the judge. Says whether the candidate was replaced; if not, the search goes on.
    fn replace(
        &mut self,
        rules: &BuiltIn,
        window: &mut Window<'_>,
        follow: &Follow,
        open: bool,
    ) -> bool {
        let (start, end) = (follow.start, follow.end.unwrap_or(follow.start));
        let entry = &rules.entries[follow.entry];
        let site =
            Site { before: window.byte_before(start), bytes: &window.text[start..end], open };
        match (entry.judge)(site) {
            Verdict::Pass(length) => {
                self.follow = None;
                self.go_on((start + length).min(end));
                false
            }
            Verdict::Mask(part) => {
                let part = start + part.start..start + part.end;
                window.replace(part, packs::REPLACEMENT, entry.label);
                true
            }
        }
    }

    fn restart(&mut self, at: usize) {
        *self = Self { origin: at as isize, at, ..Self::default() };
    }
}
