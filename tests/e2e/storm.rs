//! A thousand edits under load.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use rand::Rng as _;

use crate::{
    harness::{run, until_async},
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
};

const EDITS: usize = 1_000;
const CLIENTS: usize = 4;
/// Edits come in bursts; between two of them the newest is looked at.
const BURST: usize = 25;
const PACE: Duration = Duration::from_millis(5);
const REST: Duration = Duration::from_millis(200);

/// One of two policies: they differ in what every answer shows.
fn policy(plan: &Plan, name: &str, amount: u32) -> String {
    plan.with(&format!(
        "[tiers.free]\nquotas = {{ \"*\" = \"{amount}/hour\" }}\n[sanitize]\nredact = []\n\
         [sanitize.add_headers]\nX-Policy = \"{name}\"\n"
    ))
    .text()
}

/// Puts `text` in force in one of the ways in which files change.
fn edit(at: &Path, text: &str, number: usize, way: u32) {
    let (file, beside) = (at.join("policy.toml"), at.join(format!("policy.{number}.new")));
    match way {
        // Written over, in two parts.
        0 => {
            drop(fs::remove_file(&file));
            fs::write(&file, &text[..text.len() / 2]).unwrap();
            fs::write(&file, text).unwrap();
        }
        // Renamed over.
        1 => {
            fs::write(&beside, text).unwrap();
            fs::rename(&beside, &file).unwrap();
        }
        // Swapped like a mounted ConfigMap.
        _ => {
            let version = format!("..version{number}");
            fs::create_dir(at.join(&version)).unwrap();
            fs::write(at.join(&version).join("policy.toml"), text).unwrap();
            symlink(Path::new(&version).join("policy.toml"), &beside).unwrap();
            fs::rename(&beside, &file).unwrap();
        }
    }
}

#[derive(Default)]
struct Tally {
    admitted: AtomicUsize,
    wrong: std::sync::Mutex<Vec<String>>,
    done: AtomicBool,
}

/// Asks until the storm is over; every answer must be by policy A or policy B.
async fn load(sidecar: Arc<Sidecar>, tally: Arc<Tally>, h2: bool) {
    let client = &sidecar.client;
    let mut connection = if h2 { client.h2().await } else { client.h1().await };
    while !tally.done.load(Relaxed) {
        let answer = client.get("/load").on(&mut connection).await;
        let shown = (answer.header("x-policy"), answer.header("x-ratelimit-limit"));
        let valid = [(Some("A"), Some("100000")), (Some("B"), Some("200000"))];
        if answer.status == 200 && valid.contains(&shown) {
            tally.admitted.fetch_add(1, Relaxed);
        } else {
            tally.wrong.lock().unwrap().push(format!("{answer:?}"));
        }
    }
}

#[test]
fn a_thousand_edits_under_load_fail_no_request_and_lose_no_count() {
    run(async {
        let origin = Origin::start().await;
        let home = Sidecar::with("").before(&origin).furnish();
        let (a, b) = (policy(&home.plan, "A", 100_000), policy(&home.plan, "B", 200_000));
        fs::write(home.path().join("policy.toml"), &a).unwrap();
        let (sidecar, tally) = (Arc::new(home.start().await), Arc::new(Tally::default()));
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(load(Arc::clone(&sidecar), Arc::clone(&tally), number % 2 == 0));
        }

        for number in 0..EDITS {
            let text = match rand::rng().next_u32() % 6 {
                0 | 1 => a.clone(),
                2 | 3 => b.clone(),
                4 => a.replace("/hour", " per hour"),
                _ => b[..rand::rng().next_u32() as usize % b.len()].to_owned(),
            };
            edit(sidecar.home.path(), &text, number, rand::rng().next_u32() % 3);
            let pause = if number % BURST == 0 { REST } else { PACE };
            tokio::time::sleep(pause).await;
        }
        // The last word is B.
        edit(sidecar.home.path(), &b, EDITS, 1);
        until_async("the last policy is in force", || async {
            let answer = sidecar.client.get("/last").send().await;
            tally.admitted.fetch_add(1, Relaxed);
            (answer.header("x-policy") == Some("B")).then_some(())
        })
        .await;
        tally.done.store(true, Relaxed);
        clients.join_all().await;

        let wrong = std::mem::take(&mut *tally.wrong.lock().unwrap());
        assert!(wrong.is_empty(), "{} answers were wrong: {:#?}", wrong.len(), wrong.first());
        let last = sidecar.client.get("/count").send().await;
        let admitted = tally.admitted.load(Relaxed) + 1;
        let remaining: usize = last.header("x-ratelimit-remaining").unwrap().parse().unwrap();
        assert_eq!(200_000 - remaining, admitted, "the count is that of the admitted requests");
        assert_eq!(origin.seen().len(), admitted);
        let applied = sidecar.metric(r#"weir_policy_reloads_total{result="applied"}"#).await;
        let rejected = sidecar.metric(r#"weir_policy_reloads_total{result="rejected"}"#).await;
        assert!(applied >= 3.0 && rejected >= 1.0, "{applied} applied, {rejected} rejected");
    });
}
