//! `[alerts]`: what operators are told of.

use super::super::read::{At, Parsed, Table, Wrong};
use super::url::{self, Shape};
use crate::{
    secret::Secret,
    units::{Percent, duration},
};

/// Measures that are a share.
const SHARES: [&str; 2] = ["budget_used", "error_rate"];
/// Measures that are a length of time.
const TIMES: [&str; 3] = ["p50_latency", "p95_latency", "p99_latency"];
/// Comparisons.
const COMPARISONS: [&str; 4] = [">", ">=", "<", "<="];
/// What would be right.
const HINT: &str =
    "write a measure, a comparison and a bound, such as \"p95_latency > 200ms for 5m\"";

/// What operators are told of.
#[derive(Debug, Clone)]
pub struct AlertsFile {
    /// Where alerts are posted, an http or https URL; it is a credential. Default: nowhere.
    pub webhook: Option<At<Secret>>,
    /// The alerts, in file order; no name twice. Default: none.
    pub rules: Vec<AlertRuleFile>,
}

/// One alert.
#[derive(Debug, Clone)]
pub struct AlertRuleFile {
    /// What the alert says. Required.
    pub name: At<String>,
    /// The condition as written, its syntax checked: `MEASURE COMPARISON BOUND [for TIME]`, where the measure is
    /// `budget_used`, `error_rate` (bounds in percent), `p50_latency`, `p95_latency` or `p99_latency`. Required.
    pub when: At<String>,
}

pub(super) fn read(table: &mut Table<'_, '_>) -> AlertsFile {
    let webhook = webhook(table);
    let rules = table.tables("rule", rule);
    let names = rules.iter().map(|rule| (&rule.name.value, rule.name.span));
    table.reader().refuse_repeated(names, "two alerts have the same name", "rename one");
    AlertsFile { webhook, rules }
}

fn webhook(table: &mut Table<'_, '_>) -> Option<At<Secret>> {
    let value = table.value("webhook")?;
    let webhook = value.secret("a URL such as \"${SLACK_WEBHOOK_URL}\"")?;
    if webhook.value.is_empty() {
        return None;
    }
    if let Err(wrong) = url::parse(webhook.value.expose(), &["https", "http"], Shape::Whole) {
        value.refuse(&wrong.message, wrong.hint);
    }
    Some(webhook)
}

fn rule(table: &mut Table<'_, '_>) -> Option<AlertRuleFile> {
    let name = table.required("name", "name = \"slow answers\"");
    let when = when(table);
    Some(AlertRuleFile { name: name?, when: when? })
}

fn when(table: &mut Table<'_, '_>) -> Option<At<String>> {
    let Some(value) = table.value("when") else {
        table.missing("when", "when = \"p95_latency > 200ms for 5m\"");
        return None;
    };
    let parse = |text: &str| check(text).map(|()| text.to_owned());
    Some(value.placed(value.parse(String::WANTED, parse, |_| None)?))
}

/// Checks a condition.
fn check(text: &str) -> Result<(), Wrong> {
    let words: Vec<&str> = text.split_whitespace().take(6).collect();
    let (measure, comparison, bound) = match words.as_slice() {
        [measure, comparison, bound] => (*measure, *comparison, *bound),
        [measure, comparison, bound, "for", time] => {
            duration(time).map_err(|error| Wrong::new(error.to_string(), error.hint()))?;
            (*measure, *comparison, *bound)
        }
        _ => return Err(Wrong::new("this is not a condition", HINT)),
    };
    if !COMPARISONS.contains(&comparison) {
        return Err(Wrong::new(
            "this is not a comparison",
            "write >, >=, < or <= between two spaces",
        ));
    }
    check_bound(measure, bound)
}

fn check_bound(measure: &str, bound: &str) -> Result<(), Wrong> {
    if SHARES.contains(&measure) {
        return bound
            .parse::<Percent>()
            .map(|_| ())
            .map_err(|error| Wrong::new(error.to_string(), error.hint()));
    }
    if TIMES.contains(&measure) {
        return duration(bound)
            .map(|_| ())
            .map_err(|error| Wrong::new(error.to_string(), error.hint()));
    }
    let known = [SHARES.as_slice(), &TIMES].concat();
    Err(Wrong::new("this measure is not known", format!("known are {}", known.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_checked() {
        for text in ["budget_used > 80%", "p95_latency > 200ms for 5m", "error_rate >= 0.5% for 1h"]
        {
            assert!(check(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "budget_used",
            "budget_used 80%",
            "budget_used > 80",
            "budget_used>80%",
            "latency > 1s",
            "p95_latency > 5%",
            "p95_latency = 1s",
            "p95_latency > 1s for",
            "p95_latency > 1s for 5",
            "p95_latency > 1s for 5m or so",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
