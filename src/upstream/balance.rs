//! Which of several endpoints gets a request.
//!
//! The one with the fewest requests in flight: of all where there are few, of
//! two drawn by lot where there are many, which is nearly as good and looks at
//! two (Mitzenmacher, "The power of two choices"). Ties go by lot, so that a
//! quiet sidecar spreads its requests as well.
//!
//! Endpoints that are not well are passed over, unless too few others are left:
//! then all are used again, because a few would break under the load of all, and
//! if all fail one is tried all the same. An endpoint that must not be asked
//! (its circuit is open, or it asked to be left alone) never is.

use crate::units::Percent;

/// Up to so many endpoints all are looked at.
const FEW: usize = 8;
/// Draws before all are looked at after all.
const DRAWS: u32 = 4;

/// What is known of one endpoint when a request looks for a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<W> {
    /// Requests in flight.
    pub(super) load: i64,
    /// Neither ejected nor found away.
    pub(super) well: bool,
    /// This request was there already.
    pub(super) tried: bool,
    /// Why and for how long it must not be asked.
    pub(super) wait: Option<W>,
}

/// Chooses among `count` endpoints, or says which wait is over first.
pub(super) fn choose<W: Ord + Copy>(
    count: usize,
    panic: Percent,
    random: u64,
    look: impl Fn(usize) -> Candidate<W>,
) -> Result<usize, Option<W>> {
    if count > FEW
        && let Some(index) = of_two(count, random, &look)
    {
        return Ok(index);
    }
    of_all(count, panic, random, &look)
}

/// The better of the first two that can be used without thinking.
fn of_two<W>(count: usize, random: u64, look: impl Fn(usize) -> Candidate<W>) -> Option<usize> {
    let mut first: Option<(usize, i64)> = None;
    for draw in 0..DRAWS {
        let index = (random.rotate_right(16 * draw) % count as u64) as usize;
        let seen = look(index);
        if !seen.well || seen.tried || seen.wait.is_some() {
            continue;
        }
        match first {
            None => first = Some((index, seen.load)),
            Some((other, _)) if other == index => {}
            Some((other, load)) => return Some(if seen.load < load { index } else { other }),
        }
    }
    None
}

fn of_all<W: Ord + Copy>(
    count: usize,
    panic: Percent,
    random: u64,
    look: impl Fn(usize) -> Candidate<W>,
) -> Result<usize, Option<W>> {
    // One place for each combination of well and tried; the least loaded of each.
    let mut best: [Option<(i64, usize)>; 4] = [None; 4];
    let (mut well, mut soonest) = (0, None);
    let begin = (random % count.max(1) as u64) as usize;
    for index in (begin..count).chain(0..begin) {
        let seen = look(index);
        if let Some(wait) = seen.wait {
            soonest = Some(soonest.map_or(wait, |other: W| other.min(wait)));
            continue;
        }
        well += u64::from(seen.well);
        let place = &mut best[usize::from(!seen.well) * 2 + usize::from(seen.tried)];
        if place.is_none_or(|(load, _)| seen.load < load) {
            *place = Some((seen.load, index));
        }
    }
    let [well_new, well_tried, ill_new, ill_tried] = best;
    let of_any = least(well_new, ill_new).or(least(well_tried, ill_tried));
    let chosen =
        if is_panic(well, count, panic) { of_any } else { well_new.or(well_tried).or(of_any) };
    chosen.map(|(_, index)| index).ok_or(soonest)
}

fn least(one: Option<(i64, usize)>, other: Option<(i64, usize)>) -> Option<(i64, usize)> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.0 < one.0 { other } else { one }),
        (one, other) => one.or(other),
    }
}

fn is_panic(well: u64, count: usize, panic: Percent) -> bool {
    well == 0 || well * 10_000 < u64::from(panic.hundredths()) * count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANIC: Percent = Percent::whole(25);

    fn well(load: i64) -> Candidate<u32> {
        Candidate { load, well: true, tried: false, wait: None }
    }

    fn ill(load: i64) -> Candidate<u32> {
        Candidate { well: false, ..well(load) }
    }

    fn tried(load: i64) -> Candidate<u32> {
        Candidate { tried: true, ..well(load) }
    }

    fn waits(seconds: u32) -> Candidate<u32> {
        Candidate { wait: Some(seconds), ..well(0) }
    }

    fn chosen(all: &[Candidate<u32>]) -> Vec<Result<usize, Option<u32>>> {
        (0..all.len() as u64).map(|random| choose(all.len(), PANIC, random, |i| all[i])).collect()
    }

    #[test]
    fn the_least_loaded_is_chosen_whatever_the_lot_says() {
        assert_eq!(chosen(&[well(3), well(1), well(2)]), [Ok(1); 3]);
    }

    #[test]
    fn ties_go_by_lot() {
        assert_eq!(chosen(&[well(1), well(1), well(1)]), [Ok(0), Ok(1), Ok(2)]);
    }

    #[test]
    fn those_that_are_not_well_are_passed_over_while_enough_are() {
        assert_eq!(chosen(&[ill(0), well(9), ill(0), ill(0)]), [Ok(1); 4]);
        let mut five = [ill(0); 5];
        five[2] = well(1);
        let chosen = chosen(&five);
        assert_eq!(chosen, [0, 1, 3, 3, 4].map(Ok), "one in five is below a quarter");
    }

    #[test]
    fn when_none_is_well_one_is_tried_all_the_same() {
        assert_eq!(chosen(&[ill(2), ill(1)]), [Ok(1); 2]);
        assert_eq!(choose(2, Percent::whole(0), 0, |_| ill(0)), Ok(0));
    }

    #[test]
    fn another_attempt_goes_to_another_that_is_well_if_there_is_one() {
        assert_eq!(chosen(&[tried(0), well(9)]), [Ok(1); 2]);
        assert_eq!(chosen(&[tried(0), ill(0)]), [Ok(0); 2]);
        assert_eq!(chosen(&[tried(0)]), [Ok(0)]);
        let both = Candidate { tried: true, ..ill(0) };
        assert_eq!(chosen(&[both, ill(5)]), [Ok(1); 2]);
    }

    #[test]
    fn those_that_must_not_be_asked_never_are() {
        assert_eq!(chosen(&[waits(5), ill(9)]), [Ok(1); 2]);
        assert_eq!(chosen(&[waits(5), waits(3)]), [Err(Some(3)); 2]);
        assert_eq!(chosen(&[waits(5), tried(1)]), [Ok(1); 2]);
    }

    #[test]
    fn of_many_two_are_drawn_and_the_better_one_is_taken() {
        let all: Vec<_> = (0..32).map(|load| well(i64::from(load))).collect();
        let mut counts = [0_u32; 32];
        let mut random = 1_u64;
        for _ in 0..10_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            counts[choose(32, PANIC, random, |i| all[i]).expect("all are well")] += 1;
        }
        assert!(counts[0] > 400, "the best of two is often the first: {counts:?}");
        assert!(counts[31] < 60, "and seldom the last: {counts:?}");
        let mostly_ill: Vec<_> = (0..32).map(|i| if i == 7 { well(0) } else { ill(0) }).collect();
        let chosen = choose(32, Percent::whole(0), 3, |i| mostly_ill[i]);
        assert_eq!(chosen, Ok(7), "when the lot finds none, all are looked at");
    }
}
