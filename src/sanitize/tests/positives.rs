//! Secrets vanish, and their surroundings stay.

use super::samples::{self, Sample};
use super::{all_packs, show, streamed, whole, with_rules};
use crate::sanitize::{Hits, Pack};

fn problems(sample: &Sample, redacted: &str) -> Vec<String> {
    let mut problems: Vec<String> = Vec::new();
    let seen = sample.gone.iter().filter(|part| redacted.contains(**part));
    problems.extend(seen.map(|part| format!("still shows {part:?}")));
    let lost = sample.kept.iter().filter(|part| !redacted.contains(**part));
    problems.extend(lost.map(|part| format!("lost {part:?}")));
    problems
}

#[test]
fn each_pack_masks_its_secrets_and_nothing_else() {
    let mut failures = Vec::new();
    for pack in Pack::ALL {
        let redactor = with_rules(&[pack], &[]);
        for sample in samples::all().filter(|sample| sample.pack == pack) {
            let redacted = show(&whole(&redactor, sample.text.as_bytes()));
            let problems = problems(sample, &redacted);
            if !problems.is_empty() {
                failures.push(format!("{:?}\n  -> {redacted:?}\n  {problems:?}", sample.text));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn all_packs_together_leak_nothing_either() {
    let redactor = all_packs();
    let mut failures = Vec::new();
    for sample in samples::all() {
        let redacted = show(&whole(&redactor, sample.text.as_bytes()));
        for part in sample.gone.iter().filter(|part| redacted.contains(**part)) {
            failures.push(format!("{:?}\n  -> {redacted:?}\n  still shows {part:?}", sample.text));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn json_stays_json() {
    // Braces and quotes balance: what an eaten closing quote would break.
    let redactor = all_packs();
    for sample in samples::all().filter(|sample| sample.text.starts_with("{\"")) {
        let redacted = show(&whole(&redactor, sample.text.as_bytes()));
        assert_eq!(string_count(&redacted), string_count(sample.text), "{redacted}");
        assert!(redacted.ends_with('}'), "{redacted}");
    }
}

/// Number of complete JSON strings; `None` if one is not closed.
fn string_count(json: &str) -> Option<usize> {
    let (mut quotes, mut escaped) = (0, false);
    for byte in json.bytes() {
        quotes += usize::from(byte == b'"' && !escaped);
        escaped = byte == b'\\' && !escaped;
    }
    (quotes % 2 == 0).then_some(quotes / 2)
}

#[test]
fn hits_are_counted_by_rule() {
    let redactor = all_packs();
    assert_eq!(
        redactor.rule_names().collect::<Vec<_>>(),
        ["credentials", "connection_strings", "stack_traces", "private_addresses"]
    );
    let text: &[u8] = b"10.0.0.1 redis://h:1 10.0.0.2 hello";
    let mut hits = Hits::new();
    redactor.redact(text, &mut hits);
    assert_eq!(hits.iter().collect::<Vec<_>>(), [(1, 1), (3, 2)]);
    assert_eq!(streamed(&redactor, text.chunks(3)).1, hits);
}
