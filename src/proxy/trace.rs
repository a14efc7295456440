//! The request's id and its place in a trace (W3C Trace Context, level 1).
//!
//! A valid `traceparent` is continued: same trace, same flags, our own span. Any
//! other is ignored and a new trace begins, whose id is the request's id.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::headers;
use crate::id::{RequestId, SpanId};

/// The header that carries a request's place in a trace.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Length of a version-00 `traceparent`: `00-{32}-{16}-{2}`.
const LENGTH: usize = 55;

/// A request's id and place in a trace.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// The id that we minted.
    pub request_id: RequestId,
    /// Whether the caller's trace goes on.
    pub continued: bool,
    parent: [u8; LENGTH],
}

impl Trace {
    /// Continues the caller's trace or begins one.
    pub fn begin(headers: &HeaderMap) -> Self {
        let (request_id, span) = RequestId::mint();
        let received = valid(headers);
        let mut parent = [b'0'; LENGTH];
        match received {
            Some(received) => parent.copy_from_slice(received),
            None => {
                parent[3..35].copy_from_slice(&request_id.hex());
                parent[54] = b'1';
            }
        }
        (parent[2], parent[35], parent[52]) = (b'-', b'-', b'-');
        parent[36..52].copy_from_slice(&SpanId::hex(&span));
        Self { request_id, continued: received.is_some(), parent }
    }

    /// The trace's id, 32 hex digits.
    pub fn id_text(&self) -> &str {
        std::str::from_utf8(&self.parent[3..35]).unwrap_or_default()
    }

    /// What the upstream gets.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.parent).unwrap_or(HeaderValue::from_static(""))
    }
}

/// The one `traceparent` of the request, if it is sound.
fn valid(headers: &HeaderMap) -> Option<&[u8; LENGTH]> {
    if !headers::has(headers, &TRACEPARENT) {
        return None;
    }
    let mut all = headers.get_all(TRACEPARENT).iter();
    let text: &[u8; LENGTH] = all.next()?.as_bytes().try_into().ok()?;
    let hex = |part: &[u8]| part.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let dashes = [2, 35, 52].iter().all(|at| text[*at] == b'-');
    let (trace, span) = (&text[3..35], &text[36..52]);
    let sound = hex(trace) && !zero(trace) && hex(span) && !zero(span) && hex(&text[53..]);
    (all.next().is_none() && &text[..2] == b"00" && dashes && sound).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(text: &'static str) -> Trace {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(text));
        Trace::begin(&headers)
    }

    #[test]
    fn a_valid_parent_is_continued_with_our_own_span() {
        let trace = trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert!(trace.continued);
        assert_eq!(trace.id_text(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let header = trace.header();
        let text = header.to_str().expect("ASCII");
        assert!(text.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert!(!text.contains("00f067aa0ba902b7") && text.ends_with("-01"));
    }

    #[test]
    fn an_unsound_parent_begins_a_new_trace() {
        for text in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            let trace = trace(text);
            assert!(!trace.continued, "{text}");
            assert_eq!(trace.id_text(), trace.request_id.to_string());
        }
    }
}
