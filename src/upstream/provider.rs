//! What an answer says of the limits of whoever stands behind it.
//!
//! Reads `Retry-After` and `retry-after-ms`, `x-ratelimit-*` as OpenAI writes it
//! (and Azure, Groq, Mistral), and `anthropic-ratelimit-*`. All of it is text of
//! a stranger: bounded, without allocation, and whatever makes no sense is left
//! out.
//!
//! # Limits
//! A value of more than [`MAX_VALUE`] bytes is not read; a time of more than
//! [`LONGEST_WAIT`] counts as that. Quotas are read for what they are: a `reset`
//! says when a limit is whole again, not when the next request passes, so it is
//! no reason to refuse one, except behind a 429 that says nothing better.

mod times;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::clock::Timestamp;

/// The longest value that is read.
const MAX_VALUE: usize = 64;
/// The longest time that is believed.
const LONGEST_WAIT: Duration = Duration::from_secs(31 * 86_400);

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const UNIFIED_STATUS: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-status");
const UNIFIED_RESET: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-reset");

/// What a provider counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// Requests.
    Requests,
    /// Tokens, both ways.
    Tokens,
    /// Tokens of prompts.
    InputTokens,
    /// Tokens of answers.
    OutputTokens,
}

impl Kind {
    /// Every kind, in the order of [`crate::telemetry::QUOTA_KINDS`].
    const ALL: [(Self, &'static str); 4] = [
        (Self::Requests, "requests"),
        (Self::Tokens, "tokens"),
        (Self::InputTokens, "input-tokens"),
        (Self::OutputTokens, "output-tokens"),
    ];

    fn named(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(kind, _)| *kind)
    }
}

/// The state of one of the provider's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// The whole of it.
    pub limit: Option<u64>,
    /// What is left.
    pub remaining: Option<u64>,
    /// Until it is whole again.
    pub reset: Option<Duration>,
}

/// The provider's limits, by [`Kind`].
pub type Quotas = [Quota; Kind::ALL.len()];

/// Reads the provider's limits out of an answer; `None` when it says nothing of them.
pub fn quotas(headers: &HeaderMap, now: Timestamp) -> Option<Quotas> {
    let mut found: Option<Quotas> = None;
    for (name, value) in headers {
        // Most answers have no such header: one look at each name must be all they cost.
        let Some(field) = field(name.as_str()) else { continue };
        let Some(text) = text(value) else { continue };
        let quota = &mut found.get_or_insert_default()[field.kind as usize];
        match field.part {
            Part::Limit => quota.limit = number(text),
            Part::Remaining => quota.remaining = number(text),
            Part::Reset => quota.reset = reset(text, now),
        }
    }
    found
}

/// How long an answer asks to be left alone; `None` when it does not.
///
/// 429, 503 and 529 are such answers. `quotas` are those of the same answer.
pub fn wait(
    status: StatusCode,
    headers: &HeaderMap,
    quotas: Option<&Quotas>,
    now: Timestamp,
) -> Option<Duration> {
    let overloaded = status == StatusCode::SERVICE_UNAVAILABLE || status.as_u16() == 529;
    let limited = status == StatusCode::TOO_MANY_REQUESTS;
    if !overloaded && !limited {
        return None;
    }
    let said = retry_after(headers, now);
    let wait = said.or_else(|| exhausted(quotas?).filter(|_| limited));
    let wait = wait.or_else(|| unified(headers, now).filter(|_| limited));
    wait.filter(|wait| !wait.is_zero()).map(|wait| wait.min(LONGEST_WAIT))
}

/// `retry-after-ms`, or else `Retry-After` in seconds or as a date (RFC 9110, 10.2.3).
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let millis = headers.get(RETRY_AFTER_MS).and_then(text).and_then(times::millis);
    let wait = millis.or_else(|| {
        let text = headers.get(header::RETRY_AFTER).and_then(text)?;
        times::seconds(text).or_else(|| times::http_date(text, now))
    })?;
    Some(wait.min(LONGEST_WAIT))
}

/// When all limits that are used up are whole again.
fn exhausted(quotas: &Quotas) -> Option<Duration> {
    quotas.iter().filter(|quota| quota.remaining == Some(0)).filter_map(|quota| quota.reset).max()
}

/// The limits over hours and days of an Anthropic account: seconds since the epoch.
fn unified(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    headers.get(UNIFIED_STATUS).filter(|status| *status == "rejected")?;
    times::epoch(text(headers.get(UNIFIED_RESET)?)?, now)
}

/// What one header says of.
struct Field {
    kind: Kind,
    part: Part,
}

enum Part {
    Limit,
    Remaining,
    Reset,
}

/// `x-ratelimit-PART-KIND`, or `anthropic-ratelimit-KIND-PART`.
fn field(name: &str) -> Option<Field> {
    match name.as_bytes().first() {
        Some(b'x') => {
            let (part, kind) = name.strip_prefix("x-ratelimit-")?.split_once('-')?;
            Some(Field { part: part_named(part)?, kind: Kind::named(kind)? })
        }
        Some(b'a') => {
            let (kind, part) = name.strip_prefix("anthropic-ratelimit-")?.rsplit_once('-')?;
            Some(Field { part: part_named(part)?, kind: Kind::named(kind)? })
        }
        _ => None,
    }
}

fn part_named(text: &str) -> Option<Part> {
    match text {
        "limit" => Some(Part::Limit),
        "remaining" => Some(Part::Remaining),
        "reset" => Some(Part::Reset),
        _ => None,
    }
}

/// A value that is short and plain enough to be read.
fn text(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?.trim_ascii();
    (!text.is_empty() && text.len() <= MAX_VALUE).then_some(text)
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A span as Go writes it, plain seconds, or a moment of RFC 3339.
fn reset(text: &str, now: Timestamp) -> Option<Duration> {
    let span = times::go_duration(text).or_else(|| times::seconds(text));
    let span = span.or_else(|| times::rfc3339(text, now))?;
    Some(span.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2023-11-14T22:13:20Z.
    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn limits_as_openai_writes_them_are_read() {
        let headers = headers(&[
            ("content-type", "application/json"),
            ("x-request-id", "req_1"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-reset-requests", "8.64s"),
            ("x-ratelimit-limit-tokens", "200000"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]);

        let quotas = quotas(&headers, NOW).expect("there are limits");

        let [requests, tokens, ..] = quotas;
        let reset = Some(Duration::from_millis(8_640));
        assert_eq!(requests, Quota { limit: Some(10_000), remaining: Some(9_999), reset });
        let reset = Some(seconds(360));
        assert_eq!(tokens, Quota { limit: Some(200_000), remaining: Some(0), reset });
        assert_eq!(quotas[2..], [Quota::default(); 2]);
    }

    #[test]
    fn limits_as_anthropic_writes_them_are_read() {
        let headers = headers(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2023-11-14T22:14:20Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "30000"),
            ("anthropic-ratelimit-output-tokens-remaining", "8000"),
            ("anthropic-ratelimit-output-tokens-reset", "2023-11-14T22:13:20.500+00:00"),
            ("anthropic-ratelimit-unified-5h-utilization", "0.3"),
        ]);

        let [requests, tokens, input, output] = quotas(&headers, NOW).expect("there are limits");

        let reset = Some(seconds(60));
        assert_eq!(requests, Quota { limit: Some(50), remaining: Some(49), reset });
        assert_eq!(tokens, Quota::default());
        assert_eq!(input.remaining, Some(30_000));
        assert_eq!(
            (output.remaining, output.reset),
            (Some(8_000), Some(Duration::from_millis(500)))
        );
    }

    #[test]
    fn other_headers_say_nothing_of_limits() {
        let headers = headers(&[
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1700000000"),
            ("x-ratelimit-limit-images", "5"),
            ("anthropic-organization-id", "o"),
            ("anthropic-ratelimit-requests", "1"),
            ("age", "0"),
        ]);
        assert_eq!(quotas(&headers, NOW), None);
    }

    #[test]
    fn the_best_word_on_when_to_come_back_is_taken() {
        let wait = |status: u16, pairs: &[(&str, &str)]| {
            let (status, headers) =
                (StatusCode::from_u16(status).expect("a status"), headers(pairs));
            super::wait(status, &headers, quotas(&headers, NOW).as_ref(), NOW)
        };
        let both = [("retry-after", "20"), ("retry-after-ms", "1500")];
        assert_eq!(wait(429, &both), Some(Duration::from_millis(1_500)));
        assert_eq!(wait(503, &both[..1]), Some(seconds(20)));
        assert_eq!(wait(529, &both[..1]), Some(seconds(20)));
        assert_eq!(
            wait(429, &[("retry-after", "Tue, 14 Nov 2023 22:13:50 GMT")]),
            Some(seconds(30))
        );
        let used_up = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "2s"),
            ("anthropic-ratelimit-input-tokens-remaining", "5"),
            ("anthropic-ratelimit-input-tokens-reset", "2023-11-15T00:00:00Z"),
        ];
        assert_eq!(wait(429, &used_up), Some(seconds(2)));
        let unified = [
            ("anthropic-ratelimit-unified-status", "rejected"),
            ("anthropic-ratelimit-unified-reset", "1700000100"),
        ];
        assert_eq!(wait(429, &unified), Some(seconds(100)));
        for (status, pairs) in [
            (200, &both[..]),
            (500, &both[..]),
            (503, &used_up[..]),
            (429, &[]),
            (429, &[("retry-after", "0")]),
            (429, &[("retry-after", "soon")]),
            (429, &[("retry-after", "-1")]),
            (429, &[("retry-after", "Tue, 14 Nov 2023 22:13:00 GMT")]),
            (429, &unified[1..]),
        ] {
            assert_eq!(wait(status, pairs), None, "{status} {pairs:?}");
        }
    }

    #[test]
    fn what_is_absurd_is_bounded() {
        for absurd in ["99999999999999999999999", "18446744073709551615", "9999999999"] {
            let wait = retry_after(&headers(&[("retry-after", absurd)]), NOW);
            assert!(wait.is_none_or(|wait| wait == LONGEST_WAIT), "{absurd}: {wait:?}");
        }
        let long = "1".repeat(MAX_VALUE + 1);
        assert_eq!(retry_after(&headers(&[("retry-after", &long)]), NOW), None);
    }

    proptest! {
        #[test]
        fn whatever_a_stranger_writes_ends_in_bounds(
            value in "[ -~]{0,80}",
            kind in 0..4_usize,
            part in prop::sample::select(vec!["limit", "remaining", "reset"]),
        ) {
            let kind = Kind::ALL[kind].1;
            let names = [format!("x-ratelimit-{part}-{kind}"), format!("anthropic-ratelimit-{kind}-{part}"),
                         "retry-after".into(), "retry-after-ms".into(),
                         "anthropic-ratelimit-unified-reset".into()];
            let mut headers = headers(&[("anthropic-ratelimit-unified-status", "rejected")]);
            for name in names {
                let name: HeaderName = name.parse().expect("a name");
                headers.insert(name, value.parse().expect("printable"));
            }
            let quotas = quotas(&headers, NOW);
            let wait = wait(StatusCode::TOO_MANY_REQUESTS, &headers, quotas.as_ref(), NOW);
            prop_assert!(wait.is_none_or(|wait| !wait.is_zero() && wait <= LONGEST_WAIT));
        }

        #[test]
        fn bytes_that_are_no_text_are_left_out(value in prop::collection::vec(0x80..=0xff_u8, 1..20)) {
            let mut headers = HeaderMap::new();
            headers.insert("x-ratelimit-remaining-tokens", HeaderValue::from_bytes(&value).expect("opaque"));
            prop_assert_eq!(quotas(&headers, NOW), None);
        }
    }
}
