//! Edits of the policy while the server is away, one case each.

use std::sync::Arc;

use super::tests::{Rig, actual, limits};
use crate::ledger::contract::{CENT, NOON};
use crate::ledger::{Demand, Store};
use crate::policy::calendar::{Calendar, Period};
use crate::policy::limit::{Counter, Limit, Limits, Span, Unit};
use crate::units::NanoUsd;

/// A day of ten dollars under a name that followed others.
fn named(name: &str, former: &[&str]) -> Arc<Limits> {
    let day = Span::Period(Calendar::new(Period::Day, "UTC").unwrap());
    let counter = Counter::new(name, Unit::NanoUsd, day).renamed_from(former.iter().copied());
    limits(vec![Limit { counter, amount: 1000 * CENT }], &[250 * CENT])
}

#[tokio::test]
async fn a_request_whose_operation_is_renamed_meanwhile_is_charged_once() {
    let (old, new) = (named("old", &[]), named("new", &["old"]));
    for (raise, outcome, spent) in
        [(9 * CENT, actual(7 * CENT), 7 * CENT), (CENT, actual(12 * CENT), 12 * CENT)]
    {
        let rig = Rig::new();
        rig.goes_away();
        let (mut hold, _) = rig.admitted(&old, NOON).await;
        let more = Demand { cost: NanoUsd(raise), ..super::tests::demand(&new, NOON + 1) };
        rig.store.raise(&mut hold, more).await.unwrap().unwrap();
        rig.settle(hold, outcome);
        rig.returns().await;
        assert_eq!(rig.server.total(|_| true), spent);
    }
}

#[tokio::test]
async fn what_was_told_under_a_former_name_is_taken_back_under_the_present_one() {
    let (old, new) = (named("old", &[]), named("new", &["old"]));
    let rig = Rig::new();
    rig.goes_away();
    let (hold, _) = rig.admitted(&old, NOON).await;
    rig.returns().await;
    rig.keep(&new, NOON + 1).await;
    rig.settle(hold, actual(CENT));
    rig.store.look().await;
    assert_eq!(rig.server.total(|id| id == new.limits[0].counter.id()), 3 * CENT);
}
