//! The metrics page.

use crate::{
    client::Answer,
    harness::{run, soon},
    origin::Origin,
    seeing::plan,
};

#[test]
fn every_family_is_there_from_the_start() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan().before(&origin).start().await;

        let page = sidecar.operator("/metrics").send().await.text();

        for family in [
            "weir_requests_total counter",
            "weir_request_duration_seconds histogram",
            "weir_upstream_duration_seconds histogram",
            "weir_overhead_seconds histogram",
            "weir_refusals_total counter",
            "weir_cost_usd_total counter",
            "weir_budget_used_ratio gauge",
            "weir_redactions_total counter",
            "weir_policy_reloads_total counter",
            "weir_policy_info gauge",
            "weir_store_up gauge",
            "weir_store_operation_duration_seconds histogram",
            "weir_upstream_up gauge",
            "weir_upstream_connections gauge",
            "weir_connections gauge",
            "weir_tls_handshakes_total counter",
        ] {
            assert!(page.contains(&format!("# TYPE {family}\n")), "{family} is not in\n{page}");
        }
        for series in [
            r#"weir_refusals_total{operation="chat",tier="free",error_code="quota_exceeded"} 0"#,
            r#"weir_refusals_total{operation="chat",tier="stranger",error_code="forbidden"} 0"#,
            r#"weir_cost_usd_total{operation="chat",tier="free",model="none"} 0"#,
            r#"weir_redactions_total{rule="employee number"} 0"#,
            r#"weir_policy_reloads_total{result="applied"} 0"#,
            r#"weir_policy_reloads_total{result="rejected"} 0"#,
            r#"weir_upstream_duration_seconds_count{operation="chat"} 0"#,
            r#"weir_budget_used_ratio{tier="free",period="day"} 0"#,
        ] {
            assert!(page.contains(series), "{series} is not in\n{page}");
        }
        assert!(page.contains("process_start_time_seconds ") && page.contains("process_open_fds "));
    });
}

#[test]
fn metrics_speak_both_formats() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan().before(&origin).start().await;
        let ask = |accept: &str| sidecar.operator("/metrics").header("accept", accept).send();

        let new = ask("application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
        let old = ask("text/plain").await;

        let media = |answer: &Answer| answer.header("content-type").unwrap().to_owned();
        assert!(
            media(&new).starts_with("application/openmetrics-text; version=1.0.0"),
            "{}",
            media(&new)
        );
        assert!(new.text().ends_with("# EOF\n"));
        assert!(media(&old).starts_with("text/plain; version=0.0.4"), "{}", media(&old));
        assert!(!old.text().contains("# EOF"));
        assert!(new.text().contains("# TYPE weir_requests counter\n"));
        assert!(old.text().contains("# TYPE weir_requests_total counter\n"));
    });
}

#[test]
fn every_exchange_is_counted_where_the_policy_puts_it() {
    run(async {
        let origin = Origin::start().await;
        let text = [("content-type", "text/plain")];
        origin.answers("/u/u1/leak", 200, &text, "EMP-123456 EMP-654321");
        let sidecar = plan().before(&origin).start().await;

        sidecar.client.post("/u/u1/chat", "hello").send_h2().await;
        sidecar.client.get("/u/u1/leak").send().await;

        for (series, count) in [
            (
                r#"weir_requests_total{operation="chat",tier="free",method="POST",status="200"}"#,
                1.0,
            ),
            (
                r#"weir_requests_total{operation="general",tier="free",method="GET",status="200"}"#,
                1.0,
            ),
            (r#"weir_request_duration_seconds_count{operation="chat",tier="free"}"#, 1.0),
            (r#"weir_upstream_duration_seconds_count{operation="chat"}"#, 1.0),
            (r#"weir_redactions_total{rule="employee number"}"#, 2.0),
            (r#"weir_cost_usd_total{operation="chat",tier="free",model="none"}"#, 0.005),
            (r#"weir_budget_used_ratio{tier="free",period="day"}"#, 0.005),
        ] {
            sidecar.metric_is(series, count).await;
        }
    });
}

#[test]
fn unknown_methods_and_paths_do_not_grow_the_metrics() {
    run(async {
        let origin = Origin::start().await;
        let sidecar = plan().before(&origin).start().await;
        let series = async || {
            let page = sidecar.operator("/metrics").send().await.text();
            page.lines().filter(|line| line.starts_with("weir_requests_total{")).count()
        };
        let mut connection = sidecar.client.h1().await;
        for number in 0..10 {
            let method = http::Method::from_bytes(format!("METHOD{number}").as_bytes()).unwrap();
            let ask = sidecar.client.ask(method, &format!("/path/{number}"));
            soon("an answer", ask.on(&mut connection)).await;
        }

        let other = r#"weir_requests_total{operation="general",tier="stranger",method="other",status="200"}"#;
        sidecar.metric_is(other, 10.0).await;
        assert!(series().await <= 2, "one series for all of them");
    });
}
