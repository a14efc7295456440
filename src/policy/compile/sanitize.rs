//! Redaction rules into automata, headers into values.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;

use super::Compiler;
use crate::{
    policy::{
        diagnostic::Diagnostic,
        file::{ErrorBodies, Redaction, SanitizeFile},
        snapshot::Cleaning,
    },
    sanitize::{Pack, Redactor, Rule, RuleError},
    telemetry::Metrics,
};

impl Compiler<'_> {
    /// The redactor of all packs and rules; `None` when there are none or one is wrong.
    pub(super) fn redactor(&mut self) -> Option<Arc<Redactor>> {
        let written = &self.file.sanitize;
        let packs: Vec<Pack> = written.redact.iter().map(|pack| pack_of(pack.value)).collect();
        let rule = |rule: &crate::policy::file::ReplaceFile| Rule {
            name: rule.name.value.clone(),
            pattern: rule.pattern.value.clone(),
            replace: rule.replace.value.clone(),
        };
        let rules: Vec<Rule> = written.rules.iter().map(rule).collect();
        let wanted = (packs, rules);
        match self.redactors.get(&wanted) {
            Ok(redactor) => Some(redactor).filter(|redactor| !redactor.is_empty()),
            Err(error) => {
                let at = written.rules.get(error.index()).map(|rule| rule.pattern.span);
                let help = "write it in the syntax of Rust's `regex` crate, and keep it small";
                let problem = Diagnostic::error(error.to_string()).help(help);
                self.error(match at {
                    Some(span) => problem.at(span, ""),
                    None => problem,
                });
                None
            }
        }
    }
}

type Wanted = (Vec<Pack>, Vec<Rule>);
type Made = (Wanted, Arc<Redactor>);

/// The automata made last. Making them is the dear part of a compilation, and most edits leave
/// the rules as they are.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Redactors(Arc<Mutex<Option<Made>>>);

impl Redactors {
    fn get(&self, wanted: &Wanted) -> Result<Arc<Redactor>, RuleError> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_of, redactor)) = &*last
            && made_of == wanted
        {
            return Ok(Arc::clone(redactor));
        }
        let redactor = Arc::new(Redactor::compile(&wanted.0, &wanted.1)?);
        *last = Some((wanted.clone(), Arc::clone(&redactor)));
        Ok(redactor)
    }
}

fn pack_of(written: Redaction) -> Pack {
    match written {
        Redaction::Credentials => Pack::Credentials,
        Redaction::ConnectionStrings => Pack::ConnectionStrings,
        Redaction::StackTraces => Pack::StackTraces,
        Redaction::PrivateAddresses => Pack::PrivateAddresses,
    }
}

/// What answers lose and gain.
pub(super) fn cleaning(
    file: &SanitizeFile,
    redactor: Option<Arc<Redactor>>,
    metrics: &Metrics,
) -> Cleaning {
    let names = redactor.iter().flat_map(|redactor| redactor.rule_names());
    let redactions = names.map(|name| metrics.redactions(&Arc::from(name))).collect();
    let add = file.add_headers.iter().filter_map(|header| {
        // Checked where it was read.
        let value = HeaderValue::from_str(&header.value.value).ok()?;
        Some((header.name.value.clone(), value))
    });
    Cleaning {
        replace_errors: file.errors.value == ErrorBodies::Generic,
        remove: file.remove_headers.iter().map(|name| name.value.clone()).collect(),
        add: add.collect(),
        redactor,
        redactions,
    }
}
