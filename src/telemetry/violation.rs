//! The ways in which a downstream connection breaks the protocol, as a label.

use super::Counter;

/// What a client did on the wire that it must not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Violation {
    /// HTTP/1: a head that is not well formed.
    Head,
    /// HTTP/1: a length that is missing, double or in doubt.
    Framing,
    /// HTTP/1: a chunked body that is not well formed.
    Chunking,
    /// HTTP/1: a head that is larger than the limit.
    HeadSize,
    /// A head that took longer than the header timeout.
    SlowHead,
    /// Answers that were not taken at the minimum rate.
    SlowRead,
    /// HTTP/2: no connection preface.
    Preface,
    /// HTTP/2: more streams waiting for an answer than were ever allowed.
    Streams,
    /// HTTP/2: too many RST_STREAM frames.
    Resets,
    /// HTTP/2: too many streams that we had to reset.
    Faults,
    /// HTTP/2: too many PING frames.
    Pings,
    /// HTTP/2: too many SETTINGS frames.
    Settings,
    /// HTTP/2: too many DATA frames without data.
    EmptyData,
    /// HTTP/2: too many WINDOW_UPDATE frames, or too many of a few octets.
    WindowUpdates,
    /// HTTP/2: too many PRIORITY frames.
    Priorities,
    /// HTTP/2: a header block of too many frames or octets.
    HeaderBlock,
    /// HTTP/2: too many frames of other kinds.
    OtherFrames,
}

impl Violation {
    pub(super) const ALL: [&'static str; 17] = [
        "head",
        "framing",
        "chunking",
        "head_size",
        "slow_head",
        "slow_read",
        "preface",
        "streams",
        "resets",
        "faults",
        "pings",
        "settings",
        "empty_data",
        "window_updates",
        "priorities",
        "header_block",
        "other_frames",
    ];

    /// As in the label and the log field `kind`.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize]
    }
}

/// One counter per kind of violation.
#[derive(Debug, Default)]
pub(super) struct Violations([Counter; Violation::ALL.len()]);

impl Violations {
    pub(super) fn count(&self, violation: Violation) {
        self.0[violation as usize].add(1);
    }

    /// Every kind and how often it happened.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Violation::ALL.into_iter().zip(self.0.iter().map(Counter::value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_name() {
        assert_eq!(Violation::ALL.len(), Violation::OtherFrames as usize + 1);
        assert_eq!(Violation::SlowHead.name(), "slow_head");
        assert_eq!(Violation::Priorities.name(), "priorities");
        let violations = Violations::default();
        violations.count(Violation::Resets);
        assert_eq!(violations.iter().find(|(_, count)| *count > 0), Some(("resets", 1)));
    }
}
