//! A stream says the same as a whole text, wherever it is cut.

use proptest::prelude::*;

use super::samples;
use super::{all_packs, rule, show, streamed, whole, with_rules};
use crate::sanitize::Pack;

#[test]
fn every_split_in_two_and_byte_by_byte() {
    let redactor = all_packs();
    for sample in samples::all() {
        let text = sample.text.as_bytes();
        let expected = whole(&redactor, text);
        for cut in 0..=text.len() {
            let (front, back) = text.split_at(cut);
            let (out, _) = streamed(&redactor, [front, back]);
            assert_eq!(show(&out), show(&expected), "cut at {cut}");
        }
        assert_eq!(show(&streamed(&redactor, text.chunks(1)).0), show(&expected), "byte by byte");
    }
}

#[test]
fn many_splits_in_three() {
    let redactor = all_packs();
    for sample in samples::all() {
        let text = sample.text.as_bytes();
        let expected = whole(&redactor, text);
        for first in (0..text.len()).step_by(5) {
            for second in (first..text.len()).step_by(7) {
                let chunks = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(
                    show(&streamed(&redactor, chunks).0),
                    show(&expected),
                    "cut at {first} and {second}"
                );
            }
        }
    }
}

#[test]
fn own_rules_at_every_split() {
    let rules = [
        rule(r"EMP-\d{6}", "[employee]"),
        rule(r"\b[a-z]+@[a-z.]+\b", "[mail]"),
        rule(r"<s>.*?</s>", "[s]"),
        rule("ab+c|b+", "[b]"),
        rule("(?m)^>.*$", "[quote]"),
        rule("ende?$", "[end]"),
        rule("größe|\\p{Greek}+", "[unicode]"),
    ];
    let redactor = with_rules(&[Pack::Credentials], &rules);
    let text = "EMP-123456 EMP-12345x bob@example.com. <s>x</s> <s> abbbc abbb bb\n> quoted\nno > quote\r\nΑΒγ größer, password=hunter2 end".as_bytes();
    let expected = whole(&redactor, text);
    assert_eq!(
        show(&expected),
        "[employee] EMP-12345x [mail]. [s] <s> [b] a[b] [b]\n[quote]\nno > quote\r\n[unicode] [unicode]r, password=[redacted] [end]"
    );
    for cut in 0..=text.len() {
        let (front, back) = text.split_at(cut);
        assert_eq!(show(&streamed(&redactor, [front, back]).0), show(&expected), "cut at {cut}");
    }
    assert_eq!(show(&streamed(&redactor, text.chunks(1)).0), show(&expected));
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<&'static [u8]> = samples::all().map(|sample| sample.text.as_bytes()).collect();
    let secret = prop::sample::select(texts)
        .prop_flat_map(|text| (0..=text.len()).prop_map(move |end| text[..end].to_vec()));
    let noise = prop::collection::vec(
        prop_oneof![any::<u8>(), prop::sample::select(b"sk-:=/. \n\\\"at0aE@".to_vec())],
        0..12,
    );
    prop::collection::vec(prop_oneof![secret, noise], 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_any_mix(text in pieces(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let redactor = all_packs_once();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).chain([0, text.len()]).collect();
        places.sort_unstable();
        let chunks = places.windows(2).map(|pair| &text[pair[0]..pair[1]]);
        let (out, _) = streamed(&redactor, chunks);
        prop_assert_eq!(show(&out), show(&whole(&redactor, &text)));
    }
}

/// Compiling takes longer than a case.
fn all_packs_once() -> std::sync::Arc<crate::sanitize::Redactor> {
    static REDACTOR: std::sync::OnceLock<std::sync::Arc<crate::sanitize::Redactor>> =
        std::sync::OnceLock::new();
    let compile = || {
        with_rules(
            &Pack::ALL,
            &[rule(r"EMP-\d{6}", "[employee]"), rule(r"[a-z]+@[a-z.]+", "[mail]")],
        )
    };
    REDACTOR.get_or_init(compile).clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Long texts in which something is nearly always in progress, so that the caps are reached.
    #[test]
    fn any_split_around_the_caps(seed in 1u64.., size in 1usize..9000) {
        let rules = [rule("q[^!]*?#", "[q]"), rule("[a-z]+@[a-z]+[!#]", "[mail]"), rule("(?s)b.*z", "[b]")];
        let redactor = with_rules(&[Pack::Credentials, Pack::StackTraces], &rules);
        let text = long_text(seed);
        let expected = whole(&redactor, &text);
        prop_assert_eq!(show(&streamed(&redactor, text.chunks(size)).0), show(&expected));
    }
}

/// Twenty to forty kilobytes of words, some of which begin or end a match.
fn long_text(seed: u64) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "q",
        "ab@c",
        "x@y!",
        " ",
        "word",
        "Error: x",
        "\n  at f (/a.js:1:2)",
        "sk-a1B2c3",
        "-----BEGIN RSA PRIVATE KEY-----",
        "MIIE",
        "\n",
        "key=",
    ];
    const RARE: [&str; 4] = ["!", "#", "b", "z"];
    let mut state = seed;
    let mut next = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut text = Vec::new();
    while text.len() < 20_000 + (seed % 20_000) as usize {
        let word = if next(500) == 0 { RARE[next(4)] } else { WORDS[next(12)] };
        text.extend_from_slice(word.as_bytes());
    }
    text
}
