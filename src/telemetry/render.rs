//! Metrics as text: OpenMetrics, and the older Prometheus format for scrapers
//! that do not accept it, with the same names.

mod page;
mod process;
mod upstream;

use std::{
    fmt::{self, Write as _},
    sync::PoisonError,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text::encode},
    registry::Registry,
};

use std::sync::Arc;

use self::page::{Page, count_of, gauge_of, histogram};
use super::{
    Metrics, Output, TUNNEL_ENDS,
    histogram::seconds,
    metrics::{Connected, Handshake, StandIn},
    spend::{MeteringError, TOKEN_KINDS},
};
use crate::clock::Timestamp;

/// Media type of the OpenMetrics form.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Media type of the Prometheus form.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders all metrics; `openmetrics` chooses the form.
///
/// # Errors
/// Only when the formatter itself fails, which a `String` never does.
pub fn render(
    metrics: &Arc<Metrics>,
    output: &Arc<Output>,
    now: Timestamp,
    openmetrics: bool,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let (metrics, output) = (Arc::clone(metrics), Arc::clone(output));
    registry.register_collector(Box::new(Scrape { metrics, output, now }));
    let mut text = String::with_capacity(32 << 10);
    encode(&mut text, &registry)?;
    Ok(if openmetrics { text } else { as_prometheus(&text) })
}

/// In the older format a counter's family is named with its `_total`, and there is no end mark.
fn as_prometheus(text: &str) -> String {
    let counters: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT")) {
        let described = line.strip_prefix("# HELP ").map(|rest| ("# HELP ", rest));
        let described = described.or(line.strip_prefix("# TYPE ").map(|rest| ("# TYPE ", rest)));
        match described.and_then(|(head, rest)| Some((head, rest.split_once(' ')?))) {
            Some((head, (name, rest))) if counters.contains(&name) => {
                out.extend([head, name, "_total ", rest, "\n"]);
            }
            _ => out.extend([line, "\n"]),
        }
    }
    out
}

/// The state of all metrics at one scrape.
struct Scrape {
    metrics: Arc<Metrics>,
    output: Arc<Output>,
    now: Timestamp,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        self.exchanges(&mut page)?;
        self.policy(&mut page)?;
        self.endpoints(&mut page)?;
        self.connections(&mut page)?;
        process::families(&mut page)
    }
}

impl Scrape {
    fn exchanges(&self, page: &mut Page<'_>) -> fmt::Result {
        let metrics = &self.metrics;
        let cells = metrics.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let mut family = page.counter("weir_requests", "Finished requests")?;
        for cell in cells.values() {
            for (method, status, count) in cell.requests() {
                let mut code = String::new();
                match status {
                    0 => code.push_str("other"),
                    status => write!(code, "{status}")?,
                }
                let labels = [
                    ("operation", &*cell.operation),
                    ("tier", &*cell.tier),
                    ("method", method),
                    ("status", &*code),
                ];
                count_of(&mut family, &labels, &count)?;
            }
        }
        let help = "Whole request, first byte in to last byte out";
        let mut family = page.histogram("weir_request_duration_seconds", help)?;
        for cell in cells.values() {
            let labels = [("operation", &*cell.operation), ("tier", &*cell.tier)];
            histogram(&mut family.encode_family(&labels)?, &cell.duration)?;
        }
        let mut family = page.counter("weir_refusals", "Requests that Weir itself refused")?;
        for cell in cells.values() {
            for (code, count) in metrics.codes.iter().zip(cell.refusals()) {
                let labels =
                    [("operation", &*cell.operation), ("tier", &*cell.tier), ("error_code", *code)];
                count_of(&mut family, &labels, &count)?;
            }
        }
        let mut family = page.counter("weir_cost_usd", "Dollars charged")?;
        for cell in cells.values() {
            let labels =
                [("operation", &*cell.operation), ("tier", &*cell.tier), ("model", "none")];
            count_of(&mut family, &labels, &seconds(cell.cost.value()))?;
            cell.models.each(|model, spend| {
                let labels =
                    [("operation", &*cell.operation), ("tier", &*cell.tier), ("model", model)];
                count_of(&mut family, &labels, &seconds(spend.cost.value()))
            })?;
        }
        let mut family = page.counter("weir_tokens", "Tokens that models counted")?;
        for cell in cells.values() {
            cell.models.each(|model, spend| {
                for (kind, count) in TOKEN_KINDS.iter().zip(&spend.tokens) {
                    let labels = [
                        ("operation", &*cell.operation),
                        ("tier", &*cell.tier),
                        ("model", model),
                        ("kind", *kind),
                    ];
                    count_of(&mut family, &labels, &count.value())?;
                }
                Ok(())
            })?;
        }
        drop(cells);
        let help = "Costs that could not be taken from where the policy says";
        let mut family = page.counter("weir_metering_errors", help)?;
        for (reason, count) in MeteringError::ALL.iter().zip(&metrics.metering_errors) {
            count_of(&mut family, &[("reason", *reason)], &count.value())?;
        }
        self.waits(page)
    }

    fn waits(&self, page: &mut Page<'_>) -> fmt::Result {
        let metrics = &self.metrics;
        let help = "Wait for the upstream's first byte";
        let mut family = page.histogram("weir_upstream_duration_seconds", help)?;
        let waits = metrics.upstream_waits.lock().unwrap_or_else(PoisonError::into_inner);
        for (operation, wait) in waits.iter() {
            histogram(&mut family.encode_family(&[("operation", &**operation)])?, wait)?;
        }
        let mut family = page.histogram("weir_overhead_seconds", "What Weir itself added")?;
        histogram(&mut family, &metrics.overhead)?;
        let mut family = page.counter("weir_redactions", "Matches replaced in responses")?;
        let rules = metrics.redactions.lock().unwrap_or_else(PoisonError::into_inner);
        for (rule, count) in rules.iter() {
            count_of(&mut family, &[("rule", &**rule)], &count.value())?;
        }
        Ok(())
    }

    fn policy(&self, page: &mut Page<'_>) -> fmt::Result {
        let metrics = &self.metrics;
        let help = "Share of a tier's budget that its highest subject has used";
        let mut family = page.gauge("weir_budget_used_ratio", help)?;
        let budgets = metrics.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        for ((tier, period), used) in budgets.iter() {
            let ratio = used.ratio(self.now.as_millis());
            gauge_of(&mut family, &[("tier", &**tier), ("period", &**period)], &ratio)?;
        }
        drop(budgets);
        let help = "Share of a limit that all callers share";
        let mut family = page.gauge("weir_pool_used_ratio", help)?;
        let pools = metrics.pools.lock().unwrap_or_else(PoisonError::into_inner);
        for ((pool, limit), used) in pools.iter() {
            let ratio = used.ratio(self.now.as_millis());
            gauge_of(&mut family, &[("pool", &**pool), ("limit", &**limit)], &ratio)?;
        }
        let help = "Policy reloads since the start";
        let mut family = page.counter("weir_policy_reloads", help)?;
        count_of(&mut family, &[("result", "applied")], &metrics.reloads_applied.value())?;
        count_of(&mut family, &[("result", "rejected")], &metrics.reloads_rejected.value())?;
        let mut family = page.counter("weir_jwks_fetches", "Looks at issuers' URLs for keys")?;
        count_of(&mut family, &[("result", "fetched")], &metrics.jwks_fetched.value())?;
        count_of(&mut family, &[("result", "failed")], &metrics.jwks_failed.value())?;
        let mut family = page.gauge("weir_policy_info", "The policy in force")?;
        let sha256 = metrics.policy_sha256.load();
        gauge_of(&mut family, &[("sha256", sha256.as_str())], &1_i64)?;
        let help = "Time since the day of the built-in prices";
        let mut family = page.gauge("weir_price_table_age_seconds", help)?;
        let now = i64::try_from(self.now.as_millis() / 1_000).unwrap_or(i64::MAX);
        family.encode_gauge(&now.saturating_sub(metrics.price_table.value()).max(0))?;
        let kind = metrics.store_kind.load();
        let mut family = page.gauge("weir_store_up", "1 while the store answers")?;
        gauge_of(&mut family, &[("kind", kind.as_str())], &metrics.store_up.value())?;
        let help = "Time that decisions took in the store";
        let mut family = page.histogram("weir_store_operation_duration_seconds", help)?;
        histogram(&mut family.encode_family(&[("kind", kind.as_str())])?, &metrics.store_wait)?;
        for (name, help, count) in [
            (
                "weir_store_commands",
                "Commands that were sent to the store's server",
                &metrics.store_commands,
            ),
            (
                "weir_store_connections",
                "Connections that were made to the store's server",
                &metrics.store_connections,
            ),
        ] {
            let mut family = page.counter(name, help)?;
            count_of(&mut family, &[("kind", kind.as_str())], &count.value().unsigned_abs())?;
        }
        self.outage(page, kind.as_str())
    }

    /// What happened while the store was away.
    fn outage(&self, page: &mut Page<'_>, kind: &str) -> fmt::Result {
        let metrics = &self.metrics;
        let help = "Decisions that were made while the store was away";
        let mut family = page.counter("weir_store_fallback_decisions", help)?;
        for (mode, count) in StandIn::ALL.iter().zip(&metrics.stand_ins) {
            count_of(&mut family, &[("kind", kind), ("mode", mode)], &count.value())?;
        }
        let help = "Entries that the store has yet to hear";
        let mut family = page.gauge("weir_store_journal_depth", help)?;
        gauge_of(&mut family, &[("kind", kind)], &metrics.journal_depth.value())?;
        for (name, help, count) in [
            (
                "weir_store_reconciled",
                "Entries that the store heard after it had been away",
                &metrics.reconciled,
            ),
            (
                "weir_store_settlements_lost",
                "Settlements that could not be written down; their estimates stand",
                &metrics.settlements_lost,
            ),
            (
                "weir_store_books_changed",
                "Times that the store was restarted, replaced or emptied",
                &metrics.books_changed,
            ),
        ] {
            let mut family = page.counter(name, help)?;
            count_of(&mut family, &[("kind", kind)], &count.value())?;
        }
        Ok(())
    }

    fn connections(&self, page: &mut Page<'_>) -> fmt::Result {
        let metrics = &self.metrics;
        let mut family = page.gauge("weir_dependency_up", "1 while the dependency answers")?;
        for (name, up) in metrics.dependencies.load().iter() {
            gauge_of(&mut family, &[("name", name)], &i64::from(*up))?;
        }
        let mut family = page.gauge("weir_upstream_up", "1 while the upstream can be reached")?;
        family.encode_gauge(&metrics.upstream_up.value())?;
        let mut family = page.gauge("weir_upstream_connections", "Connections to the upstream")?;
        gauge_of(&mut family, &[("state", "idle")], &metrics.upstream_idle.value())?;
        gauge_of(&mut family, &[("state", "busy")], &metrics.upstream_busy.value())?;
        let help = "Attempts to connect to the upstream";
        let mut family = page.counter("weir_upstream_connects", help)?;
        for (result, count) in Connected::ALL.iter().zip(&metrics.upstream_connects) {
            count_of(&mut family, &[("result", *result)], &count.value())?;
        }
        let mut family = page.gauge("weir_connections", "Open downstream connections")?;
        let (http1, http2) = (&metrics.http1_connections, &metrics.http2_connections);
        gauge_of(&mut family, &[("protocol", "http/1.1")], &http1.value())?;
        gauge_of(&mut family, &[("protocol", "h2")], &http2.value())?;
        let mut family = page.counter("weir_tls_handshakes", "Finished TLS handshakes")?;
        for ((_, version, result), count) in Handshake::ALL.iter().zip(&metrics.handshakes) {
            count_of(&mut family, &[("version", *version), ("result", *result)], &count.value())?;
        }
        let help = "What clients did on the wire that they must not do";
        let mut family = page.counter("weir_protocol_violations", help)?;
        for (kind, count) in metrics.violations.iter() {
            count_of(&mut family, &[("kind", kind)], &count)?;
        }
        let mut family = page.gauge("weir_tunnels", "Open connections that switched protocols")?;
        family.encode_gauge(&metrics.tunnels.value())?;
        let mut family = page.counter("weir_tunnels_ended", "Such connections that ended")?;
        for (reason, count) in TUNNEL_ENDS.iter().zip(&metrics.tunnel_ends) {
            count_of(&mut family, &[("reason", *reason)], &count.value())?;
        }
        let plain: [(&str, &str, u64); 3] = [
            ("weir_panics", "Requests whose handling panicked", metrics.panics.value()),
            (
                "weir_upstream_informational",
                "Answers 1xx of the upstream, which go no further",
                metrics.upstream_informational.value(),
            ),
            ("weir_log_lines_dropped", "Log lines lost to a slow sink", self.output.dropped()),
        ];
        for (name, help, value) in plain {
            page.counter(name, help)?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        self.edge(page)
    }

    fn edge(&self, page: &mut Page<'_>) -> fmt::Result {
        let metrics = &self.metrics;
        let help = "Connections turned away because there were too many";
        let mut family = page.counter("weir_connections_shed", help)?;
        for (reason, count) in
            [("total", &metrics.connections_shed), ("address", &metrics.addresses_shed)]
        {
            count_of(&mut family, &[("reason", reason)], &count.value())?;
        }
        let help = "Connections closed for a missing, late or malformed PROXY header";
        let mut family = page.counter("weir_proxy_protocol_errors", help)?;
        let count = metrics.proxy_protocol_errors.value();
        family.encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        let help = "0 calm, 1 no keep-alive, 2 no new requests, 3 no new connections";
        page.gauge("weir_overload_level", help)?.encode_gauge(&metrics.overload.value())?;
        let help = "Memory at which nothing more is accepted, 0 when there is no limit";
        page.gauge("weir_memory_limit_bytes", help)?.encode_gauge(&metrics.memory_limit.value())?;
        let help = "When a certificate ends, in seconds since the Unix epoch";
        let mut family = page.gauge("weir_certificate_expiry_timestamp_seconds", help)?;
        for (name, end) in metrics.certificates.load().iter() {
            gauge_of(&mut family, &[("name", &**name)], end)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(openmetrics: bool) -> String {
        let metrics = Arc::new(Metrics::new(&["quota_exceeded"]));
        metrics.cell(&"chat".into(), &"free".into());
        metrics.redactions(&"credentials".into());
        let output = Output::to(Box::new(std::io::sink()));
        render(&metrics, &output, Timestamp(0), openmetrics).expect("text")
    }

    #[test]
    fn bounded_series_exist_at_zero_from_the_start() {
        let text = page(true);
        for series in [
            r#"weir_refusals_total{operation="chat",tier="free",error_code="quota_exceeded"} 0"#,
            r#"weir_cost_usd_total{operation="chat",tier="free",model="none"} 0"#,
            r#"weir_redactions_total{rule="credentials"} 0"#,
            r#"weir_policy_reloads_total{result="applied"} 0"#,
            r#"weir_policy_reloads_total{result="rejected"} 0"#,
        ] {
            assert!(text.contains(series), "{series} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(text.contains("process_resident_memory_bytes "));
    }

    #[test]
    fn the_older_format_has_the_same_series_under_their_full_names() {
        let (new, old) = (page(true), page(false));
        let series = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let named = lines.filter_map(|line| line.rsplit_once(' '));
            named.map(|(name, _)| name.to_owned()).collect()
        };
        assert_eq!(series(&new), series(&old));
        assert!(old.contains("# TYPE weir_requests_total counter\n"));
        assert!(!old.contains("# EOF"));
    }
}
