//! What becomes of requests that a killed process had in flight, with a store in a directory.

use serde_json::Value;

use crate::{
    harness::{run, until_async},
    origin::Origin,
    plan::Plan,
    sidecar::Sidecar,
};

/// What a request costs.
const COST: u64 = 20_000_000;

fn plan(store: &str) -> Plan {
    Sidecar::with(&format!(
        r#"
        [[identity]]
        from = "path"
        pattern = "/u/{{id}}/**"
        parameter = "id"
        tier = "free"
        [operations.chat]
        routes = ["* /**"]
        cost = "$0.02"
        [tiers.free]
        quotas = {{ chat = "3/hour" }}
        budget = {{ month = "$1" }}
        concurrency = 1
        [store]
        {store}
        "#
    ))
}

/// A process that was killed when one request was settled and another had streamed a little; and its successor.
async fn killed_in_the_middle(origin: &Origin, store: &str) -> Sidecar {
    let sidecar = plan(store).before(origin).start().await;
    assert_eq!(sidecar.client.get("/u/a/x").send().await.status, 200);
    let pieces = origin.paces("/u/a/stream");
    let mut connection = sidecar.client.h1().await;
    let asking = sidecar.client.get("/u/a/stream").open(&mut connection);
    let first = async { pieces.send("data: 1\n\n".into()).await.unwrap() };
    let (mut answer, ()) = tokio::join!(asking, first);
    assert_eq!(answer.text().await, "data: 1\n\n");
    assert_eq!(books(&sidecar).await, ((2 * COST, COST), 2));
    sidecar.signal("KILL");
    sidecar.restart().await
}

/// Money used and held, and requests used.
async fn books(sidecar: &Sidecar) -> ((u64, u64), u64) {
    let usage = sidecar.operator("/admin/v1/usage").send().await.json();
    let counters = usage["subjects"][0]["counters"].as_array().cloned().unwrap_or_default();
    let of = |unit: &str| -> Value {
        counters.iter().find(|counter| counter["unit"] == unit).cloned().unwrap_or_default()
    };
    let number = |value: &Value| value.as_u64().unwrap();
    let money = of("nano_usd");
    ((number(&money["used"]), number(&money["held"])), number(&of("requests")["used"]))
}

#[test]
fn what_is_released_stays_held_for_the_lease() {
    run(async {
        let origin = Origin::start().await;
        let sidecar =
            killed_in_the_middle(&origin, "on_expired = \"release\"\nlease = \"60s\"").await;
        assert_eq!(books(&sidecar).await, ((2 * COST, COST), 2));
        // Its place is free: nothing of it is in flight. What it holds is not.
        assert_eq!(sidecar.client.get("/u/a/x").send().await.status, 200);
        assert_eq!(sidecar.client.get("/u/a/x").send().await.status, 429);
        let sidecar = {
            sidecar.signal("KILL");
            sidecar.restart().await
        };
        assert_eq!(books(&sidecar).await, ((3 * COST, COST), 3), "a second crash changes nothing");
    });
}

#[test]
fn what_is_released_comes_back_when_the_lease_ends_and_once() {
    run(async {
        let origin = Origin::start().await;
        let sidecar =
            killed_in_the_middle(&origin, "on_expired = \"release\"\nlease = \"1s\"").await;
        until_async("what was in flight is given back", || async {
            (books(&sidecar).await == ((COST, 0), 1)).then_some(())
        })
        .await;
        for status in [200, 200, 429] {
            assert_eq!(sidecar.client.get("/u/a/x").send().await.status.as_u16(), status);
        }
        sidecar.signal("KILL");
        let sidecar = sidecar.restart().await;
        assert_eq!(books(&sidecar).await, ((3 * COST, 0), 3), "what was settled stays");
        assert_eq!(sidecar.client.get("/u/a/x").send().await.status, 429);
    });
}

#[test]
fn what_is_charged_is_spent_from_the_restart_on() {
    run(async {
        let origin = Origin::start().await;
        let sidecar =
            killed_in_the_middle(&origin, "on_expired = \"charge\"\nlease = \"1s\"").await;
        assert_eq!(books(&sidecar).await, ((2 * COST, 0), 2));
        for status in [200, 429] {
            assert_eq!(sidecar.client.get("/u/a/x").send().await.status.as_u16(), status);
        }
        assert_eq!(books(&sidecar).await, ((3 * COST, 0), 3));
    });
}
