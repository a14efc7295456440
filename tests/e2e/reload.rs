//! Changes of the policy while requests are served.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    client::Answer,
    harness::{SECOND, run, until, until_async},
    origin::Origin,
    sidecar::Sidecar,
};

const APPLIED: &str = r#"weir_policy_reloads_total{result="applied"}"#;
const REJECTED: &str = r#"weir_policy_reloads_total{result="rejected"}"#;

fn hourly(amount: u32) -> String {
    format!("[tiers.free]\nquotas = {{ \"*\" = \"{amount}/hour\" }}\n")
}

async fn ask(sidecar: &Sidecar) -> Answer {
    sidecar.client.get("/x").send().await
}

/// Waits for an answer that `is` accepts; how long that took.
async fn answered(sidecar: &Sidecar, what: &str, is: impl Fn(&Answer) -> bool) -> Duration {
    let began = Instant::now();
    let look = || async {
        let answer = ask(sidecar).await;
        is(&answer).then_some(())
    };
    until_async(what, look).await;
    began.elapsed()
}

#[test]
fn a_raised_limit_lets_a_refused_caller_in_within_a_second_and_keeps_the_count() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(&hourly(3)).before(&origin).start().await;
        for _ in 0..3 {
            assert_eq!(ask(&sidecar).await.status, 200);
        }
        assert_eq!(ask(&sidecar).await.status, 429);

        sidecar.edit(&hourly(1_000));
        let raised = answered(&sidecar, "the raised limit", |answer| answer.status == 200).await;
        let next = ask(&sidecar).await;
        assert_eq!(next.header("x-ratelimit-limit"), Some("1000"));
        assert_eq!(next.header("x-ratelimit-remaining"), Some("995"), "3 before and 2 since");

        sidecar.edit(&hourly(5));
        let lowered = answered(&sidecar, "the lowered limit", |answer| answer.status == 429).await;
        assert_eq!(ask(&sidecar).await.header("x-ratelimit-limit"), Some("5"));
        // A machine that is busy with other tests may be late once.
        sidecar.edit(&hourly(2_000));
        let again = answered(&sidecar, "the limit of before", |answer| answer.status == 200).await;
        let quickest = raised.min(lowered).min(again);
        assert!(quickest < SECOND, "after {raised:?}, {lowered:?} and {again:?}");
    });
}

#[test]
fn an_edit_is_seen_beside_a_log_that_never_rests() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(&hourly(1_000)).before(&origin).start().await;
        let (path, done) = (sidecar.file("access.log"), Arc::new(AtomicBool::new(false)));
        let stop = Arc::clone(&done);
        let writer = tokio::task::spawn_blocking(move || {
            let mut log = fs::File::create(path).unwrap();
            for _ in 0..1_000_000 {
                log.write_all(b"a line\n").unwrap();
                if stop.load(Relaxed) {
                    break;
                }
            }
        });

        for limit in [2_000, 3_000, 4_000] {
            sidecar.edit(&hourly(limit));
            let limit = limit.to_string();
            answered(&sidecar, "the edit", |answer| {
                answer.header("x-ratelimit-limit") == Some(&limit)
            })
            .await;
        }

        done.store(true, Relaxed);
        writer.await.unwrap();
        assert_eq!(sidecar.metric(APPLIED).await, 3.0);
    });
}

#[test]
fn a_broken_file_keeps_the_running_policy_and_is_told_once() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(&hourly(1_000)).before(&origin).start().await;
        let good = fs::read_to_string(sidecar.file("policy.toml")).unwrap();
        let rejections = || {
            let is = |line: &&Value| line["level"] == "ERROR" && line["problems"].is_string();
            sidecar.log().iter().filter(is).count()
        };

        for (count, broken) in [
            (1.0, good.replace("1000/hour", "1000 per hour")),
            (2.0, String::new()),
            (3.0, good[..good.len() / 2].to_owned()),
            (4.0, good.replace("[tiers.free]", "[tires.free]")),
            (5.0, format!("{good}\u{0}")),
        ] {
            sidecar.write_policy(&broken);
            sidecar.metric_is(REJECTED, count).await;
            let answer = ask(&sidecar).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("x-ratelimit-limit")),
                (200, Some("1000"))
            );
        }
        assert_eq!(sidecar.metric(APPLIED).await, 0.0, "the start counts in neither");
        until("each is told", || (rejections() >= 5).then_some(())).await;
        let first = sidecar.logged("the problem", |line| line["problems"].is_string()).await;
        let problems = first["problems"].as_str().unwrap();
        assert!(
            problems.contains("policy.toml:15:") && problems.contains("tiers.free.quotas"),
            "{problems}"
        );

        let page = sidecar.operator("/").send().await.text();
        assert!(page.contains("rejected"), "{page}");
        let health = sidecar.operator("/api/health").send().await.json();
        assert_eq!(health["services"]["policy"], "rejected");

        sidecar.write_policy(&good);
        sidecar.metric_is(APPLIED, 1.0).await;
        assert_eq!(sidecar.metric(REJECTED).await, 5.0);
        assert_eq!(rejections(), 5, "each is told once");
        let health = sidecar.operator("/api/health").send().await.json();
        assert_eq!(health["services"]["policy"], "operational");
        assert!(!sidecar.operator("/").send().await.text().contains("rejected"));
    });
}

#[test]
fn a_file_that_vanishes_changes_nothing_until_it_is_back() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(&hourly(1_000)).before(&origin).start().await;
        let moved = sidecar.file("policy.away");

        fs::rename(sidecar.file("policy.toml"), &moved).unwrap();
        sidecar.metric_is(REJECTED, 1.0).await;
        assert_eq!(ask(&sidecar).await.status, 200);

        fs::rename(&moved, sidecar.file("policy.toml")).unwrap();
        sidecar.metric_is(APPLIED, 1.0).await;
    });
}

#[test]
fn equal_bytes_change_nothing() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(&hourly(1_000)).before(&origin).start().await;
        let text = fs::read_to_string(sidecar.file("policy.toml")).unwrap();

        sidecar.write_policy(&text);
        // A later change shows that the earlier one was looked at.
        sidecar.edit(&hourly(2_000));

        answered(&sidecar, "the change", |a| a.header("x-ratelimit-limit") == Some("2000")).await;
        assert_eq!(sidecar.metric(APPLIED).await, 1.0);
        let generation = sidecar.record(&ask(&sidecar).await).await["policy_generation"].clone();
        assert_eq!(generation, 2);
    });
}

#[test]
fn a_change_right_after_the_start_is_not_missed() {
    run(async {
        let origin = Origin::start().await;
        // Whether it is missed is a matter of luck: ten times the same.
        for _ in 0..10 {
            let sidecar = Sidecar::with(&hourly(1_000)).before(&origin).start().await;
            sidecar.edit(&hourly(2_000));
            let is = |answer: &Answer| answer.header("x-ratelimit-limit") == Some("2000");
            answered(&sidecar, "the change", is).await;
        }
    });
}

#[test]
fn a_change_that_keeps_size_and_time_of_the_file_is_a_change() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(&hourly(1_000)).before(&origin).start().await;
        let file = sidecar.file("policy.toml");
        // Seen once, so that what follows is no matter of the start.
        sidecar.edit(&hourly(2_000));
        answered(&sidecar, "the first", |a| a.header("x-ratelimit-limit") == Some("2000")).await;

        // As after `cp --preserve`, `rsync --times` or in an image whose files have one date.
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        let beside = sidecar.file("beside");
        fs::write(&beside, sidecar.home.plan.with(&hourly(3_000)).text()).unwrap();
        fs::File::options().write(true).open(&beside).unwrap().set_modified(time).unwrap();
        fs::rename(&beside, &file).unwrap();

        answered(&sidecar, "the second", |a| a.header("x-ratelimit-limit") == Some("3000")).await;
    });
}

#[test]
fn a_mounted_configuration_that_swaps_its_symlink_is_followed() {
    run(async {
        let origin = Origin::start().await;
        let home = Sidecar::with(&hourly(1_000)).before(&origin).furnish();
        let (at, text) = (home.path().to_owned(), home.plan.text());
        // As Kubernetes does it: policy.toml -> ..data/policy.toml, ..data -> ..version
        let version = |name: &str, text: &str| {
            fs::create_dir(at.join(name)).unwrap();
            fs::write(at.join(name).join("policy.toml"), text).unwrap();
            symlink(name, at.join("..data_tmp")).unwrap();
            fs::rename(at.join("..data_tmp"), at.join("..data")).unwrap();
        };
        version("..1", &text);
        fs::remove_file(at.join("policy.toml")).unwrap();
        symlink("..data/policy.toml", at.join("policy.toml")).unwrap();
        let sidecar = home.start().await;

        for (name, amount) in [("..2", "2000"), ("..3", "3000")] {
            version(name, &text.replace("1000/hour", &format!("{amount}/hour")));
            let is = |answer: &Answer| answer.header("x-ratelimit-limit") == Some(amount);
            answered(&sidecar, name, is).await;
        }
        assert_eq!(sidecar.metric(REJECTED).await, 0.0);
    });
}

#[test]
fn sighup_makes_it_look() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(&hourly(1_000)).before(&origin).start().await;

        sidecar.edit(&hourly(2_000));
        sidecar.signal("HUP");

        answered(&sidecar, "the change", |a| a.header("x-ratelimit-limit") == Some("2000")).await;
        assert_eq!(sidecar.metric(APPLIED).await, 1.0);
    });
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_applied() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = Sidecar::with(&hourly(1_000)).before(&origin).start().await;
        let plan = sidecar.home.plan.with(&hourly(2_000)).listen("max_connections = 7");

        sidecar.write_policy(&plan.text());

        answered(&sidecar, "the change", |a| a.header("x-ratelimit-limit") == Some("2000")).await;
        let is = |line: &Value| line["message"] == "these tables take effect at the next start";
        let line = sidecar.logged("the hint", is).await;
        assert!(line["tables"].to_string().contains("listen"), "{line}");
    });
}

#[test]
fn a_stream_that_runs_keeps_its_policy() {
    run(async {
        let origin = Origin::start().await;
        let rule = |replace: &str| {
            format!(
                "[sanitize]\nredact = []\n[[sanitize.rule]]\nname = \"e\"\npattern = 'EMP-\\d{{6}}'\n\
                 replace = \"{replace}\"\n"
            )
        };
        let sidecar = Sidecar::with(&rule("[old]")).before(&origin).start().await;
        let feed = origin.paces("/stream");
        let mut connection = sidecar.client.h1().await;
        let mut answer = sidecar.client.get("/stream").open(&mut connection).await;
        feed.send("EMP-123456 \n".into()).await.unwrap();
        assert_eq!(answer.text().await, "[old] \n");

        sidecar.edit(&rule("[new]"));
        sidecar.metric_is(APPLIED, 1.0).await;
        feed.send("EMP-123456 \n".into()).await.unwrap();

        assert_eq!(answer.text().await, "[old] \n");
        drop(feed);
        origin.answers("/after", 200, &[("content-type", "text/plain")], "EMP-123456 ");
        assert_eq!(sidecar.client.get("/after").send().await.text(), "[new] ");
    });
}
