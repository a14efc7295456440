//! Every way in which Weir says no, and what the caller reads of it.
//!
//! The one place that knows status codes. Messages are constants or are made of
//! the policy's own names and numbers; nothing that a caller or the upstream
//! wrote is ever in them. What happened goes to the log, as the detail.

use std::{borrow::Cow, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::policy::snapshot::Dialect;

/// The reason of a refusal, as the label and field `error_code` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Code {
    /// Malformed, or ambiguous.
    BadRequest,
    /// Not JSON, too deep, or not as the operation wants it.
    InvalidBody,
    /// SQL or script injection.
    SuspiciousInput,
    /// No source knows the caller.
    Unauthenticated,
    /// The money is spent.
    BudgetExceeded,
    /// Not for this tier.
    Forbidden,
    /// A preflight from an origin that the policy does not name.
    OriginNotAllowed,
    /// A blocked subject.
    Blocked,
    /// No operation matches.
    NotFound,
    /// The client was too slow.
    RequestTimeout,
    /// Larger than the limit.
    PayloadTooLarge,
    /// Not a media type that the operation takes.
    UnsupportedMediaType,
    /// A quota is used up.
    QuotaExceeded,
    /// Too many requests at once.
    TooManyConcurrent,
    /// An expectation other than `100-continue`.
    ExpectationFailed,
    /// The head is larger than the limit.
    HeadersTooLarge,
    /// For a host that the connection's certificate does not stand for.
    MisdirectedRequest,
    /// The upstream accepts no connection.
    UpstreamUnreachable,
    /// The upstream's answer cannot be used.
    UpstreamInvalid,
    /// The circuit is open.
    UpstreamCircuitOpen,
    /// The upstream asked to be left alone.
    UpstreamQuota,
    /// The store does not answer.
    StoreUnavailable,
    /// An issuer's keys were never had, so nobody can say who calls.
    IdentityUnavailable,
    /// No room for more.
    Overloaded,
    /// On the way out.
    Draining,
    /// The upstream's first byte did not come in time.
    UpstreamTimeout,
    /// A switch of protocols that the operation does not allow.
    UpgradeNotAllowed,
    /// A method that is not served: CONNECT, and TRACE where no route names it.
    MethodNotAllowed,
    /// A model that has no price.
    UnknownModel,
    /// The upstream failed; its status is kept, its body is not.
    InternalError,
}

/// Every value of the label `error_code`, in the order of [`Code`].
pub const CODES: &[&str] = &[
    "bad_request",
    "invalid_body",
    "suspicious_input",
    "unauthenticated",
    "budget_exceeded",
    "forbidden",
    "origin_not_allowed",
    "blocked",
    "not_found",
    "request_timeout",
    "payload_too_large",
    "unsupported_media_type",
    "quota_exceeded",
    "too_many_concurrent",
    "expectation_failed",
    "headers_too_large",
    "misdirected_request",
    "upstream_unreachable",
    "upstream_invalid",
    "upstream_circuit_open",
    "upstream_quota",
    "store_unavailable",
    "identity_unavailable",
    "overloaded",
    "draining",
    "upstream_timeout",
    "upgrade_not_allowed",
    "method_not_allowed",
    "unknown_model",
    "internal_error",
];

impl Code {
    /// As in the label and the body.
    pub fn name(self) -> &'static str {
        CODES[self as usize]
    }

    /// Status, error name and standing message.
    const fn face(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadRequest => (S::BAD_REQUEST, "BadRequest", "The request is malformed."),
            Self::InvalidBody => {
                (S::BAD_REQUEST, "InvalidBody", "The body is not as it should be.")
            }
            Self::SuspiciousInput => {
                (S::BAD_REQUEST, "SuspiciousInput", "The request looks like an attack.")
            }
            Self::Unauthenticated => {
                (S::UNAUTHORIZED, "Unauthenticated", "No valid credentials were found.")
            }
            Self::BudgetExceeded => {
                (S::PAYMENT_REQUIRED, "BudgetExceeded", "Your budget is spent.")
            }
            Self::Forbidden => {
                (S::FORBIDDEN, "Forbidden", "Your tier does not include this operation.")
            }
            Self::OriginNotAllowed => {
                (S::FORBIDDEN, "Forbidden", "Requests from this origin are not allowed.")
            }
            Self::Blocked => (S::FORBIDDEN, "Forbidden", "Your access has been blocked."),
            Self::NotFound => (S::NOT_FOUND, "NotFound", "There is nothing here."),
            Self::RequestTimeout => {
                (S::REQUEST_TIMEOUT, "RequestTimeout", "The request did not arrive in time.")
            }
            Self::PayloadTooLarge => {
                (S::PAYLOAD_TOO_LARGE, "PayloadTooLarge", "The body is larger than allowed.")
            }
            Self::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                "This Content-Type is not accepted here.",
            ),
            Self::QuotaExceeded => {
                (S::TOO_MANY_REQUESTS, "QuotaExceeded", "You have used all of your quota.")
            }
            Self::TooManyConcurrent => (
                S::TOO_MANY_REQUESTS,
                "QuotaExceeded",
                "Too many of your requests are in progress. Wait for one to finish.",
            ),
            Self::ExpectationFailed => (
                S::EXPECTATION_FAILED,
                "ExpectationFailed",
                "Only the expectation 100-continue is met here.",
            ),
            Self::HeadersTooLarge => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "HeadersTooLarge",
                "The request's headers are larger than allowed.",
            ),
            Self::MisdirectedRequest => (
                S::MISDIRECTED_REQUEST,
                "MisdirectedRequest",
                "This connection is not for that host. Open another one.",
            ),
            Self::UpstreamUnreachable => {
                (S::BAD_GATEWAY, "BadGateway", "The service cannot be reached.")
            }
            Self::UpstreamInvalid => {
                (S::BAD_GATEWAY, "BadGateway", "The service gave no usable answer.")
            }
            Self::UpstreamCircuitOpen => (
                S::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "The service is failing. Try again later.",
            ),
            Self::UpstreamQuota => (
                S::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "The service takes no more requests right now. Try again later.",
            ),
            Self::StoreUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "Limits cannot be checked right now. Try again later.",
            ),
            Self::IdentityUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "Credentials cannot be checked right now. Try again later.",
            ),
            Self::Overloaded => (
                S::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "There is no room for more requests right now. Try again later.",
            ),
            Self::Draining => (
                S::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "This instance is shutting down. Try again.",
            ),
            Self::UpstreamTimeout => {
                (S::GATEWAY_TIMEOUT, "GatewayTimeout", "The service did not answer in time.")
            }
            Self::UpgradeNotAllowed => {
                (S::FORBIDDEN, "Forbidden", "Switching protocols is not allowed here.")
            }
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "MethodNotAllowed", "This method is not served.")
            }
            Self::UnknownModel => (
                S::BAD_REQUEST,
                "UnknownModel",
                "This model has no price here, so it cannot be used.",
            ),
            Self::InternalError => (
                S::INTERNAL_SERVER_ERROR,
                "InternalServerError",
                "An unexpected error occurred. Please try again later.",
            ),
        }
    }
}

/// A refusal on its way to the exit.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// Another status than the code's own: an upstream's 5xx is kept.
    pub status: Option<StatusCode>,
    /// What the caller reads.
    pub message: Cow<'static, str>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// One more field of the answer, where a status wants one.
    pub field: Option<(HeaderName, HeaderValue)>,
    /// For the log only.
    pub detail: Option<Cow<'static, str>>,
}

impl Refusal {
    /// A refusal with the code's standing message.
    pub fn new(code: Code) -> Box<Self> {
        let message = Cow::Borrowed(code.face().2);
        Box::new(Self { code, status: None, message, retry_after: None, field: None, detail: None })
    }

    /// Says for the log what happened.
    #[must_use]
    pub fn detail(mut self: Box<Self>, detail: impl Into<Cow<'static, str>>) -> Box<Self> {
        self.detail = Some(detail.into());
        self
    }

    /// Replaces the message; it must be made of constants, names and numbers of the policy.
    #[must_use]
    pub fn message(mut self: Box<Self>, message: impl Into<Cow<'static, str>>) -> Box<Self> {
        self.message = message.into();
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self: Box<Self>, after: Duration) -> Box<Self> {
        self.retry_after = Some(after);
        self
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status.unwrap_or(self.code.face().0)
    }

    /// Whole seconds to wait, rounded up and at least 1, where the answer must say so.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let after = self.retry_after.or_else(|| {
            let always = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
            (self.status.is_none() && always.contains(&self.status()))
                .then_some(Duration::from_secs(1))
        })?;
        Some((after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1))
    }

    /// The body, in the dialect of the operation.
    pub fn body(&self, dialect: Dialect, request_id: &str) -> Vec<u8> {
        let (_, error, _) = self.code.face();
        let (message, error_code) = (&*self.message, self.code.name());
        let retry_after_seconds = self.retry_after_seconds();
        let written = match dialect {
            Dialect::Weir => serde_json::to_vec(&WeirBody {
                error,
                message,
                error_code,
                request_id,
                retry_after_seconds,
            }),
            Dialect::ModelSdk => serde_json::to_vec(&SdkBody {
                error: SdkError { message, r#type: error_code, code: error_code, param: None },
                request_id,
                retry_after_seconds,
            }),
        };
        // Strings and numbers always serialise.
        written.unwrap_or_default()
    }
}

#[derive(Serialize)]
struct WeirBody<'a> {
    error: &'a str,
    message: &'a str,
    error_code: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

#[derive(Serialize)]
struct SdkBody<'a> {
    error: SdkError<'a>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

#[derive(Serialize)]
struct SdkError<'a> {
    message: &'a str,
    r#type: &'a str,
    code: &'a str,
    param: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_name_and_place() {
        assert_eq!(CODES.len(), Code::InternalError as usize + 1);
        assert_eq!(Code::QuotaExceeded.name(), "quota_exceeded");
        assert_eq!(Code::UpstreamTimeout.name(), "upstream_timeout");
        assert_eq!(Code::Draining.name(), "draining");
    }

    #[test]
    fn the_body_has_one_shape() {
        let refusal = Refusal::new(Code::QuotaExceeded).retry_after(Duration::from_millis(1_001));
        let body = refusal.body(Dialect::Weir, "r1");
        let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let wanted = serde_json::json!({
            "error": "QuotaExceeded", "message": "You have used all of your quota.",
            "error_code": "quota_exceeded", "request_id": "r1", "retry_after_seconds": 2,
        });
        assert_eq!(json, wanted);
    }

    #[test]
    fn a_model_sdk_finds_the_facts_where_it_looks() {
        let body = Refusal::new(Code::Unauthenticated).body(Dialect::ModelSdk, "r1");
        let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(json["error"]["code"], "unauthenticated");
        assert_eq!(json["error"]["param"], serde_json::Value::Null);
        assert_eq!(json["request_id"], "r1");
        assert!(json.get("retry_after_seconds").is_none());
    }

    #[test]
    fn a_503_of_our_own_always_says_when_to_come_back() {
        assert_eq!(Refusal::new(Code::Draining).retry_after_seconds(), Some(1));
        assert_eq!(Refusal::new(Code::NotFound).retry_after_seconds(), None);
    }
}
