//! `[operations.<name>]`: what kinds of work there are.

use std::time::Duration;

use http::Method;

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Parsed, Table, Wrong},
};
use super::{
    ForeignOrigins, MessagesFile, MeteringFile, Name, RequestRulesFile, TotalFile, Upgrade,
    messages, metering, request, total,
};
use crate::units::NanoUsd;

/// A cost above this, for one request, is probably a slip of the decimal point.
const PLAUSIBLE: NanoUsd = NanoUsd::dollars_whole(1_000);

/// The longest life that may be bounded: beyond it nobody counts.
const MAX_LIFETIME: Duration = Duration::from_secs(31 * 86_400);

/// One kind of work.
#[derive(Debug, Clone)]
pub struct OperationFile {
    /// The name: what quotas, metrics and logs call it.
    pub name: At<Name>,
    /// Which requests are of this kind, in file order. At least one.
    pub routes: Vec<At<RouteFile>>,
    /// What is charged when the answer reports no usage, above $0. Default: nothing.
    pub cost: Option<At<NanoUsd>>,
    /// How the cost is found.
    pub metering: MeteringFile,
    /// What a request must look like.
    pub request: RequestRulesFile,
    /// The tiers that may do this. Default: all. Never empty.
    pub tiers: Option<Vec<At<Name>>>,
    /// Protocols that a connection may switch to. Default: none, and asking is refused.
    pub upgrade: Vec<At<Upgrade>>,
    /// What may be said after the switch.
    pub messages: MessagesFile,
    /// How long an answer or a switched connection may last, 1 s to 31 d. Default: any time.
    pub max_lifetime: Option<At<Duration>>,
    /// What becomes of requests from origins that the policy does not name. Default `forward`.
    pub foreign_origins: At<ForeignOrigins>,
    /// What all subjects share, whatever their tier. Default: nothing.
    pub total: Option<TotalFile>,
    /// What the operation was called before, the latest first: what was used counts on. Default: nothing.
    pub renamed_from: Vec<At<Name>>,
}

/// A method and a path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFile {
    /// The method, or `None` for `*`: every one.
    pub method: Option<Method>,
    /// The path pattern, as written. Begins with a slash.
    pub pattern: String,
}

impl Parsed for RouteFile {
    const WANTED: &'static str = "a route such as \"POST /api/analyze\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let hint =
            "write a method or `*`, a space and a path, such as \"POST /api/analyze\" or \"* /**\"";
        let Some((method, pattern)) = text.split_once(' ') else {
            let mended = text.starts_with('/').then(|| format!("* {text}"));
            return Err(Wrong { mended, ..Wrong::new("this route has no method", hint) });
        };
        let pattern = pattern.trim_start();
        if !pattern.starts_with('/') || pattern.contains(' ') {
            return Err(Wrong::new(
                "this route's path does not begin with a slash, or has a space",
                hint,
            ));
        }
        let with_path = |wrong: Wrong| Wrong {
            mended: wrong.mended.map(|method| format!("{method} {pattern}")),
            ..wrong
        };
        let method = match method {
            "*" => None,
            method => Some(Method::parse(method).map_err(with_path)?),
        };
        Ok(Self { method, pattern: pattern.to_owned() })
    }
}

pub(super) fn read(root: &mut Table<'_, '_>) -> (Vec<OperationFile>, bool) {
    let none = Diagnostic::error("the policy has no operation");
    let none = none.help("add [operations.<name>] with routes = [\"* /**\"]");
    super::each_named(root, "operations", none, operation)
}

fn operation(table: &mut Table<'_, '_>, name: Option<At<Name>>) -> Option<OperationFile> {
    let routes = routes(table);
    let cost = cost(table);
    let metering = metering::read(table);
    let request = table.table_or_empty("request", request::rules);
    let tiers = allowed(table);
    let upgrade: Option<At<Vec<At<Upgrade>>>> = table.optional("upgrade");
    let upgrade = upgrade.map(|upgrade| upgrade.value).unwrap_or_default();
    let messages = messages(table, upgrade.is_empty());
    let max_lifetime = table.optional_within("max_lifetime", Duration::from_secs(1)..=MAX_LIFETIME);
    let foreign_origins = table.or("foreign_origins", ForeignOrigins::Forward);
    let total = total::of_operation(table);
    let renamed_from = total::former(table);
    Some(OperationFile {
        name: name?,
        routes: routes?,
        cost,
        metering,
        request,
        tiers,
        upgrade,
        messages,
        max_lifetime,
        foreign_origins,
        total,
        renamed_from,
    })
}

/// Bounds of messages that nobody may send are a sign that `upgrade` was forgotten.
fn messages(table: &mut Table<'_, '_>, forbidden: bool) -> MessagesFile {
    if let Some(value) = table.value("messages").filter(|_| forbidden) {
        value.refuse(
            "this operation has no WebSockets",
            "write upgrade = [\"websocket\"] beside it",
        );
    }
    table.table_or_empty("messages", messages::read)
}

fn routes(table: &mut Table<'_, '_>) -> Option<Vec<At<RouteFile>>> {
    let routes: At<Vec<At<RouteFile>>> =
        table.required("routes", "routes = [\"POST /api/analyze\"]")?;
    if routes.value.is_empty() {
        let error = Diagnostic::error("this operation has no route, so nothing can be of its kind");
        table
            .reader()
            .push(error.at(routes.span, "").help("write routes = [\"POST /api/analyze\"]"));
    }
    Some(routes.value)
}

fn cost(table: &mut Table<'_, '_>) -> Option<At<NanoUsd>> {
    let value = table.value("cost")?;
    let cost: At<NanoUsd> = value.at()?;
    if cost.value == NanoUsd::ZERO {
        value
            .refuse("a cost is more than nothing", "leave `cost` out when a request costs nothing");
    }
    if cost.value > PLAUSIBLE {
        let warning = Diagnostic::warning(format!("one request costs more than {PLAUSIBLE}"));
        table.reader().push(warning.at(cost.span, "").help("look at the decimal point"));
    }
    Some(cost)
}

fn allowed(table: &mut Table<'_, '_>) -> Option<Vec<At<Name>>> {
    let tiers: At<Vec<At<Name>>> = table.optional("tiers")?;
    if tiers.value.is_empty() {
        let error = Diagnostic::error("no tier may use this operation");
        table.reader().push(
            error.at(tiers.span, "").help("name the tiers that may, or leave `tiers` out for all"),
        );
    }
    Some(tiers.value)
}
