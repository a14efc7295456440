//! Caps, and own rules that would hurt.

use bytes::Bytes;

use super::{all_packs, rule, show, streamed, whole, with_rules};
use crate::sanitize::{Hits, MAX_HELD, Pack, Redactor, RuleError, Stream};

fn refusal(patterns: &[&str]) -> RuleError {
    let rules: Vec<_> = patterns.iter().map(|pattern| rule(pattern, "x")).collect();
    Redactor::compile(&Pack::ALL, &rules).expect_err("the rules are bad")
}

#[test]
fn bad_rules_are_refused_by_index() {
    assert_eq!(refusal(&["a", ".*"]), RuleError::MatchesEmpty { index: 1 });
    for empty in ["", "a?", r"\b", "^", "$", "(?:)|b", "x*"] {
        assert_eq!(refusal(&[empty]), RuleError::MatchesEmpty { index: 0 }, "{empty}");
    }
    assert_eq!(refusal(&["a", "b", r"[^\s\S]"]), RuleError::NeverMatches { index: 2 });
    let RuleError::Syntax { index: 1, phrase, offset: 1 } = refusal(&["a", "a(b"]) else {
        panic!("not a syntax error")
    };
    assert_eq!(phrase, "unclosed group");
}

#[test]
fn explosive_rules_are_refused_by_index() {
    for explosive in ["(a|b){1000}{1000}", r"\w{200}", "[ab]*a[ab]{24}c", r"(\p{L}+ ){40}x"] {
        assert_eq!(
            refusal(&["a", explosive, "b"]),
            RuleError::TooComplex { index: 1 },
            "{explosive}"
        );
    }
}

#[test]
fn errors_are_phrases() {
    assert_eq!(refusal(&[".*"]).to_string(), "the pattern matches the empty string");
    assert_eq!(refusal(&["a{,}{"]).index(), 0);
}

#[test]
fn unicode_classes_are_fine() {
    let redactor =
        with_rules(&[], &[rule(r"\p{Cyrillic}{2,}", "[cyrillic]"), rule("(?i)straße", "[street]")]);
    assert_eq!(show(&whole(&redactor, "Привет, STRAßE x".as_bytes())), "[cyrillic], [street] x");
}

#[test]
fn a_greedy_rule_is_swallowed_within_the_cap() {
    let redactor = with_rules(&[], &[rule("x.+", "[line]")]);
    let line = [b"ab x", &[b'y'; 5 * MAX_HELD][..], b"\nend"].concat();
    let mut stream = Stream::new(redactor.clone());
    let mut out = Vec::new();
    for chunk in line.chunks(1000) {
        out.extend_from_slice(&stream.push(Bytes::copy_from_slice(chunk)));
        assert!(stream.held() <= MAX_HELD);
    }
    out.extend_from_slice(&stream.finish());
    assert_eq!(show(&out), "ab [line]\nend");
    assert_eq!(stream.hits().total(), 1);
    assert_eq!(show(&whole(&redactor, &line)), "ab [line]\nend");
}

#[test]
fn an_endless_key_is_swallowed_within_the_cap() {
    let redactor = all_packs();
    let body = "MIIEpAIBAAKCAQEA\n".repeat(4000);
    let text = format!("x -----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\ny");
    for size in [1, 7, 1000, 70_000] {
        let mut stream = Stream::new(redactor.clone());
        let mut out = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            out.extend_from_slice(&stream.push(Bytes::copy_from_slice(chunk)));
            assert!(stream.held() <= MAX_HELD);
        }
        out.extend_from_slice(&stream.finish());
        assert_eq!(show(&out), "x [redacted]\ny");
    }
}

#[test]
fn a_long_traceback_and_a_long_token_are_swallowed() {
    let redactor = all_packs();
    let frames = "  File \"/app/x.py\", line 3, in f\n    g()\n".repeat(1000);
    let trace = format!("a\nTraceback (most recent call last):\n{frames}ValueError: x\n\nb");
    assert_eq!(show(&whole(&redactor, trace.as_bytes())), "a\n[redacted]\n\nb");
    assert_eq!(show(&streamed(&redactor, trace.as_bytes().chunks(911)).0), "a\n[redacted]\n\nb");
    let token = format!("k sk-{} z", "aB3dE6gH".repeat(4000));
    assert_eq!(show(&whole(&redactor, token.as_bytes())), "k [redacted] z");
    assert_eq!(show(&streamed(&redactor, token.as_bytes().chunks(1)).0), "k [redacted] z");
}

#[test]
fn a_mere_possibility_is_let_go_at_the_cap() {
    let redactor = with_rules(&[], &[rule("a[b-z]*!", "[own]")]);
    let text = ["a", &"b".repeat(3 * MAX_HELD), "! ab! a", &"b".repeat(100), "!"].concat();
    let expected = format!("a{}! [own] [own]", "b".repeat(3 * MAX_HELD));
    assert_eq!(show(&whole(&redactor, text.as_bytes())), expected);
    for size in [1, 100, 4096, 8192, 10_000] {
        let mut stream = Stream::new(redactor.clone());
        let mut out = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            out.extend_from_slice(&stream.push(Bytes::copy_from_slice(chunk)));
            assert!(stream.held() <= MAX_HELD);
        }
        out.extend_from_slice(&stream.finish());
        assert_eq!(show(&out), expected, "chunks of {size}");
    }
}

#[test]
fn what_is_young_survives_the_cap() {
    // Always something in progress, yet each mail address is short.
    let redactor = with_rules(&[], &[rule("[a-z]+@[a-z]+!", "[mail]"), rule("q[^!]*?#", "[q]")]);
    let text = format!("q{} bob@x!", "bob@x ".repeat(3000));
    let expected = whole(&redactor, text.as_bytes());
    assert!(show(&expected).ends_with(" [mail]"));
    for size in [1, 13, 4096, 8192] {
        assert_eq!(
            streamed(&redactor, text.as_bytes().chunks(size)).0,
            expected,
            "chunks of {size}"
        );
    }
}

#[test]
fn the_cap_falls_on_the_same_byte_however_the_text_is_cut() {
    // Always something young in progress, so that much less is held than the cap counts.
    let redactor = with_rules(&[], &[rule(r"a[^\n]{0,5}!", "[a]"), rule("q[^#]*#", "[q]")]);
    for length in (7200..7500).step_by(7) {
        let text = [&"a..".repeat(3000), "q", &"a..".repeat(length / 3), "# end"].concat();
        let expected = whole(&redactor, text.as_bytes());
        let cut = streamed(&redactor, text.as_bytes().chunks(64)).0;
        assert!(cut == expected, "a possibility of {length} bytes");
    }
}

#[test]
fn a_redactor_without_rules_does_nothing() {
    let redactor = with_rules(&[], &[]);
    assert!(redactor.is_empty());
    let chunk = Bytes::from_static(b"sk-aB3dE6gH9jK2mN5pQ8sT1vW4");
    let mut stream = Stream::new(redactor.clone());
    assert_eq!(stream.push(chunk.clone()).as_ptr(), chunk.as_ptr());
    assert_eq!(&*redactor.redact(&chunk, &mut Hits::new()), &*chunk);
    assert!(stream.finish().is_empty());
}

#[test]
fn the_packs_stay_small() {
    assert!(all_packs().memory_usage() < 2 << 20, "{}", all_packs().memory_usage());
}

#[test]
fn what_is_held_is_not_shown() {
    let mut stream = Stream::new(with_rules(&[Pack::Credentials], &[rule("EMP-x+", "[own]")]));
    stream.push(Bytes::from_static(b"sk-aB3dE6gH9jK2mN5pQ8sT1vW4"));
    assert_eq!(stream.held(), 27);
    assert_eq!(format!("{stream:?}"), "Stream { held: 27, hits: Hits { counts: [] } }");
}

#[test]
fn finishing_twice_yields_nothing_twice() {
    let mut stream = Stream::new(with_rules(&Pack::ALL, &[rule("end$", "[end]")]));
    assert_eq!(stream.push(Bytes::from_static(b"10.0.0.1 end")), "[redacted] ");
    assert_eq!(stream.finish(), "[end]");
    assert_eq!(stream.finish(), "");
    assert_eq!(stream.hits().total(), 2);
}
