//! `[operations.<name>]`: what kinds of work there are.

use http::Method;

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Parsed, Table, Wrong, words},
};
use super::{Name, RequestRulesFile, request};
use crate::units::NanoUsd;

/// A cost above this, for one request, is probably a slip of the decimal point.
const PLAUSIBLE: NanoUsd = NanoUsd::dollars_whole(1_000);

/// One kind of work.
#[derive(Debug, Clone)]
pub struct OperationFile {
    /// The name: what quotas, metrics and logs call it.
    pub name: At<Name>,
    /// Which requests are of this kind, in file order. At least one.
    pub routes: Vec<At<RouteFile>>,
    /// What is charged when the answer reports no usage, above $0. Default: nothing.
    pub cost: Option<At<NanoUsd>>,
    /// How the cost is found. Default `flat`.
    pub meter: At<Meter>,
    /// What a request must look like.
    pub request: RequestRulesFile,
    /// The tiers that may do this. Default: all. Never empty.
    pub tiers: Option<Vec<At<Name>>>,
}

/// A method and a path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFile {
    /// The method, or `None` for `*`: every one.
    pub method: Option<Method>,
    /// The path pattern, as written. Begins with a slash.
    pub pattern: String,
}

words! {
    /// How the cost of a request is found.
    "a word such as \"usage\""
    pub enum Meter {
        /// Every request costs the same.
        Flat = "flat",
        /// By the usage that the answer reports.
        Usage = "usage",
    }
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
    let meter = table.or("meter", Meter::Flat);
    if meter.value != Meter::Flat {
        table.not_yet("meter");
    }
    let request = table.table_or_empty("request", request::rules);
    let tiers = allowed(table);
    Some(OperationFile { name: name?, routes: routes?, cost, meter, request, tiers })
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
