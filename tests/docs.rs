//! The documentation is true: every command in it runs, every output that it
//! shows is what comes out, and its tables are complete.
//!
//! A fenced `sh` block runs with `bash` in a fresh directory that has the
//! project's policy, an empty `keys.toml`, an issuer's keys, certificates, and `weir` on `PATH`.
//! Words behind `sh` say more: `proxy` starts one there first, `fails` expects
//! an exit status other than 0, `no-run` is for what cannot run in a test. A
//! `text` block right behind shows the output; `…` in it stands for anything.
//!
//! Ports 8443 and 9901 become free ones, in the policy and in the blocks.

#![allow(clippy::panic, reason = "a test fails by panicking, in its helpers too")]

#[path = "docs/home.rs"]
mod home;
#[path = "docs/pages.rs"]
mod pages;
#[path = "docs/proxy.rs"]
mod proxy;

use std::{collections::BTreeSet, fs};

use home::{Home, bash, told};
use pages::{Block, blocks, is_shown, page, pages, policy_keys, quoted, root};
use proxy::{Proxy, get};

/// What commands in `no-run` blocks may begin with: the rest can run here.
const CANNOT_RUN: [&str; 6] = ["cargo ", "docker ", "kubectl ", "make ", "sudo ", "weir run"];

// The commands.

#[test]
fn the_readme_works() {
    run_blocks_of("README.md");
}

#[test]
fn the_policy_page_works() {
    run_blocks_of("docs/policy.md");
}

#[test]
fn the_operations_page_works() {
    run_blocks_of("docs/operations.md");
}

#[test]
fn the_errors_page_works() {
    run_blocks_of("docs/errors.md");
}

#[test]
fn the_command_line_page_works() {
    run_blocks_of("docs/cli.md");
}

#[test]
fn the_deployment_page_works() {
    run_blocks_of("deploy/README.md");
}

#[test]
fn no_page_with_commands_is_forgotten() {
    let source = fs::read_to_string(root().join("tests/docs.rs")).expect("this file");
    for page in pages() {
        let has_commands = blocks(&page).iter().any(|block| block.is("sh"));
        let is_run = source.contains(&format!("run_blocks_of(\"{page}\")"));
        assert_eq!(has_commands, is_run, "{page} needs a test of its own here, or none");
    }
}

#[test]
fn only_what_cannot_run_here_is_not_run() {
    for page in pages() {
        for block in blocks(&page).iter().filter(|block| block.has("no-run")) {
            for line in block.text.lines() {
                let excused = CANNOT_RUN.iter().any(|start| line.starts_with(start));
                assert!(excused, "{}: `{line}` can run in a test", block.place);
            }
        }
    }
}

#[test]
fn every_policy_that_is_shown_is_valid() {
    let mut shown = 0;
    for page in pages() {
        for block in blocks(&page).iter().filter(|block| block.has("policy")) {
            let home = Home::furnish(None);
            fs::write(home.path().join("policy.toml"), &block.text).expect("written");
            let checked = home.bash("weir check");
            assert!(checked.status.success(), "{}\n{}", block.place, told(&checked));
            shown += 1;
        }
    }
    assert!(shown > 0, "no page shows a policy");
}

// The tables.

#[test]
fn the_policy_page_names_every_key() {
    let page = page("docs/policy.md");
    let keys = policy_keys();
    assert!(keys.len() > 60, "only {keys:?} were found in the reader");
    let named = |key: &&String| {
        page.contains(&format!("`{key}`"))
            || page.contains(&format!("[{key}"))
            || page.contains(&format!(".{key}]"))
    };
    let missing: Vec<_> = keys.iter().filter(|key| !named(key)).collect();
    assert!(missing.is_empty(), "docs/policy.md does not name {missing:?}");
}

#[test]
fn the_errors_page_has_every_code_once() {
    let page = page("docs/errors.md");
    let codes: Vec<&str> = page.lines().filter_map(|line| line.split(" | ").nth(2)).collect();
    let codes: Vec<&str> = codes.iter().map(|code| code.trim_matches('`')).collect();
    let mut listed: Vec<&str> =
        codes.into_iter().filter(|code| *code != "error_code" && !code.starts_with('-')).collect();
    let mut known = weir::proxy::CODES.to_vec();
    listed.sort_unstable();
    known.sort_unstable();
    assert_eq!(listed, known);
}

#[test]
fn the_command_line_page_names_every_command_and_option() {
    let page = page("docs/cli.md");
    for command in
        ["run", "demo", "check", "explain", "keys new", "keys list", "keys revoke", "cert dev"]
            .into_iter()
            .chain(["health", "drain"])
    {
        let home = tempfile::tempdir().expect("a directory");
        let help = bash(home.path(), &format!("weir {command} --help"), &[]);
        assert!(help.status.success(), "{}", told(&help));
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        for option in words.filter(|word| word.starts_with("--") && word.len() > 2) {
            let known = page.contains(&format!("`{option}")) || option == "--version";
            assert!(known, "docs/cli.md does not name {option} of weir {command}");
        }
    }
    let home = tempfile::tempdir().expect("a directory");
    let help = bash(home.path(), "weir --help", &[]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let listed = help.lines().filter_map(|line| line.strip_prefix("  "));
    let commands = listed.filter_map(|line| line.split_once("  ")).map(|(name, _)| name.trim());
    for command in commands.filter(|name| !name.is_empty() && !name.starts_with('-')) {
        let known = page.contains(&format!("`weir {command}")) || command == "help";
        assert!(known, "docs/cli.md does not name weir {command}");
    }
}

#[test]
fn the_operations_page_lists_the_metrics_and_log_fields_that_there_are() {
    let page = page("docs/operations.md");
    let home = Home::furnish(Some(Proxy::start));
    let proxy = home.proxy.as_ref().expect("it runs");

    let metrics = get(proxy.admin, "/metrics");
    let families = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let served: BTreeSet<&str> = families.filter_map(|line| line.split(' ').next()).collect();
    let (_, section) = page.split_once("## Metrics").expect("a section on metrics");
    let section = section.split("\n## ").next().unwrap_or_default();
    let listed: BTreeSet<&str> = quoted(section)
        .filter(|name| name.starts_with("weir_") || name.starts_with("process_"))
        .collect();
    assert_eq!(listed, served);

    let curl = home.bash("curl -sS --cacert certs/ca.crt https://localhost:8443/api/user/u1/x");
    assert!(curl.status.success(), "{}", told(&curl));
    let record = proxy.line("\"message\":\"exchange\"");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    let known: BTreeSet<&str> = quoted(&page).collect();
    let fields = record.as_object().expect("an object").keys();
    let missing: Vec<_> = fields.filter(|field| !known.contains(field.as_str())).collect();
    assert!(missing.is_empty(), "docs/operations.md does not name the log fields {missing:?}");
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    for name in pages() {
        let page = page(&name);
        let beside = root().join(&name);
        let beside = beside.parent().expect("a directory");
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let is_file = !link.contains("://") && !link.starts_with('#');
            let (file, section) = link.split_once('#').unwrap_or((link, ""));
            assert!(!is_file || beside.join(file).exists(), "{name}: {link} is not there");
            if is_file && !section.is_empty() {
                let text = fs::read_to_string(beside.join(file)).expect("a page");
                assert!(anchors(&text).any(|anchor| anchor == section), "{name}: no {link}");
            }
        }
    }
}

/// What a link to a section of a page is called: the heading in small letters, with dashes.
fn anchors(page: &str) -> impl Iterator<Item = String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let headings = headings.map(|line| line.trim_start_matches('#').trim());
    headings.map(|heading| {
        let heading = heading.to_lowercase().replace(' ', "-");
        heading.chars().filter(|&c| c.is_alphanumeric() || c == '-' || c == '_').collect()
    })
}

// A block at work.

fn run_blocks_of(name: &str) {
    let all = blocks(name);
    let runnable = all.iter().filter(|block| block.is("sh") && !block.has("no-run"));
    let faults: Vec<String> = runnable.filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

/// Runs a block; says what is wrong with it, if anything is.
fn fault(block: &Block) -> Option<String> {
    let home = Home::furnish(block.has("proxy").then_some(Proxy::start));
    let output = home.bash(&block.text);
    if output.status.success() == block.has("fails") {
        return Some(format!("{}: {}", block.place, told(&output)));
    }
    let real = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let shown = block.output.as_deref().unwrap_or("…");
    (!is_shown(shown, &real)).then(|| format!("{}: really shows\n{real}", block.place))
}
