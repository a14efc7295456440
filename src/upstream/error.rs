//! Why there is no answer, and whether the request may be sent again.

use std::{error::Error, io};

use http::Request;

use super::framing::Fault;

/// Why there is no connection. Nothing of the request was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The network says no; its kind says whether the connection was refused.
    #[error("the upstream refuses the connection: {0}")]
    Refused(#[source] io::Error),
    /// Nothing said anything in time.
    #[error("the upstream does not accept the connection in time")]
    TimedOut,
    /// The upstream's certificate is not believed, or it does not believe ours, or speaks no TLS.
    #[error("no TLS with the upstream: {0}")]
    Tls(#[source] io::Error),
    /// The upstream's certificate is believed, but it is not one that the policy pins.
    #[error("the upstream's certificate has none of the pinned hashes")]
    Unpinned,
    /// The policy wants HTTP/2 and ALPN agreed on something else.
    #[error("the upstream does not speak HTTP/2")]
    Protocol,
    /// HTTP could not begin.
    #[error("HTTP cannot begin on the connection: {0}")]
    Handshake(#[source] hyper::Error),
}

/// Why there is no answer. See [`SendError::fate`] for what may be sent again.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection. [`Fate::Unsent`].
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// `max_connections` are open, and none became free within `connect_timeout`. [`Fate::Unsent`].
    #[error("all connections to the upstream are busy")]
    Full,
    /// A new connection closed before anything was written to it. [`Fate::Unsent`].
    #[error("the upstream closed a new connection at once: {0}")]
    Unsent(#[source] hyper::Error),
    /// The upstream says over HTTP/2 that it has not begun: REFUSED_STREAM, or GOAWAY with a lower
    /// stream (RFC 9113, 8.7). [`Fate::Untouched`].
    #[error("the upstream refused the stream: {0}")]
    Refused(#[source] hyper::Error),
    /// The upstream's HTTP/2 has no room for a switch of protocols (RFC 8441, 3). [`Fate::Unsent`].
    #[error("the upstream does not offer WebSockets over HTTP/2")]
    NoTunnels,
    /// The answer breaks the framing. [`Fate::Unknown`].
    #[error("{0}")]
    Malformed(Fault),
    /// The answer is not HTTP, as the library sees it. [`Fate::Unknown`].
    #[error("the upstream's answer is not HTTP: {0}")]
    Invalid(#[source] hyper::Error),
    /// The upstream no longer acknowledges anything on an HTTP/2 connection. [`Fate::Unknown`].
    #[error("the upstream's connection is dead: {0}")]
    Dead(#[source] hyper::Error),
    /// The connection failed after the request had begun to leave. [`Fate::Unknown`].
    #[error("the exchange with the upstream failed: {0}")]
    Broken(#[source] hyper::Error),
}

/// Why there is no answer, and the request as long as all of it is still there.
#[derive(Debug)]
pub struct Unanswered<B> {
    /// Why.
    pub error: SendError,
    /// The request, as it can be sent again; what its fate allows is for [`SendError::fate`] to say.
    pub request: Option<Request<B>>,
}

/// What the upstream can have made of a request that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing was sent: any request may be sent again, its body is untouched.
    Unsent,
    /// It was sent, but certainly not looked at: any request may be sent again whose body is still there.
    Untouched,
    /// Nobody knows: only what is idempotent may be sent again.
    Unknown,
}

impl SendError {
    /// What the upstream can have made of the request.
    pub const fn fate(&self) -> Fate {
        match self {
            Self::Connect(_) | Self::Full | Self::Unsent(_) | Self::NoTunnels => Fate::Unsent,
            Self::Refused(_) => Fate::Untouched,
            Self::Malformed(_) | Self::Invalid(_) | Self::Dead(_) | Self::Broken(_) => {
                Fate::Unknown
            }
        }
    }

    /// What an error means that came after the request had begun to leave.
    pub(super) fn after_sending(error: hyper::Error) -> Self {
        if let Some(fault) = fault(&error) {
            return Self::Malformed(fault);
        }
        if error.is_timeout() {
            return Self::Dead(error);
        }
        match stream_error(&error) {
            Some(h2) if is_untouched(h2) => Self::Refused(error),
            Some(h2) if h2.is_library() => Self::Invalid(error),
            _ if error.is_parse() => Self::Invalid(error),
            _ => Self::Broken(error),
        }
    }
}

/// RFC 9113, 8.7. h2 shows a remote GOAWAY only to streams above the one that it names.
fn is_untouched(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

fn stream_error(error: &hyper::Error) -> Option<&h2::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The fault in the upstream's bytes that an error goes back to, if it does.
pub fn fault(error: &hyper::Error) -> Option<Fault> {
    let inside = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref().copied()
    };
    causes(error).find_map(inside)
}

fn causes(error: &hyper::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}
