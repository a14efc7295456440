//! Starting, refusing to start, and leaving.

use std::{fs, net::TcpListener, process::Stdio};

use tokio::net::{TcpStream, UnixStream};

use crate::{
    harness::{PATIENCE, Printed, run, signal, soon, until, until_async, weir},
    keeper::Keeper,
    origin::Origin,
    plan::Home,
    shake::{Shake, get, status},
    sidecar::{Running, Sidecar},
};

/// Runs `weir run` where it should fail.
async fn refused_start(home: &Home) -> Printed {
    let mut command = weir();
    command.current_dir(home.path()).arg("run").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let (id, waiting) = (child.id(), std::thread::spawn(move || child.wait_with_output()));
    let done = crate::harness::eventually(PATIENCE, || waiting.is_finished().then_some(()));
    if done.await.is_none() {
        signal(id, "KILL");
    }
    waiting.join().unwrap().unwrap().into()
}

#[test]
fn a_log_that_nobody_reads_keeps_neither_traffic_nor_the_end() {
    run(async {
        let origin = Origin::start().await;
        let any = "address = \"127.0.0.1:0\"";
        let plan = Sidecar::with("").replacing(any, "address = \"unix:weir.sock\"");
        let home = plan.before(&origin).furnish();
        let mut command = weir();
        command.current_dir(home.path()).arg("run").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _unread = child.stderr.take();
        let path = home.path().join("weir.sock");
        until("it serves", || path.exists().then_some(())).await;
        let shake = Shake::trusting(&home.path().join("certs/ca.crt"));
        let mut stream = shake.over(UnixStream::connect(&path).await.unwrap()).await.unwrap();
        // More lines than a pipe holds.
        for _ in 0..500 {
            assert_eq!(status(&get(&mut stream, "localhost").await), 200);
        }
        drop(stream);

        signal(child.id(), "TERM");
        let code = until("it ends all the same", || child.try_wait().unwrap()).await;
        assert_eq!(code.code(), Some(0));
    });
}

#[test]
fn a_stop_lets_running_streams_finish() {
    run(async {
        let origin = Origin::start().await;
        let mut sidecar = Sidecar::with("").before(&origin).start().await;
        for (h2, path) in [(false, "/h1"), (true, "/h2")] {
            assert_eq!(sidecar.client.get(path).send().await.status, 200, "h2: {h2}");
        }
        let (one, two) = (origin.paces("/one"), origin.paces("/two"));
        let (mut h1, mut h2) = (sidecar.client.h1().await, sidecar.client.h2().await);
        let mut first = sidecar.client.get("/one").open(&mut h1).await;
        let mut second = sidecar.client.get("/two").open(&mut h2).await;
        let mut idle = sidecar.client.tls(&["http/1.1"]).await;

        sidecar.signal("TERM");

        let not_ready = || async {
            let answer = sidecar.operator("/readyz").send().await;
            (answer.status == 503).then_some(())
        };
        until_async("it is not ready any more", not_ready).await;
        assert_eq!(sidecar.operator("/livez").send().await.status, 200, "but alive");
        assert!(crate::raw::read_to_end("idle", &mut idle).await.is_empty());
        for (feed, answer) in [(one, &mut first), (two, &mut second)] {
            for number in 0..3 {
                let event = format!("data: {number}\n\n");
                feed.send(event.clone().into()).await.unwrap();
                assert_eq!(answer.text().await, event);
            }
            drop(feed);
            assert!(answer.next().await.is_none(), "the stream ended well");
        }
        assert_eq!(sidecar.running.ended().await, Some(0));
        let stopped = sidecar.log().into_iter().find(|line| line["message"] == "stopped");
        assert_eq!(stopped.unwrap()["cut"], 0);
    });
}

#[test]
fn a_stop_refuses_new_connections_while_old_ones_finish() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;
        let _feed = origin.paces("/stream");
        let mut connection = sidecar.client.h1().await;
        let _answer = sidecar.client.get("/stream").open(&mut connection).await;

        sidecar.signal("TERM");

        let refused = || async { TcpStream::connect(sidecar.address).await.is_err().then_some(()) };
        until_async("new connections are refused", refused).await;
    });
}

#[test]
fn a_stream_that_does_not_end_is_cut_after_the_drain_timeout() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").listen("drain_timeout = \"1s\"");
        let mut sidecar = plan.before(&origin).start().await;
        let feed = origin.paces("/endless");
        let mut connection = sidecar.client.h1().await;
        let mut answer = sidecar.client.get("/endless").open(&mut connection).await;

        sidecar.signal("TERM");

        assert!(matches!(answer.next().await, Some(Err(_))), "cut, not ended");
        assert_eq!(sidecar.running.ended().await, Some(0));
        drop(feed);
    });
}

#[test]
fn a_second_signal_ends_it_at_once() {
    run(async {
        let origin = Origin::start().await;
        let mut sidecar = Sidecar::with("").before(&origin).start().await;
        let _feed = origin.paces("/endless");
        let mut connection = sidecar.client.h1().await;
        let _answer = sidecar.client.get("/endless").open(&mut connection).await;

        sidecar.signal("INT");
        sidecar.logged("it drains", |line| line["message"] == "draining").await;
        sidecar.signal("INT");

        assert_eq!(sidecar.running.ended().await, Some(0));
    });
}

#[test]
fn an_operator_can_drain_it_with_the_token() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with("").admin("token = \"${WEIR_ADMIN_TOKEN}\"");
        let plan = plan.environment("WEIR_ADMIN_TOKEN", "operator-token");
        let mut sidecar = plan.before(&origin).start().await;
        let admin = sidecar.admin.to_string();
        let drain = |token: &str| {
            let mut command = weir();
            command.args(["drain", "--admin", &admin]).env("WEIR_ADMIN_TOKEN", token);
            Printed::from(command.output().unwrap())
        };

        let wrong = drain("wrong");
        assert_eq!(wrong.code, Some(1), "{wrong:?}");
        assert_eq!(sidecar.client.get("/").send().await.status, 200);
        let right = drain("operator-token");
        assert_eq!(right.code, Some(0), "{right:?}");
        assert_eq!(sidecar.running.ended().await, Some(0));
    });
}

#[test]
fn a_taken_port_is_named() {
    run(async {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        for table in ["[listen]", "[admin]"] {
            let home = Sidecar::with("").furnish();
            let free = format!("{table}\naddress = \"127.0.0.1:0\"");
            let text =
                home.plan.text().replace(&free, &format!("{table}\naddress = \"{address}\""));
            fs::write(home.path().join("policy.toml"), text).unwrap();

            let printed = refused_start(&home).await;

            assert_eq!(printed.code, Some(1), "{printed:?}");
            assert!(printed.err.contains(&address.to_string()), "{}", printed.err);
            assert!(printed.err.contains("in use"), "{}", printed.err);
            assert!(!home.path().join("data").exists(), "the store was not touched");
        }
    });
}

#[test]
fn a_second_process_on_one_store_is_refused_and_harms_nothing() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with("").before(&origin).start().await;

        let printed = refused_start(&sidecar.home).await;

        assert_eq!(printed.code, Some(1), "{printed:?}");
        assert!(printed.err.contains("store"), "{}", printed.err);
        assert!(printed.err.contains("data"), "it says where: {}", printed.err);
        assert_eq!(sidecar.client.get("/").send().await.status, 200);
    });
}

#[test]
fn a_wrong_policy_is_told_in_full_and_nothing_is_bound() {
    run(async {
        let home = Sidecar::with("[tiers.free]\nquotas = { \"*\" = \"3 per hour\" }\n")
            .listen("colour = \"red\"")
            .furnish();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let text = home.plan.text().replacen("127.0.0.1:0", &port.to_string(), 1);
        fs::write(home.path().join("policy.toml"), text).unwrap();

        let printed = refused_start(&home).await;

        assert_eq!(printed.code, Some(1), "{printed:?}");
        for problem in ["colour", "3 per hour", "policy.toml:7:", "policy.toml:15:"] {
            assert!(printed.err.contains(problem), "{problem} is not in {}", printed.err);
        }
        assert!(!printed.err.contains("serving"));
        assert!(!home.path().join("data").exists());
    });
}

#[test]
fn what_is_missing_is_named() {
    run(async {
        for (remove, named) in [
            ("policy.toml", "policy.toml"),
            ("certs/server.crt", "server.crt"),
            ("certs/server.key", "server.key"),
            ("keys.toml", "weir keys new"),
        ] {
            let home = Sidecar::with("[[identity]]\nfrom = \"api_key\"\n").furnish();
            fs::remove_file(home.path().join(remove)).unwrap();

            let printed = refused_start(&home).await;

            assert_eq!(printed.code, Some(1), "{remove}: {printed:?}");
            assert!(printed.err.contains(named), "{remove}: {}", printed.err);
        }
    });
}

#[test]
fn a_redis_that_refuses_us_keeps_the_proxy_from_starting_and_no_password_is_shown() {
    run(async {
        let keeper = Keeper::start().await;
        let home = Sidecar::with("[store]\nurl = \"${REDIS_URL}\"\n").furnish();
        let mut command = weir();
        command.current_dir(home.path()).arg("run");
        command.env("REDIS_URL", format!("redis://weir:canary-password@{}", keeper.address));

        let printed = Printed::from(command.output().unwrap());

        assert_eq!(printed.code, Some(1));
        assert!(printed.err.contains("WRONGPASS"), "{printed:?}");
        assert!(!printed.err.contains("canary"), "{printed:?}");
    });
}

#[test]
fn a_process_that_is_told_to_stop_while_it_starts_stops() {
    run(async {
        let origin = Origin::start().await;
        let home = Sidecar::with("").before(&origin).furnish();
        let mut running = Running::spawn(&home);
        until("it serves", || running.lines().iter().any(|l| l.contains("serving")).then_some(()))
            .await;

        signal(running.id(), "TERM");

        assert_eq!(soon("the end", running.ended()).await, Some(0));
    });
}
