//! Operations: routes into one tree, rules into matchers.

use regex_automata::meta::Regex;

use super::{Compiler, metering, one_of, shared};
use crate::{
    policy::{
        diagnostic::{Diagnostic, Span},
        file::{CostSource, ForeignOrigins, OperationFile, PolicyFile, Upgrade},
        read::At,
        route::{Pattern, Route, Router},
        snapshot::{Dialect, MessageRules, Operation, RequestRules},
    },
    telemetry::Metrics,
    units::NanoUsd,
};

impl Compiler<'_> {
    /// All routes in one tree, and the rules of every operation, in file order.
    pub(super) fn operations(&mut self) -> (Router, Vec<RequestRules>) {
        let mut router = Router::default();
        let mut places: Vec<(Route, Span)> = Vec::new();
        let file = self.file;
        for (index, operation) in file.operations.iter().enumerate() {
            for written in &operation.routes {
                let pattern = match Pattern::parse(&written.value.pattern) {
                    Ok(pattern) => pattern,
                    Err(error) => {
                        self.error(Diagnostic::error(error.to_string()).at(written.span, ""));
                        continue;
                    }
                };
                let route = Route { method: written.value.method.clone(), pattern };
                match router.insert(route.clone(), index) {
                    Ok(()) => places.push((route, written.span)),
                    Err((first, _)) => self.tie(&route, written.span, &first, &places),
                }
            }
            for name in operation.tiers.iter().flatten() {
                self.tier(name);
            }
        }
        let rules = file.operations.iter().map(|operation| self.rules(operation)).collect();
        (router, rules)
    }

    fn tie(&mut self, route: &Route, span: Span, first: &Route, places: &[(Route, Span)]) {
        let message = format!("`{route}` and `{first}` match the same requests");
        let mut error = Diagnostic::error(message).at(span, "again here");
        if let Some((_, place)) = places.iter().find(|(known, _)| known == first) {
            error = error.at(*place, "first defined here");
        }
        self.error(error.help("keep one of them, or make one path more specific"));
    }

    fn rules(&mut self, operation: &OperationFile) -> RequestRules {
        let (written, common) = (&operation.request, &self.file.request);
        let max_body = written.max_body.as_ref().unwrap_or(&common.max_body).value.0;
        let types = written.content_types.iter().flatten();
        let mut rules = RequestRules {
            max_body,
            content_types: types.map(|media| media.value.to_string()).collect(),
            max_depth: written.max_depth.as_ref().map(|depth| depth.value),
            parameters: Vec::new(),
            is_priced: uses(operation, &CostSource::Usage),
        };
        for parameter in &written.parameters {
            self.check_parameter(operation, &parameter.name);
            match Regex::new(&format!("^(?:{})$", parameter.pattern.value)) {
                Ok(regex) => rules.parameters.push((parameter.name.value.clone(), regex)),
                Err(error) => self.error(bad_regex(&parameter.pattern, &error)),
            }
        }
        rules
    }

    /// A rule for a parameter that no route has could never fail: it is a mistake.
    fn check_parameter(&mut self, operation: &OperationFile, name: &At<String>) {
        let patterns: Vec<_> = operation
            .routes
            .iter()
            .filter_map(|route| Pattern::parse(&route.value.pattern).ok())
            .collect();
        let known: Vec<&str> = patterns.iter().flat_map(Pattern::parameters).collect();
        if !known.contains(&name.value.as_str()) {
            let message = format!("no route of this operation has a parameter `{}`", name.value);
            let help = match known.is_empty() {
                true => "its routes have no parameters; take the rule out".to_owned(),
                false => one_of(&name.value, known.iter().copied()),
            };
            self.error(Diagnostic::error(message).at(name.span, "").help(help));
        }
    }
}

/// A regular expression that cannot be used, in one line.
pub(super) fn bad_regex(at: &At<String>, error: &dyn std::error::Error) -> Diagnostic {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let text = cause.to_string();
    let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let error = Diagnostic::error("this is not a regular expression that can be used");
    let label = if at.from_reference { String::new() } else { reason };
    error
        .at(at.span, label)
        .help("write it in the syntax of Rust's `regex` crate, and keep it small")
}

/// The operations as run.
pub(super) fn build(
    file: &PolicyFile,
    rules: Vec<RequestRules>,
    metrics: &Metrics,
) -> Vec<Operation> {
    let build = |(written, rules): (&OperationFile, RequestRules)| {
        let name = shared(&written.name.value);
        Operation {
            cost: written.cost.map_or(NanoUsd(0), |cost| cost.value),
            dialect: dialect(written),
            metering: metering::build(file, &written.metering),
            rules,
            upstream_wait: metrics.upstream_wait(&name),
            websocket: messages(written),
            max_lifetime: written.max_lifetime.map(|bound| bound.value),
            refuses_foreign: written.foreign_origins.value == ForeignOrigins::Refuse,
            name,
        }
    };
    file.operations.iter().zip(rules).map(build).collect()
}

/// Whoever reports usage is asked through an SDK of model services.
fn dialect(operation: &OperationFile) -> Dialect {
    match uses(operation, &CostSource::Usage) {
        true => Dialect::ModelSdk,
        false => Dialect::Weir,
    }
}

fn uses(operation: &OperationFile, wanted: &CostSource) -> bool {
    operation.metering.sources.iter().any(|source| source.value == *wanted)
}

fn messages(operation: &OperationFile) -> Option<MessageRules> {
    let written = &operation.messages;
    let allowed = operation.upgrade.iter().any(|protocol| protocol.value == Upgrade::WebSocket);
    allowed.then(|| MessageRules {
        max_size: usize::try_from(written.max_size.value.0).unwrap_or(usize::MAX),
        per_minute: written.per_minute.map(|bound| bound.value),
        max_count: written.max_count.map(|bound| bound.value),
        charged: written.charged.value,
    })
}
