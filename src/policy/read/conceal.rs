//! Covers secrets in the text that a report shows.
//!
//! Two ways, because a text that does not parse has no values: places that a
//! reader knew to hold a secret, and whatever looks like one in a line (the value
//! of a key such as `token`, the password of a URL, a long word of letters and
//! digits). Each covered byte becomes an asterisk, so that all places stay right;
//! a `${NAME}` stays readable.
//!
//! # Limits
//! A short secret of a key that nobody knows is not recognised.

use super::super::diagnostic::Span;

/// Names, in lower case with `_`, whose values are secrets.
const NAMES: [&str; 8] =
    ["apikey", "authorization", "cookie", "passwd", "password", "secret", "token", "webhook"];
/// Ends of such names.
const ENDS: [&str; 6] = ["_key", "_token", "_secret", "_password", "_authorization", "_cookie"];
/// The length from which a word of letters and digits may be a credential.
const MIN_RANDOM: usize = 20;
/// What ends a value that does not begin with a quote.
const DELIMITERS: [char; 8] = ['"', '\'', ',', '}', '#', '&', ' ', '\t'];

/// Tells whether a key or header of this name holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase().replace('-', "_");
    NAMES.contains(&name.as_str()) || ENDS.iter().any(|end| name.ends_with(end))
}

/// Tells whether a text ends with what may be a credential: a long word of letters and digits, or a JWT.
pub(super) fn looks_random(text: &str) -> bool {
    let word = text.rsplit(' ').next().unwrap_or(text);
    let is_part = |b: u8| {
        b.is_ascii_alphanumeric() || b"_-+=~".contains(&b) || (b == b'.' && word.starts_with("eyJ"))
    };
    let mixed =
        word.bytes().any(|b| b.is_ascii_alphabetic()) && word.bytes().any(|b| b.is_ascii_digit());
    word.len() >= MIN_RANDOM && mixed && word.bytes().all(is_part)
}

/// The place of the value that is assigned to the key at `key`, as far as its line shows it.
pub(super) fn value_of(text: &str, key: Span) -> Option<Span> {
    let rest = text.get(key.end..)?;
    let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
    let equals = line.find('=')?;
    let value = value_after(line, equals + 1);
    Some(Span::new(key.end + value.start, key.end + value.end))
}

/// Copies `text` with the given places, and what looks like a secret, covered.
pub(super) fn concealed(text: &str, secrets: &[Span]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    secrets.iter().for_each(|span| cover(&mut bytes, *span));
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        for span in assigned(line).into_iter().chain(passwords(line)).chain(random_words(line)) {
            cover(&mut bytes, Span::new(start + span.start, start + span.end));
        }
        start += line.len();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Replaces all but quotes and line breaks.
fn cover(bytes: &mut [u8], span: Span) {
    let Some(covered) = bytes.get_mut(span.start..span.end) else {
        return;
    };
    let keep = |b: &u8| matches!(b, b'\n' | b'\r' | b'"' | b'\'');
    covered.iter_mut().filter(|b| !keep(b)).for_each(|b| *b = b'*');
}

/// Places of values whose name says that they are secret.
fn assigned(line: &str) -> Vec<Span> {
    let secret = |(equals, _): &(usize, &str)| is_secret_name(word_before(&line[..*equals]));
    let spans = line.match_indices('=').filter(secret);
    let spans = spans.map(|(equals, _)| value_after(line, equals + 1));
    spans.filter(|span| !line[span.start..span.end].contains("${")).collect()
}

/// The last word of a text, without quotes and dots.
fn word_before(text: &str) -> &str {
    let text = text.trim_end().trim_end_matches(['"', '\'']);
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let start = text.trim_end_matches(part_of_word).len();
    &text[start..]
}

/// The place of the value that begins at `from`, without its quotes.
fn value_after(line: &str, from: usize) -> Span {
    let rest = line[from..].trim_start();
    let start = line.len() - rest.len();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    match quote {
        Some(quote) => {
            let length = rest[1..].find(quote).unwrap_or(rest.len() - 1);
            Span::new(start + 1, start + 1 + length)
        }
        None => Span::new(start, start + rest.find(DELIMITERS).unwrap_or(rest.len())),
    }
}

/// Places of strings that look like a credential.
fn random_words(line: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut from = 0;
    while let Some(found) = line[from..].find(['"', '\'']) {
        let string = value_after(line, from + found);
        if looks_random(&line[string.start..string.end]) {
            spans.push(string);
        }
        from = (string.end + 1).min(line.len());
    }
    spans
}

/// Places of the passwords in URLs: `scheme://user:password@host`.
fn passwords(line: &str) -> Vec<Span> {
    let authorities = line.match_indices("://").map(|(at, found)| at + found.len());
    authorities.filter_map(|start| password(line, start)).collect()
}

fn password(line: &str, start: usize) -> Option<Span> {
    let end =
        line[start..].find(['"', '\'', ' ', '\t', '/']).map_or(line.len(), |length| start + length);
    let user = &line[start..line[..end].rfind('@').filter(|at| *at >= start)?];
    if user.contains("${") {
        return None;
    }
    let colon = user.find(':')?;
    Some(Span::new(start + colon + 1, start + user.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_covered() {
        let expected = [
            ("token = \"hunter2\"", "token = \"*******\""),
            ("token = \"hunter2", "token = \"*******"),
            (
                "X-A = \"Bearer sk-0123456789abcdefghij\"",
                "X-A = \"******************************\"",
            ),
            ("['eyJhbGciOiJI.eyJzdWIiOiIx.c2ln0']", "['*******************************']"),
            ("token = hunter2 # x", "token = ******* # x"),
            (
                "h = { Authorization = 'Bearer x', A = 'b' }",
                "h = { Authorization = '********', A = 'b' }",
            ),
            ("\"X-Api-Key\" = \"ü\"", "\"X-Api-Key\" = \"**\""),
            ("admin.token=\"a\"", "admin.token=\"*\""),
            ("url = \"redis://u:pw@host/0\"", "url = \"redis://u:**@host/0\""),
            (
                "url = \"http://h/?access_token=abc&x=1\"",
                "url = \"http://h/?access_token=***&x=1\"",
            ),
        ];
        for (text, covered) in expected {
            assert_eq!(concealed(text, &[]), covered);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let plain = [
            "token = \"${ADMIN_TOKEN:-}\"",
            "key = \"certs/server.key\"",
            "headers = [\"Authorization\"]",
            "url = \"redis://:${PASSWORD}@host\"",
            "url = \"http://127.0.0.1:8000/a@b\"",
            "routes = [\"POST /api/v1/behavior/analyze2\"]",
            "host = \"service-01.internal.example\" # it's here",
            "max_tokens = 5",
            "token =",
            "=",
            "://@",
        ];
        for text in plain {
            assert_eq!(concealed(text, &[]), text);
        }
    }

    #[test]
    fn known_places_are_covered_and_lengths_stay() {
        assert_eq!(concealed("a = \"bü\nc\"", &[Span::new(4, 10)]), "a = \"***\n*\"");
        assert_eq!(concealed("a", &[Span::new(0, 9)]), "a");
    }
}
