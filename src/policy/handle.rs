//! The policy in force, and how another one takes its place.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::snapshot::Policy;

/// Holds the policy in force. Exchanges take it once, when they begin.
pub struct PolicyHandle {
    current: ArcSwap<Policy>,
    problem: ArcSwapOption<String>,
}

impl PolicyHandle {
    /// A handle with the first policy.
    pub fn new(first: Policy) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(first),
            problem: ArcSwapOption::const_empty(),
        })
    }

    /// The policy in force.
    pub fn load(&self) -> Arc<Policy> {
        self.current.load_full()
    }

    /// Puts `next` in force; it gets the next generation. Clears any problem.
    pub fn apply(&self, mut next: Policy) -> Arc<Policy> {
        next.generation = self.current.load().generation + 1;
        let next = Arc::new(next);
        self.current.store(Arc::clone(&next));
        self.problem.store(None);
        next
    }

    /// Says why the newest file is not in force.
    pub fn reject(&self, problem: String) {
        self.problem.store(Some(Arc::new(problem)));
    }

    /// Says that the newest file is what is in force already.
    pub fn clear(&self) {
        self.problem.store(None);
    }

    /// Why the newest file is not in force, if it is not.
    pub fn problem(&self) -> Option<Arc<String>> {
        self.problem.load_full()
    }
}
