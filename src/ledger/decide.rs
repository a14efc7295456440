//! One decision over a subject's account and what it shares with others.
//!
//! Pure, as [`Account`] is. Whoever calls has both accounts to itself, so that the
//! decision is one step over all limits: room under each and everything is booked,
//! or no room under one and nothing is.
//!
//! A reservation and a raise are the same step: what a hold has booked on a counter
//! before is no longer asked for. A raise books the difference only, when it became
//! known: each part leaves a window by itself, and belongs to the period of its time.

use std::time::Duration;

use smallvec::SmallVec;

use crate::ledger::account::{Account, Indices, Moves};
use crate::ledger::decision::{
    CONCURRENCY_WAIT, Charge, Charges, Decision, Demand, Exceeded, Excess, Hold, HoldId, Refused,
    Standing,
};
use crate::ledger::slot::{Slot, Step};
use crate::policy::limit::{Counter, Limit};

/// The accounts that a demand is about.
pub(super) struct Parties<'a> {
    pub(super) own: &'a mut Account,
    /// There exactly when the demand's limits have pools.
    pub(super) pool: Option<&'a mut Account>,
}

/// What changed in each account.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) own: Moves,
    pub(super) pool: Moves,
}

/// Books room under all limits, or under none.
pub(super) fn reserve(
    parties: Parties<'_>,
    demand: &Demand<'_>,
    id: HoldId,
) -> (Decision, Changes) {
    let mut hold = Box::new(Hold {
        id,
        subject: parties.own.subject.clone(),
        hash: parties.own.hash,
        lease: None,
        charges: Charges::new(),
        pooled: Charges::new(),
        remote: None,
        away: None,
    });
    let crowded = crowded(parties.own, demand);
    let mut sides = Sides::open(parties, demand, &hold);
    let excess = sides.excess(demand, &hold, crowded);
    if let (Some(excess), true) = (excess, demand.enforce) {
        let refused = refused(sides.standing(demand, None), excess);
        return (Decision::Refused(refused), sides.changes());
    }
    sides.book(demand, &mut hold);
    sides.enter();
    (Decision::Admitted(hold, sides.standing(demand, excess)), sides.changes())
}

/// Raises a hold to a better estimate, or leaves everything as it is.
pub(super) fn raise(
    parties: Parties<'_>,
    hold: &mut Hold,
    demand: &Demand<'_>,
) -> (Result<Standing, Refused>, Changes) {
    let mut sides = Sides::open(parties, demand, hold);
    let excess = sides.excess(demand, hold, None);
    if let (Some(excess), true) = (excess, demand.enforce) {
        return (Err(refused(sides.standing(demand, None), excess)), sides.changes());
    }
    let meets_pools = hold.pooled.is_empty();
    sides.book(demand, hold);
    if let (Some(pool), true) = (&mut sides.pool, meets_pools) {
        pool.enter();
    }
    (Ok(sides.standing(demand, excess)), sides.changes())
}

struct Sides<'a> {
    own: Side<'a>,
    pool: Option<Side<'a>>,
}

impl<'a> Sides<'a> {
    fn open(parties: Parties<'a>, demand: &Demand<'a>, hold: &Hold) -> Self {
        let limits = demand.limits;
        let own = Side::open(parties.own, &limits.limits, demand, &hold.charges);
        let pool = parties.pool.map(|pool| Side::open(pool, &limits.pools, demand, &hold.pooled));
        Self { own, pool }
    }

    fn excess(&self, demand: &Demand<'_>, hold: &Hold, excess: Option<Excess>) -> Option<Excess> {
        let excess = self.own.excess(demand, &hold.charges, 0, excess);
        let Some(pool) = &self.pool else { return excess };
        pool.excess(demand, &hold.pooled, demand.limits.limits.len(), excess)
    }

    fn book(&mut self, demand: &Demand<'_>, hold: &mut Hold) {
        self.own.book(demand, &mut hold.charges);
        if let Some(pool) = &mut self.pool {
            pool.book(demand, &mut hold.pooled);
        }
    }

    /// One more request is in flight.
    fn enter(&mut self) {
        self.own.enter();
        if let Some(pool) = &mut self.pool {
            pool.enter();
        }
    }

    fn standing(&self, demand: &Demand<'_>, excess: Option<Excess>) -> Standing {
        let mut states = SmallVec::new();
        for side in [Some(&self.own), self.pool.as_ref()].into_iter().flatten() {
            let slots = side.indices.iter().map(|index| &side.account.slots[*index as usize]);
            let state = |(limit, slot): (&Limit, &Slot)| slot.state(limit.amount, demand.now.0);
            states.extend(side.limits.iter().zip(slots).map(state));
        }
        Standing { states, excess }
    }

    fn changes(self) -> Changes {
        Changes { own: self.own.moves, pool: self.pool.map(|pool| pool.moves).unwrap_or_default() }
    }
}

/// One account and the limits that bound it.
struct Side<'a> {
    account: &'a mut Account,
    limits: &'a [Limit],
    now: u64,
    indices: Indices,
    moves: Moves,
}

impl<'a> Side<'a> {
    fn open(
        account: &'a mut Account,
        limits: &'a [Limit],
        demand: &Demand<'_>,
        charges: &[Charge],
    ) -> Self {
        let mut moves = Moves::new();
        let now = account.advance(demand.now);
        let indices = account.open(limits, charges, now, &mut moves);
        Self { account, limits, now, indices, moves }
    }

    fn enter(&mut self) {
        self.account.in_flight = self.account.in_flight.saturating_add(1);
    }

    /// The limit without room that matters most, of these and of what was found before.
    fn excess(
        &self,
        demand: &Demand<'_>,
        charges: &[Charge],
        first: usize,
        mut excess: Option<Excess>,
    ) -> Option<Excess> {
        let skew = Duration::from_millis(self.now - demand.now.0.min(self.now));
        for (position, (limit, &index)) in self.limits.iter().zip(&self.indices).enumerate() {
            let whole = demand.amount(limit.counter.unit());
            let amount = whole.saturating_sub(booked(charges, &limit.counter));
            let slot = &self.account.slots[index as usize];
            let Some(wait) = slot.shortfall(limit, charges, amount, self.now) else { continue };
            let never = whole > limit.amount;
            let position = first + position;
            let met = if never { Exceeded::Never(position) } else { Exceeded::Limit(position) };
            excess = Some(graver(excess, Excess { limit: met, retry_after: wait + skew }));
        }
        excess
    }

    fn book(&mut self, demand: &Demand<'_>, charges: &mut Charges) {
        for (limit, &index) in self.limits.iter().zip(&self.indices) {
            // Two limits on one counter bound the same count; it counts once.
            let had = booked(charges, &limit.counter);
            let amount = demand.amount(limit.counter.unit()).saturating_sub(had);
            let known = charges.iter().rposition(|charge| limit.counter.has(charge.counter));
            if amount == 0 && known.is_some() {
                continue;
            }
            let slot = &mut self.account.slots[index as usize];
            let joined = known.filter(|known| slot.joins(&charges[*known], self.now));
            let mut charge = Charge {
                counter: known.map_or(limit.counter.id(), |known| charges[known].counter),
                slot: index,
                generation: slot.generation,
                unit: limit.counter.unit(),
                time: self.now,
                amount,
            };
            let mut booked = amount;
            if let Some(known) = joined {
                let before = &charges[known];
                let step = slot.unbook(before, self.now);
                if let Some(Step::Take { amount, .. }) = step {
                    booked = booked.saturating_add(amount);
                }
                charge.amount = charge.amount.saturating_add(before.amount);
                self.moves.extend(step.map(|step| (index, step)));
            }
            self.moves.extend(slot.book(booked, self.now).map(|step| (index, step)));
            match joined {
                Some(known) => charges[known] = charge,
                None => charges.push(charge),
            }
        }
    }
}

/// What a hold has booked on a counter, whenever that was.
fn booked(charges: &[Charge], counter: &Counter) -> u64 {
    let own = charges.iter().filter(|charge| counter.has(charge.counter));
    own.fold(0, |sum, charge| sum.saturating_add(charge.amount))
}

fn crowded(account: &Account, demand: &Demand<'_>) -> Option<Excess> {
    let full = demand.limits.concurrency.is_some_and(|limit| account.in_flight >= limit.get());
    full.then_some(Excess { limit: Exceeded::Concurrency, retry_after: CONCURRENCY_WAIT })
}

/// What never fits is graver than what has to wait, a longer wait than a shorter one, the first of two alike.
fn graver(first: Option<Excess>, second: Excess) -> Excess {
    let rank = |excess: &Excess| (matches!(excess.limit, Exceeded::Never(_)), excess.retry_after);
    first.filter(|first| rank(first) >= rank(&second)).unwrap_or(second)
}

fn refused(standing: Standing, excess: Excess) -> Refused {
    Refused { standing, limit: excess.limit, retry_after: excess.retry_after }
}
