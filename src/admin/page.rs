//! The status page at `/`, for people.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{Html, IntoResponse, Response},
};

use super::Admin;

/// The page as it stands now; it loads nothing and runs nothing.
pub(super) async fn status(State(admin): State<Arc<Admin>>) -> Response {
    let policy = [(
        HeaderName::from_static("content-security-policy"),
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    )];
    let cache = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (policy, cache, Html(render(&admin))).into_response()
}

fn render(admin: &Admin) -> String {
    let policy = admin.policy.load();
    let (_, document) = admin.health.document(admin.clock.now());
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = write!(rows, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    };
    row("health", &String::from_utf8_lossy(&document));
    row("policy generation", &policy.generation.to_string());
    row("policy sha256", &policy.sha256);
    row("enforcement", &format!("{:?}", policy.mode).to_lowercase());
    row("operations", &names(policy.operations.iter().map(|operation| &*operation.name)));
    row("tiers", &names(policy.tiers.iter().map(|tier| &*tier.name)));
    if let Some(problem) = admin.policy.problem() {
        row("the newest policy is rejected", &problem);
    }
    let health = escape(&policy.health.path);
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Weir</title><style>\
         body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}\
         th{{text-align:left;padding-right:1rem;vertical-align:top;white-space:nowrap}}\
         td{{white-space:pre-wrap;overflow-wrap:anywhere;font-family:monospace}}</style>\
         <h1>Weir {}</h1><table>{rows}</table>\
         <p><a href=\"/metrics\">metrics</a> · <a href=\"{health}\">health</a> · \
         <a href=\"/readyz\">readiness</a></p></html>",
        env!("CARGO_PKG_VERSION"),
    )
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Text in HTML: names come from the operator's file, and that may be wrong.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
