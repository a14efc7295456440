//! `deploy/compose.yaml`: valid by the Compose specification, locked down as far
//! as it claims, and in step with the image, the policy and the binary.

use std::process::Output;

use serde_json::{Value, json};

use super::{
    image::{NOBODY, image},
    installed::{Installed, Running, is_ready},
    tools::{judge, port_of, python, root, seconds, shown, stop_takes, text, yaml},
};

// What an engine would say.

#[test]
fn the_specification_allows_every_part() {
    let validated = validate(&text("deploy/compose.yaml"));
    assert!(validated.status.success(), "{}", shown(&validated));
}

#[test]
fn the_validator_finds_an_unknown_key_and_a_wrong_type() {
    for (right, wrong) in [
        ("stop_grace_period:", "stop_grace:"),
        ("read_only: true", "read_only: [yes, no]"),
        ("retries: 3", "retrys: 3"),
    ] {
        let file = text("deploy/compose.yaml");
        assert!(file.contains(right), "{right}");
        let validated = validate(&file.replace(right, wrong));
        assert!(!validated.status.success(), "{wrong}: {}", shown(&validated));
    }
}

fn validate(file: &str) -> Output {
    let mut command = std::process::Command::new(python());
    command.args(["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]);
    judge(&mut command, "compose.yaml", file)
}

// Locked down.

#[test]
fn weir_may_do_nothing_but_its_work() {
    let weir = service("weir");
    assert_eq!(weir["user"], format!("{NOBODY}:{NOBODY}"));
    assert_eq!(weir["read_only"], true);
    assert_eq!(weir["cap_drop"], json!(["ALL"]));
    assert_eq!(weir["security_opt"], json!(["no-new-privileges:true"]));
    assert_eq!(weir["cap_add"], Value::Null);
    assert_eq!(weir["privileged"], Value::Null);
}

#[test]
fn the_agent_is_reached_through_weir_alone() {
    let (weir, agent) = (service("weir"), service("agent"));
    assert_eq!(agent["ports"], Value::Null, "a published port goes round Weir");
    assert_eq!(agent["networks"], json!(["inside"]));
    assert_eq!(agent["network_mode"], Value::Null);
    let shared = weir["networks"].as_array().expect("networks");
    assert!(shared.contains(&json!("inside")), "{shared:?}");
    let upstream = policy()["upstream"]["url"].as_str().expect("a URL").to_owned();
    assert!(upstream.starts_with("http://agent:"), "{upstream} is not the service `agent`");
}

#[test]
fn no_secret_is_in_the_environment_or_in_the_repository() {
    for name in ["weir", "agent"] {
        assert_eq!(service(name)["environment"], Value::Null, "{name}");
    }
    let ignored = text(".gitignore");
    for path in ["/deploy/tls/", "/deploy/secrets/", "/deploy/compose/keys.toml"] {
        assert!(ignored.lines().any(|line| line == path), "{path} could be committed");
    }
}

// In step with the image, the policy and the binary.

#[test]
fn the_image_is_the_one_that_make_image_builds() {
    let weir = service("weir");
    assert_eq!(weir["image"], concat!("weir:", env!("CARGO_PKG_VERSION")));
    let context = weir["build"]["context"].as_str().expect("a path");
    let dockerfile = root().join("deploy").join(context).join(field(&weir["build"], "dockerfile"));
    assert!(dockerfile.is_file(), "{} is not there", dockerfile.display());
    assert_eq!(weir["command"], Value::Null, "the image has its own");
    let test = weir["healthcheck"]["test"].as_array().expect("a list");
    assert_eq!(test[0], "CMD");
    assert_eq!(json!(test[1..]), json!(image().exec("HEALTHCHECK")));
}

#[test]
fn directories_are_mounted_where_the_policy_looks() {
    let weir = service("weir");
    let mounts: Vec<_> = strings(&weir["volumes"]);
    assert!(mounts.contains(&"./compose:/etc/weir:ro".to_owned()), "{mounts:?}");
    for mount in &mounts {
        let source = mount.split(':').next().expect("a source");
        let bare = source.rsplit('/').next().expect("a name");
        assert!(!bare.contains('.'), "{source} may be a file, which is never followed");
    }
    let text = text("deploy/compose/policy.toml");
    let targets = mounts.iter().filter_map(|mount| mount.split(':').nth(1));
    for target in targets.chain(["/run/secrets"]) {
        assert!(text.contains(&format!("{target}/")) || target == "/etc/weir", "{target}: unused");
    }
    assert!(root().join("deploy/compose/policy.toml").is_file());
}

#[test]
fn the_published_ports_are_the_ones_that_the_policy_says() {
    let policy = policy();
    let address = |table: &str| port_of(policy[table]["address"].as_str().expect("an address"));
    let (public, admin) = (address("listen"), address("admin"));
    let expected = [format!("{public}:{public}"), format!("127.0.0.1:{admin}:{admin}")];
    assert_eq!(strings(&service("weir")["ports"]), expected);
    assert_eq!(image().one("EXPOSE"), public.to_string());
}

#[test]
fn every_secret_that_the_policy_reads_is_a_file() {
    let file = file();
    let weir = service("weir");
    let policy = text("deploy/compose/policy.toml");
    for name in strings(&weir["secrets"]) {
        let path = file["secrets"][&name]["file"].as_str().expect("a file");
        assert!(path.starts_with("./secrets/"), "{path} is not ignored by git");
        assert!(policy.contains(&format!("${{file:/run/secrets/{name}}}")), "{name} is not read");
    }
    assert!(!strings(&weir["secrets"]).is_empty());
}

#[test]
fn the_page_makes_everything_that_is_mounted() {
    let (file, weir, page) = (file(), service("weir"), text("deploy/README.md"));
    let volumes = strings(&weir["volumes"]);
    let mounts = volumes.iter().filter_map(|mount| mount.split(':').next());
    let secrets = file["secrets"].as_object().expect("secrets").values();
    let secrets = secrets.map(|secret| field(secret, "file"));
    let made: Vec<_> =
        mounts.chain(secrets).filter_map(|source| source.strip_prefix("./")).collect();
    assert_eq!(made.len(), 3, "{made:?}");
    for path in made {
        assert!(page.contains(&format!(" {path}")), "the page does not make {path}");
    }
}

#[test]
fn a_stop_waits_for_the_drain_and_the_agent_outlives_it() {
    let weir = service("weir");
    let patience = seconds(weir["stop_grace_period"].as_str().expect("a length of time"));
    let needed = stop_takes(&policy());
    assert!(needed < patience, "{needed} s do not fit into {patience} s");
    assert_eq!(weir["depends_on"], json!(["agent"]), "Compose stops in the opposite order");
}

#[test]
fn the_policy_is_valid_where_it_is_mounted() {
    installed().check("/etc/weir/policy.toml");
}

#[test]
fn its_health_check_passes_while_it_runs() {
    let install = || {
        let installed = installed();
        let command = installed.command(image().exec("CMD"));
        (installed, command)
    };
    let (installed, _running) = Running::start(install);
    let test = strings(&service("weir")["healthcheck"]["test"]);
    is_ready(&mut installed.command(&test[2..]));
}

// The file.

fn file() -> Value {
    let mut documents = yaml(&text("deploy/compose.yaml"));
    assert_eq!(documents.len(), 1, "{documents:?}");
    documents.remove(0)
}

fn service(name: &str) -> Value {
    let service = file()["services"][name].clone();
    assert!(service.is_object(), "no service `{name}`");
    service
}

fn policy() -> toml::Table {
    text("deploy/compose/policy.toml").parse().expect("TOML")
}

fn strings(list: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    list.as_array().expect("a list").iter().map(text).collect()
}

fn field<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("no {name}"))
}

/// A container with the policy's directory, the pair and the secret mounted.
pub fn installed() -> Installed {
    Installed::new()
        .policy("/etc/weir/policy.toml", &text("deploy/compose/policy.toml"))
        .certificate("/etc/weir-tls/server.crt", "/etc/weir-tls/server.key")
        .keys("/etc/weir/keys.toml")
        .file("/run/secrets/admin-token", "operators-only\n")
}
