//! `[upstream] url`, `urls`, `health`, `ejection` and `provider_limits`: where requests may go.

use std::time::Duration;

use super::super::{
    diagnostic::{Diagnostic, Span},
    read::{At, Table, Value, Wrong, words},
};
use super::{health, url::UpstreamUrl};
use crate::units::{DurationRange, Percent};

/// Most addresses of one upstream.
const MOST: usize = 64;

/// How endpoints are looked at in the background.
#[derive(Debug, Clone)]
pub struct ProbesFile {
    /// What is asked for; anything from 200 to 399 is well. Default: a connection is opened, and nothing asked.
    pub path: Option<At<String>>,
    /// Pause between two probes of an endpoint, 1 s to 1 h. Default: that of `[health]`.
    pub every: Option<At<Duration>>,
    /// Longest probe, 10 ms to 1 min. Default: that of `[health]`.
    pub timeout: Option<At<Duration>>,
    /// Good probes in a row after which an endpoint counts as well again, 1 to 100. Default 1.
    pub healthy_after: At<u32>,
    /// Bad probes in a row after which it does not, 1 to 100. Default 1: its neighbours are well.
    pub unhealthy_after: At<u32>,
}

/// When an endpoint is passed over because of what requests met there.
#[derive(Debug, Clone)]
pub struct EjectionFile {
    /// Where the table is, if there is one.
    pub written: Option<Span>,
    /// Failures in a row, 1 to 10 000. Default 5.
    pub failures: At<u32>,
    /// Length of the first ejection and of the longest; the second is twice the first, and so on. Default 30 s to 5 min.
    pub eject_for: At<DurationRange>,
    /// With a smaller share of endpoints left, all are used again. Default 25 %: with up to four endpoints, when none is left.
    pub panic: At<Percent>,
}

words! {
    /// What is done with a provider's own limits.
    "\"refuse\", \"observe\" or \"off\""
    pub enum ProviderLimits {
        /// Remembered, shown, and until they end requests are refused here instead of there. The default.
        Refuse = "refuse",
        /// Remembered and shown.
        Observe = "observe",
        /// Not looked at.
        Off = "off",
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Reads `url` or `urls`: the first address, and the others.
pub(super) fn urls(table: &mut Table<'_, '_>) -> Option<(At<UpstreamUrl>, Vec<At<UpstreamUrl>>)> {
    let (one, many) = (table.value("url"), table.value("urls"));
    match (one, many) {
        (Some(one), Some(many)) => {
            let error = Diagnostic::error("`upstream` has both `url` and `urls`");
            let error = error.at(many.span(), "one too many").at(one.span(), "beside this");
            table.reader().push(error.help("write one address in `url`, or all of them in `urls`"));
            None
        }
        (Some(one), None) => Some((base(&one)?, Vec::new())),
        (None, Some(many)) => list(&many),
        (None, None) => {
            table.missing("url", "url = \"http://127.0.0.1:8000\"");
            None
        }
    }
}

fn base(value: &Value<'_, '_>) -> Option<At<UpstreamUrl>> {
    let wanted = "a URL such as \"http://127.0.0.1:8000\"";
    let url = value.parse(wanted, UpstreamUrl::parse, |_| None)?;
    Some(value.placed(url))
}

fn list(many: &Value<'_, '_>) -> Option<(At<UpstreamUrl>, Vec<At<UpstreamUrl>>)> {
    let values = many.array("a list of URLs")?;
    if values.is_empty() || values.len() > MOST {
        let help = format!("write 1 to {MOST} addresses, such as [\"http://10.0.0.1:8000\"]");
        many.refuse("there are too few or too many addresses", help);
        return None;
    }
    // Read all before giving up, so that every bad one is reported.
    let read: Vec<_> = values.iter().map(|value| (base(value), value)).collect();
    let mut all: Vec<At<UpstreamUrl>> = Vec::new();
    let mut right = true;
    for (uri, value) in read {
        let Some(uri) = uri else {
            right = false;
            continue;
        };
        if let Some(wrong) = all.iter().find_map(|first| clash(first, &uri)) {
            value.refuse(&wrong.message, wrong.hint);
            right = false;
        }
        all.push(uri);
    }
    let mut all = all.into_iter().filter(|_| right);
    Some((all.next()?, all.collect()))
}

/// Why two addresses cannot stand side by side.
fn clash(first: &At<UpstreamUrl>, next: &At<UpstreamUrl>) -> Option<Wrong> {
    let base = |uri: &UpstreamUrl| uri.path().trim_end_matches('/').to_owned();
    if first.scheme() != next.scheme()
        || first.socket.is_some() != next.socket.is_some()
        || base(first) != base(next)
    {
        let hint = "write the same scheme and the same path behind every address";
        return Some(Wrong::new("the addresses differ in more than host and port", hint));
    }
    let usual = if first.scheme_str() == Some("https") { 443 } else { 80 };
    let port = |uri: &UpstreamUrl| uri.port_u16().unwrap_or(usual);
    let place = |uri: &UpstreamUrl| {
        (uri.socket.clone(), uri.host().map(str::to_ascii_lowercase), port(uri))
    };
    (place(first) == place(next))
        .then(|| Wrong::new("this address is there twice", "write every address once"))
}

pub(super) fn probes(table: &mut Table<'_, '_>) -> ProbesFile {
    let path = table.value("path").and_then(|value| {
        let path = value.parse("a path such as \"/health\"", health::plain_path, |_| None)?;
        Some(value.placed(path))
    });
    ProbesFile {
        path,
        every: table.optional_within("every", seconds(1)..=seconds(3_600)),
        timeout: table.optional_within("timeout", Duration::from_millis(10)..=seconds(60)),
        healthy_after: table.within("healthy_after", 1, 1..=100),
        unhealthy_after: table.within("unhealthy_after", 1, 1..=100),
    }
}

pub(super) fn ejection(table: &mut Table<'_, '_>) -> EjectionFile {
    let usual = DurationRange { shortest: seconds(30), longest: seconds(300) };
    EjectionFile {
        written: (!table.is_empty()).then(|| table.span()),
        failures: table.within("failures", 5, 1..=10_000),
        eject_for: table.or("eject_for", usual),
        panic: table.or("panic", Percent::whole(25)),
    }
}
