//! Where a request would go, and what would be done about failures there.

use std::fmt::{self, Write as _};

use http::Method;

use crate::{
    policy::{
        resilience::{ProviderLimits, Resilience, RetryOn},
        snapshot::Upstream,
    },
    units::written,
    upstream::retry,
};

/// Writes what holds for a request with `method`.
pub(super) fn lines(upstream: &Upstream, method: &Method, page: &mut String) -> fmt::Result {
    for endpoint in &upstream.endpoints {
        writeln!(page, "upstream   {}", endpoint.name)?;
    }
    let rules = &upstream.resilience;
    repeats(rules, method, page)?;
    if let Some(rule) = &rules.breaker {
        let (open, within) = (written(rule.open_for), written(rule.within));
        let failures = rule.failures;
        writeln!(
            page,
            "circuit    open for {open} after {failures} failures in a row within {within}"
        )?;
    }
    if let Some(rule) = &rules.ejection {
        let (shortest, longest) = (written(rule.shortest), written(rule.longest));
        let failures = rule.failures;
        writeln!(
            page,
            "ejection   for {shortest} to {longest} after {failures} failures in a row"
        )?;
    }
    match rules.limits {
        ProviderLimits::Refuse => Ok(()),
        ProviderLimits::Observe => writeln!(page, "provider   its limits are shown, not kept"),
        ProviderLimits::Off => writeln!(page, "provider   its limits are not looked at"),
    }
}

/// Writes what would be sent again.
fn repeats(rules: &Resilience, method: &Method, page: &mut String) -> fmt::Result {
    let rule = &rules.retry;
    if rule.attempts < 2 || rule.on.is_empty() {
        return writeln!(page, "retry      never");
    }
    let repeatable = rule.methods.contains(method);
    let on = rule.on.iter().filter(|on| repeatable || retry::is_unsent(**on));
    let on: Vec<&str> = on.map(|on| RetryOn::as_str(*on)).collect();
    let (attempts, budget) = (rule.attempts, rule.budget);
    match &*on {
        [] => writeln!(page, "retry      never: {method} is not among `methods`"),
        on => {
            let on = on.join(", ");
            writeln!(
                page,
                "retry      {attempts} attempts, after {on}; of all requests at most {budget}"
            )
        }
    }
}
