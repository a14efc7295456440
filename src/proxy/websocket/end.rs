//! Every way in which a WebSocket ends, and what it means for both sides and the record.

use super::{close::Close, frame::Fault};
use crate::proxy::refusal::{Code, Refusal};

/// Why a WebSocket is over.
#[derive(Debug)]
pub enum End {
    /// Both sides said goodbye, or one did and the other ended.
    Closed,
    /// The caller ended without a close.
    CallerGone,
    /// The upstream ended without a close.
    UpstreamGone,
    /// The caller sent what may not pass.
    CallerFault(Fault),
    /// The upstream sent what may not pass.
    UpstreamFault(Fault),
    /// Nobody said anything for too long.
    Silent,
    /// It has lasted as long as it may.
    Lifetime,
    /// The process stops.
    Leaving,
    /// The policy no longer allows it.
    Refused(Box<Refusal>),
    /// Carrying it panicked: nothing more is said, since nobody knows between which bytes it stands.
    Panicked,
}

impl End {
    /// What both sides are told; `None` when nobody has to be.
    pub fn close(&self) -> Option<Close> {
        Some(match self {
            Self::Closed | Self::CallerGone | Self::Panicked => return None,
            Self::UpstreamGone => Close::new(Close::BROKEN, "the service ended the connection"),
            Self::CallerFault(fault) | Self::UpstreamFault(fault) => match fault {
                Fault::Protocol => Close::new(Close::PROTOCOL, fault.to_string()),
                Fault::TooLarge => Close::new(Close::TOO_LARGE, fault.to_string()),
            },
            Self::Silent => Close::new(Close::LEAVING, "nothing was said for too long"),
            Self::Lifetime => Close::new(Close::POLICY, "the connection has lasted long enough"),
            Self::Leaving => Close::new(Close::LEAVING, "this instance is shutting down"),
            Self::Refused(refusal) => {
                let (name, message) = (refusal.code.name(), &refusal.message);
                Close::new(Close::POLICY, format!("{name}: {message}"))
            }
        })
    }

    /// The place in [`TUNNEL_ENDS`](crate::telemetry::TUNNEL_ENDS).
    pub const fn reason(&self) -> usize {
        match self {
            Self::Closed => 0,
            Self::CallerGone => 1,
            Self::UpstreamGone => 2,
            Self::CallerFault(_) => 3,
            Self::UpstreamFault(_) => 4,
            Self::Silent => 5,
            Self::Lifetime => 6,
            Self::Leaving => 7,
            Self::Refused(_) => 8,
            Self::Panicked => 9,
        }
    }

    /// Why Weir ended it, as the field `error_code`; `None` when a side did.
    pub fn code(&self) -> Option<Code> {
        Some(match self {
            Self::CallerFault(Fault::Protocol) => Code::BadRequest,
            Self::CallerFault(Fault::TooLarge) => Code::PayloadTooLarge,
            Self::UpstreamFault(_) | Self::UpstreamGone => Code::UpstreamInvalid,
            Self::Refused(refusal) => refusal.code,
            Self::Panicked => Code::InternalError,
            _ => return None,
        })
    }

    /// For the log.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Closed => None,
            Self::Panicked => Some("carrying the messages panicked".into()),
            Self::CallerGone => Some("the caller ended without a close".into()),
            Self::CallerFault(fault) => Some(format!("of the caller: {fault}")),
            Self::UpstreamFault(fault) => Some(format!("of the upstream: {fault}")),
            Self::Refused(refusal) => refusal.detail.as_deref().map(str::to_owned),
            other => other.close().map(|close| close.reason),
        }
    }
}
