//! A demand as the script reads it, and a verdict out of what the script says.

use std::time::Duration;

use smallvec::SmallVec;

use super::held::{Amounts, MAX_AMOUNT};
use super::resp::Reply;
use super::script::Invocation;
use crate::clock::Timestamp;
use crate::ledger::decision::{Demand, Exceeded, Excess, LimitState, Refused, Standing};
use crate::policy::limit::{CounterId, Limit, Limits, Span};

/// What a replica asks for beside room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The hold's lease, in milliseconds.
    pub(super) lease: u64,
    /// Whether an expired hold is charged.
    pub(super) charges: bool,
    /// Requests like this one that may be drawn at once, this one included.
    pub(super) most: u64,
    /// The largest share, in percent of a limit.
    pub(super) percent: u64,
    /// 1, or 0 for a part of a request that is in flight already.
    pub(super) slots: u64,
}

/// How many replicas may draw from what is left before little of it is left.
const FACTOR: u64 = 16;

/// Appends what [`Demand`] asks for, to a command `reserve`.
pub(super) fn put_reserve(
    call: &mut Invocation,
    id: &str,
    demand: &Demand<'_>,
    amounts: &Amounts,
    (side, terms, until, time): (Side, Terms, Option<u64>, Timestamp),
) {
    call.text(id);
    match until {
        Some(until) => call.number(until),
        None => call.text(""),
    };
    call.number(terms.lease).text(if terms.charges { "c" } else { "r" }).flag(demand.enforce);
    let crowd = demand.limits.concurrency.map_or(0, |limit| u64::from(limit.get()));
    call.number(terms.slots).number(crowd).number(terms.most).number(terms.lease);
    call.number(terms.percent).number(FACTOR);
    put_limits(call, (side, demand.limits), amounts, time);
}

/// Which limits of a demand a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The subject's own and the pools, where one server has both.
    Both,
    /// The subject's own.
    Own,
    /// What all callers share.
    Pools,
}

impl Side {
    /// One entry per limit: the index of its account in the command, and the limit.
    fn limits(self, limits: &Limits) -> impl Iterator<Item = (u64, &Limit)> {
        let own = if self == Self::Pools { &[] } else { &*limits.limits };
        let pools = if self == Self::Own { &[] } else { &*limits.pools };
        let second = if self == Self::Both { 2 } else { 1 };
        own.iter().map(|limit| (1, limit)).chain(pools.iter().map(move |limit| (second, limit)))
    }
}

/// Appends the limits and what is asked of each.
pub(super) fn put_limits(
    call: &mut Invocation,
    (side, limits): (Side, &Limits),
    amounts: &Amounts,
    time: Timestamp,
) {
    call.number(side.limits(limits).count() as u64);
    for (account, limit) in side.limits(limits) {
        put_limit(call, account, limit, amounts, time);
    }
}

fn put_limit(
    call: &mut Invocation,
    account: u64,
    limit: &Limit,
    amounts: &Amounts,
    time: Timestamp,
) {
    let counter = &limit.counter;
    let (kind, start, end) = match counter.span() {
        Span::Window(length) => {
            ("W", u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1), 0)
        }
        Span::Period(calendar) => {
            let bounds = calendar.bounds(time);
            ("P", bounds.start.0, bounds.end.0)
        }
        Span::InFlight => ("F", 0, 0),
    };
    let key = |id: &CounterId| format!("{:016x}", id.to_u64());
    call.number(account).text(kind).text(&key(&counter.id()));
    call.number(amounts.get(counter.unit())).number(limit.amount.min(MAX_AMOUNT));
    call.number(start).number(end);
    call.text(&counter.former().iter().map(key).collect::<Vec<_>>().join(" "));
    call.text(&format!("{} {} {}", counter.unit(), counter.span().key(), counter.scope()));
}

/// What the script said of a reservation or a raise.
#[derive(Debug)]
pub(super) enum Answer {
    Decided(Verdict),
    /// The periods were computed for another instant than this one.
    Instant(Timestamp),
    /// The command came when nobody waited for it any more.
    TooLate,
    /// The hold has expired.
    Gone,
}

#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) admitted: bool,
    /// The server's clock.
    pub(super) now: u64,
    pub(super) excess: Option<Excess>,
    /// How many requests like this one were drawn.
    pub(super) times: u64,
    /// How long they may be spent.
    pub(super) lease: Duration,
    pub(super) states: SmallVec<[LimitState; 4]>,
}

impl Answer {
    /// Reads a reply; `None` when it is nothing that the script says.
    pub(super) fn read(reply: &Reply, side: Side, limits: &Limits) -> Option<Self> {
        let items = reply.array();
        let (status, now) = (items.first()?.number()?, items.get(1)?.amount()?);
        match status {
            0 | 1 => Verdict::read(items, side, limits).map(Self::Decided),
            2 => Some(Self::Instant(Timestamp(now))),
            3 => Some(Self::TooLate),
            _ => Some(Self::Gone),
        }
    }
}

impl Verdict {
    fn read(items: &[Reply], side: Side, limits: &Limits) -> Option<Self> {
        let [status, now, position, wait, never, times, lease, pairs @ ..] = items else {
            return None;
        };
        let ms = |reply: &Reply| reply.amount().map(Duration::from_millis);
        let first = if side == Side::Pools { limits.limits.len() } else { 0 };
        let limit = match (position.number()?, never.number()?) {
            (-2, _) => None,
            (-1, _) => Some(Exceeded::Concurrency),
            (index, 0) => Some(Exceeded::Limit(first + usize::try_from(index).ok()?)),
            (index, _) => Some(Exceeded::Never(first + usize::try_from(index).ok()?)),
        };
        let mut states = SmallVec::new();
        for ((_, limit), pair) in side.limits(limits).zip(pairs.chunks_exact(2)) {
            let (used, resets_in) = (pair[0].amount()?, ms(&pair[1])?);
            states.push(LimitState {
                used,
                remaining: limit.amount.saturating_sub(used),
                resets_in,
            });
        }
        let wait = ms(wait)?;
        (states.len() == side.limits(limits).count()).then_some(Self {
            admitted: status.number()? == 1,
            now: now.amount()?,
            excess: limit.map(|limit| Excess { limit, retry_after: wait }),
            times: times.amount()?,
            lease: ms(lease)?,
            states,
        })
    }

    /// What a share says in the server's place.
    pub(super) fn local(standing: Standing, now: u64) -> Self {
        let Standing { states, excess } = standing;
        Self { admitted: true, now, excess, times: 1, lease: Duration::ZERO, states }
    }

    /// The standing of an admitted request.
    pub(super) fn standing(self) -> Standing {
        Standing { states: self.states, excess: self.excess }
    }

    /// The refusal of another one.
    pub(super) fn refused(self) -> Refused {
        let excess = self
            .excess
            .unwrap_or(Excess { limit: Exceeded::Concurrency, retry_after: Duration::ZERO });
        let standing = Standing { states: self.states, excess: None };
        Refused { standing, limit: excess.limit, retry_after: excess.retry_after }
    }
}
