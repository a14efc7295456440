//! The end of a stream that is ended before its time.

/// How a stream ends that must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As if the model had reached its output limit: `finish_reason: "length"`, `max_tokens`.
    Finish,
    /// With the dialect's error event, which official SDKs raise as their error type.
    Error,
}

/// What an error event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// The class of error, such as `insufficient_quota`.
    pub kind: &'a str,
    /// The machine-readable code, such as `budget_exceeded`.
    pub code: &'a str,
    /// The sentence for people.
    pub message: &'a str,
}
