//! No text makes the reader panic, hide its errors, or show what the environment holds.

use std::{ffi::OsString, io};

use weir::policy::{
    Environment, Source,
    diagnostic::{Color, Report},
    file, keys_file,
};

const SHARED: &str = include_str!("fixtures/policy.toml");
const CANARY: &str = "canary-7f3a9";

/// Every variable and every file holds the canary.
struct Canary;

impl Environment for Canary {
    fn variable(&self, _name: &str) -> Option<OsString> {
        Some(CANARY.into())
    }

    fn file(&self, _path: &str) -> io::Result<Vec<u8>> {
        Ok(CANARY.as_bytes().to_vec())
    }
}

/// Reads a text as a policy; what matters is that this returns, and what it shows.
fn survives(text: &str) {
    let (policy, report) = file::read(Source::new("policy.toml", text), &Canary);
    assert_eq!(policy.is_none(), report.has_errors(), "{text}");
    holds(&report, text);
}

fn holds(report: &Report, text: &str) {
    for diagnostic in report.diagnostics() {
        let line = report.one_line(diagnostic);
        assert!(!line.contains(CANARY) && !line.contains('\n'), "{line}");
        assert!(report.line(diagnostic) <= text.lines().count() + 1);
    }
    assert!(!report.render(Color::Never).contains(CANARY), "{text}");
}

fn random(state: &mut u64) -> usize {
    // xorshift: the same texts in every run.
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % 1_000_003).unwrap_or_default()
}

fn without(lines: &[&str], index: usize) -> String {
    [&lines[..index], &lines[index + 1..]].concat().join("\n")
}

#[test]
fn a_policy_that_is_cut_at_any_byte_is_survived() {
    let text = SHARED.replace("${", "${X").replace(":-}", "}");
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let source = Source::new("policy.toml", &text[..end]);
        let (policy, report) = file::read(source, &Canary);
        assert_eq!(policy.is_none(), report.has_errors());
        // Rendering is the slow part; neighbours render alike.
        if end % 16 == 0 {
            holds(&report, &text[..end]);
        }
    }
}

#[test]
fn a_policy_that_lost_or_doubled_a_line_is_survived() {
    let lines: Vec<&str> = SHARED.lines().collect();
    for index in 0..lines.len() {
        survives(&without(&lines, index));
        let mut doubled = lines.clone();
        doubled.insert(index, lines[index]);
        survives(&doubled.join("\n"));
    }
}

#[test]
fn a_policy_with_an_altered_line_is_survived() {
    let lines: Vec<&str> = SHARED.lines().collect();
    let alterations: [fn(&str) -> String; 7] = [
        |line| line.replace('"', ""),
        |line| line.replace('=', "= -"),
        |line| line.replace(['[', ']'], ""),
        |line| line.replace(char::is_alphabetic, "ü"),
        |line| line.split_once('=').map_or(String::new(), |(key, _)| format!("{key} = \"${{X}}\"")),
        |line| {
            line.split_once('=')
                .map_or(String::new(), |(key, _)| format!("{key} = [[], {{}}, 1e9, 1979-05-27]"))
        },
        |line| line.chars().rev().collect(),
    ];
    for (index, line) in lines.iter().enumerate() {
        for alter in alterations {
            let altered = alter(line);
            let mut mutated = lines.clone();
            mutated[index] = &altered;
            survives(&mutated.join("\r\n"));
        }
    }
}

#[test]
fn arbitrary_bytes_are_survived() {
    const ALPHABET: &[u8] = b"[]{}=\"'.,#\n\r\t $-_:/\\abz019*%\xc3\xbc\xff\x00\xe2\x80\xae";
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for round in 0..2_000 {
        let mut bytes = SHARED.as_bytes()[..random(&mut state) % SHARED.len()].to_vec();
        bytes.truncate(if round % 2 == 0 { 0 } else { 400 });
        for _ in 0..random(&mut state) % 60 {
            let at = random(&mut state) % (bytes.len() + 1);
            bytes.insert(at, ALPHABET[random(&mut state) % ALPHABET.len()]);
        }
        match Source::decode("policy.toml", bytes) {
            Ok(source) => survives(&source.text),
            Err(report) => holds(&report, &"\n".repeat(10_000)),
        }
    }
}

#[test]
fn a_file_of_keys_that_is_cut_at_any_byte_is_survived() {
    let key = "[[key]]\nid = \"a\"\nsubject = \"b\"\ntier = \"free\"\nsha256 = \"${X}\"\n\
               created = 2026-01-31T12:00:00Z\nrevoked = true\n";
    for end in 0..key.len() {
        let text = format!("{key}{}", &key[..end]);
        let (keys, report) = keys_file::read(Source::new("keys.toml", text.as_str()), &Canary);
        assert_eq!(keys.is_none(), report.has_errors(), "{text}");
        holds(&report, &text);
    }
}

#[test]
fn hostile_shapes_are_survived() {
    let deep = |open: &str| format!("a = {}", open.repeat(5_000));
    let mut texts = vec![
        deep("["),
        deep("{ a = "),
        format!("[{}a]", "a.".repeat(5_000)),
        "[[a]]\n".repeat(5_000),
    ];
    texts.push("a = 1\n".repeat(5_000));
    texts.push(format!("{} = 1", "k".repeat(100_000)));
    texts.push((0..5_000).map(|n| format!("k{n} = 1\n")).collect());
    texts.push(format!("[admin]\ntoken = \"{}\"", "${X}".repeat(20_000)));
    texts.push(format!("[upstream]\nheaders = {{ {} }}", "x = '${X}', ".repeat(5_000)));
    for text in texts {
        survives(&text);
    }
}
