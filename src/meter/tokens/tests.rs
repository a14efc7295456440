//! Families, weights, and counts that do not depend on how a text arrives.

use super::*;

/// Texts of `samples.txt`: name and content.
fn samples() -> Vec<(&'static str, &'static str)> {
    let all = include_str!("samples.txt").strip_prefix("# ").expect("a first name");
    all.split("\n# ").filter_map(|sample| sample.split_once('\n')).collect()
}

#[cfg(feature = "tokenizer")]
#[test]
fn calibrate() {
    for (name, text) in samples() {
        let mut kinds = [0; 9];
        text.chars().for_each(|c| kinds[weights::kind_of(c)] += 1);
        let count = |name| tiktoken::get_encoding(name).expect("built in").count(text);
        println!(
            "CAL {name} {kinds:?} {} {} {}",
            text.len(),
            count("o200k_base"),
            count("cl100k_base")
        );
    }
}
