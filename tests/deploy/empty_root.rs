//! The static binary in a directory with nothing else: what the image has to be.
//!
//! Ignored by `make test`, because it would take a second build of every
//! dependency (about 3 min of two cores). `make static` builds and runs it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
};

use super::{
    image::{NOBODY, image},
    installed::{Installed, Running, is_ready},
    tools::{run, text},
};

#[test]
#[ignore = "needs a static build: run `make static`"]
fn the_static_binary_needs_nothing_beside_it() {
    let origin = origin();
    let install = || {
        let root = furnished(&origin);
        let command = inside(&root, &image().exec("CMD"));
        (root, command)
    };
    let (root, running) = Running::start(install);

    is_ready(&mut inside(&root, &image().exec("HEALTHCHECK")[1..]));
    let url = format!("https://localhost:{}/", root.public_port());
    let authority = root.at("/made/ca.crt");
    let mut curl = Command::new("curl");
    let answer = run(curl.args(["--silent", "--show-error", &url, "--cacert"]).arg(authority));

    assert_eq!(answer, "from the agent");
    assert!(root.at("/var/lib/weir/data").is_dir());
    running.signal("TERM");
    assert!(running.ended().success());
}

/// What the image has, what compose.yaml mounts, and the `hosts` of an engine; the agent is found by its name.
fn furnished(origin: &str) -> Installed {
    let policy = text("deploy/compose/policy.toml").replace("agent:8000", origin);
    let anybody = "from = \"address\"\ntier = \"free\"";
    let policy = policy.replace("from = \"api_key\"\nkeys = \"/etc/weir/keys.toml\"", anybody);
    assert!(policy.contains(origin) && policy.contains(anybody), "{policy}");
    let root = Installed::image()
        .policy("/etc/weir/policy.toml", &policy)
        .certificate("/etc/weir-tls/server.crt", "/etc/weir-tls/server.key")
        .file("/run/secrets/admin-token", "operators-only\n")
        .file("/etc/hosts", "127.0.0.1 agent\n");
    let binary = std::env::var_os("WEIR_STATIC").map(PathBuf::from).expect("a static binary");
    let kind = run(Command::new("ldd").arg(&binary));
    assert!(kind.contains("statically linked"), "{kind}");
    fs::copy(binary, root.at("/weir")).expect("copied");
    fs::set_permissions(root.at("/weir"), fs::Permissions::from_mode(0o755)).expect("executable");
    root
}

/// The binary in `root`, as nobody there; nobody's files are ours outside.
fn inside(root: &Installed, arguments: &[String]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", &format!("--map-user={NOBODY}"), &format!("--map-group={NOBODY}")]);
    command.arg("--root").arg(root.at("/")).arg("/weir").args(arguments).env_clear();
    command.env("PATH", std::env::var_os("PATH").expect("a path"));
    command
}

/// An agent that answers everything alike; its name and port.
fn origin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A probe connects and says nothing.
            if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 14\r\nconnection: close\r\n\r\n";
                let _ = write!(stream, "{head}from the agent");
            }
        }
    });
    format!("agent:{port}")
}
