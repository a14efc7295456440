//! Where it listens: IPv6, several addresses, unix sockets, plaintext, the way to https.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

use crate::{
    client::Client,
    harness::{Printed, run, soon, until, weir},
    origin::Origin,
    plan::Plan,
    shake::{Shake, ask, get, status},
    sidecar::{Running, Sidecar},
};

const ANY: &str = "address = \"127.0.0.1:0\"";
const PAIR: &str = "certificate = \"certs/server.crt\"\nkey = \"certs/server.key\"";

/// What `weir check` says of a policy.
fn checked(plan: Plan) -> Printed {
    let home = plan.furnish();
    let mut command = weir();
    command.current_dir(home.path()).arg("check").stdout(Stdio::piped());
    command.output().unwrap().into()
}

#[test]
fn ipv6_is_listened_on_and_the_unspecified_address_takes_ipv4_as_well() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").replacing(ANY, "address = [\"[::]:0\", \"[::1]:0\"]");
        let sidecar = plan.before(&origin).start().await;
        let shake = Shake::trusting(&sidecar.file("certs/ca.crt"));
        let serving = sidecar.logged("it serves", |line| line["message"] == "serving").await;
        let addresses = serving["addresses"].as_str().unwrap().to_owned();
        let port = sidecar.address.port();

        for (address, peer) in [
            (format!("127.0.0.1:{port}"), "127.0.0.1"),
            (format!("[::1]:{port}"), "::1"),
            (addresses.split(' ').nth(1).unwrap().to_owned(), "::1"),
        ] {
            let answer = shake.get(address.parse().unwrap(), "localhost").await;
            assert_eq!(status(&answer), 200, "{address}: {answer}");
            assert_eq!(origin.last().header("x-forwarded-for"), Some(peer), "{address}");
        }
    });
}

#[test]
fn a_unix_socket_serves_tls_beside_tcp_and_is_gone_after_a_stop() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").listen("socket_mode = \"0600\"");
        let plan = plan.replacing(ANY, "address = [\"127.0.0.1:0\", \"unix:weir.sock\"]");
        let home = plan.before(&origin).furnish();
        let path = home.path().join("weir.sock");
        // Left behind by a process that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let mut sidecar = home.start().await;

        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let shake = Shake::trusting(&sidecar.file("certs/ca.crt"));
        let mut stream = shake.over(UnixStream::connect(&path).await.unwrap()).await.unwrap();
        assert_eq!(status(&get(&mut stream, "localhost").await), 200);
        let seen = origin.last();
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
        assert_eq!(sidecar.client.get("/x").send().await.status, 200, "and over TCP");
        drop(stream);

        sidecar.signal("TERM");
        assert_eq!(sidecar.running.ended().await, Some(0));
        assert!(!path.exists());
    });
}

#[test]
fn a_living_unix_socket_is_not_taken_and_is_named() {
    run(async {
        let plan = Sidecar::with("").replacing(ANY, "address = \"unix:weir.sock\"");
        let home = plan.furnish();
        let path = home.path().join("weir.sock");
        let living = UnixListener::bind(&path).unwrap();

        let mut command = weir();
        command.current_dir(home.path()).arg("run");
        let printed = tokio::task::spawn_blocking(move || Printed::from(command.output().unwrap()));
        let printed = soon("it refuses to start", printed).await.unwrap();

        assert_eq!(printed.code, Some(1), "{printed:?}");
        assert!(
            printed.err.contains("weir.sock") && printed.err.contains("listens"),
            "{printed:?}"
        );
        assert!(!home.path().join("data").exists(), "the store was not touched");
        let connected = UnixStream::connect(&path).await.unwrap();
        let (_theirs, _) = living.accept().await.unwrap();
        drop(connected);
    });
}

#[test]
fn nobody_is_let_in_while_the_start_waits_for_a_redis_that_does_not_answer() {
    run(async {
        // It accepts, and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = format!("[store]\nurl = \"redis://{}\"\n", silent.local_addr().unwrap());
        let plan = Sidecar::with(&store);
        let plan = plan.replacing(ANY, "address = [\"127.0.0.1:0\", \"unix:weir.sock\"]");
        let home = plan.furnish();
        let path = home.path().join("weir.sock");
        let claimed = home.path().join("weir.sock~");
        let running = Running::spawn(&home);
        let (_line, _) = soon("the start asks Redis", silent.accept()).await.unwrap();
        // On a busy machine we may come too late to see it wait.
        let seen = (path.exists(), claimed.exists());
        let waits = !running.lines().iter().any(|line| line.contains("\"serving\""));
        assert!(!waits || seen == (false, true), "{seen:?}");

        until("it goes on without", || path.exists().then_some(())).await;
        let shake = Shake::trusting(&home.path().join("certs/ca.crt"));
        let mut stream = shake.over(UnixStream::connect(&path).await.unwrap()).await.unwrap();
        assert_eq!(status(&get(&mut stream, "localhost").await), 502, "nothing is behind it");
        assert!(!claimed.exists());
    });
}

#[test]
fn plaintext_is_served_only_when_the_policy_says_so_and_speaks_both_protocols() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").replacing(PAIR, "plaintext = true");
        let sidecar = plan.before(&origin).start().await;
        let client = Client::plain(sidecar.address);

        assert_eq!(client.get("/x").send().await.status, 200);
        assert_eq!(origin.last().header("x-forwarded-proto"), Some("http"));
        assert_eq!(client.get("/x").send_h2().await.status, 200, "HTTP/2 by prior knowledge");
        let mut tcp = TcpStream::connect(sidecar.address).await.unwrap();
        // Byte by byte, and with the beginning of the preface of HTTP/2.
        tcp.set_nodelay(true).unwrap();
        for byte in b"PR" {
            tcp.write_all(&[*byte]).await.unwrap();
        }
        let answer = ask(&mut tcp, "OPFIND /y HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert_eq!(origin.last().method.as_str(), "PROPFIND");
    });
}

#[test]
fn without_a_certificate_the_cure_is_named_and_both_at_once_are_an_error() {
    let neither = checked(Sidecar::with("").replacing(PAIR, ""));
    assert_eq!(neither.code, Some(1));
    for part in ["has no certificate", "plaintext = true", "weir cert dev", "policy.toml:2:"] {
        assert!(neither.out.contains(part), "{part}: {}", neither.out);
    }
    let both = checked(Sidecar::with("").listen("plaintext = true"));
    assert_eq!(both.code, Some(1));
    assert!(both.out.contains("both plaintext and TLS"), "{}", both.out);
    let only = checked(Sidecar::with("").replacing(PAIR, "plaintext = true"));
    assert_eq!(only.code, Some(0), "{}", only.out);
}

#[test]
fn plain_http_is_sent_on_to_https_and_nothing_else_happens_there() {
    run(async {
        let origin = Origin::start().await;
        let lines = "redirect = \"127.0.0.1:0\"\nredirect_port = 443\nheader_timeout = \"3s\"";
        let sidecar = Sidecar::with("").listen(lines).before(&origin).start().await;
        let serving = sidecar.logged("it serves", |line| line["message"] == "serving").await;
        let address: std::net::SocketAddr = serving["redirect"].as_str().unwrap().parse().unwrap();
        let over = |request: &'static str| async move {
            let mut tcp = TcpStream::connect(address).await.unwrap();
            let answer = ask(&mut tcp, request).await;
            let mut rest = Vec::new();
            drop(soon("it closes", tcp.read_to_end(&mut rest)).await);
            answer
        };

        let answer = over("POST /a/b?c=d HTTP/1.1\r\nhost: shop.example:80\r\n\r\n").await;
        assert_eq!(status(&answer), 308, "{answer}");
        assert!(answer.contains("\r\nlocation: https://shop.example/a/b?c=d\r\n"), "{answer}");
        for wrong in [
            "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a/#@b\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
        ] {
            assert_eq!(status(&over(wrong).await), 400, "{wrong}");
        }
        let slow = over("GET / HTTP/1.1\r\nhost:").await;
        assert_ne!(status(&slow), 308, "it was ended: {slow}");
        assert_eq!(origin.seen().len(), 0);
    });
}
