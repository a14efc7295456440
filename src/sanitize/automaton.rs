//! DFAs, stepped byte by byte: dense ones, or sparse ones where a dense one would be large.
//!
//! Adds to `regex-automata` what a stream needs: start states by the byte
//! before, a test for *idle* (no pattern in progress), and anchored runs that
//! tell where the oldest pattern in progress began. Decides nothing: see `own.rs` and `built_in.rs`.
//!
//! # Failure
//! Building fails when a DFA would exceed [`MAX_SIZE`]; a run cannot fail,
//! because Unicode word borders (the only cause) are compiled as ASCII ones.
//!
//! # Limits
//! A match is reported one byte late, as `regex-automata` does: the state after
//! byte `i` is a match state when a match ended before byte `i`.

use regex_automata::dfa::{Automaton, StartKind, dense, sparse};
use regex_automata::nfa::thompson::{Compiler, Config, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Hir;

/// Largest DFA, in bytes, and the most working memory that making it may take.
const MAX_SIZE: usize = 16 << 20;

/// Largest NFA, in bytes, that is worth determinising.
const MAX_NFA: usize = 1 << 20;

/// A dense table beyond it is kept as a sparse one, of a tenth of its size. Each step costs more
/// there, but is only taken behind the head of a secret.
const MAX_DENSE: usize = 64 << 10;

/// How many bytes are stepped between two looks for an idle state.
const STRIDE: usize = 32;

/// The patterns do not fit into a DFA of bounded size.
#[derive(Debug)]
pub(super) struct TooComplex;

/// Where a run stands: everything before `at` is consumed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Head {
    pub at: usize,
    state: StateID,
}

/// Why a run stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The limit was reached.
    Limit,
    /// A match of this pattern ended before the byte that was consumed last.
    Match(usize),
    /// No match can begin or grow any more.
    Dead,
}

/// The transition table.
#[derive(Debug)]
pub(super) struct Table<D = dense::DFA<Vec<u32>>>(D);

/// Start states by the byte before; the last is for the start of the text.
type Starts = [StateID; 257];

/// Looks for several patterns at once, anywhere in the text.
#[derive(Debug)]
pub(super) struct Seeker {
    pub table: Table,
    unanchored: Starts,
    anchored: Starts,
    /// The other state, beside the start state, that means "nothing in progress" after this byte.
    settled: [StateID; 256],
}

/// Follows one pattern from a given place; of its alternatives the longest counts.
#[derive(Debug)]
pub(super) struct Follower {
    table: Tail,
    starts: Starts,
}

/// What follows the head of a secret.
#[derive(Debug)]
enum Tail {
    Dense(Table),
    Sparse(Table<sparse::DFA<Vec<u8>>>),
}

impl<D: Automaton> Table<D> {
    /// Steps through `text` up to `limit`, or to the first special state.
    #[inline]
    pub fn run(&self, text: &[u8], head: &mut Head, limit: usize) -> Stop {
        let mut state = head.state;
        for (offset, &byte) in text[head.at..limit].iter().enumerate() {
            state = self.0.next_state(state, byte);
            if self.0.is_special_state(state) {
                *head = Head { at: head.at + offset + 1, state };
                return self.stop(state);
            }
        }
        *head = Head { at: limit, state };
        Stop::Limit
    }

    /// The pattern that matches if the text ends at the head.
    pub fn end(&self, head: Head) -> Option<usize> {
        match self.stop(self.0.next_eoi_state(head.state)) {
            Stop::Match(pattern) => Some(pattern),
            Stop::Limit | Stop::Dead => None,
        }
    }

    fn starts(&self, anchored: Anchored) -> Result<Starts, TooComplex> {
        let mut states = [StateID::ZERO; 257];
        let befores = (0..=u8::MAX).map(Some).chain([None]);
        for (state, before) in states.iter_mut().zip(befores) {
            let config = start::Config::new().anchored(anchored).look_behind(before);
            *state = self.0.start_state(&config).map_err(|_| TooComplex)?;
        }
        Ok(states)
    }

    fn stop(&self, state: StateID) -> Stop {
        if self.0.is_match_state(state) {
            Stop::Match(self.0.match_pattern(state, 0).as_usize())
        } else if self.0.is_special_state(state) {
            Stop::Dead
        } else {
            Stop::Limit
        }
    }
}

impl Table {
    /// Heap memory, in bytes.
    pub fn memory_usage(&self) -> usize {
        self.0.memory_usage()
    }

    fn build(patterns: &[Hir], starts: StartKind, matches: MatchKind) -> Result<Self, TooComplex> {
        let nfa = Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(MAX_NFA));
        let nfa =
            Compiler::new().configure(nfa).build_many_from_hir(patterns).map_err(|_| TooComplex)?;
        let dfa = dense::Config::new()
            .match_kind(matches)
            .start_kind(starts)
            .accelerate(false)
            .dfa_size_limit(Some(MAX_SIZE))
            .determinize_size_limit(Some(MAX_SIZE));
        let dfa =
            dense::Builder::new().configure(dfa).build_from_nfa(&nfa).map_err(|_| TooComplex)?;
        Ok(Self(dfa))
    }
}

impl Seeker {
    /// Compiles patterns; an earlier one wins over a later one that begins at the same byte.
    pub fn build(patterns: &[Hir]) -> Result<Self, TooComplex> {
        let table = Table::build(patterns, StartKind::Both, MatchKind::LeftmostFirst)?;
        let (unanchored, anchored) = (table.starts(Anchored::No)?, table.starts(Anchored::Yes)?);
        let mut seeker = Self { table, unanchored, anchored, settled: [StateID::ZERO; 256] };
        seeker.settled = std::array::from_fn(|byte| seeker.settle(byte));
        Ok(seeker)
    }

    /// A search for the first match from `at` on.
    pub fn seek(&self, at: usize, before: Option<u8>) -> Head {
        Head { at, state: self.unanchored[context(before)] }
    }

    /// A search for a match that begins at `at`.
    pub fn pin(&self, at: usize, before: Option<u8>) -> Head {
        Head { at, state: self.anchored[context(before)] }
    }

    /// Says whether a seeking run that has just consumed `byte` has no pattern in progress.
    #[inline]
    pub fn is_idle(&self, head: Head, byte: u8) -> bool {
        let byte = usize::from(byte);
        head.state == self.unanchored[byte] || head.state == self.settled[byte]
    }

    /// Like [`Table::run`], and tells the latest idle head that it happens to see.
    #[inline]
    pub fn cruise(&self, text: &[u8], head: &mut Head, limit: usize) -> (Stop, Option<Head>) {
        let mut idle = None;
        while head.at < limit {
            let end = limit.min(head.at + STRIDE);
            let stop = self.table.run(text, head, end);
            if stop != Stop::Limit {
                return (stop, idle);
            }
            if self.is_idle(*head, text[end - 1]) {
                idle = Some(*head);
            }
        }
        (Stop::Limit, idle)
    }

    /// The state reached by reading a byte is not always the start state of the
    /// same context, though it means the same; find it for a byte that begins nothing.
    fn settle(&self, byte: usize) -> StateID {
        let contexts = [None, Some(b' '), Some(b'a'), Some(b'\n'), Some(b'\r')];
        let read =
            |starts: &Starts, before| self.table.0.next_state(starts[context(before)], byte as u8);
        let silent = contexts
            .into_iter()
            .find(|before| self.table.stop(read(&self.anchored, *before)) == Stop::Dead);
        silent.map_or(self.unanchored[byte], |before| read(&self.unanchored, before))
    }
}

impl Follower {
    /// Compiles one pattern, which may match the empty string.
    pub fn build(pattern: &Hir) -> Result<Self, TooComplex> {
        let table =
            Table::build(std::slice::from_ref(pattern), StartKind::Anchored, MatchKind::All)?;
        if table.memory_usage() <= MAX_DENSE {
            let starts = table.starts(Anchored::Yes)?;
            return Ok(Self { table: Tail::Dense(table), starts });
        }
        let table = Table(table.0.to_sparse().map_err(|_| TooComplex)?);
        // States have other names there.
        let starts = table.starts(Anchored::Yes)?;
        Ok(Self { table: Tail::Sparse(table), starts })
    }

    /// Steps through `text` up to `limit`, or to the first special state.
    pub fn run(&self, text: &[u8], head: &mut Head, limit: usize) -> Stop {
        match &self.table {
            Tail::Dense(table) => table.run(text, head, limit),
            Tail::Sparse(table) => table.run(text, head, limit),
        }
    }

    /// The pattern that matches if the text ends at the head.
    pub fn end(&self, head: Head) -> Option<usize> {
        match &self.table {
            Tail::Dense(table) => table.end(head),
            Tail::Sparse(table) => table.end(head),
        }
    }

    /// Heap memory, in bytes.
    pub fn memory_usage(&self) -> usize {
        match &self.table {
            Tail::Dense(table) => table.memory_usage(),
            Tail::Sparse(table) => table.0.memory_usage(),
        }
    }

    /// Begins to follow at `at`.
    pub fn pin(&self, at: usize, before: Option<u8>) -> Head {
        Head { at, state: self.starts[context(before)] }
    }
}

fn context(before: Option<u8>) -> usize {
    before.map_or(256, usize::from)
}
