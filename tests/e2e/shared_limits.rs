//! Limits that several processes share over one Redis: never passed, whoever asks and whoever dies.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use weir::{
    clock::Clock,
    ledger::{Redis, Store as _},
    policy::{
        compile::{OnExpired, RedisSettings},
        limit::Unit,
        redis_url::RedisUrl,
    },
    units::Percent,
};

use crate::{
    harness::{run, signal, until_async},
    keeper::Keeper,
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
};

const PROCESSES: usize = 5;
const RUSH: usize = 500;
/// What requests cost, in nano-dollars.
const PLAN: u64 = 20_000_000;
const OTHER: u64 = 5_000_000;
/// Half a dollar.
const DAY: u64 = 500_000_000;

fn plan(keeper: &Keeper, store: &str, tier: &str) -> Plan {
    Sidecar::with(&format!(
        r#"
        [[identity]]
        from = "path"
        pattern = "/u/{{id}}/**"
        parameter = "id"
        tier = "free"
        [operations.plan]
        routes = ["* /u/{{id}}/plan"]
        cost = "$0.02"
        [operations.other]
        routes = ["* /**"]
        cost = "$0.005"
        [tiers.free]
        {tier}
        [store]
        url = "redis://{}"
        deadline = "10s"
        {store}
        "#,
        keeper.address
    ))
}

/// What Redis says that the subject has spent.
async fn spent(keeper: &Keeper, subject: &str) -> u64 {
    let store = Redis::open(&RedisSettings {
        url: RedisUrl::parse(&format!("redis://{}", keeper.address)).unwrap(),
        deadline: Duration::from_secs(10),
        max_wait: Duration::from_secs(10),
        lease: Duration::from_secs(10),
        share: Percent::whole(0),
        on_expired: OnExpired::Charge,
        ca: None,
        own: None,
    });
    let usage = store.unwrap().usage(subject, Clock::System.now()).await.unwrap();
    usage.iter().filter(|usage| usage.unit == Unit::NanoUsd).map(|usage| usage.used).sum()
}

fn served(origin: &Origin) -> (u64, u64) {
    let plans = origin.count("/u/a/plan") as u64;
    (plans, plans * PLAN + origin.count("/u/a/other") as u64 * OTHER)
}

#[test]
fn five_processes_share_half_a_dollar_a_day_and_eight_plans_an_hour() {
    run(async {
        let (origin, keeper) = (Origin::start().await, Keeper::start().await);
        let tier =
            "quotas = { plan = \"8/hour\", other = \"1000/hour\" }\nbudget = { day = \"$0.50\" }";
        let mut sidecars = Vec::new();
        for _ in 0..PROCESSES {
            sidecars.push(plan(&keeper, "", tier).before(&origin).start().await);
        }

        let (mut rush, mut connections) = (JoinSet::new(), Vec::new());
        for sidecar in &sidecars {
            let connection = sidecar.client.h2().await;
            for index in 0..RUSH / PROCESSES {
                let ask =
                    sidecar.client.get(if index % 2 == 0 { "/u/a/plan" } else { "/u/a/other" });
                let mut forked = connection.fork();
                rush.spawn(async move { ask.on(&mut forked).await });
            }
            // Dropped, it would be closed under those who are on it.
            connections.push(connection);
        }
        while let Some(answer) = rush.join_next().await {
            let status = answer.unwrap().status;
            assert!([200, 402, 429].contains(&status.as_u16()), "{status}");
        }

        let (plans, cost) = served(&origin);
        assert!(plans <= 8 && cost <= DAY, "{plans} plans, {cost} nano-dollars");
        // Whoever was refused while another process had the rest in hand is let in a little later.
        until_async("the day's money is spent, to the last nano-dollar", || async {
            for sidecar in &sidecars {
                sidecar.client.get("/u/a/other").send().await;
            }
            let (_, cost) = served(&origin);
            assert!(cost <= DAY, "{cost} nano-dollars");
            (cost == DAY).then_some(())
        })
        .await;
        until_async("Redis knows what was served", || async {
            (spent(&keeper, "path:a").await == DAY).then_some(())
        })
        .await;
        assert!(served(&origin).0 <= 8);
    });
}

#[test]
fn a_process_that_is_killed_in_the_middle_gives_its_place_back_within_the_lease() {
    run(async {
        let (origin, keeper) = (Origin::start().await, Keeper::start().await);
        let tier =
            "quotas = { other = \"1000/hour\" }\nbudget = { day = \"$10\" }\nconcurrency = 1";
        let store = "lease = \"3s\"";
        let (first, second) = (
            plan(&keeper, store, tier).before(&origin).start().await,
            plan(&keeper, store, tier).before(&origin).start().await,
        );
        let _stream = origin.paces("/u/a/stream");
        let mut connection = first.client.h1().await;
        let open = first.client.get("/u/a/stream").try_open(&mut connection).await.unwrap();
        assert_eq!(open.status, 200);
        // Renewed for longer than its lease: the place is taken for as long as the stream runs.
        for _ in 0..15 {
            let refused = second.client.get("/u/a/other").send().await;
            assert_eq!(refused.refusal(), (429, "too_many_concurrent".to_owned()));
            tokio::time::sleep(Duration::from_millis(300)).await;
        }

        signal(first.running.id(), "KILL");

        until_async("the place is free", || async {
            let answer = second.client.get("/u/a/other").send().await;
            (answer.status == 200).then_some(())
        })
        .await;
        until_async("the stream that was cut is charged, and the answer is", || async {
            (spent(&keeper, "path:a").await == 2 * OTHER).then_some(())
        })
        .await;
    });
}

#[test]
fn far_from_every_limit_redis_is_rarely_asked_and_a_clean_stop_gives_back_the_rest() {
    run(async {
        let (origin, keeper) = (Origin::start().await, Keeper::start().await);
        let tier = "quotas = { other = \"1000000/hour\" }\nbudget = { day = \"$10000\" }";
        let mut sidecar = plan(&keeper, "", tier).before(&origin).start().await;
        let mut connection = sidecar.client.h1().await;
        let began = Instant::now();
        for _ in 0..1_000 {
            let answer = sidecar.client.get("/u/a/other").on(&mut connection).await;
            assert_eq!(answer.status, 200);
        }
        sidecar.metric_is("weir_store_up{kind=\"redis\"}", 1.0).await;
        // Counted anew each second: so many requests may take less.
        let sent = until_async("the commands are counted", || async {
            let sent = sidecar.metric("weir_store_commands_total{kind=\"redis\"}").await;
            (sent > 0.0).then_some(sent)
        })
        .await;
        // One request in twenty asks, and what was spent is told a few times a second.
        let most = 50.0 + 15.0 * began.elapsed().as_secs_f64().max(1.0);
        assert!(sent < most, "{sent} commands, {most} at most");

        sidecar.signal("TERM");
        assert_eq!(sidecar.running.ended().await, Some(0));

        assert_eq!(spent(&keeper, "path:a").await, 1_000 * OTHER);
    });
}
