//! Certificates that change while connections are open.

use std::fs;

use serde_json::Value;

use crate::{
    client::Client,
    harness::{run, until, until_async},
    origin::Origin,
    sidecar::Sidecar,
};

/// The certificate that new connections are shown.
async fn certificate(sidecar: &Sidecar) -> Vec<u8> {
    let ca = sidecar.file("certs/ca.crt");
    let client = Client::new(sidecar.address, &ca);
    match client.try_tls(&["h2"]).await {
        Ok(stream) => stream.get_ref().1.peer_certificates().unwrap()[0].to_vec(),
        // Signed by another CA than the one on disk.
        Err(_) => Vec::new(),
    }
}

#[test]
fn a_rotated_certificate_is_shown_to_new_connections_and_a_broken_pair_is_not() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let mut old_connection = sidecar.client.h2().await;
        let first = certificate(&sidecar).await;

        assert_eq!(sidecar.weir(&["cert", "dev", "--dir", "certs"]).code, Some(0));
        let rotated = || async {
            let now = certificate(&sidecar).await;
            (!now.is_empty() && now != first).then_some(now)
        };
        let second = until_async("the new certificate is shown", rotated).await;
        // The old connection does not notice.
        assert_eq!(sidecar.client.get("/").on(&mut old_connection).await.status, 200);

        assert_eq!(sidecar.weir(&["cert", "dev", "--dir", "other"]).code, Some(0));
        for (file, broken) in [
            ("server.key", fs::read(sidecar.file("other/server.key")).unwrap()),
            ("server.crt", b"no certificate".to_vec()),
        ] {
            let (path, mended) = (
                sidecar.file("certs").join(file),
                fs::read(sidecar.file("certs").join(file)).unwrap(),
            );
            let complaints = || {
                let is = |l: &&Value| {
                    l["message"] == "the certificate cannot be used, the old one stays"
                };
                sidecar.log().iter().filter(is).count()
            };
            let before = complaints();
            fs::write(&path, broken).unwrap();
            until("the problem is logged", || (complaints() > before).then_some(())).await;
            assert_eq!(certificate(&sidecar).await, second, "{file}");
            fs::write(&path, mended).unwrap();
        }
        assert_eq!(sidecar.client.get("/").on(&mut old_connection).await.status, 200);
    });
}
