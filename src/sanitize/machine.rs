//! Decides what is replaced and what must wait, byte by byte.
//!
//! [`Machine`] runs the automaton over a window of the text. Every decision
//! depends on the bytes alone, never on where a chunk ends: that is why a stream
//! and a whole text are redacted alike. After [`Machine::advance`],
//! [`Machine::hold`] says from where on bytes must be kept, and
//! [`Machine::rebase`] drops those before it.
//!
//! # Limits
//! *Idle* is the latest place where nothing is in progress; no match can begin
//! before it. [`MAX_HELD`] bytes behind it, a match that is certain is replaced at
//! once and swallowed to its end; a mere possibility older than half of that
//! is given up.

use super::Hits;
use super::automaton::{Automaton, Head, Stop};
use super::packs::judge::{Site, Verdict};
use super::redactor::Redactor;

use super::output::Output;

/// The most bytes that a stream keeps back.
pub const MAX_HELD: usize = 8 << 10;

/// The state of one search; positions count from the beginning of the window.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    head: Head,
    /// The byte before the window.
    before: Option<u8>,
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

impl Machine {
    pub fn new(redactor: &Redactor) -> Self {
        let head = redactor
            .automaton
            .as_ref()
            .map(|automaton| automaton.seek(0, None))
            .unwrap_or_default();
        Self {
            head,
            before: None,
            idle: 0,
            surveyed: head,
            found: None,
            swallowing: false,
            oldest: None,
        }
    }

    /// Consumes the window to its end.
    pub fn advance(
        &mut self,
        redactor: &Redactor,
        text: &[u8],
        output: &mut Output,
        hits: &mut Hits,
    ) {
        let Some(automaton) = &redactor.automaton else {
            self.head.at = text.len();
            return;
        };
        let mut pass = Pass { machine: self, redactor, automaton, text, output, hits };
        pass.advance();
    }

    /// Consumes the window and takes its end for the end of the text.
    pub fn finish(
        &mut self,
        redactor: &Redactor,
        text: &[u8],
        output: &mut Output,
        hits: &mut Hits,
    ) {
        let Some(automaton) = &redactor.automaton else { return };
        let mut pass = Pass { machine: self, redactor, automaton, text, output, hits };
        pass.finish();
    }

    /// Where the bytes begin that must be kept until more is known. Call after `advance`.
    pub fn hold(&mut self, redactor: &Redactor, text: &[u8]) -> usize {
        let Some(automaton) = &redactor.automaton else { return text.len() };
        if let (true, Some(found)) = (self.swallowing, self.found) {
            return found.end;
        }
        self.survey(automaton, text);
        if self.found.is_none() && self.idle == self.head.at as isize {
            return text.len();
        }
        self.oldest(automaton, text, false)
    }

    /// Forgets the first bytes of the window.
    pub fn rebase(&mut self, text: &[u8], gone: usize) {
        if gone == 0 {
            return;
        }
        self.before = Some(text[gone - 1]);
        self.head.at -= gone;
        self.surveyed.at -= gone;
        self.idle -= gone as isize;
        if let Some(found) = &mut self.found {
            found.end -= gone;
        }
        self.oldest = self.oldest.filter(|oldest| oldest.start >= gone);
        if let Some(oldest) = &mut self.oldest {
            oldest.start -= gone;
            oldest.head.at -= gone;
        }
    }

    fn byte_before(&self, text: &[u8], at: usize) -> Option<u8> {
        at.checked_sub(1).map_or(self.before, |last| text.get(last).copied())
    }

    /// Begins a new search.
    fn restart(&mut self, automaton: &Automaton, text: &[u8], at: usize) {
        self.head = automaton.seek(at, self.byte_before(text, at));
        self.idle = at as isize;
        self.surveyed = self.head;
        self.found = None;
        self.swallowing = false;
        self.oldest = None;
    }

    /// Finds the exact `idle` up to the head, or up to the first match.
    fn survey(&mut self, automaton: &Automaton, text: &[u8]) {
        if self.found.is_some() {
            return;
        }
        while self.surveyed.at < self.head.at {
            let next = self.surveyed.at + 1;
            if automaton.run(text, &mut self.surveyed, next) != Stop::Limit {
                self.surveyed.at = self.head.at;
            } else if automaton.is_idle(self.surveyed.state, text[next - 1]) {
                self.idle = next as isize;
            }
        }
    }

    /// The first place, from `idle` on, where a match begins or (unless it must be a whole match) may begin.
    fn oldest(&mut self, automaton: &Automaton, text: &[u8], whole: bool) -> usize {
        let limit = self.head.at;
        let first = usize::try_from(self.idle).unwrap_or(0);
        let mut oldest = self.oldest.filter(|oldest| oldest.start >= first);
        let mut next = first;
        loop {
            let mut tried = oldest.take().unwrap_or_else(|| Oldest {
                start: next,
                head: automaton.pin(next, self.byte_before(text, next)),
                matched: false,
            });
            if tried.start >= limit {
                return limit;
            }
            let alive = tried.run(automaton, text, limit);
            if tried.matched || (alive && !whole) {
                self.oldest = Some(tried);
                return tried.start;
            }
            next = tried.start + 1;
        }
    }
}

impl Oldest {
    /// Says whether a match that begins here may still come or grow.
    fn run(&mut self, automaton: &Automaton, text: &[u8], limit: usize) -> bool {
        while self.head.at < limit {
            match automaton.run(text, &mut self.head, limit) {
                Stop::Limit => {}
                Stop::Match(_) => self.matched = true,
                Stop::Dead => {
                    self.head.at = limit;
                    return false;
                }
            }
        }
        true
    }
}

/// A machine at work on a window.
struct Pass<'p> {
    machine: &'p mut Machine,
    redactor: &'p Redactor,
    automaton: &'p Automaton,
    text: &'p [u8],
    output: &'p mut Output,
    hits: &'p mut Hits,
}

impl Pass<'_> {
    fn advance(&mut self) {
        while self.machine.head.at < self.text.len() {
            let limit = self.text.len().min(self.limit());
            match self.cruise(limit) {
                Stop::Match(pattern) => self.matched(pattern),
                Stop::Dead => self.settle(),
                Stop::Limit if self.machine.head.at < self.text.len() => self.cap(),
                Stop::Limit => {}
            }
        }
    }

    fn finish(&mut self) {
        loop {
            self.advance();
            if let Some(pattern) = self.automaton.end(self.machine.head.state) {
                self.machine.survey(self.automaton, self.text);
                self.found(self.text.len(), pattern);
            }
            if self.machine.found.is_none() {
                return;
            }
            self.settle();
        }
    }

    /// Where the cap would be reached if nothing becomes idle before.
    fn limit(&self) -> usize {
        let machine = &*self.machine;
        match (machine.swallowing, machine.found) {
            (true, Some(found)) => found.end + MAX_HELD,
            _ => usize::try_from(machine.idle + MAX_HELD as isize).unwrap_or(0),
        }
    }

    fn cruise(&mut self, limit: usize) -> Stop {
        let machine = &mut *self.machine;
        if machine.found.is_some() {
            return self.automaton.run(self.text, &mut machine.head, limit);
        }
        let mut idle = None;
        let stop = self.automaton.cruise(self.text, &mut machine.head, limit, &mut idle);
        if let Some(idle) = idle {
            machine.idle = idle.at as isize;
            machine.surveyed = idle;
        }
        stop
    }

    fn matched(&mut self, pattern: usize) {
        self.machine.survey(self.automaton, self.text);
        self.found(self.machine.head.at - 1, pattern);
    }

    fn found(&mut self, end: usize, pattern: usize) {
        self.machine.found = Some(Found { end, pattern });
        if self.machine.swallowing {
            self.output.drop_to(end);
        }
    }

    /// The search is over: replaces the match, if any, and begins anew behind it.
    fn settle(&mut self) {
        let Some(found) = self.machine.found else {
            let at = self.machine.head.at;
            return self.machine.restart(self.automaton, self.text, at);
        };
        let next = match self.machine.swallowing {
            true => found.end,
            false => self.replace(found, false).unwrap_or_else(|next| next),
        };
        self.machine.restart(self.automaton, self.text, next);
    }

    /// Nothing was idle for [`MAX_HELD`] bytes.
    fn cap(&mut self) {
        match self.machine.found {
            Some(_) if self.machine.swallowing => self.settle(),
            Some(found) => match self.replace(found, true) {
                Ok(end) => {
                    self.output.drop_to(end);
                    self.machine.swallowing = true;
                }
                Err(next) => self.machine.restart(self.automaton, self.text, next),
            },
            None => self.give_up(),
        }
    }

    /// Gives up what has been a mere possibility for too long, but keeps what
    /// began in the younger half.
    fn give_up(&mut self) {
        let before = self.machine.idle;
        self.machine.survey(self.automaton, self.text);
        if self.machine.idle > before {
            return;
        }
        let machine = &mut *self.machine;
        machine.idle += (MAX_HELD / 2) as isize;
        let at = usize::try_from(machine.idle).unwrap_or(0);
        let limit = machine.head.at;
        machine.head = self.automaton.seek(at, machine.byte_before(self.text, at));
        self.automaton.run(self.text, &mut machine.head, limit);
        machine.surveyed = machine.head;
        machine.oldest = None;
    }

    /// Asks the judge. `Ok`: masked, search on from here. `Err`: left, search on from here.
    fn replace(&mut self, found: Found, open: bool) -> Result<usize, usize> {
        let start = self.machine.oldest(self.automaton, self.text, true);
        let entry = &self.redactor.entries[found.pattern];
        let site = Site {
            before: self.machine.byte_before(self.text, start),
            bytes: &self.text[start..found.end],
            open,
        };
        match (entry.judge)(site) {
            Verdict::Mask(part) => {
                let label = &self.redactor.labels[entry.label];
                self.output.replace(
                    self.text,
                    start + part.start..start + part.end,
                    &label.replacement,
                );
                self.hits.record(entry.label);
                Ok(found.end)
            }
            Verdict::Pass(length) => Err((start + length.max(1)).min(found.end)),
        }
    }
}
