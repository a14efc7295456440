//! What a killed process may forget: nothing.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::{
    harness::{run, until},
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
};

fn plan() -> Plan {
    Sidecar::with(
        r#"
        [[identity]]
        from = "path"
        pattern = "/u/{id}/**"
        parameter = "id"
        tier = "free"
        [operations.few]
        routes = ["* /u/{id}/few"]
        [operations.many]
        routes = ["* /**"]
        cost = "$0.001"
        [tiers.free]
        quotas = { few = "3/hour", many = "100000/hour" }
        budget = { day = "$1000" }
        "#,
    )
}

#[test]
fn a_process_that_is_killed_under_load_forgets_nothing() {
    run(async {
        let origin = Origin::start().await;
        let mut sidecar = plan().before(&origin).start().await;
        for _ in 0..3 {
            assert_eq!(sidecar.client.get("/u/a/few").send().await.status, 200);
        }
        assert_eq!(sidecar.client.get("/u/a/few").send().await.status, 429);
        let admitted = Arc::new(AtomicUsize::new(0));

        for round in 1..=3_usize {
            let mut clients = tokio::task::JoinSet::new();
            for _ in 0..4 {
                let (client, admitted) = (sidecar.client.clone(), Arc::clone(&admitted));
                clients.spawn(async move {
                    let mut connection = client.h1().await;
                    while let Ok(answer) = client.get("/u/b/x").try_open(&mut connection).await {
                        assert_eq!(answer.status, 200);
                        admitted.fetch_add(1, Relaxed);
                        if answer.whole().await.is_err() {
                            return;
                        }
                    }
                });
            }
            until("some load", || (admitted.load(Relaxed) >= round * 300).then_some(())).await;
            sidecar.signal("KILL");
            clients.join_all().await;
            sidecar = sidecar.restart().await;

            let after = sidecar.client.get("/u/b/x").send().await;
            let before = admitted.fetch_add(1, Relaxed);
            let remaining: usize = after.header("x-ratelimit-remaining").unwrap().parse().unwrap();
            let used = 100_000 - remaining;
            assert!(used > before, "round {round}: {used} counted, {before} admitted before");
            // What was cut in the middle may be counted, and a little was booked ahead.
            assert!(
                used <= before + 1 + 10_000,
                "round {round}: {used} counted, {before} admitted"
            );
            let spent: f64 = after.header("x-cost-used-today").unwrap().parse().unwrap();
            #[allow(clippy::cast_precision_loss)]
            let least = (before + 1) as f64 * 0.001;
            assert!(spent >= least - 1e-9, "round {round}: ${spent} counted, ${least} spent");
            let refused = sidecar.client.get("/u/a/few").send().await;
            assert_eq!(refused.status, 429, "round {round}: a refused caller stays refused");
        }
        assert_eq!(origin.count("/u/a/few"), 3);
    });
}

#[test]
fn a_clean_stop_keeps_the_exact_count() {
    run(async {
        let origin = Origin::start().await;
        let mut sidecar = plan().before(&origin).start().await;
        for _ in 0..20 {
            sidecar.client.get("/u/b/x").send().await;
        }

        sidecar.signal("TERM");
        assert_eq!(sidecar.running.ended().await, Some(0));
        let sidecar = sidecar.restart().await;

        let answer = sidecar.client.get("/u/b/x").send().await;
        assert_eq!(answer.header("x-ratelimit-remaining"), Some("99979"));
        assert_eq!(answer.header("x-cost-used-today"), Some("0.0210"));
    });
}
