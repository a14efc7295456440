//! The Kubernetes example: valid for the API server, and its parts agree with
//! each other and with what the binary reads.
//!
//! YAML is parsed, and validated against the API's schemas, by the Python tools
//! that `make test` installs.

#![allow(clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// Documents of `deploy/kubernetes.yaml`, in any order.
struct Manifest(Vec<Value>);

// The API server's view.

#[test]
fn the_api_server_would_take_every_document() {
    let validated = validate(&text());
    assert!(validated.status.success(), "{}", shown(&validated));
}

#[test]
fn the_validator_refuses_a_field_that_is_not_in_the_schema() {
    let wrong = text().replace("terminationGracePeriodSeconds:", "terminationGraceSeconds:");
    let validated = validate(&wrong);
    assert!(!validated.status.success(), "{}", shown(&validated));
}

#[test]
fn the_sidecar_and_the_agent_meet_the_restricted_standard() {
    let manifest = Manifest::read();
    for container in manifest.containers() {
        let security = &container["securityContext"];
        let name = &container["name"];
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(security["runAsNonRoot"], true, "{name}");
        assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert!(container["resources"]["requests"]["cpu"].is_string(), "{name}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
    }
}

// The sidecar's place in the pod.

#[test]
fn weir_is_a_native_sidecar_in_the_first_place() {
    let manifest = Manifest::read();
    let weir = &manifest.pod()["initContainers"][0];
    assert_eq!(weir["name"], "weir");
    assert_eq!(weir["restartPolicy"], "Always");
}

#[test]
fn the_service_finds_weir_and_nobody_else() {
    let manifest = Manifest::read();
    let target = &manifest.one("Service")["spec"]["ports"][0]["targetPort"];
    let target = target.as_str().expect("a port by name");
    let holders: Vec<_> = manifest
        .containers()
        .filter(|container| ports(container).any(|port| port["name"] == target))
        .map(|container| &container["name"])
        .collect();
    assert_eq!(holders, ["weir"], "the port name `{target}` must be Weir's alone");
    let labels = &manifest.one("Deployment")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&manifest.one("Service")["spec"]["selector"], labels);
}

#[test]
fn every_port_is_the_one_that_the_policy_says() {
    let manifest = Manifest::read();
    let policy = manifest.policy();
    let weir = &manifest.pod()["initContainers"][0];
    let agent = &manifest.pod()["containers"][0];
    let public = port_of(policy["listen"]["address"].as_str().expect("an address"));
    let admin = port_of(policy["admin"]["address"].as_str().expect("an address"));
    let upstream = policy["upstream"]["url"].as_str().expect("a URL");
    assert_eq!(port_called(weir, "http"), public);
    assert_eq!(port_called(weir, "weir-admin"), admin);
    assert_eq!(upstream, format!("http://127.0.0.1:{}", port_called(agent, "agent")));
    for kind in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(weir[kind]["httpGet"]["port"], "weir-admin", "{kind}");
    }
    assert_eq!(agent["readinessProbe"]["httpGet"]["port"], admin);
    let ingress = &manifest.one("NetworkPolicy")["spec"]["ingress"];
    assert_eq!(ingress[0]["ports"], serde_json::json!([{ "port": public }]));
    assert_eq!(ingress[1]["ports"], serde_json::json!([{ "port": admin }]));
}

#[test]
fn the_agent_is_probed_where_the_policy_answers() {
    let manifest = Manifest::read();
    let policy = manifest.policy();
    let path = policy.get("health").and_then(|health| health.get("path"));
    let path = path.and_then(toml::Value::as_str).unwrap_or("/api/health");
    let agent = &manifest.pod()["containers"][0];
    assert_eq!(agent["readinessProbe"]["httpGet"]["path"], path);
}

#[test]
fn the_grace_period_outlasts_the_hooks_and_the_drain() {
    let manifest = Manifest::read();
    let policy = manifest.policy();
    let pod = manifest.pod();
    let sleep = |container: &Value| {
        container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().expect("a sleeping hook")
    };
    let hooks = manifest.containers().map(sleep).max().expect("a container");
    let drain = policy["listen"]["drain_timeout"].as_str().expect("a length of time");
    let drain: u64 = drain.strip_suffix('s').and_then(|text| text.parse().ok()).expect("seconds");
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a number");
    assert!(hooks + drain < grace, "{hooks} s + {drain} s do not fit into {grace} s");
}

// What is mounted.

#[test]
fn everything_that_is_mounted_is_there() {
    let manifest = Manifest::read();
    let readme = fs::read_to_string(root().join("deploy/README.md")).expect("the README");
    let volumes = manifest.pod()["volumes"].as_array().expect("volumes");
    for mount in manifest.mounts() {
        assert!(mount["subPath"].is_null(), "a subPath is not updated: {mount}");
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        let volume = volume.unwrap_or_else(|| panic!("no volume for {mount}"));
        if let Some(name) = volume["configMap"]["name"].as_str() {
            assert_eq!(manifest.one("ConfigMap")["metadata"]["name"], name);
        } else if let Some(name) = volume["persistentVolumeClaim"]["claimName"].as_str() {
            assert_eq!(manifest.one("PersistentVolumeClaim")["metadata"]["name"], name);
        } else {
            let name = volume["secret"]["secretName"].as_str().expect("a Secret");
            assert!(readme.contains(&format!(" {name} ")), "the README does not make {name}");
        }
    }
    let token = &manifest.pod()["initContainers"][0]["env"][0];
    assert_eq!(token["name"], "WEIR_ADMIN_TOKEN");
    let secret = token["valueFrom"]["secretKeyRef"]["name"].as_str().expect("a Secret");
    assert!(readme.contains(&format!("generic {secret} ")), "the README does not make {secret}");
}

#[test]
fn the_policy_is_valid_where_it_is_mounted() {
    let manifest = Manifest::read();
    let home = tempfile::tempdir().expect("a directory");
    let inside = |path: &str| home.path().join(path.trim_start_matches('/'));
    for mount in manifest.mounts() {
        fs::create_dir_all(inside(mount["mountPath"].as_str().expect("a path"))).expect("made");
    }
    let weir = &manifest.pod()["initContainers"][0];
    let policy = argument(weir, "--policy");
    fs::write(inside(policy), manifest.policy_text()).expect("the policy is written");
    run(weir_command().args(["cert", "dev", "--dir"]).arg(inside("/made")));
    let tls = inside("/etc/weir/tls");
    fs::copy(inside("/made/server.crt"), tls.join("tls.crt")).expect("a certificate");
    fs::copy(inside("/made/server.key"), tls.join("tls.key")).expect("a key");
    let keys = inside("/etc/weir/keys/keys.toml");
    let new = ["keys", "new", "--subject", "alice", "--tier", "premium", "--keys"];
    run(weir_command().args(new).arg(keys));

    let mut check = weir_command();
    let checked = run(check.arg("check").arg(inside(policy)).env("WEIR_ADMIN_TOKEN", "t0ken"));

    assert!(checked.contains("0 warnings, 0 keys not yet effective"), "{checked}");
    assert!(!checked.contains("certificate cannot be used"), "{checked}");
    assert!(!checked.contains("t0ken"), "{checked}");
    let store = manifest.policy()["store"]["url"].as_str().expect("a store").to_owned();
    let data = manifest.mounts().find(|mount| mount["name"] == "data").expect("a volume");
    let data = data["mountPath"].as_str().expect("a path");
    assert!(store.starts_with(&format!("embedded:{data}/")), "{store} is not below {data}");
}

// The manifest.

impl Manifest {
    fn read() -> Self {
        let program =
            "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
        let mut python = Command::new(python());
        let output = feed(python.args(["-c", program]), &text());
        assert!(output.status.success(), "{}", shown(&output));
        let documents: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(documents.iter().all(|document| document["kind"].is_string()), "{documents:?}");
        Self(documents)
    }

    /// The only document of this kind.
    fn one(&self, kind: &str) -> &Value {
        let mut of_kind = self.0.iter().filter(|document| document["kind"] == kind);
        let first = of_kind.next().unwrap_or_else(|| panic!("no {kind}"));
        assert!(of_kind.next().is_none(), "more than one {kind}");
        first
    }

    fn pod(&self) -> &Value {
        &self.one("Deployment")["spec"]["template"]["spec"]
    }

    fn containers(&self) -> impl Iterator<Item = &Value> {
        let list = |key: &str| self.pod()[key].as_array().expect("containers").iter();
        list("initContainers").chain(list("containers"))
    }

    fn mounts(&self) -> impl Iterator<Item = &Value> {
        self.containers().flat_map(|container| container["volumeMounts"].as_array()).flatten()
    }

    fn policy_text(&self) -> &str {
        self.one("ConfigMap")["data"]["policy.toml"].as_str().expect("a policy")
    }

    fn policy(&self) -> toml::Table {
        self.policy_text().parse().expect("TOML")
    }
}

fn ports(container: &Value) -> impl Iterator<Item = &Value> {
    container["ports"].as_array().into_iter().flatten()
}

fn port_called(container: &Value, name: &str) -> u64 {
    let found = ports(container).find(|port| port["name"] == name);
    let port = found.unwrap_or_else(|| panic!("{} has no port `{name}`", container["name"]));
    port["containerPort"].as_u64().expect("a number")
}

fn port_of(address: &str) -> u64 {
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

/// What stands behind an option in a container's arguments.
fn argument<'a>(container: &'a Value, option: &str) -> &'a str {
    let arguments = container["args"].as_array().expect("arguments");
    let at = arguments.iter().position(|argument| argument == option).expect("the option");
    arguments[at + 1].as_str().expect("a text")
}

// The tools.

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text() -> String {
    fs::read_to_string(root().join("deploy/kubernetes.yaml")).expect("the manifest")
}

/// The interpreter with the packages of `tests/python/requirements.txt`.
fn python() -> PathBuf {
    let own = root().join("tests/python/.venv/bin/python");
    let python = std::env::var_os("WEIR_TEST_PYTHON").map_or(own, PathBuf::from);
    let mut probe = Command::new(&python);
    let probe = probe.args(["-c", "import yaml, kubernetes_validate"]).output();
    let usable = probe.is_ok_and(|probe| probe.status.success());
    assert!(usable, "{} lacks the tools of this test: run `make test`", python.display());
    python
}

fn validate(manifest: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("manifest.yaml");
    fs::write(&file, manifest).expect("written");
    let mut command = Command::new(python());
    command.args(["-m", "kubernetes_validate", "--strict"]).arg(file);
    command.output().expect("the validator runs")
}

fn weir_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.stdin(Stdio::null());
    command
}

/// The standard output of a command that succeeds.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    assert!(output.status.success(), "{command:?}: {}", shown(&output));
    String::from_utf8(output.stdout).expect("text")
}

fn feed(command: &mut Command, input: &str) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the command starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("all is read");
    drop(stdin);
    child.wait_with_output().expect("the command ends")
}

fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}
