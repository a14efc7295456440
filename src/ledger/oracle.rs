//! A naive ledger: keeps every booking for ever and tells what has left by arithmetic alone.
//!
//! Sequential, slow, and without any of the shortcuts of the real one: no expiry,
//! no running sums, no generations. The property tests compare the two.
//!
//! A period's count goes on as long as its last charge lies in the period that is the present
//! one by the calendar in force: so an edit of the zone moves a boundary and keeps the count.

use std::collections::HashMap;
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
    /// Of each count of a period: its last charge, and since when it counts.
    marks: HashMap<(usize, CounterId), (u64, u64)>,
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
    /// Its subject was reset since.
    forgotten: bool,
}

pub(super) type Verdict = Result<u64, (Exceeded, Duration)>;

impl Oracle {
    fn live(&self, booking: &Booking, span: &Span, now: u64) -> bool {
        if booking.forgotten {
            return false;
        }
        match span {
            Span::Window(length) => booking.time + length.as_millis() as u64 > now,
            Span::Period(_) => {
                let mark = self.marks.get(&(booking.subject, booking.counter));
                mark.is_none_or(|(_, since)| booking.time >= *since)
            }
            Span::InFlight => booking.hold != 0,
        }
    }

    /// Begins the count of a period anew when its last charge lies before the present one.
    fn enter(&mut self, subject: usize, limit: &Limit, now: u64) {
        let Span::Period(calendar) = limit.counter.span() else { return };
        let start = calendar.bounds(Timestamp(now)).start.0;
        let mark = self.marks.entry((subject, limit.counter.id())).or_default();
        if mark.0 < start {
            *mark = (start, start);
        }
    }

    /// Without what `hold` itself charged.
    pub(super) fn used(&self, subject: usize, limit: &Limit, now: u64, hold: u64) -> u64 {
        let mine = |b: &&Booking| b.subject == subject && b.counter == limit.counter.id();
        let others = self.bookings.iter().filter(mine).filter(|b| hold == 0 || b.hold != hold);
        others.filter(|b| self.live(b, limit.counter.span(), now)).map(|b| b.amount).sum()
    }

    /// What a hold has charged on a counter, whenever that was.
    fn charged(&self, hold: u64, limit: &Limit) -> u64 {
        let mine = |b: &&Booking| hold != 0 && b.hold == hold && b.counter == limit.counter.id();
        self.bookings.iter().filter(mine).map(|b| b.charged).sum()
    }

    /// The last booking of a hold on a counter, if another at `now` joins it.
    fn joined(&self, hold: u64, limit: &Limit, now: u64) -> Option<usize> {
        let mine = |b: &Booking| hold != 0 && b.hold == hold && b.counter == limit.counter.id();
        let last = self.bookings.iter().rposition(mine)?;
        let near = match limit.counter.span() {
            Span::Window(length) => {
                let part = (length.as_millis() as u64).div_ceil(16);
                !self.bookings[last].forgotten && self.bookings[last].time / part == now / part
            }
            span => self.live(&self.bookings[last], span, now),
        };
        near.then_some(last)
    }

    /// The first instant at which `more` fits, by trying every one at which something of others leaves.
    fn wait(&self, subject: usize, limit: &Limit, more: u64, now: u64, hold: u64) -> u64 {
        let length = match limit.counter.span() {
            Span::Period(calendar) => return calendar.bounds(Timestamp(now)).end.0 - now,
            Span::InFlight => return CONCURRENCY_WAIT.as_millis() as u64,
            Span::Window(length) => length.as_millis() as u64,
        };
        let mut instants: Vec<u64> =
            self.bookings.iter().map(|b| b.time + length).filter(|t| *t > now).collect();
        instants.sort_unstable();
        let own = self.used(subject, limit, now, 0) - self.used(subject, limit, now, hold);
        let own = if hold == 0 { 0 } else { own };
        let fits = instants
            .into_iter()
            .find(|t| self.used(subject, limit, *t, hold) + own + more <= limit.amount);
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
        demand.limits.limits.iter().for_each(|limit| self.enter(subject, limit, now));
        let mut excess = None;
        let crowded =
            demand.limits.concurrency.is_some_and(|limit| self.in_flight[subject] >= limit.get());
        if raised == 0 && crowded {
            excess = Some((Exceeded::Concurrency, CONCURRENCY_WAIT));
        }
        for (position, limit) in demand.limits.limits.iter().enumerate() {
            let whole = demand.amount(limit.counter.unit());
            let more = whole.saturating_sub(self.charged(raised, limit));
            if more == 0 || self.used(subject, limit, now, 0) + more <= limit.amount {
                continue;
            }
            let wait = self.wait(subject, limit, more, now, raised) + (now - demand.now.0);
            let never = whole > limit.amount;
            let met = if never { Exceeded::Never(position) } else { Exceeded::Limit(position) };
            let found = (met, Duration::from_millis(wait));
            let rank = |(met, wait): (Exceeded, _)| (matches!(met, Exceeded::Never(_)), wait);
            if excess.is_none_or(|excess| rank(excess) < rank(found)) {
                excess = Some(found);
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
            let amount = amount.saturating_sub(self.charged(hold, limit));
            let id = limit.counter.id();
            let known = self.bookings.iter().any(|b| b.hold == hold && b.counter == id);
            if let (Some(mark), true) = (self.marks.get_mut(&(subject, id)), amount > 0 || !known) {
                mark.0 = mark.0.max(now);
            }
            if let (Some(last), true) = (self.joined(hold, limit, now), amount > 0) {
                let booking = &mut self.bookings[last];
                booking.time = now;
                booking.charged += amount;
                booking.amount += amount;
                continue;
            }
            let counter = limit.counter.id();
            let first = !self.bookings.iter().any(|b| b.hold == hold && b.counter == counter);
            if amount > 0 || first {
                let (time, charged, forgotten) = (now, amount, false);
                let new = Booking { subject, counter, hold, time, charged, amount, forgotten };
                self.bookings.push(new);
            }
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
        let of_hold = |b: &Booking| b.subject == subject && b.hold == hold;
        let mine: Vec<usize> =
            (0..self.bookings.len()).filter(|i| of_hold(&self.bookings[*i])).collect();
        for (nth, &index) in mine.iter().enumerate() {
            let booking = self.bookings[index].clone();
            let same = |i: &&usize| self.bookings[**i].counter == booking.counter;
            let before: u64 =
                mine[..nth].iter().filter(same).map(|i| self.bookings[*i].charged).sum();
            let last = !mine[nth + 1..].iter().any(|i| same(&i));
            let (unit, window) = units(booking.counter);
            let whole = match (outcome, unit) {
                (Outcome::Refund, _) => Some(0),
                (Outcome::Actual { cost, .. }, Unit::NanoUsd) => Some(cost.0),
                (Outcome::Actual { tokens, .. }, Unit::Tokens) => Some(tokens),
                _ => None,
            };
            let share = whole.map(|whole| whole.saturating_sub(before));
            let share = share.map_or(booking.charged, |share| {
                if last { share } else { share.min(booking.charged) }
            });
            if window && share > booking.charged && !booking.forgotten {
                let amount = share - booking.charged;
                self.bookings.push(Booking { hold: 0, time: now, amount, ..booking });
            } else {
                self.bookings[index].amount = share;
            }
        }
        mine.into_iter().for_each(|index| self.bookings[index].hold = 0);
    }

    pub(super) fn forget(&mut self, subject: usize) {
        self.marks.retain(|(of, _), _| *of != subject);
        self.bookings.iter_mut().filter(|b| b.subject == subject).for_each(|b| b.forgotten = true);
    }

    pub(super) fn crash(&mut self) {
        self.bookings.iter_mut().for_each(|b| b.hold = 0);
        self.in_flight = [0; 2];
    }
}
