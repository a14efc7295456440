//! `[health]`: the public health path and the dependencies behind it.

use std::time::Duration;

use super::super::{
    dependency::{self, Probe},
    diagnostic::Diagnostic,
    read::{At, Named, Parsed, Table, Wrong},
};
use super::{Name, name};
use crate::secret::Secret;

/// What the health document calls Weir's own parts.
const OWN_PARTS: [&str; 5] = ["api_gateway", "policy", "rate_limiting", "monitoring", "store"];
/// Most dependencies: all of them are probed at once.
const MOST: usize = 64;

/// The public health path and the dependencies behind it.
#[derive(Debug, Clone)]
pub struct HealthFile {
    /// The path that answers, on both listeners. Default `/api/health`.
    pub path: At<String>,
    /// How long one probe may take, 10 ms to 1 min and not above `every`. Default 2 s.
    pub timeout: At<Duration>,
    /// How often each dependency is probed, 1 s to 1 h. Default 10 s.
    pub every: At<Duration>,
    /// What is probed, in file order. Default: nothing.
    pub dependencies: Vec<DependencyFile>,
}

/// Something that the service needs.
#[derive(Debug, Clone)]
pub struct DependencyFile {
    /// Its name in the health answer and in metrics.
    pub name: At<Name>,
    /// Its URL: http, https, tcp, postgres, postgresql, mysql, redis or rediss. A password in it is neither kept nor sent; never shown.
    pub url: At<Secret>,
}

pub(super) fn read(table: &mut Table<'_, '_>) -> HealthFile {
    let seconds = Duration::from_secs;
    let path = path(table);
    let timeout = table.within("timeout", seconds(2), Duration::from_millis(10)..=seconds(60));
    let every = table.within("every", seconds(10), seconds(1)..=seconds(3_600));
    if timeout.value > every.value {
        let error = Diagnostic::error("a probe may take longer than the pause between two");
        let error = error.at(timeout.span, "longer").at(every.span, "than this");
        table.reader().push(error.help("write a timeout of at most `every`"));
    }
    let dependencies = table.table("dependencies", dependencies).unwrap_or_default();
    HealthFile { path, timeout, every, dependencies }
}

fn path(table: &mut Table<'_, '_>) -> At<String> {
    let default = At::default_in(table.span(), "/api/health".to_owned());
    let Some(value) = table.value("path") else {
        return default;
    };
    value.parse(String::WANTED, plain_path, |_| None).map_or(default, |path| value.placed(path))
}

/// A path without anything that could mean more than itself.
pub(super) fn plain_path(text: &str) -> Result<String, Wrong> {
    let plain = |b: u8| b.is_ascii_graphic() && !b"?#%{}*\\".contains(&b);
    match text.starts_with('/') && !text.starts_with("//") && text.bytes().all(plain) {
        true => Ok(text.to_owned()),
        false => {
            Err(Wrong::new("this is not a plain path", "write a path such as \"/api/health\""))
        }
    }
}

fn dependencies(table: &mut Table<'_, '_>) -> Vec<DependencyFile> {
    let read = |entry: &Named<'_, '_>| {
        let name = name::of(entry);
        let url = entry.value.secret_url("a URL such as \"tcp://127.0.0.1:5432\"")?;
        if Probe::parse(url.value.expose()).is_none() {
            let help = format!(
                "write one of {}, and a host, such as \"tcp://127.0.0.1:5432\"",
                dependency::SCHEMES.join(", ")
            );
            entry.value.refuse("this is not a URL that can be probed", help);
        }
        Some(DependencyFile { name: name?, url })
    };
    let written: Vec<_> = table.named().iter().filter_map(read).collect();
    for taken in written.iter().filter(|one| OWN_PARTS.contains(&one.name.value.as_str())) {
        let error = Diagnostic::error("this is the name of a part of Weir itself");
        let error = error.at(taken.name.span, "would appear twice in the health document");
        table.reader().push(error.help("call the dependency by another name"));
    }
    if written.len() > MOST {
        let error = Diagnostic::error(format!("there are more than {MOST} dependencies"));
        table.reader().push(error.at(table.span(), "").help("probe what matters most"));
    }
    written
}
