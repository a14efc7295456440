//! The stage of the operator's own rules: one automaton over all of them.
//!
//! The leftmost match wins, and at one place the earlier rule. Any regex is
//! allowed, so where a match may have begun must be found out: *idle* is the
//! latest place where nothing was in progress, and no match can begin before it.
//! It decides when the cap is reached, so it is the same for every cutting of
//! the text; what is held may be less.
//!
//! # Limits
//! [`MAX_HELD`] bytes behind idle, a match that is certain is replaced at once
//! and swallowed to its end; a mere possibility is given up, except for what
//! began in the younger half.

use super::automaton::{Head, Seeker, Stop};
use super::prefixes::Prefixes;
use super::stage::{MAX_HELD, Stage};
use super::window::Window;

/// The compiled own rules.
#[derive(Debug)]
pub(super) struct Own {
    pub seeker: Seeker,
    pub prefixes: Option<Prefixes>,
    pub rules: Vec<OwnRule>,
}

/// What a match of one pattern is replaced with.
#[derive(Debug)]
pub(super) struct OwnRule {
    pub label: usize,
    pub replacement: Box<[u8]>,
}

/// The search for one response.
#[derive(Debug)]
pub(super) struct Search {
    head: Head,
    /// Where nothing was in progress last; may lie before the window.
    idle: isize,
    /// Up to where `idle` is known exactly; cruising only samples.
    surveyed: Head,
    found: Option<Found>,
    /// The match is already replaced; its further bytes are dropped.
    swallowing: bool,
    oldest: Option<Oldest>,
}

/// The best match so far, while a better or longer one may follow.
#[derive(Debug, Clone, Copy)]
struct Found {
    end: usize,
    pattern: usize,
}

/// The oldest place where a match may begin, and how far that has been tried.
#[derive(Debug, Clone, Copy)]
struct Oldest {
    start: usize,
    head: Head,
    matched: bool,
}

impl Stage for Search {
    type Rules = Own;

    fn begin(rules: &Own) -> Self {
        Self::at(rules.seeker.seek(0, None))
    }

    fn advance(&mut self, rules: &Own, window: &mut Window<'_>) {
        if self.rules_out(rules, window) {
            let length = window.text.len();
            return self.restart(&rules.seeker, window, length);
        }
        while self.step(rules, window) {}
    }

    fn hold(&mut self, rules: &Own, window: &Window<'_>) -> usize {
        match self.found {
            Some(found) if self.swallowing => found.end,
            _ => self.oldest(&rules.seeker, window, false),
        }
    }

    fn rebase(&mut self, gone: usize) {
        self.head.at -= gone;
        self.idle -= gone as isize;
        self.surveyed.at = self.surveyed.at.saturating_sub(gone);
        if let Some(found) = &mut self.found {
            found.end -= gone;
        }
        self.oldest =
            self.oldest.filter(|oldest| oldest.start >= gone).map(|oldest| oldest.rebased(gone));
    }
}

impl Search {
    fn at(head: Head) -> Self {
        Self {
            head,
            idle: head.at as isize,
            surveyed: head,
            found: None,
            swallowing: false,
            oldest: None,
        }
    }

    fn rules_out(&self, rules: &Own, window: &Window<'_>) -> bool {
        let idle = self.found.is_none() && self.idle == self.head.at as isize;
        let prefixes = rules.prefixes.as_ref().filter(|_| idle);
        prefixes.is_some_and(|prefixes| prefixes.rule_out(window.text, self.head.at, window.last))
    }

    fn restart(&mut self, seeker: &Seeker, window: &Window<'_>, at: usize) {
        *self = Self::at(seeker.seek(at, window.byte_before(at)));
    }

    /// Runs to the next event. Says whether there may be more to do.
    fn step(&mut self, rules: &Own, window: &mut Window<'_>) -> bool {
        let length = window.text.len();
        let limit = length.min(self.limit());
        match self.cruise(&rules.seeker, window.text, limit) {
            Stop::Match(pattern) => self.matched(&rules.seeker, window, self.head.at - 1, pattern),
            Stop::Dead => self.settle(rules, window),
            Stop::Limit if limit < length => self.cap(rules, window),
            Stop::Limit if window.last => return self.end(rules, window),
            Stop::Limit => return false,
        }
        true
    }

    /// Where the cap is reached if nothing becomes idle before.
    fn limit(&self) -> usize {
        match self.found {
            Some(found) if self.swallowing => found.end + MAX_HELD,
            _ => usize::try_from(self.idle + MAX_HELD as isize).unwrap_or(0),
        }
    }

    fn cruise(&mut self, seeker: &Seeker, text: &[u8], limit: usize) -> Stop {
        if self.found.is_some() {
            return seeker.table.run(text, &mut self.head, limit);
        }
        let (stop, idle) = seeker.cruise(text, &mut self.head, limit);
        if let Some(idle) = idle {
            self.idle = idle.at as isize;
            self.surveyed = idle;
        }
        stop
    }

    fn matched(&mut self, seeker: &Seeker, window: &mut Window<'_>, end: usize, pattern: usize) {
        self.survey(seeker, window.text);
        self.found = Some(Found { end, pattern });
        if self.swallowing {
            window.drop_to(end);
        }
    }

    /// Nothing can match or grow any more: takes the match, if any, and begins anew behind it.
    fn settle(&mut self, rules: &Own, window: &mut Window<'_>) {
        let next = match self.found {
            Some(found) => {
                if !self.swallowing {
                    self.replace(rules, window, found);
                }
                found.end
            }
            None => self.head.at,
        };
        self.restart(&rules.seeker, window, next);
    }

    fn end(&mut self, rules: &Own, window: &mut Window<'_>) -> bool {
        if let Some(pattern) = rules.seeker.table.end(self.head) {
            self.matched(&rules.seeker, window, window.text.len(), pattern);
        }
        let any = self.found.is_some();
        if any {
            self.settle(rules, window);
        }
        any
    }

    fn cap(&mut self, rules: &Own, window: &mut Window<'_>) {
        match self.found {
            Some(_) if self.swallowing => self.settle(rules, window),
            Some(found) => {
                self.replace(rules, window, found);
                window.drop_to(found.end);
                self.swallowing = true;
            }
            None => self.give_up(&rules.seeker, window),
        }
    }

    /// Gives up what has been a mere possibility for too long, but keeps what
    /// began in the younger half.
    fn give_up(&mut self, seeker: &Seeker, window: &Window<'_>) {
        self.survey(seeker, window.text);
        let limit = self.head.at;
        if (limit as isize) < self.idle + MAX_HELD as isize {
            return;
        }
        let idle = self.idle + (MAX_HELD / 2) as isize;
        self.restart(seeker, window, usize::try_from(idle).unwrap_or(0));
        seeker.table.run(window.text, &mut self.head, limit);
        self.idle = idle;
        self.surveyed = self.head;
    }

    fn replace(&mut self, rules: &Own, window: &mut Window<'_>, found: Found) {
        let start = self.oldest(&rules.seeker, window, true);
        let rule = &rules.rules[found.pattern];
        window.replace(start..found.end, &rule.replacement, rule.label);
    }

    /// Finds the exact `idle` up to the head, or up to the first match.
    fn survey(&mut self, seeker: &Seeker, text: &[u8]) {
        if self.found.is_some() {
            return;
        }
        while self.surveyed.at < self.head.at {
            let next = self.surveyed.at + 1;
            if seeker.table.run(text, &mut self.surveyed, next) != Stop::Limit {
                self.surveyed.at = self.head.at;
            } else if seeker.is_idle(self.surveyed, text[next - 1]) {
                self.idle = next as isize;
            }
        }
    }

    /// The first place, from `idle` on, where a match begins or, unless it must
    /// be a `whole` match, may begin.
    fn oldest(&mut self, seeker: &Seeker, window: &Window<'_>, whole: bool) -> usize {
        self.survey(seeker, window.text);
        let limit = self.head.at;
        let mut next = usize::try_from(self.idle).unwrap_or(0);
        let mut known = self.oldest.take().filter(|oldest| oldest.start >= next);
        while next < limit {
            let mut tried = known.take().unwrap_or_else(|| {
                let head = seeker.pin(next, window.byte_before(next));
                Oldest { start: next, head, matched: false }
            });
            let alive = tried.run(seeker, window.text, limit);
            if alive && whole && window.last && limit == window.text.len() {
                tried.matched |= seeker.table.end(tried.head).is_some();
            }
            if tried.matched || (alive && !whole) {
                self.oldest = Some(tried);
                return tried.start;
            }
            next = tried.start + 1;
        }
        limit
    }
}

impl Oldest {
    /// Says whether a match that begins here may still come or grow.
    fn run(&mut self, seeker: &Seeker, text: &[u8], limit: usize) -> bool {
        while self.head.at < limit {
            match seeker.table.run(text, &mut self.head, limit) {
                Stop::Limit => {}
                Stop::Match(_) => self.matched = true,
                Stop::Dead => return false,
            }
        }
        true
    }

    fn rebased(mut self, gone: usize) -> Self {
        self.start -= gone;
        self.head.at -= gone;
        self
    }
}
