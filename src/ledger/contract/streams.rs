//! What is raised and settled long after it was reserved: over the end of a window, a day, a week.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Weekday;

use super::{
    CENT, HOUR, NOON, admitted, budget, demand, keep, limits, of_every_store, quota, used,
};
use crate::clock::Timestamp;
use crate::ledger::{Demand, Exceeded, Hold, Outcome, Refused, Standing, Store};
use crate::policy::calendar::{Calendar, Period};
use crate::policy::limit::{Counter, Limit, Limits, Span, Unit};
use crate::units::NanoUsd;

const MIDNIGHT: u64 = NOON + 12 * HOUR;

async fn raise(
    store: &impl Store,
    hold: &mut Hold,
    limits: &Arc<Limits>,
    (cents, tokens): (u64, u64),
    now: u64,
) -> Result<Standing, Refused> {
    let raised = Demand { cost: NanoUsd(cents * CENT), tokens, ..demand(limits, now) };
    store.raise(hold, raised).await.unwrap()
}

fn actual(cents: u64, tokens: u64) -> Outcome {
    Outcome::Actual { cost: NanoUsd(cents * CENT), tokens, bytes: 0 }
}

fn instant(text: &str) -> u64 {
    let instant: jiff::Timestamp = text.parse().unwrap();
    instant.as_millisecond().try_into().unwrap()
}

async fn a_stream_over_midnight_spends_of_both_days(store: impl Store) {
    let day = limits([budget(Period::Day, "UTC", 20 * CENT)]);
    let (mut hold, _) = admitted(&store, demand(&day, MIDNIGHT - 1)).await;
    let standing = raise(&store, &mut hold, &day, (15, 0), MIDNIGHT - 1).await.unwrap();
    assert_eq!(standing.states[0].used, 15 * CENT);
    let standing = raise(&store, &mut hold, &day, (25, 0), MIDNIGHT + 1).await.unwrap();
    assert_eq!(standing.states[0].used, 10 * CENT, "15 of the 25 were yesterday's");
    store.settle(hold, actual(31, 0), Timestamp(MIDNIGHT + 2));
    assert_eq!(used(&store, MIDNIGHT + 2).await, [16 * CENT]);
}

async fn a_refund_after_midnight_takes_back_what_is_todays(store: impl Store) {
    let day = limits([budget(Period::Day, "UTC", 50 * CENT)]);
    let (mut hold, _) = admitted(&store, demand(&day, MIDNIGHT - 1)).await;
    keep(&store, demand(&day, MIDNIGHT)).await;
    raise(&store, &mut hold, &day, (9, 0), MIDNIGHT + 1).await.unwrap();
    assert_eq!(used(&store, MIDNIGHT + 1).await, [9 * CENT]);
    store.settle(hold, Outcome::Refund, Timestamp(MIDNIGHT + 2));
    assert_eq!(used(&store, MIDNIGHT + 2).await, [2 * CENT]);
}

async fn what_a_stream_needs_after_its_window_counts_from_then(store: impl Store) {
    let minute = limits([quota("chat", Unit::Tokens, 60, 500)]);
    let first = Demand { tokens: 300, ..demand(&minute, NOON) };
    let (mut hold, _) = admitted(&store, first).await;
    let standing = raise(&store, &mut hold, &minute, (2, 600), NOON + 60_000).await.unwrap();
    assert_eq!(standing.states[0].used, 300, "the first 300 have left");
    let refusal = raise(&store, &mut hold, &minute, (2, 900), NOON + 61_000).await.unwrap_err();
    assert_eq!(refusal.limit, Exceeded::Never(0));
    store.settle(hold, actual(2, 750), Timestamp(NOON + 62_000));
    assert_eq!(used(&store, NOON + 62_000).await, [450]);
    assert_eq!(used(&store, NOON + 120_000).await, [150], "the excess counts from the end");
    assert_eq!(used(&store, NOON + 122_000).await, [0]);
}

async fn a_long_stream_leaves_its_window_bit_by_bit(store: impl Store) {
    let minute = limits([quota("chat", Unit::Tokens, 60, 700)]);
    let (mut hold, _) = admitted(&store, Demand { tokens: 10, ..demand(&minute, NOON) }).await;
    for second in 1..300 {
        let at = NOON + second * 1_000;
        let standing = raise(&store, &mut hold, &minute, (2, 10 + second * 10), at).await.unwrap();
        let truth = 10 * (second + 1).min(60);
        let late = standing.states[0].used - truth;
        assert!(late <= 40, "at second {second} {late} tokens stayed more than a 16th too long");
    }
    store.settle(hold, Outcome::Refund, Timestamp(NOON + 300_000));
    assert_eq!(used(&store, NOON + 300_000).await, [0], "every part is given back");
}

async fn a_raise_that_is_refused_leaves_the_parts_as_they_were(store: impl Store) {
    let both =
        limits([quota("chat", Unit::Tokens, 60, 10_000), budget(Period::Day, "UTC", 10 * CENT)]);
    let (mut hold, _) = admitted(&store, demand(&both, NOON)).await;
    raise(&store, &mut hold, &both, (4, 300), NOON + 30_000).await.unwrap();
    let before = used(&store, NOON + 31_000).await;
    raise(&store, &mut hold, &both, (11, 5_000), NOON + 31_000).await.unwrap_err();
    assert_eq!(used(&store, NOON + 31_000).await, before);
    store.settle(hold, Outcome::Keep, Timestamp(NOON + 32_000));
    assert_eq!(used(&store, NOON + 32_000).await, before, "kept as booked");
}

async fn an_excess_over_the_estimate_is_counted_when_it_is_known(store: impl Store) {
    let minute = limits([quota("chat", Unit::Tokens, 60, 1_000)]);
    let (hold, _) = admitted(&store, demand(&minute, NOON)).await;
    store.settle(hold, actual(2, 250), Timestamp(NOON + 90_000));
    assert_eq!(used(&store, NOON + 90_000).await, [150]);
    assert_eq!(used(&store, NOON + 150_000).await, [0]);
}

async fn a_clock_set_back_between_reserve_and_settle_loses_nothing(store: impl Store) {
    let both =
        limits([quota("chat", Unit::Tokens, 60, 1_000), budget(Period::Day, "UTC", 50 * CENT)]);
    let (hold, _) = admitted(&store, demand(&both, NOON)).await;
    keep(&store, demand(&both, NOON)).await;
    store.settle(hold, actual(1, 30), Timestamp(NOON - 2_000));
    assert_eq!(used(&store, NOON).await, [130, 3 * CENT]);
}

async fn a_clock_that_jumps_forward_ends_windows_and_days_once(store: impl Store) {
    let both =
        limits([quota("chat", Unit::Requests, 60, 9), budget(Period::Day, "UTC", 50 * CENT)]);
    let (hold, _) = admitted(&store, demand(&both, NOON)).await;
    let later = NOON + 40 * 24 * HOUR;
    let standing = keep(&store, demand(&both, later)).await;
    assert_eq!(standing.states.iter().map(|s| s.used).collect::<Vec<_>>(), [1, 2 * CENT]);
    store.settle(hold, Outcome::Refund, Timestamp(later));
    assert_eq!(used(&store, later).await, [1, 2 * CENT]);
}

async fn a_month_ends_in_its_zone_on_a_leap_day(store: impl Store) {
    let month = limits([budget(Period::Month, "Europe/Berlin", 50 * CENT)]);
    let eve = instant("2028-02-29T22:30:00Z");
    let standing = keep(&store, demand(&month, eve)).await;
    assert_eq!(standing.states[0].resets_in, Duration::from_secs(1_800));
    let standing = keep(&store, demand(&month, eve + HOUR / 2)).await;
    assert_eq!(standing.states[0].used, 2 * CENT);
    assert_eq!(standing.states[0].resets_in, Duration::from_secs(31 * 86_400 - 3_600));
}

async fn a_day_of_25_hours_has_one_budget(store: impl Store) {
    let day = limits([budget(Period::Day, "Europe/Berlin", 50 * CENT)]);
    let start = instant("2026-10-24T22:00:00Z");
    let standing = keep(&store, demand(&day, start)).await;
    assert_eq!(standing.states[0].resets_in, Duration::from_millis(25 * HOUR));
    assert_eq!(keep(&store, demand(&day, start + 25 * HOUR - 1)).await.states[0].used, 4 * CENT);
    assert_eq!(keep(&store, demand(&day, start + 25 * HOUR)).await.states[0].used, 2 * CENT);
}

fn weekly(start: Weekday) -> Arc<Limits> {
    let calendar = Calendar::new(Period::Week, "UTC").unwrap().with_week_start(start);
    let counter = Counter::new("*", Unit::NanoUsd, Span::Period(calendar));
    limits([Limit { counter, amount: 50 * CENT }])
}

async fn another_start_of_the_week_moves_the_boundary_and_keeps_the_count(store: impl Store) {
    // NOON is on a Tuesday.
    let standing = keep(&store, demand(&weekly(Weekday::Monday), NOON)).await;
    assert_eq!(standing.states[0].resets_in, Duration::from_millis((5 * 24 + 12) * HOUR));
    let standing = keep(&store, demand(&weekly(Weekday::Thursday), NOON + HOUR)).await;
    assert_eq!(standing.states[0].used, 4 * CENT);
    assert_eq!(standing.states[0].resets_in, Duration::from_millis((24 + 11) * HOUR));
    let thursday = keep(&store, demand(&weekly(Weekday::Thursday), NOON + 48 * HOUR)).await;
    assert_eq!(thursday.states[0].used, 2 * CENT);
}

async fn a_rolling_budget_comes_back_as_it_was_spent(store: impl Store) {
    let rolling = limits([quota("*", Unit::NanoUsd, 5 * 3_600, 6 * CENT)]);
    for hour in 0..3 {
        keep(&store, demand(&rolling, NOON + hour * HOUR)).await;
    }
    let refusal = super::refused(&store, demand(&rolling, NOON + 3 * HOUR)).await;
    assert_eq!(refusal.retry_after, Duration::from_millis(2 * HOUR));
    keep(&store, demand(&rolling, NOON + 5 * HOUR)).await;
    super::refused(&store, demand(&rolling, NOON + 5 * HOUR)).await;
    keep(&store, demand(&rolling, NOON + 6 * HOUR)).await;
}

async fn what_can_never_fit_is_told_apart_from_what_has_to_wait(store: impl Store) {
    let both =
        limits([quota("chat", Unit::Tokens, 3_600, 99), budget(Period::Day, "UTC", 3 * CENT)]);
    keep(&store, Demand { tokens: 9, ..demand(&both, NOON) }).await;
    let refusal = super::refused(&store, Demand { tokens: 9, ..demand(&both, NOON) }).await;
    assert_eq!(refusal.limit, Exceeded::Limit(1));
    let refusal = super::refused(&store, demand(&both, NOON)).await;
    assert_eq!(refusal.limit, Exceeded::Never(0), "though the budget's wait is longer");
}

of_every_store! {
    a_stream_over_midnight_spends_of_both_days,
    a_refund_after_midnight_takes_back_what_is_todays,
    what_a_stream_needs_after_its_window_counts_from_then,
    a_long_stream_leaves_its_window_bit_by_bit,
    a_raise_that_is_refused_leaves_the_parts_as_they_were,
    an_excess_over_the_estimate_is_counted_when_it_is_known,
    a_clock_set_back_between_reserve_and_settle_loses_nothing,
    a_clock_that_jumps_forward_ends_windows_and_days_once,
    a_month_ends_in_its_zone_on_a_leap_day,
    a_day_of_25_hours_has_one_budget,
    another_start_of_the_week_moves_the_boundary_and_keeps_the_count,
    a_rolling_budget_comes_back_as_it_was_spent,
    what_can_never_fit_is_told_apart_from_what_has_to_wait,
}
