//! The generator of the built-in prices, run on a small list that has one of everything.
//!
//! `tests/prices/table.tsv` is what it must make of `tests/prices/listed.json`; after a change that is meant,
//! `WEIR_BLESS=1 cargo test --test prices` rewrites it: read the difference.

use std::{fs, path::Path, process::Command};

fn generated(list: &str, date: &str) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(std::env::var_os("PYTHON").unwrap_or("python3".into()));
    let output = python
        .current_dir(root)
        .args(["tools/prices.py", list, "1.2.3", date])
        .output()
        .expect("python3 runs: `make tools` installs it");
    (output.status.success(), String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn a_list_becomes_the_table_that_is_expected() {
    let (done, table) = generated("tests/prices/listed.json", "2026-01-31");

    assert!(done);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prices/table.tsv");
    if std::env::var_os("WEIR_BLESS").is_some() {
        fs::write(&golden, &table).expect("written");
    }
    assert_eq!(table, fs::read_to_string(&golden).expect("it is there"));
}

#[test]
fn a_table_without_a_date_is_none() {
    let (done, table) = generated("tests/prices/listed.json", "yesterday");

    assert!(!done && table.is_empty());
}

#[test]
fn the_table_that_is_built_in_is_as_the_generator_writes_it() {
    let text = include_str!("../src/meter/price/built_in.tsv");
    let rows: Vec<&str> = text.lines().skip_while(|line| line.starts_with('#')).collect();

    assert!(text.lines().take(4).all(|line| line.starts_with("# ")), "it says where it is from");
    assert!(rows.is_sorted_by(|a, b| a.split('\t').next() < b.split('\t').next()));
    assert!(text.len() < 300 << 10, "it is small enough to be in every binary");
    let licence = include_str!("../src/meter/price/built_in.LICENSE");
    assert!(licence.contains("MIT") && licence.contains("Copyright (c)"));
}
