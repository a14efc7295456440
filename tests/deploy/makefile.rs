//! `make image`: which engine it asks, and what it says when there is none.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Output, Stdio},
};

use super::tools::{root, shown};

/// What `make` needs on `PATH` beside an engine.
const PROGRAMS: [&str; 5] = ["make", "sh", "sed", "git", "head"];

#[test]
fn without_an_engine_the_image_is_refused_with_the_reason() {
    let path = tempfile::tempdir().expect("a directory");
    let made = make_image(path.path());
    assert!(!made.status.success(), "{}", shown(&made));
    assert!(shown(&made).contains("neither docker nor podman"), "{}", shown(&made));
}

#[test]
fn an_engine_that_does_not_answer_is_passed_over() {
    let path = tempfile::tempdir().expect("a directory");
    engine(path.path(), "docker", "exit 1");
    engine(path.path(), "podman", "test \"$1\" = info || echo podman \"$@\"");

    let made = make_image(path.path());

    // Without `--format docker` podman drops the health check.
    let version = env!("CARGO_PKG_VERSION");
    let wanted = [
        "podman build --format docker --file deploy/Dockerfile".to_owned(),
        format!("--tag weir:{version}"),
        format!("--build-arg VERSION={version}"),
        "--build-arg REVISION=".to_owned(),
    ];
    assert!(made.status.success(), "{}", shown(&made));
    for part in wanted {
        assert!(shown(&made).contains(&part), "{part} is not in {}", shown(&made));
    }
}

/// Puts a program that stands for an engine on `path`.
fn engine(path: &Path, name: &str, script: &str) {
    let file = path.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("made executable");
}

fn make_image(path: &Path) -> Output {
    for name in PROGRAMS {
        let found = std::env::split_paths(&std::env::var_os("PATH").expect("a path"))
            .map(|directory| directory.join(name))
            .find(|file| file.exists());
        symlink(found.unwrap_or_else(|| panic!("no {name}")), path.join(name)).expect("linked");
    }
    let mut make = Command::new("make");
    make.args(["--no-print-directory", "image"]).current_dir(root());
    make.env("PATH", path).env_remove("MAKEFLAGS").stdin(Stdio::null());
    make.output().expect("make runs")
}
