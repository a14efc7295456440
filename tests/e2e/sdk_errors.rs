//! The typed errors of the official SDKs, and how they come back when they are told when.

use serde_json::{Value, json};

use crate::{
    dialect::{Dialect, made},
    harness::run,
    origin::Origin,
    plan::Plan,
    sdk::Desk,
    sidecar::Sidecar,
    tools::Language,
};

fn plan() -> Plan {
    Sidecar::with(
        r#"
        [[identity]]
        from = "path"
        pattern = "/once/{sdk}/**"
        parameter = "sdk"
        tier = "free"
        [[identity]]
        from = "path"
        pattern = "/brief/{sdk}/**"
        parameter = "sdk"
        tier = "free"
        [[identity]]
        from = "api_key"
        [request]
        max_body = "1MiB"
        [operations.chat]
        routes = ["POST /{any}/v1/chat/completions", "POST /{any}/v1/messages"]
        meter = "usage"
        [operations.once]
        routes = ["POST /once/**"]
        meter = "usage"
        [operations.brief]
        routes = ["POST /brief/**"]
        meter = "usage"
        [operations.dear]
        routes = ["POST /dear/**"]
        meter = "usage"
        cost = "$1000"
        [operations.inner]
        routes = ["POST /inner/**"]
        meter = "usage"
        tiers = ["staff"]
        [tiers.free]
        quotas = { once = "1/hour", brief = "1/3s" }
        budget = { day = "$100" }
        [tiers.staff]
        quotas = { "*" = "1/hour" }
        "#,
    )
}

/// An SDK's name of an error, where the languages and makers agree, and where they do not.
fn name((dialect, language): (Dialect, Language), status: u16) -> &'static str {
    let detailed = dialect == Dialect::Anthropic;
    match status {
        400 => "BadRequestError",
        401 => "AuthenticationError",
        403 => "PermissionDeniedError",
        404 => "NotFoundError",
        429 => "RateLimitError",
        402 if detailed => "PaymentRequiredError",
        413 if detailed => "ContentTooLargeError",
        503 if detailed => "ServiceUnavailableError",
        504 if detailed => "GatewayTimeoutError",
        529 if detailed => "OverloadedError",
        500.. => "InternalServerError",
        _ if language == Language::Node => "APIError",
        _ => "APIStatusError",
    }
}

fn assert_error(sdk: (Dialect, Language), found: &Value, status: u16, code: &str) {
    assert_eq!(found["status"], status, "{sdk:?}: {found}");
    assert_eq!(found["error"], name(sdk, status), "{sdk:?}: {found}");
    let field = if sdk.0 == Dialect::OpenAi { "code" } else { "type" };
    assert_eq!(found[field], code, "{sdk:?}: {found}");
    assert!(found["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{sdk:?}: {found}");
}

#[test]
fn every_sdk_raises_its_own_errors_for_our_refusals() {
    run(async {
        let origin = Origin::start().await;
        let plan = plan().upstream("response_timeout = \"1s\"");
        let desk = Desk::of(plan.before(&origin), origin).await;
        let mut silences = Vec::new();
        for sdk @ (dialect, _) in Dialect::SDKS {
            silences.push(desk.origin.keeps_silent(&format!("/mute{}", dialect.path())));
            desk.origin.hangs_up(&format!("/gone{}", dialect.path()));
            let asks = |prefix: &str, options: Value| {
                let mut asks = desk.asks(dialect, prefix, json!({"way": "ask"}));
                asks.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
                asks
            };

            let said = desk.said(
                sdk,
                json!([
                    asks("/any", json!({"key": "weir_wrong"})),
                    asks("/dear", json!({})),
                    asks("/inner", json!({})),
                    asks("/any", json!({"pad": 3_000_000})),
                    asks("/any", json!({"pad": 3_000_000, "http2": true})),
                    asks("/mute", json!({})),
                    asks("/gone", json!({})),
                    asks("/no/such", json!({})),
                ]),
            );
            let said = said.await;

            assert_error(sdk, &said[0], 401, "unauthenticated");
            assert_error(sdk, &said[1], 402, "budget_exceeded");
            assert_error(sdk, &said[2], 403, "forbidden");
            assert_error(sdk, &said[3], 413, "payload_too_large");
            assert_error(sdk, &said[4], 413, "payload_too_large");
            assert_error(sdk, &said[5], 504, "upstream_timeout");
            assert_error(sdk, &said[6], 502, "upstream_unreachable");
            assert_eq!(said[7]["error"], "NotFoundError", "{sdk:?}: {}", said[7]);
        }
    });
}

#[test]
fn every_sdk_raises_its_own_errors_for_an_upstream_that_fails() {
    run(async {
        let origin = Origin::start().await;
        // What one asked for would else be kept from the next: here each is to see it for itself.
        let plan = plan().upstream("provider_limits = \"observe\"");
        let desk = Desk::of(plan.before(&origin), origin).await;
        for sdk @ (dialect, _) in Dialect::SDKS {
            for status in [500, 503, 529] {
                let secret = json!({"error": {"message": "postgres://root:pw@10.0.0.1"}});
                let mut answer = made(status, &secret);
                answer.1.push(("retry-after".to_owned(), "7".to_owned()));
                desk.origin.makes(&format!("/{status}{}", dialect.path()), move |_| answer.clone());
            }
            let theirs = json!({"type": "error", "error": {
                "message": "no such model", "type": "model_gone", "code": "model_gone"}});
            let mut answer = made(400, &theirs);
            answer.1.push(("request-id".to_owned(), "req_1".to_owned()));
            desk.origin.makes(&format!("/400{}", dialect.path()), move |_| answer.clone());
            fails_once(&desk.origin, &format!("/flaky{}", dialect.path()), dialect);

            let ways = ["/500", "/503", "/529", "/400", "/flaky"]
                .map(|prefix| desk.asks(dialect, prefix, json!({"way": "ask"})));
            let mut ways = json!(ways);
            ways[4]["retries"] = json!(1);
            let said = desk.said(sdk, ways).await;

            for (found, status) in said.iter().zip([500, 503, 529]) {
                assert_error(sdk, found, status, "internal_error");
                assert_eq!(found["retry_after"], "7", "{sdk:?}");
            }
            assert_error(sdk, &said[3], 400, "model_gone");
            assert_eq!(said[4]["text"], "Hello.", "{sdk:?}: it came back");
            let count = desk.origin.last().header("x-stainless-retry-count").map(str::to_owned);
            assert_eq!(count.as_deref(), Some("1"), "{sdk:?}");
        }
    });
}

/// The first answer is a failure, all others are whole.
fn fails_once(origin: &Origin, path: &str, dialect: Dialect) {
    let mut asked = 0;
    origin.makes(path, move |_| {
        asked += 1;
        if asked > 1 {
            return made(200, &dialect.answer("Hello."));
        }
        let mut failed = made(503, &json!({"error": {"message": "overloaded"}}));
        failed.1.push(("retry-after".to_owned(), "1".to_owned()));
        failed
    });
}

#[test]
fn every_sdk_is_told_when_to_come_back_and_then_succeeds() {
    run(async {
        let origin = Origin::start().await;
        let desk = Desk::of(plan().before(&origin), origin).await;
        for (index, sdk @ (dialect, _)) in Dialect::SDKS.into_iter().enumerate() {
            let prefixes = ["/once", "/brief"].map(|quota| format!("{quota}/{index}"));
            for prefix in &prefixes {
                let answer = made(200, &dialect.answer("Hello."));
                desk.origin.makes(&format!("{prefix}{}", dialect.path()), move |_| answer.clone());
            }
            let asks = json!([
                desk.asks(dialect, &prefixes[0], json!({"way": "ask", "times": 2})),
                // Their own half second would be too soon.
                desk.asks(dialect, &prefixes[1], json!({"way": "ask", "times": 2, "retries": 1})),
            ]);

            let said = desk.said(sdk, asks).await;

            assert_eq!(said[0]["text"], "Hello.", "{sdk:?}");
            assert_error(sdk, &said[1], 429, "quota_exceeded");
            let wait: u32 = said[1]["retry_after"].as_str().unwrap().parse().unwrap();
            assert!((3_000..=3_600).contains(&wait), "{sdk:?}: {said:?}");
            assert_eq!(said[2]["text"], "Hello.", "{sdk:?}");
            assert_eq!(said[3]["text"], "Hello.", "{sdk:?}: {said:?}");
        }
    });
}
