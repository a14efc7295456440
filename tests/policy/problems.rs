//! What people see when a policy is wrong: each kind of problem, rendered, against a golden file.
//!
//! The golden file holds sections of `### name`, the policy, `---` and the report. Tables that a policy must
//! have are added behind a case that lacks them, unless its name ends with `#bare`, so that all places are those
//! of the case. `WEIR_BLESS=1 cargo test --test policy_problems` rewrites the file; read the difference.

use std::{ffi::OsString, fmt::Write, io};

use weir::policy::{
    Environment, Source,
    diagnostic::{Color, Report},
    file,
};

const GOLDEN: &str = include_str!("fixtures/policy_problems.txt");
const CANARY: &str = "canary-7f3a9";

const REQUIRED: [(&str, &str); 5] = [
    ("[listen", "\n[listen]\naddress = \"127.0.0.1:0\"\n"),
    ("[upstream", "\n[upstream]\nurl = \"http://127.0.0.1:8000\"\n"),
    ("[tiers", "\n[tiers.free]\nconcurrency = 3\n"),
    ("[operations", "\n[operations.all]\nroutes = [\"* /**\"]\n"),
    ("identity]", "\n[[identity]]\nfrom = \"address\"\ntier = \"free\"\n"),
];

struct Fixed;

impl Environment for Fixed {
    fn variable(&self, name: &str) -> Option<OsString> {
        (name == "CANARY").then(|| CANARY.into())
    }

    fn file(&self, _path: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A section of the golden file.
struct Case {
    name: &'static str,
    policy: &'static str,
    report: &'static str,
}

fn cases() -> Vec<Case> {
    let sections = GOLDEN.split("### ").filter(|section| !section.is_empty());
    let cases = sections.map(|section| {
        let (name, rest) = section.split_once('\n').unwrap_or((section, ""));
        let (policy, report) = rest.split_once("---\n").unwrap_or((rest, ""));
        Case { name, policy, report }
    });
    cases.collect()
}

fn completed(case: &Case) -> String {
    let mut text = case.policy.to_owned();
    for (table, content) in REQUIRED {
        if !case.name.ends_with("#bare") && !text.contains(table) {
            text.push_str(content);
        }
    }
    text
}

fn report(case: &Case) -> Report {
    let (policy, report) = file::read(Source::new("policy.toml", completed(case)), &Fixed);
    assert_eq!(policy.is_none(), report.has_errors(), "{}", case.name);
    report
}

/// The report for people, then the same problems as lines of a log.
fn rendered(report: &Report) -> String {
    let mut text = report.render(Color::Never);
    for diagnostic in report.diagnostics() {
        let _ = writeln!(text, "{}", report.one_line(diagnostic));
    }
    text
}

#[test]
fn every_problem_is_shown_with_its_place_and_what_would_be_right() {
    let mut blessed = String::new();
    let mut wrong = Vec::new();
    for case in cases() {
        let rendered = rendered(&report(&case));
        let _ = write!(blessed, "### {}\n{}---\n{rendered}", case.name, case.policy);
        if rendered != case.report {
            wrong.push(format!("### {}\n{rendered}", case.name));
        }
    }
    if std::env::var_os("WEIR_BLESS").is_some() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/policy/fixtures/policy_problems.txt");
        std::fs::write(path, blessed).expect("the golden file is written");
        return;
    }
    assert!(wrong.is_empty(), "differs from the golden file:\n{}", wrong.join("\n"));
}

#[test]
fn every_case_has_a_problem_with_help() {
    let cases = cases();
    assert!(cases.len() >= 25);
    for case in cases {
        let report = report(&case);
        assert!(!report.diagnostics().is_empty(), "{}", case.name);
        for diagnostic in report.diagnostics() {
            let syntax = diagnostic.message.starts_with("not valid TOML");
            assert!(
                diagnostic.help.is_some() || syntax || !diagnostic.labels[0].1.is_empty(),
                "{diagnostic:?}"
            );
        }
    }
}

#[test]
fn what_the_environment_holds_and_inline_secrets_are_never_shown() {
    for case in cases() {
        let report = report(&case);
        let all = format!("{}{report:?}{}", rendered(&report), report.render(Color::Always));
        assert!(!all.contains(CANARY), "{}", case.name);
        assert!(!all.contains("hunter2"), "{}: {all}", case.name);
    }
}

/// Values that the reader could mend, had they been written in the policy: a mended value contains the value.
const MENDABLE: [(&str, &str, &str); 9] = [
    ("[listen]\naddress = ", "localhost:31415", "31415"),
    ("[request]\nmax_body = ", "31415", "31415"),
    ("[health]\nevery = ", "31415", "31415"),
    ("[store]\nallowance = ", "31.41", "31.41"),
    ("[operations.a]\nroutes = [\"* /\"]\ncost = ", "0.31415", "31415"),
    ("[operations.a]\nroutes = ", "/canary", "canary"),
    ("[tiers.a.quotas]\na = ", "31415", "31415"),
    ("[cors]\norigins = ", "https://Canary.example/", "canary.example"),
    ("[upstream]\nurl = \"http://h\"\nretry.backoff = ", "31415s..1s", "31415"),
];

struct One(&'static str);

impl Environment for One {
    fn variable(&self, _name: &str) -> Option<OsString> {
        Some(self.0.into())
    }

    fn file(&self, _path: &str) -> io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }
}

#[test]
fn a_value_that_could_be_mended_is_not_shown_when_it_comes_from_the_environment() {
    for (key, value, shown) in MENDABLE {
        for reference in ["${X}", "${file:x}"] {
            let list = key.ends_with("routes = ") || key.ends_with("origins = ");
            let written =
                if list { format!("[\"{reference}\"]") } else { format!("\"{reference}\"") };
            let (_, report) =
                file::read(Source::new("policy.toml", format!("{key}{written}\n")), &One(value));
            let place = key.lines().count();
            assert!(
                report.diagnostics().iter().any(|d| report.line(d) == place),
                "{key}: nothing is wrong here"
            );
            assert!(!rendered(&report).contains(shown), "{}", rendered(&report));
        }
    }
}
