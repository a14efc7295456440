//! The policy file: read, or every problem shown.
#![no_main]

use std::{ffi::OsString, io};

use weir::policy::{
    Environment, Source,
    diagnostic::{Color, Severity},
    file,
};

struct Nothing;

impl Environment for Nothing {
    fn variable(&self, name: &str) -> Option<OsString> {
        (name == "A").then(|| "b".into())
    }

    fn file(&self, _path: &str) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (policy, report) = file::read(Source::new("policy.toml", text), &Nothing);
    let errors = report.diagnostics().iter().any(|found| found.severity == Severity::Error);
    assert_eq!(policy.is_none(), errors, "a policy exactly when there is no error");
    report.render(Color::Never);
});
