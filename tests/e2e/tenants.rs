//! Several certificates on one listener: who is shown what, and whose hosts a connection carries.

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    authority::{Authority, Issued},
    client::Connection,
    harness::{run, until, until_async},
    origin::Origin,
    plan::Plan,
    shake::{Shake, get, status},
    sidecar::Sidecar,
};

use hyper_util::rt::TokioIo;

const TENANTS: &str = "\
[[listen.certificates]]\ncertificate = \"tls/a.crt\"\nkey = \"tls/a.key\"\n\
[[listen.certificates]]\ncertificate = \"tls/b.crt\"\nkey = \"tls/b.key\"\n\
names = [\"b.example\", \"*.b.example\"]\n";

/// A sidecar with a pair for `a.example`, from its certificate, and one for `*.b.example`, beside
/// the default pair.
async fn two_tenants(origin: &Origin, change: impl Fn(Plan) -> Plan) -> (Sidecar, Authority) {
    let authority = Authority::new("tenants");
    let home = change(Sidecar::with(TENANTS)).before(origin).furnish();
    let tls = home.path().join("tls");
    authority.issue("a", &["a.example"]).write(&tls, "a");
    authority.issue("b", &["unused.example"]).write(&tls, "b");
    authority.write(&home.path().join("tenants.crt"));
    let all = fs::read_to_string(home.path().join("certs/ca.crt")).unwrap()
        + &fs::read_to_string(home.path().join("tenants.crt")).unwrap();
    fs::write(home.path().join("all.crt"), all).unwrap();
    (home.start().await, authority)
}

fn shake(sidecar: &Sidecar) -> Shake {
    Shake::trusting(&sidecar.file("all.crt"))
}

/// The certificate that a handshake for `name` is shown. No name is checked, only the CA.
async fn shown(sidecar: &Sidecar, name: &str) -> Option<CertificateDer<'static>> {
    let stream = shake(sidecar).named(name).to(sidecar.address).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.clone().into_owned())
}

fn on_disk(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

#[test]
fn each_name_is_shown_its_own_certificate_and_other_hosts_are_misdirected() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, _) = two_tenants(&origin, |plan| plan).await;
        let at = sidecar.address;

        assert_eq!(
            shown(&sidecar, "a.example").await.unwrap(),
            on_disk(&sidecar.file("tls/a.crt"))
        );
        let default = on_disk(&sidecar.file("certs/server.crt"));
        assert_eq!(shown(&sidecar, "localhost").await.unwrap(), default);
        for (name, host, answer) in [
            ("a.example", "a.example", 200),
            ("a.example", "A.EXAMPLE:8443", 200),
            ("a.example", "b.example", 421),
            ("a.example", "x.b.example", 421),
            ("a.example", "localhost", 421),
            ("a.example", "other.example", 421),
            ("localhost", "localhost", 200),
            ("localhost", "other.example", 200),
            ("localhost", "127.0.0.1", 200),
            ("localhost", "a.example", 421),
        ] {
            let got = shake(&sidecar).named(name).get(at, host).await;
            assert_eq!(status(&got), answer, "{name} asks for {host}: {got}");
            let is_ours = got.contains("\"error_code\":\"misdirected_request\"");
            assert_eq!(is_ours, answer == 421, "{got}");
        }

        // Over HTTP/2, where one connection carries hosts beside each other.
        let shake = shake(&sidecar).named("a.example").offering(&["h2"]);
        let mut h2 = Connection::over_h2(TokioIo::new(shake.to(at).await.unwrap())).await;
        for (host, answer) in [("a.example", 200), ("localhost", 421)] {
            let ask = sidecar.client.get("/x").at(host);
            assert_eq!(ask.on(&mut h2).await.status, answer, "{host}");
        }
        let misdirected =
            r#"weir_refusals_total{operation="none",tier="none",error_code="misdirected_request"}"#;
        sidecar.metric_is(misdirected, 6.0).await;
    });
}

#[test]
fn a_single_certificate_serves_every_host() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let shake = Shake::trusting(&sidecar.file("certs/ca.crt"));
        let answer = shake.get(sidecar.address, "somewhere.else.example").await;
        assert_eq!(status(&answer), 200, "{answer}");
    });
}

#[test]
fn without_a_default_pair_a_strange_name_gets_no_handshake() {
    run(async {
        let origin = Origin::start().await;
        let pair = "certificate = \"certs/server.crt\"\nkey = \"certs/server.key\"";
        let (sidecar, _) = two_tenants(&origin, |plan| plan.replacing(pair, "")).await;

        let answer = shake(&sidecar).named("a.example").get(sidecar.address, "a.example").await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert!(shake(&sidecar).named("localhost").to(sidecar.address).await.is_err());
        let strange = shake(&sidecar).named("a.example").get(sidecar.address, "c.example").await;
        assert_eq!(status(&strange), 421);
    });
}

#[test]
fn each_pair_rotates_by_itself_and_a_broken_one_blocks_nobody() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, authority) = two_tenants(&origin, |plan| plan).await;
        let (tls, a) = (sidecar.file("tls"), sidecar.file("tls/a.crt"));
        let expiry = r#"weir_certificate_expiry_timestamp_seconds{name="a.example"}"#;
        let first_end = sidecar.metric(expiry).await;
        assert!(first_end > 1.7e9, "{first_end}");
        let b = r#"weir_certificate_expiry_timestamp_seconds{name="b.example"}"#;
        let default = r#"weir_certificate_expiry_timestamp_seconds{name="default"}"#;
        assert!(sidecar.metric(b).await > 1.7e9 && sidecar.metric(default).await > 1.7e9);

        // The first pair breaks …
        let good = on_disk(&a);
        fs::write(tls.join("a.key"), "no key").unwrap();
        let is = |line: &serde_json::Value| {
            line["message"] == "the certificate cannot be used, the old one stays"
                && line["problem"].as_str().unwrap().contains("a.key")
        };
        sidecar.logged("the problem is told", is).await;
        // … and the second one rotates all the same.
        authority.issue("b", &["b.example"]).write(&tls, "b");
        let wanted = on_disk(&tls.join("b.crt"));
        let rotated = || async {
            let shown = shown(&sidecar, "b.example").await;
            (shown.as_ref() == Some(&wanted)).then_some(())
        };
        until_async("the second pair is new", rotated).await;
        assert_eq!(shown(&sidecar, "a.example").await.unwrap(), good);

        // Mended, with another end.
        let end = time::OffsetDateTime::now_utc() + time::Duration::days(99);
        authority.issue_until("a", &["a.example"], end).write(&tls, "a");
        until_async("its end is told", || async {
            let now = sidecar.metric(expiry).await;
            (now > first_end + 86_400.0).then_some(())
        })
        .await;
    });
}

#[test]
fn a_policy_may_add_a_tenant_while_it_runs() {
    run(async {
        let origin = Origin::start().await;
        let (sidecar, authority) = two_tenants(&origin, |plan| plan).await;
        authority.issue("c", &["c.example"]).write(&sidecar.file("tls"), "c");
        let third = format!(
            "{TENANTS}[[listen.certificates]]\ncertificate = \"tls/c.crt\"\nkey = \"tls/c.key\"\n"
        );

        sidecar.edit(&third);

        let served = || async {
            let answer = shake(&sidecar).named("c.example").get(sidecar.address, "c.example").await;
            (status(&answer) == 200).then_some(())
        };
        until_async("the new tenant is served", served).await;
        let waits = |line: &serde_json::Value| {
            line["message"] == "these tables take effect at the next start"
        };
        assert!(!sidecar.log().iter().any(waits), "nothing waits for a restart");
    });
}

#[test]
fn a_policy_that_turns_to_plaintext_waits_for_the_next_start() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let pair = "certificate = \"certs/server.crt\"\nkey = \"certs/server.key\"";
        let plain = sidecar.home.plan.text().replace(pair, "plaintext = true");

        sidecar.write_policy(&plain);

        let waits = |line: &serde_json::Value| {
            line["message"] == "these tables take effect at the next start"
        };
        sidecar.logged("it waits", waits).await;
        sidecar.signal("HUP");
        for _ in 0..20 {
            assert_eq!(sidecar.client.get("/x").send().await.status, 200, "TLS goes on");
        }
    });
}

/// Rotates a pair the way Kubernetes does: a new directory, then one rename of a symlink.
fn swap(directory: &Path, number: u32, issued: &Issued) {
    let target = directory.join(format!("..{number}"));
    issued.write(&target, "tls");
    let beside = directory.join("..data_tmp");
    symlink(format!("..{number}"), &beside).unwrap();
    fs::rename(beside, directory.join("..data")).unwrap();
    if let Some(old) = number.checked_sub(1) {
        drop(fs::remove_dir_all(directory.join(format!("..{old}"))));
    }
}

#[test]
fn a_pair_that_is_swapped_again_and_again_is_never_mixed_and_never_missed() {
    run(async {
        let origin = Origin::start().await;
        let authority = Authority::new("rotating");
        let pair = "certificate = \"certs/server.crt\"\nkey = \"certs/server.key\"";
        let mounted = "certificate = \"mount/tls.crt\"\nkey = \"mount/tls.key\"";
        let home = Sidecar::with("").replacing(pair, mounted).before(&origin).furnish();
        let mount = home.path().join("mount");
        fs::create_dir(&mount).unwrap();
        for file in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{file}"), mount.join(file)).unwrap();
        }
        swap(&mount, 0, &authority.issue("0", &["localhost"]));
        authority.write(&home.path().join("certs/ca.crt"));
        let sidecar = home.start().await;
        let shake = Shake::trusting(&sidecar.file("certs/ca.crt"));
        let at = sidecar.address;

        let handshakes = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (counted, client) = (Arc::clone(&handshakes), shake.clone());
        let load = tokio::spawn(async move {
            loop {
                // The signature of the handshake proves that key and certificate fit.
                let mut stream = client.to(at).await.expect("a handshake");
                assert_eq!(status(&get(&mut stream, "localhost").await), 200);
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        let mut last = None;
        for number in 1..=30 {
            let issued = authority.issue(&number.to_string(), &["localhost"]);
            swap(&mount, number, &issued);
            last = Some(issued.der().0);
            let before = handshakes.load(std::sync::atomic::Ordering::Relaxed);
            let more = || {
                let now = handshakes.load(std::sync::atomic::Ordering::Relaxed);
                (now > before + 1).then_some(())
            };
            until("handshakes go on", more).await;
        }
        let newest = || async {
            let stream = shake.to(at).await.expect("a handshake");
            let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
            (Some(shown) == last).then_some(())
        };
        until_async("the newest pair is shown", newest).await;
        assert!(!load.is_finished(), "no handshake failed");
        load.abort();
    });
}
