//! Probes of what the service needs: the health document and its metric.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use crate::{
    harness::{run, until, until_async},
    origin::Origin,
    port::Port,
    sidecar::Sidecar,
};

/// A real Redis without persistence; ends with the test.
struct Redis {
    process: Child,
    directory: tempfile::TempDir,
}

impl Redis {
    fn start(port: &Port, options: &[&str]) -> Self {
        let address = port.address;
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(directory.path());
        let process = command.args(options).stdout(Stdio::null()).spawn();
        Self { process: process.expect("redis-server is installed"), directory }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        assert!(self.directory.path().exists());
    }
}

/// Says `answer` to whoever says anything, for as long as the process lives.
fn answers(answer: &'static [u8]) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in socket.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut heard = [0; 1024];
            if connection.read(&mut heard).is_ok() {
                drop(connection.write_all(answer));
            }
        }
    });
    address
}

async fn document_has(sidecar: &Sidecar, status: &str, services: &[(&str, &str)]) {
    until_async(&format!("health is {status} with {services:?}"), || async {
        let health = sidecar.operator("/api/health").send().await.json();
        let all = services.iter().all(|(name, state)| health["services"][name] == *state);
        (health["status"] == status && all).then_some(())
    })
    .await;
}

fn tables(dependencies: &str) -> String {
    format!(
        r#"
        [[identity]]
        from = "address"
        tier = "free"
        [operations.general]
        routes = ["* /**"]
        [tiers.free]
        [health]
        every = "1s"
        timeout = "1s"
        [health.dependencies]
        {dependencies}
        "#
    )
}

#[test]
fn a_redis_that_leaves_and_returns_is_seen() {
    run(async {
        let origin = Origin::start().await;
        let port = Port::free();
        let (redis, address) = (Redis::start(&port, &["--requirepass", "hunter2"]), port.address);
        let tables = tables(&format!(r#"cache = "redis://:hunter2@{address}""#));
        let sidecar = Sidecar::with(&tables).before(&origin).start().await;

        document_has(&sidecar, "healthy", &[("cache", "operational")]).await;
        sidecar.metric_is("weir_dependency_up{name=\"cache\"}", 1.0).await;

        drop(redis);
        document_has(&sidecar, "degraded", &[("cache", "unavailable")]).await;
        sidecar.metric_is("weir_dependency_up{name=\"cache\"}", 0.0).await;
        let line = sidecar.logged("the outage", |line| line["dependency"] == "cache").await;
        assert!(!line.to_string().contains("hunter2"), "{line}");
        let degraded = sidecar.operator("/api/health").send().await;
        assert_eq!(degraded.status, 200);
        assert_eq!(sidecar.operator("/readyz").send().await.status, 200);

        let _redis = Redis::start(&port, &[]);
        document_has(&sidecar, "healthy", &[("cache", "operational")]).await;
    });
}

#[test]
fn every_kind_of_dependency_is_asked_in_its_own_language() {
    run(async {
        let origin = Origin::start().await;
        origin.answers("/broken", 503, &[], "");
        let quiet = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = quiet.local_addr().unwrap();
        let web = origin.address;
        let asks_password = answers(b"R\0\0\0\x08\0\0\0\x03");
        let starting = answers(b"E\0\0\0\x11SFATAL\0C57P03\0\0");
        let sidecar = Sidecar::with(&tables(&format!(
            r#"
            port = "tcp://{silent}"
            web = "http://{web}/fine"
            missing = "http://{web}/broken"
            database = "postgres://app:hunter2@{asks_password}/orders"
            starting = "postgres://{starting}"
            mute = "redis://{silent}"
            gone = "tcp://127.0.0.1:1"
            "#
        )))
        .before(&origin)
        .start()
        .await;

        let services = [
            ("port", "operational"),
            ("web", "operational"),
            ("missing", "unavailable"),
            ("database", "operational"),
            ("starting", "unavailable"),
            ("mute", "unavailable"),
            ("gone", "unavailable"),
        ];
        document_has(&sidecar, "degraded", &services).await;
        let page = sidecar.operator("/api/health").send().await.text();
        assert!(!page.contains("127.0.0.1") && !page.contains("hunter2"), "{page}");
        let order: Vec<_> =
            services.iter().map(|(name, _)| page.find(&format!("\"{name}\""))).collect();
        assert!(order.is_sorted(), "in the order of the file: {page}");
    });
}

#[test]
fn an_edit_changes_what_is_probed() {
    run(async {
        let origin = Origin::start().await;
        let web = origin.address;
        let sidecar = Sidecar::with(&tables(r#"gone = "tcp://127.0.0.1:1""#));
        let sidecar = sidecar.before(&origin).start().await;
        document_has(&sidecar, "degraded", &[("gone", "unavailable")]).await;

        sidecar.edit(&tables(&format!(r#"web = "tcp://{web}""#)));

        document_has(&sidecar, "healthy", &[("web", "operational")]).await;
        let page = sidecar.operator("/api/health").send().await.text();
        assert!(!page.contains("gone"), "{page}");
        let metrics = sidecar.operator("/metrics").send().await.text();
        assert!(!metrics.contains("name=\"gone\""), "{metrics}");
    });
}

#[test]
fn a_health_request_never_waits_for_a_probe() {
    run(async {
        let origin = Origin::start().await;
        // Accepts and never answers, so that a probe takes its whole timeout.
        let mute = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = mute.local_addr().unwrap();
        let tables = tables(&format!(r#"mute = "redis://{address}""#));
        let tables =
            tables.replace("timeout = \"1s\"", "timeout = \"30s\"").replace("\"1s\"", "\"30s\"");
        let sidecar = Sidecar::with(&tables).before(&origin).start().await;
        mute.set_nonblocking(true).unwrap();

        let probe = until("the probe is under way", || mute.accept().ok()).await;
        document_has(&sidecar, "degraded", &[("mute", "unavailable")]).await;
        drop(probe);
    });
}
