//! The file of hashed keys: what is right becomes, and what is shown when it is wrong.

use std::{ffi::OsString, io};

use weir::policy::{
    Environment, Source,
    diagnostic::{Color, Report},
    keys_file::{self, KeysFile},
};

struct Nothing;

impl Environment for Nothing {
    fn variable(&self, _name: &str) -> Option<OsString> {
        None
    }

    fn file(&self, _path: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn read(text: &str) -> (Option<KeysFile>, Report) {
    keys_file::read(Source::new("keys.toml", text), &Nothing)
}

fn key(id: &str, digit: &str, rest: &str) -> String {
    let sha256 = digit.repeat(64);
    format!(
        "[[key]]\nid = \"{id}\"\nsubject = \"alice\"\ntier = \"free\"\nsha256 = \"{sha256}\"\n\
         created = \"2026-01-31T12:00:00Z\"\n{rest}"
    )
}

#[test]
fn keys_are_read_in_order() {
    let text =
        key("a", "a", "") + &key("b", "B", "expires = 2027-01-31T12:00:00+01:00\nrevoked = true\n");

    let (keys, report) = read(&text);

    assert!(report.diagnostics().is_empty(), "{}", report.render(Color::Never));
    let keys = keys.expect("the keys are right").keys;
    assert_eq!((keys[0].id.as_str(), keys[1].id.as_str()), ("a", "b"));
    assert_eq!((keys[0].subject.value.as_str(), keys[0].tier.as_str()), ("alice", "free"));
    assert_eq!((keys[0].sha256.0, keys[1].sha256.0), ([0xaa; 32], [0xbb; 32]));
    assert_eq!(keys[0].created.as_str(), "2026-01-31T12:00:00Z");
    assert!(keys[0].expires.is_none() && !keys[0].revoked.value && keys[1].revoked.value);
    let expires = keys[1].expires.as_ref().map(|time| time.unix_seconds());
    assert_eq!(expires, Some(1_801_393_200));
}

#[test]
fn a_file_without_keys_is_right() {
    for text in ["", "# none yet\n", "key = []"] {
        let (keys, report) = read(text);
        assert!(report.diagnostics().is_empty());
        assert_eq!(keys.map(|keys| keys.keys.len()), Some(0));
    }
}

#[test]
fn a_time_of_revocation_revokes() {
    for revoked in ["\"2026-01-31T12:00:00Z\"", "2999-01-31T12:00:00Z", "true"] {
        let (keys, _) = read(&key("a", "a", &format!("revoked = {revoked}")));
        assert_eq!(keys.map(|keys| keys.keys[0].revoked.value), Some(true), "{revoked}");
    }
}

#[test]
fn every_problem_of_keys_is_shown_and_no_hash_is() {
    let text = key("a", "a", "expires = \"soon\"\nrevoked = \"yes\"\n")
        + &key("a", "a", "owner = \"bob\"\n")
        + "[[key]]\nsha256 = \"weir_rawkey\"\nsubject = \"\"\n[keys]\n";

    let (keys, report) = read(&text);

    assert!(keys.is_none());
    let lines: Vec<_> = report.diagnostics().iter().map(|d| report.one_line(d)).collect();
    let time = "write date, time and offset, such as \"2026-01-31T12:00:00Z\"";
    let expected = [
        format!("keys.toml:7:11: error: `key.expires`: this is not a time; {time}"),
        format!("keys.toml:8:11: error: `key.revoked`: this is not a time; {time}"),
        "keys.toml:10:6: error: two keys have the same id; remove one of the keys".to_owned(),
        "keys.toml:13:10: error: two keys have the same sha256; remove one of the keys".to_owned(),
        "keys.toml:15:1: error: unknown key `owner` in [key]; keys here are id, subject, tier, sha256, created, \
         expires and revoked"
            .to_owned(),
        "keys.toml:16:1: error: `key.created` is missing; write created = \"2026-01-31T12:00:00Z\"".to_owned(),
        "keys.toml:16:1: error: `key.id` is missing; write id = \"k_8f3a\"".to_owned(),
        "keys.toml:16:1: error: `key.tier` is missing; write tier = \"free\"".to_owned(),
        "keys.toml:17:10: error: `key.sha256`: this has 11 characters, and is not a SHA-256; \
         write 64 hexadecimal digits"
            .to_owned(),
        "keys.toml:18:11: error: `key.subject`: this is empty; write some text, or leave the key out".to_owned(),
        "keys.toml:19:2: error: unknown key `keys` at the top of the file; did you mean `key`?".to_owned(),
    ];
    let (mut lines, mut expected) = (lines, expected.to_vec());
    lines.sort();
    expected.sort();
    assert_eq!(lines, expected);
    let shown = report.render(Color::Never);
    assert!(!shown.contains("weir_rawkey") && !shown.contains("aaaa"));
    assert!(shown.contains("first defined here"));
}
