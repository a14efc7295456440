//! Asks for usage in a streamed answer of OpenAI's dialect.
//!
//! Changes the bytes of the body where it must and nowhere else: writing the JSON anew
//! could change numbers, the order of keys, or keys that are there twice.
//!
//! # Failure
//! None: a body that is not a JSON object stays as it is, and the service judges it.

use std::ops::Range;

use bytes::Bytes;

use super::scan::{Nest, Unescape};

/// What is asked for.
const ASKED: &str = "\"include_usage\":true";

/// The same body with `stream_options.include_usage` set, if it asks for a stream without it.
///
/// `None` if nothing has to change: no stream is asked for, usage is asked for already, or the
/// body is no JSON object. Every other byte stays as it is. Where a key is there twice, both
/// values are mended, because services differ in which of them counts.
pub fn include_usage(body: &Bytes) -> Option<Bytes> {
    let (mut is_stream, mut edits, mut has_options) = (false, Vec::new(), false);
    let end = members(body, 0, &mut |key, value| match key {
        b"stream" => is_stream = body.get(value) == Some(b"true"),
        b"stream_options" => {
            has_options = true;
            edits.extend(options(body, value));
        }
        _ => {}
    })?;
    let has_rest = body.get(end..)?.iter().any(|byte| !byte.is_ascii_whitespace());
    if !is_stream || has_rest {
        return None;
    }
    if !has_options {
        // In front of the closing brace; behind `stream` there is a comma to write.
        edits.push((end - 1..end - 1, format!(",\"stream_options\":{{{ASKED}}}")));
    }
    (!edits.is_empty()).then(|| edited(body, &edits))
}

/// A place and what shall stand there.
type Edit = (Range<usize>, String);

/// What has to change in one value of `stream_options`.
fn options(body: &[u8], value: Range<usize>) -> Vec<Edit> {
    if body.get(value.clone()) == Some(b"null") {
        return vec![(value, format!("{{{ASKED}}}"))];
    }
    let (mut edits, mut has_any, mut has_asked) = (Vec::new(), false, false);
    let read = members(body, value.start, &mut |key, inner| {
        has_any = true;
        if key != b"include_usage" {
            return;
        }
        has_asked = true;
        if body.get(inner.clone()) != Some(b"true") {
            edits.push((inner, "true".to_owned()));
        }
    });
    if read.is_some() && !has_asked {
        let comma = if has_any { "," } else { "" };
        edits.push((value.start + 1..value.start + 1, format!("{ASKED}{comma}")));
    }
    edits
}

fn edited(body: &[u8], edits: &[Edit]) -> Bytes {
    let mut new = Vec::with_capacity(body.len() + 64);
    let mut at = 0;
    for (place, text) in edits {
        new.extend_from_slice(body.get(at..place.start).unwrap_or_default());
        new.extend_from_slice(text.as_bytes());
        at = place.end;
    }
    new.extend_from_slice(body.get(at..).unwrap_or_default());
    new.into()
}

/// Tells the members of the object that begins at or behind `at`, and where it ends.
fn members(body: &[u8], at: usize, each: &mut impl FnMut(&[u8], Range<usize>)) -> Option<usize> {
    let mut at = blank(body, at);
    if body.get(at) != Some(&b'{') {
        return None;
    }
    at = blank(body, at + 1);
    if body.get(at) == Some(&b'}') {
        return Some(at + 1);
    }
    loop {
        let (key, behind) = key(body, at)?;
        at = blank(body, behind);
        if body.get(at) != Some(&b':') {
            return None;
        }
        let begin = blank(body, at + 1);
        let end = value_end(body, begin)?;
        each(&key, begin..end);
        at = blank(body, end);
        match body.get(at)? {
            b',' => at = blank(body, at + 1),
            b'}' => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Skips white space.
fn blank(body: &[u8], at: usize) -> usize {
    let rest = body.get(at..).unwrap_or_default();
    let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    at + rest.iter().take_while(is_blank).count()
}

/// Reads a key without its escapes; says where it ends.
fn key(body: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let inside = body.get(at..)?.strip_prefix(b"\"")?;
    let mut key = Vec::new();
    let (used, has_ended) = Unescape::default().pass(inside, &mut |run| {
        // None of the keys that matter is longer.
        key.extend_from_slice(run.get(..run.len().min(64)).unwrap_or_default());
    });
    has_ended.then_some((key, at + 1 + used))
}

/// Where the value that begins at `at` ends.
fn value_end(body: &[u8], at: usize) -> Option<usize> {
    let rest = body.get(at..)?;
    let (used, has_ended) = match rest.first()? {
        b'{' | b'[' => Nest::default().pass(rest),
        b'"' => {
            let (used, has_ended) = Unescape::default().pass(rest.get(1..)?, &mut |_| {});
            (used + 1, has_ended)
        }
        _ => {
            let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
            let used = rest.iter().take_while(is_part).count();
            (used, used > 0)
        }
    };
    has_ended.then_some(at + used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(body: &str) -> Option<String> {
        let new = include_usage(&Bytes::copy_from_slice(body.as_bytes()))?;
        Some(String::from_utf8(new.to_vec()).expect("UTF-8"))
    }

    #[test]
    fn usage_is_asked_for_and_no_other_byte_changes() {
        let expected = [
            (
                r#"{"model":"m", "temperature" : 1.0e+00,"stream":true }"#,
                r#"{"model":"m", "temperature" : 1.0e+00,"stream":true ,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream":true,"stream_options":{},"a":1,"a":2}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true},"a":1,"a":2}"#,
            ),
            (
                r#"{"stream_options":{ "include_obfuscation":false},"stream":true}"#,
                r#"{"stream_options":{"include_usage":true, "include_obfuscation":false},"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage" : false },"stream":true}"#,
                r#"{"stream_options":{"include_usage" : true },"stream":true}"#,
            ),
            (
                r#"{"stream_options":null,"stream":true}"#,
                r#"{"stream_options":{"include_usage":true},"stream":true}"#,
            ),
            (
                r#"{"stre\u0061m":true,"stream_options":{"include_us\u0061ge":null}}"#,
                r#"{"stre\u0061m":true,"stream_options":{"include_us\u0061ge":true}}"#,
            ),
            (
                r#"{"stream":false,"stream":true,"stream_options":{"include_usage":true},"stream_options":{}}"#,
                r#"{"stream":false,"stream":true,"stream_options":{"include_usage":true},"stream_options":{"include_usage":true}}"#,
            ),
            (
                "\n{\"stream\":true,\"messages\":[{\"content\":\"\\\"stream_options\\\":{}\"}]}\n",
                "\n{\"stream\":true,\"messages\":[{\"content\":\"\\\"stream_options\\\":{}\"}],\"stream_options\":{\"include_usage\":true}}\n",
            ),
        ];
        for (body, new) in expected {
            assert_eq!(changed(body).as_deref(), Some(new));
            let parsed: serde_json::Value = serde_json::from_str(new).expect("JSON");
            assert_eq!(parsed["stream_options"]["include_usage"], true);
            assert_eq!(changed(new), None, "once is enough: {new}");
        }
    }

    #[test]
    fn what_needs_no_change_or_cannot_be_read_stays() {
        for body in [
            "",
            "{}",
            "[]",
            "not json",
            r#"{"stream":false}"#,
            r#"{"stream":"true"}"#,
            r#"{"stream":true,"stream":false}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"stream":true,"stream_options":5}"#,
            r#"{"stream":true,"messages":["#,
            r#"{"stream":true"#,
            r#"{"stream":true}}"#,
            r#"{"messages":[{"stream":true}]}"#,
        ] {
            assert_eq!(changed(body), None, "{body}");
        }
    }
}
