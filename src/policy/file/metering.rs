//! Keys of `[operations.<name>]` that say how the cost of a request is found.
//!
//! `meter` is a word or a list of sources, of which the first that speaks decides;
//! the flat `cost` stands behind every list. The other keys only make sense beside
//! a source that reads what they are about, and are refused without it.

use std::time::Duration;

use http::HeaderName;

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Parsed, Table, Value, Wrong, unknown_word, words},
};
use super::UnknownModel;
use crate::{meter::Pointer, units::Bytes};

/// The longest wait for a callback.
const MAX_WAIT: Duration = Duration::from_secs(3_600);
/// The longest that a stream is read on for its usage.
const MAX_DRAIN: Duration = Duration::from_secs(600);

/// How the cost of a request is found.
#[derive(Debug, Clone)]
pub struct MeteringFile {
    /// Who is asked what a request cost, in this order; the flat cost is behind them. None for `flat`.
    /// Default: a header of the answer.
    pub sources: Vec<At<CostSource>>,
    /// The header of the upstream that names dollars. Default: `X-Agent-Cost-Usd`, `X-LiteLLM-Response-Cost`.
    pub cost_header: Option<At<HeaderName>>,
    /// Whether the caller sees that header. Default: no.
    pub expose_cost: At<bool>,
    /// How long a callback is waited for after the answer, 1 s to 1 h. Default 60 s.
    pub callback_timeout: At<Duration>,
    /// What a model without a price costs here. Default: what the whole policy says.
    pub unknown_model: Option<At<UnknownModel>>,
    /// How a stream ends that outgrows the budget. Default `finish`.
    pub on_exhausted: At<OnExhausted>,
    /// What becomes of a metered stream that its caller leaves. Default `cancel`.
    pub on_client_abort: At<OnClientAbort>,
    /// How long such a stream is read on, 1 s to 10 m. Default 30 s.
    pub drain_timeout: At<Duration>,
    /// How many bytes of it are read on, 1 KiB to 1 GiB. Default 8 MiB.
    pub drain_bytes: At<Bytes>,
}

/// Who says what a request cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CostSource {
    /// A header or trailer of the upstream.
    Header,
    /// A place in the answer.
    Pointer(Pointer),
    /// The usage that the answer reports, times the price.
    Usage,
    /// The agent, by a callback.
    Callback,
    /// The operation's flat cost.
    Flat,
}

words! {
    /// How a stream ends that outgrows the budget.
    "a word such as \"finish\""
    pub enum OnExhausted {
        /// As if the model had reached its length.
        Finish = "finish",
        /// With an error.
        Cut = "cut",
    }
}

words! {
    /// What becomes of a metered stream that its caller leaves.
    "a word such as \"cancel\""
    pub enum OnClientAbort {
        /// It ends at the upstream; what has passed is charged.
        Cancel = "cancel",
        /// It is read on for what it says of its usage.
        Drain = "drain",
    }
}

impl Parsed for CostSource {
    const WANTED: &'static str = "a source of the cost such as \"usage\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if let Some(pointer) = text.strip_prefix("pointer:") {
            let hint = "write a JSON pointer, such as \"pointer:/usage/cost_usd\"";
            let pointer = pointer.parse().map(Self::Pointer);
            return pointer.map_err(|error| Wrong::new(error.to_string(), hint));
        }
        match text {
            "header" => Ok(Self::Header),
            "usage" => Ok(Self::Usage),
            "callback" => Ok(Self::Callback),
            "flat" => Ok(Self::Flat),
            _ => Err(unknown_word(text, &["header", "pointer:/…", "usage", "callback", "flat"])),
        }
    }
}

pub(super) fn read(table: &mut Table<'_, '_>) -> MeteringFile {
    let sources = sources(table);
    let has = |wanted: &CostSource| sources.iter().any(|source| source.value == *wanted);
    let by_header = has(&CostSource::Header);
    let reads_body = sources.iter().any(|source| source.value.reads_body());
    needs(table, &["cost_header", "expose_cost"], by_header, "\"header\"");
    needs(table, &["callback_timeout"], has(&CostSource::Callback), "\"callback\"");
    needs(table, &["on_exhausted", "unknown_model"], has(&CostSource::Usage), "\"usage\"");
    let of_streams = ["on_client_abort", "drain_timeout", "drain_bytes"];
    needs(table, &of_streams, reads_body, "\"usage\" or \"pointer:/…\"");
    MeteringFile {
        sources,
        cost_header: table.optional("cost_header"),
        expose_cost: table.or("expose_cost", false),
        callback_timeout: table.within(
            "callback_timeout",
            Duration::from_secs(60),
            Duration::from_secs(1)..=MAX_WAIT,
        ),
        unknown_model: table.optional("unknown_model"),
        on_exhausted: table.or("on_exhausted", OnExhausted::Finish),
        on_client_abort: table.or("on_client_abort", OnClientAbort::Cancel),
        drain_timeout: table.within(
            "drain_timeout",
            Duration::from_secs(30),
            Duration::from_secs(1)..=MAX_DRAIN,
        ),
        drain_bytes: table.within("drain_bytes", Bytes::mib(8), Bytes::kib(1)..=Bytes::mib(1024)),
    }
}

impl CostSource {
    /// Whether the answer's body must be read for it.
    pub fn reads_body(&self) -> bool {
        matches!(self, Self::Pointer(_) | Self::Usage)
    }
}

fn sources(table: &mut Table<'_, '_>) -> Vec<At<CostSource>> {
    let Some(value) = table.value("meter") else {
        return vec![At::default_in(table.span(), CostSource::Header)];
    };
    let mut written: Vec<At<CostSource>> =
        value.one_or_many().iter().filter_map(Value::at).collect();
    check(table, &value, &written);
    if let [At { value: CostSource::Usage, span, .. }] = &written[..]
        && value.is_text()
    {
        // The word alone means the usual order, in which a cost that the upstream names comes first.
        written.insert(0, At::default_in(*span, CostSource::Header));
    }
    written.retain(|source| source.value != CostSource::Flat);
    written
}

/// What stands behind the flat cost, or twice, would never be asked.
fn check(table: &Table<'_, '_>, value: &Value<'_, '_>, written: &[At<CostSource>]) {
    if value.one_or_many().is_empty() {
        value.refuse("no source of the cost", "write \"flat\", or the sources in their order");
    }
    for (index, source) in written.iter().enumerate() {
        let earlier = &written[..index];
        if earlier.iter().any(|other| other.value == source.value) {
            let error = Diagnostic::error("this source is named twice").at(source.span, "");
            table.reader().push(error.help("name each source once"));
        } else if earlier.iter().any(|other| other.value == CostSource::Flat) {
            let error = Diagnostic::error("this source is never asked").at(source.span, "");
            table.reader().push(error.help("the flat cost always speaks: write \"flat\" last"));
        }
    }
    let pointers = written.iter().filter(|source| matches!(source.value, CostSource::Pointer(_)));
    if let Some(second) = pointers.skip(1).last() {
        let error = Diagnostic::error("there is more than one pointer").at(second.span, "");
        table.reader().push(error.help("keep the one that the upstream fills in"));
    }
}

/// Refuses keys that nothing would ever heed.
fn needs(table: &mut Table<'_, '_>, keys: &[&'static str], fulfilled: bool, source: &str) {
    for key in keys {
        if let Some(value) = table.value(key).filter(|_| !fulfilled) {
            let help = format!("name {source} among the sources of `meter`");
            value.refuse("this operation's cost is not found that way", help);
        }
    }
}
