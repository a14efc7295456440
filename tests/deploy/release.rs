//! `tools/release.sh` where what a profile needs is not there.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use super::tools::{root, shown};

/// What the script itself needs on `PATH`.
const PROGRAMS: [&str; 6] = ["bash", "dirname", "mkdir", "cp", "cat", "env"];

#[test]
fn without_a_profile_the_build_is_a_plain_one_and_says_what_is_missing() {
    let home = tempfile::tempdir().expect("a directory");
    let bin = home.path().join("bin");
    fs::create_dir_all(&bin).expect("made");
    fs::create_dir_all(home.path().join("tools")).expect("made");
    fs::copy(root().join("tools/release.sh"), home.path().join("tools/release.sh")).expect("there");
    for name in PROGRAMS {
        let found = std::env::split_paths(&std::env::var_os("PATH").expect("a path"))
            .map(|directory| directory.join(name))
            .find(|file| file.exists());
        symlink(found.unwrap_or_else(|| panic!("no {name}")), bin.join(name)).expect("linked");
    }
    program(&bin, "rustc", "echo here");
    let build = "echo \"$@\" > arguments; mkdir -p target/release; echo weir > target/release/weir";
    program(&bin, "cargo", build);

    let script = home.path().join("tools/release.sh");
    let made = Command::new(script).env("PATH", &bin).output().expect("started");

    assert!(made.status.success(), "{}", shown(&made));
    assert!(shown(&made).contains("a plain build, without a profile"), "{}", shown(&made));
    for missing in ["llvm-profdata (rustup component add llvm-tools)", "wrk", "h2load"] {
        assert!(shown(&made).contains(missing), "{missing} is not in {}", shown(&made));
    }
    let arguments = fs::read_to_string(home.path().join("arguments")).expect("built");
    assert_eq!(arguments.trim(), "build --release --locked");
    let binary = fs::read_to_string(home.path().join("target/pgo/weir")).expect("a binary");
    assert_eq!(binary.trim(), "weir");
}

/// Puts a program on the path at `bin`.
fn program(bin: &Path, name: &str, script: &str) {
    let file = bin.join(name);
    fs::write(&file, format!("#!/bin/bash\n{script}\n")).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("made executable");
}
