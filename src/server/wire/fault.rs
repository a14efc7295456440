//! What can be wrong with the octets of an HTTP/1 message.

use crate::telemetry::Violation;

/// Why an HTTP/1 message is not read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The head has too many octets or fields.
    HeadTooLarge,
    /// The head took longer than the header timeout.
    TooSlow,
    /// A line ends with a bare LF.
    BareLf,
    /// Not a method, a target and a version with single spaces between them.
    RequestLine,
    /// A method that no client would send.
    Method,
    /// A target that is no path, address or `*`, or holds octets that none may hold.
    Target,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// A field line that begins with a blank.
    FoldedField,
    /// A field without a colon or name, or with a name that is no token.
    FieldName,
    /// CR, NUL or another control octet in a value.
    FieldValue,
    /// A `Content-Length` that is not one plain number, or is there twice.
    Length,
    /// A `Transfer-Encoding` other than `chunked`, or in HTTP/1.0.
    TransferEncoding,
    /// `Content-Length` beside `Transfer-Encoding`.
    TwoFramings,
    /// `Connection` names a field that frames or addresses the message.
    ConnectionOption,
    /// `Upgrade` on a request that has a body or waits for one.
    UpgradeWithBody,
    /// A chunk size that is no plain hexadecimal number.
    ChunkSize,
    /// A chunk extension that is malformed or too long.
    ChunkExtension,
    /// Anything but CRLF where a chunk or a chunked body ends.
    ChunkEnd,
    /// Trailers that are malformed or too large.
    Trailers,
}

impl Fault {
    /// What is wrong, for the log.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "the head is larger than the limit",
            Self::TooSlow => "the head came too slowly",
            Self::BareLf => "a line ends with a bare LF",
            Self::RequestLine => "the request line is malformed",
            Self::Method => "the method is malformed",
            Self::Target => "the target is malformed",
            Self::Version => "the version is neither HTTP/1.0 nor HTTP/1.1",
            Self::FoldedField => "a header line begins with a blank",
            Self::FieldName => "a header name is malformed",
            Self::FieldValue => "a header value holds a control octet",
            Self::Length => "Content-Length is malformed or there twice",
            Self::TransferEncoding => "Transfer-Encoding is not exactly chunked",
            Self::TwoFramings => "Content-Length stands beside Transfer-Encoding",
            Self::ConnectionOption => "Connection names a field that frames the message",
            Self::UpgradeWithBody => "Upgrade stands on a request with a body",
            Self::ChunkSize => "a chunk size is malformed",
            Self::ChunkExtension => "a chunk extension is malformed or too long",
            Self::ChunkEnd => "a chunk does not end with CRLF",
            Self::Trailers => "the trailers are malformed or too large",
        }
    }

    /// Under which kind it is counted.
    pub(in crate::server) const fn kind(self) -> Violation {
        match self {
            Self::HeadTooLarge => Violation::HeadSize,
            Self::TooSlow => Violation::SlowHead,
            Self::Length
            | Self::TransferEncoding
            | Self::TwoFramings
            | Self::ConnectionOption
            | Self::UpgradeWithBody => Violation::Framing,
            Self::ChunkSize | Self::ChunkExtension | Self::ChunkEnd | Self::Trailers => {
                Violation::Chunking
            }
            _ => Violation::Head,
        }
    }
}
