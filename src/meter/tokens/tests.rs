//! Families, weights, and counts that do not depend on how a text arrives.

use super::*;
use crate::meter::Confidence;

/// Texts of `samples.txt`: name and content.
fn samples() -> Vec<(&'static str, &'static str)> {
    let all = include_str!("samples.txt").strip_prefix("# ").expect("a first name");
    all.split("\n# ").filter_map(|sample| sample.split_once('\n')).collect()
}

#[test]
fn a_word_in_the_name_tells_the_family() {
    for (name, family) in [
        ("gpt-4o-mini-2024-07-18", Family::O200k),
        ("openai/gpt-5.5", Family::O200k),
        ("ft:gpt-4.1-nano:org::id", Family::O200k),
        ("o3-pro", Family::O200k),
        ("azure/gpt-35-turbo", Family::Cl100k),
        ("GPT-4-0613", Family::Cl100k),
        ("text-embedding-3-small", Family::Cl100k),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Claude),
        ("models/gemini-2.5-flash", Family::Gemini),
        ("meta-llama/llama-3.3-70b", Family::Other),
        ("foo3-mini", Family::Other),
        ("", Family::Other),
    ] {
        assert_eq!(Family::of(name), family, "{name}");
    }
}

#[test]
fn what_has_no_tokenizer_is_weighed_and_says_so() {
    let (_, english) = samples()[0];
    let found = count(Family::Claude, english);
    assert_eq!(found.confidence, Confidence::Estimated);
    // 590 characters of English: 3.5 to a token are 169, 5 are 118.
    assert!((118..=169).contains(&found.tokens), "{found:?}");
}

#[test]
fn a_weight_does_not_depend_on_how_the_text_is_split() {
    for (name, text) in samples() {
        let whole = count(Family::Claude, text).tokens;
        let mut counter = Counter::new(Family::Claude);
        for char in text.chars() {
            counter.push(char.encode_utf8(&mut [0; 4]));
        }
        assert_eq!(counter.tokens(), whole, "{name}");
        assert_eq!(counter.finish().tokens, whole, "{name}");
    }
}

#[test]
fn every_character_counts() {
    for family in [Family::O200k, Family::Cl100k, Family::Claude, Family::Gemini, Family::Other] {
        assert_eq!(count(family, "").tokens, 0);
        for text in ["a", "\0", "é", "я", "中", "ก", "🎉", "\u{10ffff}"] {
            assert!(count(family, text).tokens > 0, "{family:?} {text:?}");
        }
    }
}

#[cfg(feature = "tokenizer")]
mod tokenizer {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use proptest::prelude::*;

    use super::*;

    const NAMES: [(Family, &str); 2] =
        [(Family::O200k, "o200k_base"), (Family::Cl100k, "cl100k_base")];

    fn table(name: &str) -> &'static tiktoken::CoreBpe {
        tiktoken::get_encoding(name).expect("it is built in")
    }

    /// A counter whose tokenizer has been read.
    fn ready(family: Family) -> Counter {
        let deadline = Instant::now() + Duration::from_secs(120);
        while exact::table(family).is_none() {
            assert!(Instant::now() < deadline, "the table is not read");
            thread::sleep(Duration::from_millis(5));
        }
        Counter::new(family)
    }

    fn counted(family: Family, pieces: &[&str]) -> Counted {
        let mut counter = ready(family);
        pieces.iter().for_each(|piece| counter.push(piece));
        counter.finish()
    }

    /// Cuts a text into pieces of at most so many bytes.
    fn pieces(mut text: &str, bytes: usize) -> Vec<&str> {
        let mut all = Vec::new();
        while !text.is_empty() {
            let (head, tail) = text.split_at(text.floor_char_boundary(bytes.max(4)));
            all.push(head);
            text = tail;
        }
        all
    }

    #[test]
    fn known_texts_have_the_tokens_that_openai_says() {
        for (text, cl100k, o200k) in [
            ("tiktoken is great!", 6, 6),
            ("antidisestablishmentarianism", 6, 6),
            ("2 + 2 = 4", 7, 7),
            ("お誕生日おめでとう", 9, 8),
        ] {
            assert_eq!(counted(Family::Cl100k, &[text]).tokens, cl100k, "{text}");
            assert_eq!(counted(Family::O200k, &[text]).tokens, o200k, "{text}");
        }
    }

    #[test]
    fn weights_fit_what_the_tokenizers_say() {
        for (family, name) in NAMES {
            for (sample, text) in samples() {
                let exact = u64::try_from(table(name).count(text)).expect("a number");
                let weighed = weights::Weights::of(family).weigh(text) / 1_000;
                let off = weighed.abs_diff(exact) * 100 / exact;
                assert!(off <= 25, "{name} {sample}: {weighed} for {exact}");
            }
        }
    }

    #[test]
    fn pieces_of_any_size_make_the_same_count() {
        for (family, name) in NAMES {
            for (sample, text) in samples() {
                let text = text.repeat(4);
                let exact = u64::try_from(table(name).count(&text)).expect("a number");
                for bytes in [4, 17, 600, 100_000] {
                    let found = counted(family, &pieces(&text, bytes));
                    assert_eq!(found.confidence, Confidence::Exact);
                    // A cut without a border, in scripts without spaces, may cost a token.
                    let off = found.tokens.abs_diff(exact);
                    assert!(off <= 2, "{name} {sample} {bytes}: {} for {exact}", found.tokens);
                    assert!(!text.is_ascii() || off == 0, "{name} {sample} {bytes}");
                }
            }
        }
    }

    #[test]
    fn a_count_is_never_far_off_while_the_text_arrives() {
        let (_, text) = samples()[1];
        let mut counter = ready(Family::O200k);
        let mut so_far = String::new();
        for piece in pieces(&text.repeat(6), 5) {
            counter.push(piece);
            so_far.push_str(piece);
            let exact = u64::try_from(table("o200k_base").count(&so_far)).expect("a number");
            // Half a kilobyte is weighed: a quarter of some 130 tokens, and one.
            assert!(counter.tokens().abs_diff(exact) <= 33, "{} {exact}", counter.tokens());
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_weighed_at_what_its_beginning_was() {
        let text = samples()[0].1.repeat(400);
        let found = counted(Family::O200k, &[&text]);
        assert_eq!(found.confidence, Confidence::Estimated);
        let exact = u64::try_from(table("o200k_base").count(&text)).expect("a number");
        assert!(found.tokens >= exact && found.tokens <= exact + exact / 10, "{found:?} {exact}");
        assert_eq!(counted(Family::O200k, &pieces(&text, 1_000)), found);
    }

    #[test]
    fn hostile_texts_take_work_in_proportion() {
        // A tokenizer that sees only the first part, in pieces that are bounded: the rest is one look a character.
        for hostile in ["a", " ", "\n", "!", "中", "👩\u{200d}👩", "a\u{301}"] {
            let text = hostile.repeat((1 << 20) / hostile.len());
            let mut counter = ready(Family::O200k);
            counter.push(&text);
            assert!(counter.finish().tokens > 0, "{hostile:?}");
        }
    }

    #[test]
    fn the_first_counter_does_not_wait() {
        // Whether the table is there or not, a count comes back.
        assert!(count(Family::Cl100k, "hello world").tokens >= 2);
        Family::Cl100k.prepare();
        assert_eq!(ready(Family::Cl100k).finish().tokens, 0);
    }

    #[test]
    fn what_is_kept_back_is_not_shown() {
        let mut counter = ready(Family::O200k);
        counter.push("a secret");
        assert!(!format!("{counter:?}").contains("secret"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_counts_alike_however_it_is_split(text in "(?s).{0,1500}", bytes in 4_usize..900) {
            let whole = counted(Family::O200k, &[&text]);
            let split = counted(Family::O200k, &pieces(&text, bytes));
            prop_assert_eq!(whole, split);
        }
    }
}
