//! What the type of an answer says of its body.

use http::{HeaderMap, header};

use super::grpc;

/// Whether a body is text as far as its type says; without a type it may be.
pub fn is_text(fields: &HeaderMap) -> bool {
    let Some(value) = fields.get(header::CONTENT_TYPE) else { return true };
    if grpc::is_type(value) {
        // Its messages carry their lengths, also those of `+json`.
        return false;
    }
    let media = bare(value.as_bytes());
    if media.eq_ignore_ascii_case(b"application/json") {
        return true;
    }
    let begins =
        |text: &[u8]| media.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text));
    let contains =
        |text: &[u8]| media.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text));
    begins(b"text/")
        || begins(b"multipart/")
        || [&b"json"[..], b"xml", b"javascript", b"yaml", b"x-www-form-urlencoded", b"graphql"]
            .iter()
            .any(|kind| contains(kind))
}

/// Whether a body is a stream of server-sent events.
pub fn is_events(fields: &HeaderMap) -> bool {
    let media = fields.get(header::CONTENT_TYPE).map(|value| bare(value.as_bytes()));
    media.is_some_and(|media| media.eq_ignore_ascii_case(b"text/event-stream"))
}

/// A media type without its parameters.
fn bare(media: &[u8]) -> &[u8] {
    let end = media.iter().position(|byte| *byte == b';').unwrap_or(media.len());
    media[..end].trim_ascii()
}
