//! Is a body sound JSON, and how deep is it? In one pass, without recursion, so
//! that a body of a million brackets costs a scan and not a stack.

use serde::de::IgnoredAny;

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Nested deeper than allowed.
    #[error("nested deeper than {0} levels")]
    TooDeep(u32),
    /// Not JSON.
    #[error("not JSON (line {line}, column {column})")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
}

/// Checks `body` against RFC 8259 and the deepest nesting that is allowed.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(body: &[u8], max_depth: u32) -> Result<(), JsonError> {
    if depth(body) > max_depth {
        return Err(JsonError::TooDeep(max_depth));
    }
    let malformed = |error: serde_json::Error| JsonError::Malformed {
        line: error.line(),
        column: error.column(),
    };
    let mut reader = serde_json::Deserializer::from_slice(body);
    serde::Deserialize::deserialize(&mut reader).map(|_: IgnoredAny| ()).map_err(malformed)?;
    reader.end().map_err(malformed)
}

/// The deepest nesting of brackets outside strings.
fn depth(body: &[u8]) -> u32 {
    let (mut now, mut deepest) = (0_u32, 0_u32);
    let mut rest = body.iter();
    let mut in_string = false;
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' if in_string => drop(rest.next()),
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                now = now.saturating_add(1);
                deepest = deepest.max(now);
            }
            b']' | b'}' if !in_string => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(br#"{"a":["[[[[\"[["]}"#), 2);
        assert_eq!(depth(b"1"), 0);
    }

    #[test]
    fn a_hundred_thousand_levels_are_refused_without_recursion() {
        let body = "[".repeat(100_000);
        assert_eq!(check(body.as_bytes(), 20), Err(JsonError::TooDeep(20)));
    }

    #[test]
    fn what_is_not_json_is_named_with_its_place() {
        assert_eq!(check(b"{\"a\":1}", 5), Ok(()));
        assert_eq!(check(b"{\n\"a\":}", 5), Err(JsonError::Malformed { line: 2, column: 5 }));
        assert!(matches!(check(b"{} {}", 5), Err(JsonError::Malformed { .. })));
        assert!(matches!(check(b"", 5), Err(JsonError::Malformed { .. })));
    }
}
