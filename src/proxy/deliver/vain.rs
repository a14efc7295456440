//! What came of one attempt, and what to make of it.

use http::Request;

use super::super::{
    exchange::Exchange,
    refusal::{Code, Refusal},
    upload::{Progress, Upload},
    validate,
};
use super::Answer;
use crate::{
    policy::resilience::RetryOn,
    upstream::{Attempt, Fate, SendError, Unanswered, Verdict, retry},
};

/// An attempt that brought nothing to pass on, or nothing better than another might.
pub(super) struct Vain {
    /// What it says of the endpoint.
    pub(super) verdict: Verdict,
    /// Why, in the policy's words.
    pub(super) reason: Option<RetryOn>,
    /// An answer after all: 502, 503 or 504.
    pub(super) answer: Option<Answer>,
    /// The request, where it came back whole.
    pub(super) request: Option<Request<Upload>>,
    /// What the caller would read without an answer.
    refusal: Option<Box<Refusal>>,
}

impl Vain {
    /// There will be no other attempt.
    pub(super) fn give_up(
        self,
        exchange: &mut Exchange,
        attempt: Attempt,
    ) -> Result<Answer, Box<Refusal>> {
        match self.answer {
            Some(answer) => {
                exchange.attempt = Some(attempt);
                Ok(answer)
            }
            None => Err(self.lost().refusal),
        }
    }

    /// What is left when there will be another attempt; an answer is not.
    pub(super) fn lost(self) -> Lost {
        let (reason, answer) = (self.reason, self.answer);
        let refusal = self.refusal.unwrap_or_else(|| {
            let mut refusal = Refusal::new(Code::InternalError);
            refusal.status = answer.map(|(answer, _)| answer.status());
            refusal
        });
        Lost { reason, request: self.request, refusal }
    }
}

/// An attempt that is given up for another one.
pub(super) struct Lost {
    /// Why, in the policy's words.
    pub(super) reason: Option<RetryOn>,
    /// The request, where it came back whole.
    pub(super) request: Option<Request<Upload>>,
    /// What the caller reads should there be no other attempt after all.
    pub(super) refusal: Box<Refusal>,
}

/// Whether what came is to be passed on.
pub(super) fn judge(
    came: Option<Result<Answer, Box<Unanswered<Upload>>>>,
    progress: &Progress,
) -> Result<Answer, Box<Vain>> {
    let failed =
        Vain { verdict: Verdict::Failed, reason: None, answer: None, request: None, refusal: None };
    Err(Box::new(match came {
        Some(Ok(answer)) => match retry::reason_of(answer.0.status()) {
            None => return Ok(answer),
            reason => Vain { reason, answer: Some(answer), ..failed },
        },
        Some(Err(unanswered)) => {
            let Unanswered { error, request } = *unanswered;
            match own_fault(&error, progress) {
                Some(refusal) => {
                    Vain { verdict: Verdict::Unsure, refusal: Some(refusal), ..failed }
                }
                None => {
                    let verdict = verdict_on_error(&error);
                    let (reason, refusal) = (retry::reason(&error), Some(refusal(&error)));
                    Vain { verdict, reason, request, refusal, ..failed }
                }
            }
        }
        None => Vain { refusal: Some(Refusal::new(Code::UpstreamTimeout)), ..failed },
    }))
}

/// A body that failed on its way here is not the upstream's doing.
fn own_fault(error: &SendError, progress: &Progress) -> Option<Box<Refusal>> {
    let sent = error.fate() == Fate::Unknown;
    sent.then(|| progress.failure()).flatten().map(validate::refusal)
}

/// What a failure says of the endpoint. A bound of our own says nothing, nor does a protocol.
fn verdict_on_error(error: &SendError) -> Verdict {
    if matches!(error, SendError::Full | SendError::NoTunnels) {
        Verdict::Unsure
    } else {
        Verdict::Failed
    }
}

/// What an answer says of the endpoint.
pub(super) fn verdict_on(answer: &Answer) -> Verdict {
    if answer.0.status().is_server_error() { Verdict::Failed } else { Verdict::Answered }
}

fn refusal(error: &SendError) -> Box<Refusal> {
    let code = match error {
        SendError::Full => Code::Overloaded,
        SendError::Malformed(_) | SendError::Invalid(_) | SendError::NoTunnels => {
            Code::UpstreamInvalid
        }
        SendError::Dead(_) => Code::UpstreamTimeout,
        SendError::Connect(_)
        | SendError::Unsent(_)
        | SendError::Refused(_)
        | SendError::Broken(_) => Code::UpstreamUnreachable,
    };
    Refusal::new(code).detail(error.to_string())
}
