//! Counts replacements per rule.
//!
//! [`Hits`] is a plain list of counters, indexed as [`Redactor::rule_names`]
//! lists the rules. It knows nothing of metrics: the caller adds the counts to
//! its own when an exchange ends.
//!
//! # Limits
//! Nothing is allocated until the first replacement; counters saturate.
//!
//! [`Redactor::rule_names`]: super::Redactor::rule_names

/// How often each rule replaced something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    counts: Vec<u64>,
}

impl Hits {
    /// Starts with every rule at zero.
    pub const fn new() -> Self {
        Self { counts: Vec::new() }
    }

    /// Adds everything that `other` counted.
    pub fn merge(&mut self, other: &Hits) {
        for (rule, count) in other.iter() {
            self.add(rule, count);
        }
    }

    /// Counts one replacement by the rule at this index.
    pub(super) fn record(&mut self, rule: usize) {
        self.add(rule, 1);
    }

    /// Replacements by the rule at this index of [`Redactor::rule_names`](super::Redactor::rule_names).
    pub fn get(&self, rule: usize) -> u64 {
        self.counts.get(rule).copied().unwrap_or(0)
    }

    /// Replacements by all rules together.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Says whether nothing was replaced.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// The rules that replaced something: index and count, by rising index.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let counts = self.counts.iter().copied().enumerate();
        counts.filter(|(_, count)| *count > 0)
    }

    fn add(&mut self, rule: usize, count: u64) {
        if self.counts.len() <= rule {
            self.counts.resize(rule + 1, 0);
        }
        self.counts[rule] = self.counts[rule].saturating_add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_allocated_while_zero() {
        let hits = Hits::new();
        assert_eq!(hits.counts.capacity(), 0);
        assert!(hits.is_empty());
        assert_eq!(hits.get(7), 0);
    }

    #[test]
    fn merged_counts_add_up() {
        let (mut a, mut b) = (Hits::new(), Hits::new());
        a.record(0);
        b.record(2);
        b.record(2);
        a.merge(&b);
        assert_eq!(a.iter().collect::<Vec<_>>(), [(0, 1), (2, 2)]);
        assert_eq!(a.total(), 3);
    }
}
