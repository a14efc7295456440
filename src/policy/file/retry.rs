//! `[upstream] retry` and `circuit_breaker`.

use std::time::Duration;

use super::super::read::{At, Table, words};
use crate::units::{DurationRange, Percent};

/// When a request is sent again. Only what is safe to repeat ever is.
#[derive(Debug, Clone)]
pub struct RetryFile {
    /// Attempts in all, the first included, 1 to 10. Default 3.
    pub attempts: At<u32>,
    /// Upper bounds of the first pause and of every pause; doubled in between, and drawn by lot below it, so that
    /// callers do not come back together. Default 100 ms to 2 s.
    pub backoff: At<DurationRange>,
    /// What is tried again. Default: `connect` and `refused`, after which the upstream has certainly not begun.
    pub on: Vec<At<RetryOn>>,
    /// Methods that may be repeated although the upstream may have begun. Default: the safe ones.
    pub methods: Vec<At<RetryMethod>>,
    /// Repeats per request, over 10 s, beside 3 a second that are always free. Default 20 %: a failing upstream is
    /// not buried under repeats.
    pub budget: At<Percent>,
}

/// When the upstream is left alone.
#[derive(Debug, Clone)]
pub struct CircuitBreakerFile {
    /// Failures in a row that open the circuit, 1 to 10 000. Default 5.
    pub failures: At<u32>,
    /// The span in which they count, 1 s to 1 h. Default 30 s.
    pub within: At<Duration>,
    /// How long it stays open before one request may try, 100 ms to 1 h. Default 15 s.
    pub open_for: At<Duration>,
}

words! {
    /// A failure after which a request may be sent again.
    "a failure such as \"connect\""
    pub enum RetryOn {
        /// No connection could be opened in time.
        Connect = "connect",
        /// The connection was refused, or closed before the request was read.
        Refused = "refused",
        /// The connection broke before an answer: only for `methods`.
        Reset = "reset",
        /// The upstream answered 502: only for `methods`.
        BadGateway = "502",
        /// The upstream answered 503: only for `methods`.
        Unavailable = "503",
        /// The upstream answered 504: only for `methods`.
        GatewayTimeout = "504",
    }
}

impl RetryOn {
    /// What is tried again where nothing is said.
    pub const USUAL: [Self; 2] = [Self::Connect, Self::Refused];
}

words! {
    /// A method that is idempotent (RFC 9110, 9.2.2): others are never repeated once they may have arrived.
    "an idempotent method such as \"GET\""
    pub enum RetryMethod {
        /// Safe.
        Get = "GET",
        /// Safe.
        Head = "HEAD",
        /// Safe.
        Options = "OPTIONS",
        /// Safe.
        Trace = "TRACE",
        /// Idempotent by definition; not in every service.
        Put = "PUT",
        /// Idempotent by definition; not in every service.
        Delete = "DELETE",
    }
}

impl RetryMethod {
    /// What is repeated where nothing is said: the methods that RFC 9110, 9.2.1 calls safe.
    pub const SAFE: [Self; 4] = [Self::Get, Self::Head, Self::Options, Self::Trace];
}

/// Attempts, and the backoff, where nothing is said.
pub(in crate::policy) const ATTEMPTS: u32 = 3;
pub(in crate::policy) const BACKOFF: DurationRange =
    DurationRange { shortest: millis(100), longest: millis(2_000) };
pub(in crate::policy) const BUDGET: Percent = Percent::whole(20);

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn retry(table: &mut Table<'_, '_>) -> RetryFile {
    RetryFile {
        attempts: table.within("attempts", ATTEMPTS, 1..=10),
        backoff: table.or("backoff", BACKOFF),
        on: list(table, "on", &RetryOn::USUAL),
        methods: list(table, "methods", &RetryMethod::SAFE),
        budget: table.or("budget", BUDGET),
    }
}

pub(super) fn breaker(table: &mut Table<'_, '_>) -> CircuitBreakerFile {
    let hour = millis(3_600_000);
    CircuitBreakerFile {
        failures: table.within("failures", 5, 1..=10_000),
        within: table.within("within", millis(30_000), millis(1_000)..=hour),
        open_for: table.within("open_for", millis(15_000), millis(100)..=hour),
    }
}

fn list<T: Copy>(table: &mut Table<'_, '_>, key: &'static str, usual: &[T]) -> Vec<At<T>>
where
    Vec<At<T>>: super::super::read::Read,
{
    let span = table.span();
    let usual = || usual.iter().map(|word| At::default_in(span, *word)).collect();
    table.optional(key).map_or_else(usual, |written: At<Vec<At<T>>>| written.value)
}
