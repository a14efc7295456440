//! What a caller may use, as run: limits and the counters that they bound.
//!
//! A [`Counter`] is what is counted; a [`Limit`] is how much of it is allowed.
//! The two are apart on purpose: the name of a counter is made of its scope,
//! unit and span, never of a tier or an amount, so that raising a limit or
//! renaming a tier keeps the running count.
//!
//! # Limits
//! The names feed [`CounterId`], which is written to disk and shared between
//! replicas: the text forms of [`Unit`] and [`SpanKey`] must never change.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::policy::calendar::{Calendar, Period};

/// The subject under which every store counts what all callers share: no caller can have this name.
///
/// One subject for all pools, told apart by scope, so that a decision touches two accounts at most.
pub const POOLS: &str = "pool:*";

/// All limits that one operation meets in one tier.
#[derive(Debug, Default)]
pub struct Limits {
    /// The caller's own: one entry per quota or budget, in policy order.
    pub limits: Box<[Limit]>,
    /// What all callers share, counted under [`POOLS`]: the tier's totals, then the operation's.
    pub pools: Box<[Limit]>,
    /// Requests that one subject may have in flight; unset means any number.
    pub concurrency: Option<NonZeroU32>,
    /// What holds instead while the store that replicas share is away.
    pub away: Away,
}

impl Limits {
    /// The caller's own limits, then the pools: the order of every standing and of every index.
    pub fn all(&self) -> impl Iterator<Item = &Limit> + Clone {
        self.limits.iter().chain(&self.pools)
    }

    /// The limit at this index of [`Limits::all`].
    pub fn get(&self, index: usize) -> Option<&Limit> {
        let shared = index.checked_sub(self.limits.len());
        shared.map_or_else(|| self.limits.get(index), |index| self.pools.get(index))
    }

    /// Whether nothing is bounded.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none() && self.concurrency.is_none()
    }

    /// The same without those that count `unit`, and without a bound on requests in flight.
    #[must_use]
    pub fn without(&self, unit: Unit) -> Self {
        let others = |limits: &[Limit]| -> Box<[Limit]> {
            limits.iter().filter(|limit| limit.counter.unit() != unit).cloned().collect()
        };
        Self { limits: others(&self.limits), pools: others(&self.pools), ..Self::default() }
    }
}

/// What becomes of a request while the store that replicas share is away: of what its limits ask for, the strictest.
#[derive(Clone, Debug, Default)]
pub enum Away {
    /// It is refused. Default, for whatever was not thought of.
    #[default]
    Refuse,
    /// It is counted here, within these limits: the same ones in the same order, each cut
    /// down to its allowance.
    Local(Arc<Limits>),
    /// It passes uncounted.
    Allow,
}

/// How much of one counter may be used within its span.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What is counted.
    pub counter: Counter,
    /// Upper bound per window or period, in the counter's unit. At least 1.
    pub amount: u64,
}

/// A thing that is counted per subject, named independently of any amount.
#[derive(Clone, Debug)]
pub struct Counter {
    id: CounterId,
    former: Box<[CounterId]>,
    scope: Arc<str>,
    unit: Unit,
    span: Span,
}

impl Counter {
    /// Names a counter; `scope` is an operation's name, or `*` for all of them together.
    ///
    /// The scope of a pool is `tier:NAME`, `tier:NAME/OPERATION` or `operation:NAME`.
    pub fn new(scope: impl Into<Arc<str>>, unit: Unit, span: Span) -> Self {
        let scope = scope.into();
        let id = CounterId::of(&scope, unit, span.key());
        Self { id, former: Box::default(), scope, unit, span }
    }

    /// Says under which scopes the same thing was counted before, the latest first.
    #[must_use]
    pub fn renamed_from<'n>(mut self, scopes: impl IntoIterator<Item = &'n str>) -> Self {
        let key = self.span.key();
        let former = scopes.into_iter().map(|scope| CounterId::of(scope, self.unit, key));
        self.former = former.filter(|former| *former != self.id).collect();
        self
    }

    /// The key under which every store keeps this counter.
    pub fn id(&self) -> CounterId {
        self.id
    }

    /// Keys whose count belongs to this counter from now on: whenever a store meets one that has
    /// content, it moves it here, so that nothing counts twice. Mostly empty.
    pub fn former(&self) -> &[CounterId] {
        &self.former
    }

    /// Whether what was booked under `id` belongs to this counter.
    pub fn has(&self, id: CounterId) -> bool {
        self.id == id || self.former.contains(&id)
    }

    /// The operation's name, or `*`; see [`Counter::new`] for pools.
    pub fn scope(&self) -> &Arc<str> {
        &self.scope
    }

    /// What is counted.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Over which time it is counted.
    pub fn span(&self) -> &Span {
        &self.span
    }
}

/// A counter's key: the first 8 bytes of a SHA-256, stable over restarts, replicas and policy edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterId(u64);

impl CounterId {
    /// Derives the key from `{scope}\0{unit}\0{span}`.
    pub fn of(scope: &str, unit: Unit, span: SpanKey) -> Self {
        let digest = Sha256::digest(format!("{scope}\0{unit}\0{span}"));
        Self(u64::from_be_bytes(std::array::from_fn(|i| digest[i])))
    }

    /// Takes back a key that [`CounterId::to_u64`] gave.
    pub fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    /// The key as a number, to be stored.
    pub fn to_u64(self) -> u64 {
        self.0
    }
}

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Admitted requests.
    Requests,
    /// Tokens of a language model.
    Tokens,
    /// Bytes of request bodies.
    Bytes,
    /// Billionths of a US dollar.
    NanoUsd,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Bytes => "bytes",
            Self::NanoUsd => "nano_usd",
        })
    }
}

/// The time over which a counter counts.
#[derive(Clone, Debug)]
pub enum Span {
    /// A sliding window, 1 s to 31 d, in whole milliseconds.
    Window(Duration),
    /// A calendar period in a named zone.
    Period(Calendar),
    /// While a request is in flight: only for pools, counted but never kept.
    InFlight,
}

impl Span {
    /// The part of the span that names a counter: a calendar's zone is not in it.
    pub fn key(&self) -> SpanKey {
        match self {
            Self::Window(length) => {
                let ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
                SpanKey::Window { ms: ms.max(1) }
            }
            Self::Period(calendar) => SpanKey::Period(calendar.period()),
            Self::InFlight => SpanKey::InFlight,
        }
    }
}

/// A span without its zone: moving a budget to another zone keeps its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpanKey {
    /// A sliding window of this many milliseconds, at least 1.
    Window {
        /// Length of the window.
        ms: u64,
    },
    /// A calendar period.
    Period(Period),
    /// While a request is in flight.
    InFlight,
}

impl fmt::Display for SpanKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window { ms } => write!(f, "{ms}ms"),
            Self::Period(period) => period.fmt(f),
            Self::InFlight => f.write_str("in_flight"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(seconds: u64) -> Span {
        Span::Window(Duration::from_secs(seconds))
    }

    fn month(zone: &str) -> Span {
        Span::Period(Calendar::new(Period::Month, zone).unwrap())
    }

    #[test]
    fn ids_are_the_head_of_a_sha256_and_never_change() {
        // printf 'chat\0requests\0003600000ms' | sha256sum | head -c 16, and so on
        let hour = Counter::new("chat", Unit::Requests, window(3600));
        assert_eq!(hour.id().to_u64(), 0x2cff_e095_0999_5706);
        let budget = Counter::new("*", Unit::NanoUsd, month("UTC"));
        assert_eq!(budget.id().to_u64(), 0xd4e6_6307_d939_3dd3);
    }

    #[test]
    fn scope_unit_and_span_each_make_another_counter() {
        let base = Counter::new("chat", Unit::Requests, window(60)).id();
        assert_ne!(base, Counter::new("*", Unit::Requests, window(60)).id());
        assert_ne!(base, Counter::new("chat", Unit::Tokens, window(60)).id());
        assert_ne!(base, Counter::new("chat", Unit::Requests, window(61)).id());
    }

    #[test]
    fn the_zone_of_a_budget_is_not_in_its_name() {
        let here = Counter::new("*", Unit::NanoUsd, month("UTC"));
        let there = Counter::new("*", Unit::NanoUsd, month("Asia/Tokyo"));
        assert_eq!(here.id(), there.id());
    }
}
