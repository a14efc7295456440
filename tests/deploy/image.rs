//! `deploy/Dockerfile` keeps its promises: a static binary of this package,
//! alone, run by nobody, which finds its policy and answers the health check.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use super::{
    dockerfile::{Stage, stages},
    installed::{Installed, Running, is_ready},
    tools::{beside_python, judge, root, run, shown, text},
};

/// Who runs Weir in every deployment with containers.
pub const NOBODY: u64 = 65532;

// What an engine would say.

#[test]
fn the_linter_finds_nothing() {
    let linted = lint(&text("deploy/Dockerfile"));
    assert!(linted.status.success(), "{}", shown(&linted));
}

#[test]
fn the_linter_finds_a_relative_directory_and_an_unknown_instruction() {
    for (right, wrong) in [("WORKDIR /etc/weir", "WORKDIR etc/weir"), ("EXPOSE 8443", "EXPSE 8443")]
    {
        let linted = lint(&text("deploy/Dockerfile").replace(right, wrong));
        assert!(!linted.status.success(), "{wrong}: {}", shown(&linted));
    }
}

fn lint(dockerfile: &str) -> Output {
    judge(beside_python("hadolint").arg("--no-color"), "Dockerfile", dockerfile)
}

// What is in it.

#[test]
fn the_image_is_the_binary_and_nothing_that_could_run_beside_it() {
    let image = image();
    assert_eq!(image.base, "scratch");
    assert_eq!(image.all("RUN").next(), None, "nothing can run in an empty image");
    assert_eq!(image.exec("ENTRYPOINT"), ["/weir"]);
    assert_eq!(image.exec("HEALTHCHECK")[0], "/weir");
    let copied: Vec<_> = copies(&image).into_iter().map(|copy| copy.to).collect();
    assert_eq!(copied, ["/weir", "/etc/weir", "/var/lib/weir"]);
}

#[test]
fn what_the_image_copies_is_what_the_build_makes() {
    let (build, image) = (build(), image());
    let made = build.one("RUN");
    for copy in copies(&image) {
        assert_eq!(copy.from.as_deref(), build.name.as_deref(), "{}", copy.to);
        for source in &copy.sources {
            assert!(made.split_whitespace().any(|word| word == source), "nothing makes {source}");
        }
    }
}

#[test]
fn nobody_runs_it_and_owns_the_state_alone() {
    let image = image();
    let user = format!("{NOBODY}:{NOBODY}");
    assert_eq!(image.one("USER"), user, "a number, or Kubernetes cannot tell that it is not root");
    for copy in copies(&image) {
        let expected = (copy.to == "/var/lib/weir").then_some(user.as_str());
        assert_eq!(copy.owner.as_deref(), expected, "{}", copy.to);
    }
}

#[test]
fn its_labels_are_those_of_the_package() {
    let (image, label) = (image(), image().one("LABEL").to_owned());
    for (name, value) in [
        ("title", env!("CARGO_PKG_NAME")),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
        ("licenses", env!("CARGO_PKG_LICENSE")),
        ("version", "${VERSION}"),
        ("revision", "${REVISION}"),
    ] {
        let wanted = format!("org.opencontainers.image.{name}=\"{value}\"");
        assert!(label.contains(&wanted), "{wanted} is not in {label}");
    }
    let version = concat!("VERSION=", env!("CARGO_PKG_VERSION"));
    assert!(image.all("ARG").any(|argument| argument == version), "{version} is not the default");
}

// How it is built.

#[test]
fn the_build_is_static_locked_and_without_the_demo() {
    let build = build();
    let command = build.one("RUN").split(" && ").next().expect("a command");
    for word in ["cargo build", "--release", "--locked", "--no-default-features", "--target"] {
        assert!(command.contains(word), "{word} is not in {command}");
    }
    let flags = build.all("ENV").find_map(|line| line.strip_prefix("RUSTFLAGS=")).expect("flags");
    assert!(flags.contains("-C target-feature=+crt-static"), "{flags}");
    assert!(command.contains("$(rustc --print host-tuple)"), "{command}");
    assert!(host().trim_end().ends_with("-gnu"), "{}", host());
}

#[test]
fn the_compiler_is_the_one_that_the_package_asks_for() {
    let package: toml::Table = text("Cargo.toml").parse().expect("TOML");
    let wanted = package["package"]["rust-version"].as_str().expect("a version");
    let base = build().base;
    assert!(base.starts_with(&format!("rust:{wanted}-")), "{base} is not Rust {wanted}");
}

#[test]
fn the_context_is_what_is_copied_and_no_more() {
    let ignored = text(".dockerignore");
    let mut rules = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"), "first everything is left out");
    let mut admitted: Vec<_> = rules.map(|line| line.strip_prefix('!').expect(line)).collect();
    let copies = copies(&build());
    let mut copied: Vec<_> = copies.iter().flat_map(|copy| &copy.sources).collect();
    admitted.sort_unstable();
    copied.sort_unstable();
    assert_eq!(copied, admitted);
    assert!(copied.iter().all(|source| root().join(source).exists()), "{copied:?}");
}

#[test]
fn the_package_is_complete_in_the_context() {
    let context = tempfile::tempdir().expect("a directory");
    let copies = copies(&build());
    for source in copies.iter().flat_map(|copy| &copy.sources) {
        run(Command::new("cp").arg("-R").arg(root().join(source)).arg(context.path()));
    }
    let whole = fetch(context.path());
    assert!(whole.status.success(), "{}", shown(&whole));
    fs::remove_dir_all(context.path().join("benches")).expect("removed");
    let broken = fetch(context.path());
    assert!(!broken.status.success(), "{}", shown(&broken));
}

/// Lets cargo read the package as a build does, and stop before it compiles.
fn fetch(package: &Path) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["fetch", "--locked", "--offline", "--target", host().trim_end()]);
    cargo.current_dir(package).output().expect("cargo runs")
}

fn host() -> String {
    run(Command::new("rustc").args(["--print", "host-tuple"]))
}

#[test]
fn what_only_the_demo_needs_stays_out() {
    let packages = |features: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["tree", "--locked", "--edges=normal", "--prefix=none", "--format={p}"]);
        let tree = run(cargo.args(features).current_dir(root()));
        let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        tree.lines().map(name).collect::<Vec<_>>()
    };
    let (with, without) = (packages(&[]), packages(&["--no-default-features"]));
    for name in ["rcgen", "yasna"] {
        assert!(with.iter().any(|found| found == name), "the demo needs {name} no more");
        assert!(!without.iter().any(|found| found == name), "{name} is in the image");
    }
}

// What it does when it is started.

#[test]
fn it_runs_the_mounted_policy_and_its_health_check_agrees() {
    let image = image();
    let install = || {
        let installed = super::compose::installed();
        let command = installed.command(image.exec("CMD"));
        (installed, command)
    };
    let (installed, running) = Running::start(install);
    is_ready(&mut probe(&installed, &image));
    running.signal(image.one("STOPSIGNAL").trim_start_matches("SIG"));
    assert!(running.ended().success());
    let gone = probe(&installed, &image).output().expect("the probe runs");
    assert_eq!(gone.status.code(), Some(1), "{}", shown(&gone));
}

/// The health check without its program, which `ENTRYPOINT` has too.
fn probe(installed: &Installed, image: &Stage) -> Command {
    installed.command(&image.exec("HEALTHCHECK")[1..])
}

// The stages.

fn build() -> Stage {
    let mut stages = stages(&text("deploy/Dockerfile"));
    assert_eq!(stages.len(), 2, "a stage that builds, and the image");
    stages.remove(0)
}

/// The last stage: what is shipped.
pub fn image() -> Stage {
    stages(&text("deploy/Dockerfile")).pop().expect("a stage")
}

/// One `COPY`.
struct Copy {
    from: Option<String>,
    owner: Option<String>,
    sources: Vec<String>,
    to: String,
}

fn copies(stage: &Stage) -> Vec<Copy> {
    let copy = |rest: &str| {
        let (options, mut paths): (Vec<String>, Vec<String>) =
            rest.split_whitespace().map(str::to_owned).partition(|word| word.starts_with("--"));
        let option =
            |name: &str| options.iter().find_map(|word| word.strip_prefix(name)).map(str::to_owned);
        let to = paths.pop().expect("a destination");
        Copy { from: option("--from="), owner: option("--chown="), sources: paths, to }
    };
    stage.all("COPY").map(copy).collect()
}
