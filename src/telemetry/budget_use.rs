//! How much of a budget is used, at most.

use std::sync::{Mutex, PoisonError};

/// The largest share of a tier's budget that any subject has used in the running period.
#[derive(Debug, Default)]
pub struct BudgetUse(Mutex<(u64, u64)>);

impl BudgetUse {
    /// Notes that a subject used `parts_per_million` of a period that ends at `end_ms`.
    pub fn note(&self, parts_per_million: u64, end_ms: u64) {
        let mut highest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if highest.1 != end_ms {
            *highest = (parts_per_million, end_ms);
        } else if highest.0 < parts_per_million {
            highest.0 = parts_per_million;
        }
    }

    /// Notes what is used now, whatever was used before.
    pub fn set(&self, parts_per_million: u64, end_ms: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (parts_per_million, end_ms);
    }

    /// The share at `now_ms`; 0 after the period's end.
    pub(super) fn ratio(&self, now_ms: u64) -> f64 {
        let (highest, end_ms) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = if now_ms < end_ms { highest } else { 0 };
        f64::from(u32::try_from(highest).unwrap_or(u32::MAX)) / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_use_ends_with_its_period() {
        let used = BudgetUse::default();
        used.note(400_000, 100);
        used.note(300_000, 100);
        assert!((used.ratio(99) - 0.4).abs() < 1e-9);
        assert!(used.ratio(100).abs() < 1e-9);
        used.note(10_000, 200);
        assert!((used.ratio(150) - 0.01).abs() < 1e-9);
    }
}
