//! "Did you mean …?"

/// Longer words than this are not compared: the comparison takes the product of both lengths.
const MAX_WORD: usize = 64;

/// Tables in which a key is usual, for keys that stand in the wrong one.
const HOMES: [(&str, &str); 20] = [
    ("unknown_model", "at the top of the file, above the first table"),
    ("content_types", "in [operations.<name>.request]"),
    ("max_depth", "in [operations.<name>.request]"),
    ("injection", "in [operations.<name>.request]"),
    ("parameters", "in [operations.<name>.request]"),
    ("routes", "in [operations.<name>]"),
    ("cost", "in [operations.<name>]"),
    ("meter", "in [operations.<name>]"),
    ("upgrade", "in [operations.<name>]"),
    ("max_lifetime", "in [operations.<name>]"),
    ("max_size", "in [operations.<name>.messages]"),
    ("quotas", "in [tiers.<name>]"),
    ("budget", "in [tiers.<name>]"),
    ("concurrency", "in [tiers.<name>]"),
    ("total", "in [tiers.<name>] or [operations.<name>]"),
    ("renamed_from", "in [tiers.<name>] or [operations.<name>]"),
    ("rolling", "in budget, in [tiers.<name>]"),
    ("certificate", "in [listen]"),
    ("max_body", "in [request] or [operations.<name>.request]"),
    ("max_header_count", "in [request]"),
];

/// Finds the word that was probably meant, if one is near enough.
pub(in crate::policy) fn closest<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if word.len() > MAX_WORD {
        return None;
    }
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let word = plain(word);
    let near =
        known.into_iter().map(|known| (strsim::damerau_levenshtein(&word, &plain(known)), known));
    // A third of the word may be wrong; more is another word.
    near.filter(|(distance, known)| *distance <= (known.len().max(word.len()) / 3).max(1))
        .min()
        .map(|(_, known)| known)
}

/// Says where a key that is unknown here belongs.
pub(super) fn home(key: &str) -> Option<&'static str> {
    HOMES.iter().find(|(name, _)| *name == key).map(|(_, home)| *home)
}

/// Lists words for a message: `a, b and c`.
pub(super) fn listed(words: &[&str], last: &str) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 3] = ["address", "connect_timeout", "key"];

    #[test]
    fn near_words_are_found() {
        assert_eq!(closest("adress", KEYS), Some("address"));
        assert_eq!(closest("Connect-Timeout", KEYS), Some("connect_timeout"));
        assert_eq!(closest("keys", KEYS), Some("key"));
        assert_eq!(closest("colour", KEYS), None);
        assert_eq!(closest(&"a".repeat(100_000), KEYS), None);
    }

    #[test]
    fn words_are_listed() {
        assert_eq!(listed(&["a", "b", "c"], "or"), "a, b or c");
        assert_eq!(listed(&["a"], "or"), "a");
        assert_eq!(home("injection"), Some("in [operations.<name>.request]"));
    }
}
