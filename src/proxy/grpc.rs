//! gRPC: where a caller looks for what went wrong.
//!
//! A gRPC library reads `grpc-status` and `grpc-message`, in the head when there is
//! nothing else, or behind the body; the status of HTTP is 200 all the while. So
//! our refusals, and answers of an upstream that are not gRPC, become such heads,
//! with the numbers of the specification (grpc/grpc, doc/statuscodes.md and
//! doc/http-grpc-status-mapping.md). Bodies are binary and pass as they are.

use std::{borrow::Cow, fmt::Write as _, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request, response};

use super::{
    clean,
    exchange::Exchange,
    refusal::{Code, Refusal},
};
use crate::sanitize::{Hits, Redactor};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// A status once more, with more about it: base64 of a `google.rpc.Status`.
pub const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// When to try again, in milliseconds (gRFC A6).
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// Numbers that stand for a failure of the service, where HTTP has 5xx: UNKNOWN, DEADLINE_EXCEEDED,
/// UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
const FAILURES: [&[u8]; 6] = [b"2", b"4", b"12", b"13", b"14", b"15"];

/// Whether a request is a call.
pub fn is_call(head: &request::Parts) -> bool {
    head.method == Method::POST && head.headers.get(header::CONTENT_TYPE).is_some_and(is_type)
}

/// Whether an answer is one to a call.
pub fn is_answer(head: &response::Parts) -> bool {
    head.status == StatusCode::OK && head.headers.get(header::CONTENT_TYPE).is_some_and(is_type)
}

/// `application/grpc`, also with `+proto`, `-web` and the like.
pub fn is_type(media: &HeaderValue) -> bool {
    let Some((begin, rest)) = media.as_bytes().split_at_checked(16) else { return false };
    begin.eq_ignore_ascii_case(b"application/grpc")
        && rest.first().is_none_or(|next| b"+;- ".contains(next))
}

/// Makes the fields of a refusal into an answer of fields alone.
pub fn refuse(refusal: &Refusal, fields: &mut HeaderMap) {
    let status = match refusal.status {
        Some(status) if refusal.code == Code::InternalError => status_of_http(status),
        _ => status_of(refusal.code),
    };
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(STATUS, HeaderValue::from(status));
    fields.insert(MESSAGE, encoded(refusal.message.as_bytes()));
    if let Some(seconds) = refusal.retry_after_seconds() {
        fields.insert(PUSHBACK, HeaderValue::from(seconds.saturating_mul(1_000)));
    }
}

/// The number for one of our own reasons.
const fn status_of(code: Code) -> u16 {
    match code {
        // INVALID_ARGUMENT
        Code::BadRequest
        | Code::InvalidBody
        | Code::SuspiciousInput
        | Code::ExpectationFailed
        | Code::UnknownModel
        | Code::UnsupportedMediaType => 3,
        // DEADLINE_EXCEEDED
        Code::RequestTimeout | Code::UpstreamTimeout => 4,
        // PERMISSION_DENIED
        Code::Forbidden | Code::OriginNotAllowed | Code::Blocked | Code::UpgradeNotAllowed => 7,
        // RESOURCE_EXHAUSTED
        Code::BudgetExceeded
        | Code::QuotaExceeded
        | Code::TooManyConcurrent
        | Code::PayloadTooLarge
        | Code::HeadersTooLarge => 8,
        // UNIMPLEMENTED
        Code::NotFound | Code::MethodNotAllowed | Code::MisdirectedRequest => 12,
        // INTERNAL
        Code::UpstreamInvalid | Code::InternalError => 13,
        // UNAVAILABLE
        Code::UpstreamUnreachable
        | Code::UpstreamCircuitOpen
        | Code::UpstreamQuota
        | Code::StoreUnavailable
        | Code::IdentityUnavailable
        | Code::Overloaded
        | Code::Draining => 14,
        // UNAUTHENTICATED
        Code::Unauthenticated => 16,
    }
}

/// The number for an answer of the upstream that is not gRPC.
fn status_of_http(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Cleans what an upstream says of its status. A failure's text is replaced like the body of a 5xx;
/// any other is redacted, and details that would have to be are dropped.
pub fn clean_status(exchange: &mut Exchange, fields: &mut HeaderMap) {
    let Some(status) = fields.get(STATUS) else { return };
    let failed = FAILURES.contains(&status.as_bytes());
    let policy = Arc::clone(&exchange.policy);
    let message =
        fields.get(MESSAGE).map(|message| decoded(message.as_bytes())).unwrap_or_default();
    let mut hits = Hits::new();
    let clean = match &policy.cleaning.redactor {
        Some(redactor) => redactor.redact(&message, &mut hits),
        None => Cow::Borrowed(&message[..]),
    };
    if failed && policy.cleaning.replace_errors {
        let (request_id, text) = (exchange.id_text(), String::from_utf8_lossy(&clean));
        let status = String::from_utf8_lossy(status.as_bytes());
        tracing::warn!(request_id, grpc_status = %status, message = %text, "the upstream failed");
        exchange.facts.refused = Some(Code::InternalError);
        let standing = Refusal::new(Code::InternalError);
        fields.insert(MESSAGE, encoded(standing.message.as_bytes()));
        fields.remove(DETAILS);
        return;
    }
    if let Cow::Owned(clean) = &clean {
        fields.insert(MESSAGE, encoded(clean));
    }
    if let Some(redactor) = &policy.cleaning.redactor
        && fields.get_all(DETAILS).iter().any(|details| tells(redactor, details, &mut hits))
    {
        fields.remove(DETAILS);
    }
    exchange.facts.redactions += clean::count(&policy, &hits);
}

/// Whether details hold what must not leave, or cannot be read. They are binary: nothing in them can be replaced.
fn tells(redactor: &Redactor, details: &HeaderValue, hits: &mut Hits) -> bool {
    let text = details.as_bytes();
    let bare = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let Ok(octets) = STANDARD_NO_PAD.decode(bare) else { return true };
    matches!(redactor.redact(&octets, hits), Cow::Owned(_))
}

/// A message as a value: what is not visible ASCII, and `%`, is escaped.
fn encoded(message: &[u8]) -> HeaderValue {
    let mut text = String::with_capacity(message.len());
    for byte in message {
        match byte {
            b'%' | ..b' ' | 0x7f.. => {
                // Writing to a string cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
            _ => text.push(char::from(*byte)),
        }
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// The message that a value stands for; what is no escape stands for itself, as the specification wants.
fn decoded(value: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut message = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        let escape = match tail {
            [high, low, ..] if *first == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        match escape.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            Some(byte) => (message.push(byte), rest = &tail[2..]),
            None => (message.push(*first), rest = tail),
        };
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_of(media: &'static str) -> bool {
        is_type(&HeaderValue::from_static(media))
    }

    #[test]
    fn a_call_is_known_by_its_type() {
        for media in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC;x=1",
            "application/grpc-web",
        ] {
            assert!(type_of(media), "{media}");
        }
        for media in ["application/grpcs", "application/json", "application/gr", ""] {
            assert!(!type_of(media), "{media}");
        }
    }

    #[test]
    fn a_refusal_is_a_status_of_grpc() {
        let mut fields = HeaderMap::new();
        let refusal = Refusal::new(Code::QuotaExceeded).message("100 % of \"it\" is gone – wait");
        refuse(&refusal, &mut fields);
        assert_eq!(fields[&STATUS], "8");
        assert_eq!(fields[&MESSAGE], "100 %25 of \"it\" is gone %E2%80%93 wait");
        assert_eq!(fields[&PUSHBACK], "1000");
        assert_eq!(fields["content-type"], "application/grpc");
    }

    #[test]
    fn every_reason_has_its_number() {
        for (code, number) in [
            (Code::Unauthenticated, 16),
            (Code::Forbidden, 7),
            (Code::NotFound, 12),
            (Code::QuotaExceeded, 8),
            (Code::BudgetExceeded, 8),
            (Code::StoreUnavailable, 14),
            (Code::UpstreamTimeout, 4),
            (Code::BadRequest, 3),
        ] {
            assert_eq!(status_of(code), number, "{code:?}");
        }
    }

    #[test]
    fn an_upstreams_5xx_keeps_its_meaning() {
        for (status, number) in [(500, 2), (503, 14), (404, 12), (401, 16), (200, 2)] {
            let mut refusal = Refusal::new(Code::InternalError);
            refusal.status = StatusCode::from_u16(status).ok();
            let mut fields = HeaderMap::new();
            refuse(&refusal, &mut fields);
            assert_eq!(fields[&STATUS], number.to_string(), "{status}");
        }
    }

    #[test]
    fn a_message_survives_its_escapes() {
        for text in ["", "plain", "100%", "a\nb", "é", "%4", "%zz", "x%25"] {
            assert_eq!(decoded(encoded(text.as_bytes()).as_bytes()), text.as_bytes(), "{text}");
        }
        assert_eq!(decoded(b"%4"), b"%4");
        assert_eq!(decoded(b"%zz%41"), b"%zzA");
    }
}
