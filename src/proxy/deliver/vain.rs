//! What came of one attempt, and what to make of it.

use super::super::{
    exchange::Exchange,
    refusal::{Code, Refusal},
    upload::Progress,
    validate,
};
use super::Answer;
use crate::{
    policy::resilience::RetryOn,
    upstream::{Attempt, Fate, SendError, Verdict, retry},
};

/// An attempt that brought nothing to pass on, or nothing better than another might.
pub(super) struct Vain {
    /// What it says of the endpoint.
    pub(super) verdict: Verdict,
    /// Why, in the policy's words.
    pub(super) reason: Option<RetryOn>,
    /// An answer after all: 502, 503 or 504.
    pub(super) answer: Option<Answer>,
    /// What the caller would read without one.
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
            None => Err(self.refusal()),
        }
    }

    /// What the caller reads.
    pub(super) fn refusal(self) -> Box<Refusal> {
        self.refusal.unwrap_or_else(|| {
            let mut refusal = Refusal::new(Code::InternalError);
            refusal.status = self.answer.map(|(answer, _)| answer.status());
            refusal
        })
    }
}

/// Whether what came is to be passed on.
pub(super) fn judge(
    came: Option<Result<Answer, SendError>>,
    progress: &Progress,
) -> Result<Answer, Box<Vain>> {
    let failed = Vain { verdict: Verdict::Failed, reason: None, answer: None, refusal: None };
    Err(Box::new(match came {
        Some(Ok(answer)) => match retry::reason_of(answer.0.status()) {
            None => return Ok(answer),
            reason => Vain { reason, answer: Some(answer), ..failed },
        },
        Some(Err(error)) => match own_fault(&error, progress) {
            Some(refusal) => Vain { verdict: Verdict::Unsure, refusal: Some(refusal), ..failed },
            None => {
                let reason = Some(retry::reason(&error));
                Vain { reason, refusal: Some(refusal(&error)), ..failed }
            }
        },
        None => Vain { refusal: Some(Refusal::new(Code::UpstreamTimeout)), ..failed },
    }))
}

/// A body that failed on its way here is not the upstream's doing.
fn own_fault(error: &SendError, progress: &Progress) -> Option<Box<Refusal>> {
    let sent = error.fate() == Fate::Unknown;
    sent.then(|| progress.failure()).flatten().map(validate::refusal)
}

/// What an answer says of the endpoint.
pub(super) fn verdict_on(answer: &Answer) -> Verdict {
    if answer.0.status().is_server_error() { Verdict::Failed } else { Verdict::Answered }
}

fn refusal(error: &SendError) -> Box<Refusal> {
    let code = match error {
        SendError::Full => Code::Overloaded,
        SendError::Malformed(_) | SendError::Invalid(_) => Code::UpstreamInvalid,
        SendError::Dead(_) => Code::UpstreamTimeout,
        SendError::Connect(_)
        | SendError::Unsent(_)
        | SendError::Refused(_)
        | SendError::Broken(_) => Code::UpstreamUnreachable,
    };
    Refusal::new(code).detail(error.to_string())
}
