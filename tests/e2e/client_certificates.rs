//! What clients prove in the handshake: required or not, whom it makes them, what is taken back.

use std::{fs, sync::Arc};

use crate::{
    authority::{Authority, Issued},
    harness::{run, until_async},
    origin::Origin,
    shake::{Shake, status},
    sidecar::Sidecar,
};

const ASKED: &str = "[listen.client_certificates]\nca = \"clients.crt\"\n";
const SOURCES: &str = "\
[[identity]]\nfrom = \"client_certificate\"\nfield = \"uri\"\n\
pattern = \"spiffe://prod/.*\"\ntier = \"gold\"\n\
[[identity]]\nfrom = \"client_certificate\"\nfield = \"dns\"\npattern = \"[a-z.]+\"\n\
tier = \"free\"\n\
[[identity]]\nfrom = \"address\"\ntier = \"free\"\n\
[tiers.free]\nquotas = { \"*\" = \"1000/hour\" }\n[tiers.gold]\nquotas = { \"*\" = \"2000/hour\" }\n";

/// A sidecar that asks for certificates of this CA, with these tables.
async fn asking(origin: &Origin, authority: &Authority, tables: &str) -> Sidecar {
    let home = Sidecar::with(tables).before(origin).furnish();
    authority.write(&home.path().join("clients.crt"));
    home.start().await
}

fn shake(sidecar: &Sidecar) -> Shake {
    Shake::trusting(&sidecar.file("certs/ca.crt"))
}

/// The status of a request by whoever shows this; 0 when the handshake failed.
async fn asked(sidecar: &Sidecar, shown: Option<&Arc<Issued>>) -> u16 {
    let shake = shown.into_iter().fold(shake(sidecar), Shake::showing);
    status(&shake.get(sidecar.address, "localhost").await)
}

/// The subject and tier of the last exchange.
async fn counted_as(sidecar: &Sidecar, subject: &str) -> String {
    let is = |line: &serde_json::Value| line["subject"] == subject;
    let line = sidecar.logged(&format!("{subject} is counted"), is).await;
    line["tier"].as_str().unwrap().to_owned()
}

#[test]
fn only_whoever_shows_a_certificate_of_the_ca_gets_in() {
    run(async {
        let (origin, authority) = (Origin::start().await, Authority::new("clients"));
        let sidecar = asking(&origin, &authority, ASKED).await;
        let ours = Arc::new(authority.issue("ours", &["a.example"]));
        let theirs = Arc::new(Authority::new("clients").issue("theirs", &["a.example"]));
        let past = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
        let ended = Arc::new(authority.issue_until("ended", &["a.example"], past));

        assert_eq!(asked(&sidecar, Some(&ours)).await, 200);
        for (who, shown) in
            [("nobody", None), ("a stranger", Some(&theirs)), ("ended", Some(&ended))]
        {
            assert_eq!(asked(&sidecar, shown).await, 0, "{who}");
        }
        assert_eq!(origin.seen().len(), 1);
        let failed = r#"weir_tls_handshakes_total{version="none",result="failed"}"#;
        sidecar.metric_is(failed, 3.0).await;
    });
}

#[test]
fn a_certificate_names_the_subject_and_its_tier() {
    run(async {
        let (origin, authority) = (Origin::start().await, Authority::new("clients"));
        let tables = format!("{ASKED}required = false\n{SOURCES}");
        let sidecar = asking(&origin, &authority, &tables).await;
        let issue = |names: &[&str]| Arc::new(authority.issue("somebody", names));

        let workload = issue(&["spiffe://prod/ns/web", "web.example"]);
        assert_eq!(asked(&sidecar, Some(&workload)).await, 200);
        assert_eq!(counted_as(&sidecar, "spiffe://prod/ns/web").await, "gold");
        let host = issue(&["spiffe://test/ns/web", "host.example"]);
        assert_eq!(asked(&sidecar, Some(&host)).await, 200);
        assert_eq!(counted_as(&sidecar, "host.example").await, "free");
        assert_eq!(asked(&sidecar, None).await, 200);
        assert_eq!(counted_as(&sidecar, "address:127.0.0.1").await, "free");
    });
}

#[test]
fn a_certificate_that_no_source_takes_is_refused_and_none_of_its_names_is_cut_short() {
    run(async {
        let (origin, authority) = (Origin::start().await, Authority::new("clients"));
        let tables = format!("{ASKED}required = false\n{SOURCES}");
        let sidecar = asking(&origin, &authority, &tables).await;

        for names in [
            &["spiffe://test/ns/web"][..],
            &["spiffe://prod/ns/web\0.evil.example"],
            &["admin.example\0.evil.example"],
            &["UPPER.example", "10.0.0.1", "mail@a.example"],
        ] {
            let issued = Arc::new(authority.issue("spiffe://prod/cn", names));
            assert_eq!(asked(&sidecar, Some(&issued)).await, 401, "{names:?}");
        }
        let wildcard = Arc::new(authority.issue("x", &["*.example", "plain.example"]));
        assert_eq!(asked(&sidecar, Some(&wildcard)).await, 200);
        assert_eq!(counted_as(&sidecar, "plain.example").await, "free");
        assert_eq!(origin.seen().len(), 1);
    });
}

#[test]
fn a_certificate_that_is_taken_back_is_refused_even_when_its_session_is_resumed() {
    run(async {
        let (origin, authority) = (Origin::start().await, Authority::new("clients"));
        let home = Sidecar::with(&format!("{ASKED}crl = \"clients.crl\"\n")).before(&origin);
        let home = home.furnish();
        authority.write(&home.path().join("clients.crt"));
        fs::write(home.path().join("clients.crl"), authority.revoke(&[])).unwrap();
        let sidecar = home.start().await;
        let (one, two) =
            (authority.issue("1", &["a.example"]), authority.issue("2", &["b.example"]));
        let (one, two) = (Arc::new(one), Arc::new(two));
        // One configuration keeps its sessions and tries to go on with them.
        let config = shake(&sidecar).showing(&one).config();
        let again = || async {
            let tcp = tokio::net::TcpStream::connect(sidecar.address).await.unwrap();
            let name = shake(&sidecar).name();
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
            match connector.connect(name, tcp).await {
                Ok(mut stream) => status(&crate::shake::get(&mut stream, "localhost").await),
                Err(_) => 0,
            }
        };
        assert_eq!((again().await, asked(&sidecar, Some(&two)).await), (200, 200));

        fs::write(sidecar.file("clients.crl"), authority.revoke(&[&one])).unwrap();

        until_async("it is refused", || async { (again().await == 0).then_some(()) }).await;
        assert_eq!(again().await, 0);
        assert_eq!(asked(&sidecar, Some(&two)).await, 200, "the other one is not");
    });
}

#[test]
fn the_ca_is_followed_and_a_broken_one_leaves_the_last_good_in_force() {
    run(async {
        let (origin, first) = (Origin::start().await, Authority::new("first"));
        let sidecar = asking(&origin, &first, ASKED).await;
        let second = Authority::new("second");
        let (old, new) = (
            Arc::new(first.issue("old", &["a.example"])),
            Arc::new(second.issue("new", &["b.example"])),
        );
        assert_eq!(
            (asked(&sidecar, Some(&old)).await, asked(&sidecar, Some(&new)).await),
            (200, 0)
        );

        fs::write(sidecar.file("clients.crt"), "nothing").unwrap();
        let told = |line: &serde_json::Value| {
            line["problem"].as_str().is_some_and(|problem| problem.contains("clients.crt"))
        };
        sidecar.logged("it is told", told).await;
        assert_eq!(asked(&sidecar, Some(&old)).await, 200);

        second.write(&sidecar.file("clients.crt"));
        let taken = || async { (asked(&sidecar, Some(&new)).await == 200).then_some(()) };
        until_async("the new CA is in force", taken).await;
        assert_eq!(asked(&sidecar, Some(&old)).await, 0);
    });
}

#[test]
fn a_policy_that_counts_on_certificates_nobody_can_verify_is_rejected_until_the_ca_is_there() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let rejected = r#"weir_policy_reloads_total{result="rejected"}"#;

        sidecar.edit(ASKED);

        sidecar.metric_is(rejected, 1.0).await;
        assert_eq!(asked(&sidecar, None).await, 200, "the old policy stays in force");
        let authority = Authority::new("clients");
        authority.write(&sidecar.file("clients.crt"));
        sidecar.signal("HUP");
        let asks = || async { (asked(&sidecar, None).await == 0).then_some(()) };
        until_async("clients must show a certificate", asks).await;
        let shown = Arc::new(authority.issue("x", &["a.example"]));
        assert_eq!(asked(&sidecar, Some(&shown)).await, 200);
        assert!((sidecar.metric(rejected).await - 1.0).abs() < 1e-9, "it is counted once");
    });
}

#[test]
fn an_identity_by_certificate_needs_clients_that_are_asked() {
    let home = Sidecar::with(SOURCES).furnish();
    let printed = crate::harness::weir_in(home.path(), &["check"]);
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.out.contains("no client is asked for a certificate"), "{}", printed.out);
    assert!(printed.out.contains("[listen.client_certificates]"), "{}", printed.out);
}
