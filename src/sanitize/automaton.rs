//! One dense DFA over all patterns, stepped byte by byte.
//!
//! Adds to `regex-automata` what a stream needs: start states by the byte
//! before, a test for *idle* (no pattern in progress), and anchored runs that
//! tell where the oldest pattern in progress began. Decides nothing: see
//! `machine.rs`.
//!
//! # Failure
//! Building fails when the DFA would exceed [`MAX_SIZE`]; a run cannot fail,
//! because Unicode word boundaries (the only cause) are compiled as ASCII ones.
//!
//! # Limits
//! A match is reported one byte late, as `regex-automata` does: the state after
//! byte `i` is a match state when a match ended before byte `i`.

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Hir;

/// Largest DFA, in bytes, and the most working memory that making it may take.
/// A hostile pattern then costs at most some tens of milliseconds at load.
pub(super) const MAX_SIZE: usize = 16 << 20;

/// Largest NFA, in bytes, that is worth determinising.
const MAX_NFA: usize = 2 << 20;

/// How many bytes are stepped between two looks for an idle state.
const STRIDE: usize = 32;

/// The patterns do not fit into a DFA of bounded size.
#[derive(Debug)]
pub(super) struct TooComplex;

/// The compiled patterns. Immutable and shared by all streams.
#[derive(Debug)]
pub(super) struct Automaton {
    dfa: dense::DFA<Vec<u32>>,
    /// Start states by the byte before; the last entry is for the start of the text.
    unanchored: [StateID; 257],
    anchored: [StateID; 257],
    /// The other state, beside the start state, that means "nothing in progress" after this byte.
    settled: [StateID; 256],
}

/// Where a run stands: everything before `at` is consumed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Head {
    pub at: usize,
    pub state: StateID,
}

/// Why a run stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The limit was reached.
    Limit,
    /// A match of this pattern ended before the byte that was consumed last.
    Match(usize),
    /// No further match can begin or grow.
    Dead,
}

impl Automaton {
    /// Compiles patterns; an earlier one wins over a later one that begins at the same byte.
    pub fn build(patterns: &[&Hir]) -> Result<Self, TooComplex> {
        let dfa = determinize(patterns)?;
        let mut automaton = Self {
            unanchored: starts(&dfa, Anchored::No)?,
            anchored: starts(&dfa, Anchored::Yes)?,
            settled: [StateID::ZERO; 256],
            dfa,
        };
        for byte in 0..=u8::MAX {
            automaton.settled[usize::from(byte)] = automaton.settle(byte);
        }
        Ok(automaton)
    }

    /// Heap memory of the tables, in bytes.
    pub fn memory_usage(&self) -> usize {
        self.dfa.memory_usage()
    }

    /// A search for the first match anywhere from `at` on.
    pub fn seek(&self, at: usize, before: Option<u8>) -> Head {
        Head { at, state: self.unanchored[context(before)] }
    }

    /// A search for a match that begins at `at`.
    pub fn pin(&self, at: usize, before: Option<u8>) -> Head {
        Head { at, state: self.anchored[context(before)] }
    }

    /// Says whether a seeking run that has just consumed `byte` has no pattern in progress.
    #[inline]
    pub fn is_idle(&self, state: StateID, byte: u8) -> bool {
        let byte = usize::from(byte);
        state == self.unanchored[byte] || state == self.settled[byte]
    }

    /// Steps through `text` up to `limit`, or to the first special state.
    #[inline]
    pub fn run(&self, text: &[u8], head: &mut Head, limit: usize) -> Stop {
        let mut state = head.state;
        for (offset, &byte) in text[head.at..limit].iter().enumerate() {
            state = self.dfa.next_state(state, byte);
            if self.dfa.is_special_state(state) {
                *head = Head { at: head.at + offset + 1, state };
                return self.stop(state);
            }
        }
        *head = Head { at: limit, state };
        Stop::Limit
    }

    /// Like [`run`](Self::run), and moves `idle` to the latest idle head that it happens to see.
    #[inline]
    pub fn cruise(
        &self,
        text: &[u8],
        head: &mut Head,
        limit: usize,
        idle: &mut Option<Head>,
    ) -> Stop {
        while head.at < limit {
            let end = limit.min(head.at + STRIDE);
            let stop = self.run(text, head, end);
            if stop != Stop::Limit {
                return stop;
            }
            if self.is_idle(head.state, text[end - 1]) {
                *idle = Some(*head);
            }
        }
        Stop::Limit
    }

    /// The pattern that matches when the text ends here, if any.
    pub fn end(&self, state: StateID) -> Option<usize> {
        match self.stop(self.dfa.next_eoi_state(state)) {
            Stop::Match(pattern) => Some(pattern),
            Stop::Limit | Stop::Dead => None,
        }
    }

    fn stop(&self, state: StateID) -> Stop {
        if self.dfa.is_match_state(state) {
            Stop::Match(self.dfa.match_pattern(state, 0).as_usize())
        } else if self.dfa.is_special_state(state) {
            Stop::Dead
        } else {
            Stop::Limit
        }
    }

    /// A start state is shared by several contexts while the state reached by
    /// reading a byte is not always; find the latter for a byte that begins nothing.
    fn settle(&self, byte: u8) -> StateID {
        let contexts = [None, Some(b' '), Some(b'a'), Some(b'\n'), Some(b'\r')];
        let silent = contexts.into_iter().find(|&before| {
            let state = self.dfa.next_state(self.anchored[context(before)], byte);
            self.stop(state) == Stop::Dead
        });
        match silent {
            Some(before) => self.dfa.next_state(self.unanchored[context(before)], byte),
            None => self.unanchored[usize::from(byte)],
        }
    }
}

fn determinize(patterns: &[&Hir]) -> Result<dense::DFA<Vec<u32>>, TooComplex> {
    let nfa = thompson::Config::new()
        .utf8(false)
        .shrink(true)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(MAX_NFA));
    let nfa: NFA = thompson::Compiler::new()
        .configure(nfa)
        .build_many_from_hir(patterns)
        .map_err(|_| TooComplex)?;
    let dfa = dense::Config::new()
        .match_kind(MatchKind::LeftmostFirst)
        .start_kind(StartKind::Both)
        .accelerate(false)
        .dfa_size_limit(Some(MAX_SIZE))
        .determinize_size_limit(Some(MAX_SIZE));
    dense::Builder::new().configure(dfa).build_from_nfa(&nfa).map_err(|_| TooComplex)
}

fn starts(dfa: &dense::DFA<Vec<u32>>, anchored: Anchored) -> Result<[StateID; 257], TooComplex> {
    let mut states = [StateID::ZERO; 257];
    let befores = (0..=u8::MAX).map(Some).chain([None]);
    for (state, before) in states.iter_mut().zip(befores) {
        let config = start::Config::new().anchored(anchored).look_behind(before);
        *state = dfa.start_state(&config).map_err(|_| TooComplex)?;
    }
    Ok(states)
}

fn context(before: Option<u8>) -> usize {
    before.map_or(256, usize::from)
}
