//! What becomes of callers, limits and books while the Redis that replicas share is away.
//!
//! Real servers and processes: three replicas, one Redis, stopped in each of the ways in which one
//! stops. Afterwards the sum in Redis is what the service says that it served, to the nano-dollar.

use std::{net::SocketAddr, time::Duration};

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
    harness::{run, until_async},
    keeper::{Keeper, Line},
    load::Load,
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
};

const REPLICAS: usize = 3;
/// What one request costs, in nano-dollars: no round number, so that sums tell.
const COST: u64 = 1_234_567;
/// What subjects `hot…` may do in an hour, and a quarter of it.
const HOT: (usize, usize) = (40, 10);

fn plan(url: &str, store: &str) -> Plan {
    Sidecar::with(&format!(
        r#"
        [[identity]]
        from = "path"
        pattern = "/u/{{id}}/**"
        parameter = "id"
        tier = "free"
        [operations.few]
        routes = ["* /u/{{id}}/few"]
        cost = "$0.001234567"
        [operations.many]
        routes = ["* /**"]
        cost = "$0.001234567"
        [tiers.free]
        quotas = {{ few = "40/hour", many = "1000000/hour" }}
        budget = {{ month = "$100000" }}
        [store]
        url = "{url}"
        deadline = "2s"
        {store}
        "#
    ))
}

struct Rig {
    origin: Origin,
    keeper: Keeper,
    line: Line,
    replicas: Vec<Sidecar>,
}

impl Rig {
    async fn start(store: &str) -> Self {
        let (origin, keeper) = (Origin::start().await, Keeper::start().await);
        let line = Line::to(keeper.address).await;
        let mut replicas = Vec::new();
        for _ in 0..REPLICAS {
            let url = format!("redis://{}", line.address);
            replicas.push(plan(&url, store).before(&origin).start().await);
        }
        Self { origin, keeper, line, replicas }
    }

    async fn each_is(&self, series: &str, wanted: f64) {
        for replica in &self.replicas {
            replica.metric_is(series, wanted).await;
        }
    }

    async fn away(&self) {
        self.each_is("weir_store_up{kind=\"redis\"}", 0.0).await;
    }

    /// Waits until every replica has its Redis again, and Redis knows everything.
    async fn returned(&self) {
        self.each_is("weir_store_up{kind=\"redis\"}", 1.0).await;
        self.each_is("weir_store_journal_depth{kind=\"redis\"}", 0.0).await;
    }

    /// What Redis says that a subject has spent.
    async fn spent(&self, subject: &str) -> u64 {
        let store = observer(self.keeper.address);
        let subject = format!("path:{subject}");
        // A machine that is busy with other tests may miss the deadline of one look.
        let usage = until_async("Redis says what is used", async || {
            store.usage(&subject, Clock::System.now()).await.ok()
        })
        .await;
        let spent = usage.iter().filter(|usage| usage.unit == Unit::NanoUsd);
        // Drawn ahead is not spent.
        spent.map(|usage| usage.used - usage.held).sum()
    }

    /// The books agree with the service, subject by subject.
    async fn agrees(&self, subjects: &[&str]) {
        for subject in subjects {
            let served = self.origin.count(&format!("/u/{subject}/")) as u64 * COST;
            until_async(&format!("Redis knows what {subject} was served"), || async {
                (self.spent(subject).await == served).then_some(())
            })
            .await;
        }
    }
}

/// The store as another replica sees it.
fn observer(address: SocketAddr) -> Redis {
    let seconds = Duration::from_secs;
    let settings = RedisSettings {
        url: RedisUrl::parse(&format!("redis://{address}")).unwrap(),
        deadline: seconds(5),
        max_wait: Duration::from_secs(10),
        lease: seconds(10),
        share: Percent::whole(0),
        on_expired: OnExpired::Charge,
        ca: None,
        own: None,
    };
    Redis::open(&settings).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Paused,
    Killed,
    Cut,
    Swallowed,
}

async fn goes(rig: &mut Rig, way: Way) {
    match way {
        Way::Paused => rig.keeper.pause(),
        Way::Killed => rig.keeper.kill(),
        Way::Cut => rig.line.cut(),
        Way::Swallowed => rig.line.swallow(),
    }
}

async fn comes(rig: &mut Rig, way: Way) {
    match way {
        Way::Paused => rig.keeper.resume(),
        Way::Killed => rig.keeper.again().await,
        Way::Cut | Way::Swallowed => rig.line.mend(),
    }
}

/// Three replicas under load lose their Redis and find it again.
async fn an_outage(way: Way) {
    let mut rig = Rig::start("").await;
    let load = Load::on(&rig.replicas, &["/u/a/x", "/u/hot/few"]);
    load.goes_on(20).await;

    goes(&mut rig, way).await;
    rig.away().await;
    load.goes_on(100).await;
    comes(&mut rig, way).await;
    rig.returned().await;
    load.goes_on(20).await;
    let told = load.ends().await;

    assert!(told.keys().all(|status| [200, 429].contains(status)), "{way:?}: {told:?}");
    let hot = rig.origin.count("/u/hot/few");
    assert!((HOT.0..=HOT.0 + REPLICAS * HOT.1).contains(&hot), "{way:?}: {hot} were served");
    rig.agrees(&["a", "hot"]).await;
    for replica in &rig.replicas {
        let local = "weir_store_fallback_decisions_total{kind=\"redis\",mode=\"local\"}";
        assert!(replica.metric(local).await > 0.0, "{way:?}");
        let said = |text: &str| {
            replica.log().iter().filter(|line| line["message"].to_string().contains(text)).count()
        };
        // Once each, not once per request; a machine that is busy with other tests may be slow to
        // answer in between.
        let (gone, back) = (said("the store does not answer"), said("the store answers again"));
        assert!((1..5).contains(&gone) && (1..5).contains(&back), "{way:?}: {gone}, {back}");
        // Of some hundred decisions hardly any waited: the first ones, for the deadline.
        let waits = "weir_store_operation_duration_seconds";
        let all = replica.metric(&format!("{waits}_count{{kind=\"redis\"}}")).await;
        let quick = replica.metric(&format!("{waits}_bucket{{le=\"0.1\",kind=\"redis\"}}")).await;
        assert!(quick > all * 0.75, "{way:?}: of {all} only {quick} did not wait");
    }
}

#[test]
fn a_paused_redis_costs_nobody_an_answer_and_nothing_is_forgotten() {
    run(an_outage(Way::Paused));
}

#[test]
fn a_killed_redis_costs_nobody_an_answer_and_nothing_is_forgotten() {
    run(an_outage(Way::Killed));
}

#[test]
fn a_cut_line_costs_nobody_an_answer_and_nothing_is_forgotten() {
    run(an_outage(Way::Cut));
}

#[test]
fn a_line_that_swallows_costs_nobody_an_answer_and_nothing_is_forgotten() {
    run(an_outage(Way::Swallowed));
}

#[test]
fn a_replica_that_is_killed_while_redis_is_away_forgets_nothing_and_gets_no_second_share() {
    run(async {
        let mut rig = Rig::start("lease = \"1s\"").await;
        let replica = rig.replicas.remove(0);
        // Soon after one another: the first asks, the others are spent from a share.
        for _ in 0..20 {
            assert_eq!(replica.client.get("/u/drawn/x").send().await.status, 200);
        }
        rig.line.cut();
        rig.away().await;
        replica.metric_is("weir_store_up{kind=\"redis\"}", 0.0).await;
        // How the share ended is written down once its time is over.
        replica.metric_is("weir_store_journal_depth{kind=\"redis\"}", 1.0).await;
        let mut served = 0;
        loop {
            let answer = replica.client.get("/u/hot/few").send().await;
            match answer.status.as_u16() {
                200 => served += 1,
                429 => {
                    assert!(answer.text().contains("your share of 40/hour"), "{}", answer.text());
                    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                    assert!((1..=10).contains(&wait), "{wait}");
                    break;
                }
                other => panic!("{other}: {}", answer.text()),
            }
        }
        assert_eq!(served, HOT.1);
        for _ in 0..30 {
            assert_eq!(replica.client.get("/u/a/x").send().await.status, 200);
        }

        replica.signal("KILL");
        let replica = replica.restart().await;
        // It starts without its Redis, and knows what it has given out.
        assert_eq!(replica.client.get("/u/hot/few").send().await.status, 429);
        assert_eq!(replica.client.get("/u/a/x").send().await.status, 200);
        rig.replicas.push(replica);

        rig.line.mend();
        rig.returned().await;
        rig.agrees(&["a", "hot", "drawn"]).await;
        assert_eq!((rig.origin.count("/u/a/"), rig.origin.count("/u/drawn/")), (31, 20));
    });
}

#[test]
fn a_policy_says_per_limit_what_holds_while_redis_is_away() {
    run(async {
        let (origin, keeper) = (Origin::start().await, Keeper::start().await);
        let line = Line::to(keeper.address).await;
        let text = r#"
            [[identity]]
            from = "path"
            pattern = "/u/{id}/**"
            parameter = "id"
            tier = "free"
            [operations.strict]
            routes = ["* /u/{id}/strict"]
            [operations.loose]
            routes = ["* /u/{id}/loose"]
            [operations.here]
            routes = ["* /u/{id}/here"]
            [operations.free]
            routes = ["* /**"]
            [tiers.free]
            on_failure = "allow"
            quotas = { strict = { limit = "8/hour", on_failure = "refuse" }, loose = "1/hour", here = { limit = "8/hour", on_failure = "local", allowance = "50%" } }
            [store]
            on_failure = "refuse"
            deadline = "2s"
            url = "redis://"#;
        let text = format!("{text}{}\"\n", line.address);
        let sidecar = Sidecar::with(&text).before(&origin).start().await;
        line.cut();
        sidecar.metric_is("weir_store_up{kind=\"redis\"}", 0.0).await;

        let refused = sidecar.client.get("/u/a/strict").send().await;
        assert_eq!(refused.refusal(), (503, "store_unavailable".to_owned()));
        assert!(refused.header("retry-after").is_some());
        for _ in 0..3 {
            assert_eq!(sidecar.client.get("/u/a/loose").send().await.status, 200);
            assert_eq!(sidecar.client.get("/u/a/free").send().await.status, 200);
        }
        for status in [200, 200, 200, 200, 429] {
            assert_eq!(sidecar.client.get("/u/a/here").send().await.status, status);
        }
        let document = sidecar.client.get("/api/health").send().await;
        assert_eq!(document.status, 200);
        assert_eq!(document.json()["status"], "degraded");
        assert_eq!(document.json()["services"]["store"], "unavailable");
        for (mode, count) in [("refuse", 1.0), ("allow", 3.0), ("local", 5.0)] {
            let series =
                format!("weir_store_fallback_decisions_total{{kind=\"redis\",mode=\"{mode}\"}}");
            sidecar.metric_is(&series, count).await;
        }

        line.mend();
        sidecar.metric_is("weir_store_up{kind=\"redis\"}", 1.0).await;
        assert_eq!(sidecar.client.get("/u/a/strict").send().await.status, 200);
        assert_eq!(sidecar.client.get("/u/a/loose").send().await.status, 200, "it was not counted");
        let here = sidecar.client.get("/u/a/here").send().await;
        assert_eq!(here.header("x-ratelimit-remaining"), Some("3"));
    });
}

#[test]
fn a_request_in_flight_when_redis_goes_is_settled_when_it_returns() {
    run(async {
        let rig = Rig::start("").await;
        let held = rig.origin.paces("/u/a/slow");
        let client = &rig.replicas[0].client;
        let mut before = client.h1().await;
        let asking = client.get("/u/a/slow").open(&mut before);
        let first = async {
            held.send("data: 1\n\n".into()).await.unwrap();
        };
        let (mut answer, ()) = tokio::join!(asking, first);
        assert_eq!(answer.text().await, "data: 1\n\n");

        rig.line.cut();
        rig.away().await;
        drop(held);
        assert!(answer.next().await.is_none());
        // One that is never sent is refunded there, by a settlement that waits.
        assert_eq!(client.get("/u/a/x").send().await.status, 200);
        rig.line.mend();
        rig.returned().await;
        rig.agrees(&["a"]).await;
    });
}

#[test]
fn a_redis_that_lost_its_books_is_noticed() {
    run(async {
        let rig = Rig::start("").await;
        let replica = &rig.replicas[0];
        assert_eq!(replica.client.get("/u/a/x").send().await.status, 200);
        assert!(rig.keeper.ask("FLUSHALL").await.starts_with("+OK"));
        replica.metric_is("weir_store_books_changed_total{kind=\"redis\"}", 1.0).await;
        let said = |line: &serde_json::Value| {
            line["message"].to_string().contains("restarted, replaced or emptied")
        };
        replica.logged("the loss is said", said).await;
        assert_eq!(replica.client.get("/u/a/x").send().await.status, 200);
    });
}
