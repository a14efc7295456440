//! What holds while the store that replicas share is away, ready to be counted.
//!
//! Of several limits that a request meets, the strictest decides: one that refuses
//! refuses the request; one that is counted here has them all counted here, those
//! that allow without a bound; only where all allow does a request pass uncounted.

use std::{iter, num::NonZeroU32, sync::Arc};

use crate::{
    policy::{
        file::{AwayFile, OnFailure, StoreFile},
        limit::{Away, Limit, Limits, Unit},
    },
    units::Percent,
};

/// What holds for one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    on_failure: OnFailure,
    allowance: Percent,
}

impl Rule {
    /// As written for a limit or a tier, below what is written for the store.
    pub(super) fn of(written: AwayFile, store: &StoreFile) -> Self {
        Self {
            on_failure: written.on_failure.unwrap_or(store.on_failure).value,
            allowance: written.allowance.unwrap_or(store.allowance).value,
        }
    }

    /// What one replica may use of `amount`.
    fn share(self, unit: Unit, amount: u64) -> u64 {
        match self.on_failure {
            OnFailure::Allow => u64::MAX,
            // A share of less than one request would let nobody in: it becomes one.
            _ if unit == Unit::Requests => self.allowance.of(amount).max(self.least()),
            _ => self.allowance.of(amount),
        }
    }

    fn least(self) -> u64 {
        u64::from(self.allowance.hundredths() > 0)
    }
}

/// The same limits with what holds for them: `rules` are one per limit, in the order of
/// [`Limits::all`]; `rest` is the tier's, for further limits and for requests in flight.
pub(super) fn with_away(limits: Limits, rules: &[Rule], rest: Rule) -> Arc<Limits> {
    let away = away(&limits, rules, rest);
    Arc::new(Limits { away, ..limits })
}

fn away(limits: &Limits, rules: &[Rule], rest: Rule) -> Away {
    let crowd = limits.concurrency.map(|_| &rest);
    let others = limits.all().skip(rules.len()).map(|_| &rest);
    let met = || rules.iter().chain(others.clone()).chain(crowd);
    if met().any(|rule| rule.on_failure == OnFailure::Refuse) {
        return Away::Refuse;
    }
    if met().all(|rule| rule.on_failure == OnFailure::Allow) {
        return Away::Allow;
    }
    let cut = |(limit, rule): (&Limit, &Rule)| Limit {
        amount: rule.share(limit.counter.unit(), limit.amount),
        ..limit.clone()
    };
    let share = |bound: NonZeroU32| {
        let share = rest.share(Unit::Requests, u64::from(bound.get()));
        NonZeroU32::new(u32::try_from(share).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN)
    };
    // What has no rule of its own holds as the tier does.
    let rules = rules.iter().chain(iter::repeat(&rest));
    let mut all = limits.all().zip(rules).map(cut);
    Away::Local(Arc::new(Limits {
        limits: all.by_ref().take(limits.limits.len()).collect(),
        pools: all.collect(),
        concurrency: limits.concurrency.map(share),
        away: Away::Refuse,
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::limit::{Counter, Span};

    fn limit(unit: Unit, amount: u64) -> Limit {
        let span = Span::Window(Duration::from_secs(60));
        Limit { counter: Counter::new("chat", unit, span), amount }
    }

    fn rule(on_failure: OnFailure, percent: u16) -> Rule {
        Rule { on_failure, allowance: Percent::whole(percent) }
    }

    fn amounts(away: &Away) -> Vec<u64> {
        let Away::Local(limits) = away else { panic!("{away:?}") };
        limits.all().map(|limit| limit.amount).collect()
    }

    #[test]
    fn a_share_of_less_than_one_request_is_one_and_money_is_rounded_down() {
        let quarter = rule(OnFailure::Local, 25);
        let limits = [
            limit(Unit::Requests, 3),
            limit(Unit::Requests, 8),
            limit(Unit::NanoUsd, 7),
            limit(Unit::Tokens, 3),
        ];
        let limits =
            Limits { limits: limits.into(), concurrency: NonZeroU32::new(9), ..Limits::default() };
        let away = away(&limits, &[quarter; 4], quarter);
        assert_eq!(amounts(&away), [1, 2, 1, 0]);
        let Away::Local(local) = away else { panic!() };
        assert_eq!(local.concurrency, NonZeroU32::new(2));
    }

    #[test]
    fn no_allowance_is_none() {
        let none = rule(OnFailure::Local, 0);
        let limits = Box::new([limit(Unit::Requests, 3)]);
        let limits = Limits { limits, ..Limits::default() };
        assert_eq!(amounts(&away(&limits, &[none], none)), [0]);
    }

    #[test]
    fn the_strictest_rule_decides() {
        use OnFailure::{Allow, Local, Refuse};
        let (limits, pools) =
            ([limit(Unit::Requests, 100)].into(), [limit(Unit::Requests, 100)].into());
        let limits = Limits { limits, pools, ..Limits::default() };
        let with = |a, b| away(&limits, &[rule(a, 10), rule(b, 10)], rule(Refuse, 10));
        assert!(matches!(with(Refuse, Allow), Away::Refuse));
        assert!(matches!(with(Local, Refuse), Away::Refuse));
        assert!(matches!(with(Allow, Allow), Away::Allow));
        assert_eq!(amounts(&with(Local, Allow)), [10, u64::MAX]);
        let limits = Limits { concurrency: NonZeroU32::new(1), ..limits };
        let crowded = away(&limits, &[rule(Allow, 1); 2], rule(Refuse, 1));
        assert!(matches!(crowded, Away::Refuse));
    }
}
