//! What operators are shown is free of secrets and of subjects where they would pile up.

use serde_json::Value;

use crate::{harness::run, origin::Origin, sidecar::Sidecar};

#[test]
fn no_secret_of_a_request_or_an_answer_is_in_any_log_line_metric_or_health_document() {
    run(async {
        let origin = Origin::start().await;
        let canary = |place: &str| format!("canary-{place}-7f3a");
        let error = format!("password={} at 10.9.8.7", canary("error"));
        origin.answers("/crash", 500, &[("x-note", &canary("answer-header"))], error);
        origin.answers("/cut", 200, &[], "ok");
        let plan = Sidecar::with("[sanitize]\n").environment("WEIR_LOG", "trace");
        let sidecar = plan.upstream("headers = { X-Key = \"${UP_KEY}\" }");
        let sidecar = sidecar.environment("UP_KEY", &canary("environment"));
        let sidecar = sidecar.before(&origin).start().await;

        let mut last = None;
        for path in ["/x", "/crash", "/%00", "/%zz"] {
            for h2 in [false, true] {
                let ask = sidecar
                    .client
                    .post(&format!("{path}?q={}", canary("query")), canary("body"))
                    .header("authorization", &format!("Bearer {}", canary("bearer")))
                    .header("x-api-key", &canary("key"))
                    .header("cookie", &format!("s={}", canary("cookie")))
                    .header("x-note", &canary("header"))
                    .header("traceparent", &canary("trace"))
                    .header("x-forwarded-for", &canary("address"))
                    .header("content-type", &format!("text/{}", canary("media")));
                last = Some(if h2 { ask.send_h2().await } else { ask.send().await });
            }
        }
        sidecar.record(&last.unwrap()).await;
        let is = |line: &Value| line["message"] == "the upstream failed";
        sidecar.logged("the error is logged", is).await;

        let mut shown = sidecar.running.lines();
        for path in ["/metrics", "/api/health", "/", "/livez", "/readyz"] {
            shown.push(sidecar.operator(path).send().await.text());
        }
        for text in &shown {
            assert!(!text.contains("canary-") && !text.contains("10.9.8.7"), "{text}");
        }
    });
}

#[test]
fn subjects_are_never_labels() {
    run(async {
        let origin = Origin::start().await;
        let plan = Sidecar::with(
            "[[identity]]\nfrom = \"path\"\npattern = \"/u/{id}/**\"\nparameter = \"id\"\n\
             tier = \"free\"\n[tiers.free]\nquotas = { \"*\" = \"1/hour\" }\nbudget = { day = \"$1\" }\n",
        );
        let sidecar = plan.before(&origin).start().await;

        for _ in 0..2 {
            sidecar.client.get("/u/canary-subject/x").send().await;
        }

        let refusals =
            r#"weir_refusals_total{operation="general",tier="free",error_code="quota_exceeded"}"#;
        sidecar.metric_is(refusals, 1.0).await;
        let page = sidecar.operator("/metrics").send().await.text();
        assert!(!page.contains("canary-subject") && !page.contains("127.0.0.1"), "{page}");
    });
}
