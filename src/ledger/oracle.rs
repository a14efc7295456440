//! A naive ledger: keeps every booking for ever and tells what has left by arithmetic alone.
//!
//! Sequential, slow, and without any of the shortcuts of the real one: no expiry,
//! no running sums, no generations. The property tests compare the two.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::ledger::{CONCURRENCY_WAIT, Demand, Exceeded, Outcome};
use crate::policy::limit::{CounterId, Limit, Span, Unit};

/// Everything that was ever booked; what has left is told by arithmetic alone.
#[derive(Default)]
pub(super) struct Oracle {
    bookings: Vec<Booking>,
    pub(super) latest: [u64; 2],
    in_flight: [u32; 2],
    serial: u64,
}

#[derive(Clone, Debug)]
struct Booking {
    subject: usize,
    counter: CounterId,
    /// Of which hold; 0 when it is settled.
    hold: u64,
    time: u64,
    /// What the hold charged, and what of it still counts.
    charged: u64,
    amount: u64,
}

pub(super) type Verdict = Result<u64, (Exceeded, Duration)>;

impl Oracle {
    fn live(booking: &Booking, span: &Span, now: u64) -> bool {
        match span {
            Span::Window(length) => booking.time + length.as_millis() as u64 > now,
            Span::Period(calendar) => booking.time >= calendar.bounds(Timestamp(now)).start.0,
        }
    }

    /// Without what `hold` itself charged.
    pub(super) fn used(&self, subject: usize, limit: &Limit, now: u64, hold: u64) -> u64 {
        let mine = |b: &&Booking| b.subject == subject && b.counter == limit.counter.id();
        let others = self.bookings.iter().filter(mine).filter(|b| hold == 0 || b.hold != hold);
        others.filter(|b| Self::live(b, limit.counter.span(), now)).map(|b| b.amount).sum()
    }

    /// The charge of a hold on a counter, unless its period has ended.
    fn charge(&self, hold: u64, limit: &Limit, now: u64) -> Option<usize> {
        let window = matches!(limit.counter.span(), Span::Window(_));
        let counts = |b: &Booking| window || Self::live(b, limit.counter.span(), now);
        let mine = |b: &Booking| hold != 0 && b.hold == hold && b.counter == limit.counter.id();
        self.bookings.iter().position(|b| mine(b) && counts(b))
    }

    /// The first instant at which the amount fits, by trying every one at which something leaves.
    fn wait(&self, subject: usize, limit: &Limit, need: u64, now: u64, hold: u64) -> u64 {
        let length = match limit.counter.span() {
            Span::Period(calendar) => return calendar.bounds(Timestamp(now)).end.0 - now,
            Span::Window(length) => length.as_millis() as u64,
        };
        let mut instants: Vec<u64> =
            self.bookings.iter().map(|b| b.time + length).filter(|t| *t > now).collect();
        instants.sort_unstable();
        let fits = instants
            .into_iter()
            .find(|t| self.used(subject, limit, *t, hold) + need <= limit.amount);
        fits.map_or(length, |t| t - now)
    }

    pub(super) fn decide(
        &mut self,
        subject: usize,
        demand: &Demand<'_>,
        raised: u64,
    ) -> (Verdict, Option<(Exceeded, Duration)>) {
        let now = self.latest[subject].max(demand.now.0);
        self.latest[subject] = now;
        let mut excess = None;
        let crowded =
            demand.limits.concurrency.is_some_and(|limit| self.in_flight[subject] >= limit.get());
        if raised == 0 && crowded {
            excess = Some((Exceeded::Concurrency, CONCURRENCY_WAIT));
        }
        for (position, limit) in demand.limits.limits.iter().enumerate() {
            let need = demand.amount(limit.counter.unit());
            let own = self.charge(raised, limit, now);
            let without = if own.is_some() { raised } else { 0 };
            let covered = own.is_some_and(|i| self.bookings[i].charged >= need);
            if need == 0
                || covered
                || self.used(subject, limit, now, without) + need <= limit.amount
            {
                continue;
            }
            let wait = self.wait(subject, limit, need, now, without) + (now - demand.now.0);
            let wait = Duration::from_millis(wait);
            if excess.is_none_or(|(_, longest)| longest < wait) {
                excess = Some((Exceeded::Limit(position), wait));
            }
        }
        match excess {
            Some(excess) if demand.enforce => (Err(excess), None),
            excess => (Ok(self.book(subject, demand, raised, now)), excess),
        }
    }

    fn book(&mut self, subject: usize, demand: &Demand<'_>, raised: u64, now: u64) -> u64 {
        if raised == 0 {
            self.serial += 1;
            self.in_flight[subject] += 1;
        }
        let hold = if raised == 0 { self.serial } else { raised };
        for limit in &demand.limits.limits {
            let amount = demand.amount(limit.counter.unit());
            let own = self.charge(raised, limit, now);
            if own.is_some_and(|i| self.bookings[i].charged >= amount) {
                continue;
            }
            if let Some(own) = own {
                self.bookings.remove(own);
            }
            let counter = limit.counter.id();
            self.bookings.push(Booking {
                subject,
                counter,
                hold,
                time: now,
                charged: amount,
                amount,
            });
        }
        hold
    }

    pub(super) fn settle(
        &mut self,
        subject: usize,
        hold: u64,
        outcome: Outcome,
        now: u64,
        units: impl Fn(CounterId) -> (Unit, bool),
    ) {
        let now = self.latest[subject].max(now);
        self.latest[subject] = now;
        self.in_flight[subject] -= 1;
        let mut late = Vec::new();
        for booking in self.bookings.iter_mut().filter(|b| b.hold == hold) {
            let (unit, window) = units(booking.counter);
            let actual = match (outcome, unit) {
                (Outcome::Refund, _) => 0,
                (Outcome::Actual { cost, .. }, Unit::NanoUsd) => cost.0,
                (Outcome::Actual { tokens, .. }, Unit::Tokens) => tokens,
                _ => booking.amount,
            };
            if window && actual > booking.charged {
                late.push(Booking {
                    hold: 0,
                    time: now,
                    amount: actual - booking.charged,
                    ..booking.clone()
                });
            } else {
                booking.amount = actual;
            }
            booking.hold = 0;
        }
        self.bookings.extend(late);
    }

    pub(super) fn forget(&mut self, subject: usize) {
        self.bookings.retain(|b| b.subject != subject);
    }

    pub(super) fn crash(&mut self) {
        self.bookings.iter_mut().for_each(|b| b.hold = 0);
        self.in_flight = [0; 2];
    }
}
