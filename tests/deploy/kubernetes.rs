//! `deploy/kubernetes.yaml`: valid for the API server, locked down as the
//! *restricted* standard demands, and in step with the image, the policy and the
//! binary.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{
    image::{NOBODY, image},
    installed::{Installed, Running},
    tools::{judge, port_of, python, shown, stop_takes, text, yaml},
};

/// The sidecar's container.
const SIDECAR: &str = "weir-sidecar";

/// Documents of `deploy/kubernetes.yaml`, in any order.
struct Manifest(Vec<Value>);

// The API server's view.

#[test]
fn the_api_server_would_take_every_document() {
    let validated = validate(&file());
    assert!(validated.status.success(), "{}", shown(&validated));
}

#[test]
fn the_validator_refuses_a_field_that_is_not_in_the_schema() {
    let wrong = file().replace("terminationGracePeriodSeconds:", "terminationGraceSeconds:");
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
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{name}");
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
    assert_eq!(weir["name"], SIDECAR);
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
    assert_eq!(holders, [SIDECAR], "the port name `{target}` must be Weir's alone");
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
    assert_eq!(upstream, format!("http://127.0.0.1:{}", port_called(agent, "up-http")));
    for kind in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(weir[kind]["httpGet"]["port"], "weir-admin", "{kind}");
    }
    assert_eq!(agent["readinessProbe"]["httpGet"]["port"], admin);
    let ingress = &manifest.one("NetworkPolicy")["spec"]["ingress"];
    assert_eq!(ingress[0]["ports"], json!([{ "port": public }]));
    assert_eq!(ingress[1]["ports"], json!([{ "port": admin }]));
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
    let stop = stop_takes(&policy);
    let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("a number");
    assert!(hooks + stop < grace, "{hooks} s + {stop} s do not fit into {grace} s");
}

// What is mounted.

#[test]
fn everything_that_is_mounted_is_there() {
    let manifest = Manifest::read();
    let readme = text("deploy/README.md");
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
    let targets: Vec<_> = manifest.mounts().map(|mount| mount["mountPath"].as_str()).collect();
    assert_eq!(
        targets,
        [Some("/etc/weir"), Some("/etc/weir-tls"), Some("/etc/weir-keys"), Some("/var/lib/weir")]
    );
    let policy = manifest.policy();
    let store = policy["store"]["url"].as_str().expect("a store");
    assert!(store.starts_with("embedded:/var/lib/weir/"), "{store} is not on the volume");
    installed(&manifest).check("/etc/weir/policy.toml");
}

// In step with the image.

#[test]
fn the_image_is_started_as_it_is_made_to_be() {
    let manifest = Manifest::read();
    let weir = &manifest.pod()["initContainers"][0];
    assert_eq!(weir["command"], Value::Null, "the image has its own");
    assert_eq!(weir["args"], json!(image().exec("CMD")));
    let name = weir["image"].as_str().and_then(|name| name.rsplit('/').next());
    assert_eq!(name, Some(concat!("weir:", env!("CARGO_PKG_VERSION"))));
    let security = &manifest.pod()["securityContext"];
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(security[key], NOBODY, "{key}");
    }
}

#[test]
fn every_probe_of_the_sidecar_passes_while_the_agent_is_not_there_yet() {
    let manifest = Manifest::read();
    let weir = &manifest.pod()["initContainers"][0];
    let install = || {
        let installed = installed(&manifest);
        let command = installed.command(image().exec("CMD"));
        (installed, command)
    };
    let (installed, _running) = Running::start(install);
    for kind in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let path = weir[kind]["httpGet"]["path"].as_str().expect("a path");
        assert_eq!(installed.admin_status(path), 200, "{kind}");
    }
}

// The manifest.

impl Manifest {
    fn read() -> Self {
        let documents = yaml(&file());
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

fn file() -> String {
    text("deploy/kubernetes.yaml")
}

fn validate(manifest: &str) -> Output {
    let mut command = Command::new(python());
    judge(command.args(["-m", "kubernetes_validate", "--strict"]), "manifest.yaml", manifest)
}

/// A container with the ConfigMap and the Secrets mounted.
fn installed(manifest: &Manifest) -> Installed {
    Installed::new()
        .policy("/etc/weir/policy.toml", manifest.policy_text())
        .certificate("/etc/weir-tls/tls.crt", "/etc/weir-tls/tls.key")
        .keys("/etc/weir-keys/keys.toml")
}
