//! How an upstream that fails is treated.

use http::{HeaderName, Method, header};

use super::Compiler;
use crate::policy::{
    diagnostic::Diagnostic,
    file::{
        CircuitBreakerFile, EjectionFile, RetryFile, RetryMethod, RetryOn, UpstreamFile, retry,
    },
    resilience::{Breaker, Ejection, Probes, Resilience, Retry},
};

/// Headers by which providers know whose limits to count.
const ACCOUNTS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

impl Compiler<'_> {
    /// What holds for `endpoints` addresses.
    pub(super) fn resilience(&mut self, endpoints: usize) -> Resilience {
        let written = &self.file.upstream;
        let sets = |name: &HeaderName| written.headers.iter().any(|set| set.name.value == *name);
        if let Some(span) = written.ejection.written.filter(|_| endpoints == 1) {
            let warning = Diagnostic::warning("one address is never ejected: there is no other");
            let help = "write several addresses in `urls`, or leave `ejection` out";
            self.report.push(warning.at(span, "without effect").help(help));
        }
        Resilience {
            retry: match &written.retry {
                Some(retry) => as_written(&retry.value),
                None => failover(endpoints),
            },
            breaker: written.circuit_breaker.as_ref().map(|breaker| circuit(&breaker.value)),
            ejection: (endpoints > 1).then(|| ejection(&written.ejection)),
            probes: self.probes(written),
            limits: written.provider_limits.value,
            own_account: ACCOUNTS.iter().any(sets),
        }
    }

    fn probes(&mut self, upstream: &UpstreamFile) -> Probes {
        let (written, health) = (&upstream.probes, &self.file.health);
        let every = written.every.as_ref().unwrap_or(&health.every);
        if let Some(timeout) =
            written.timeout.as_ref().filter(|timeout| timeout.value > every.value)
        {
            let error = Diagnostic::error("a probe may take longer than the pause between two");
            let error = error.at(timeout.span, "longer").at(every.span, "than this");
            self.report.push(error.help("write a timeout of at most `every`"));
        }
        let usual = health.timeout.value.min(every.value);
        let base = upstream.url.value.path().trim_end_matches('/');
        Probes {
            path: written.path.as_ref().map(|path| format!("{base}{}", path.value)),
            every: every.value,
            timeout: written.timeout.as_ref().map_or(usual, |timeout| timeout.value),
            healthy_after: written.healthy_after.value,
            unhealthy_after: written.unhealthy_after.value,
        }
    }
}

fn as_written(written: &RetryFile) -> Retry {
    Retry {
        attempts: written.attempts.value,
        shortest: written.backoff.value.shortest,
        longest: written.backoff.value.longest,
        on: written.on.iter().map(|on| on.value).collect(),
        methods: written.methods.iter().map(|method| self::method(method.value)).collect(),
        budget: written.budget.value,
    }
}

/// Nothing is written: what one address did not take, another one may.
fn failover(endpoints: usize) -> Retry {
    let most = u32::try_from(endpoints).unwrap_or(retry::ATTEMPTS);
    Retry {
        attempts: most.min(retry::ATTEMPTS),
        shortest: retry::BACKOFF.shortest,
        longest: retry::BACKOFF.longest,
        on: RetryOn::USUAL.to_vec(),
        methods: RetryMethod::SAFE.into_iter().map(method).collect(),
        budget: retry::BUDGET,
    }
}

fn method(written: RetryMethod) -> Method {
    match written {
        RetryMethod::Get => Method::GET,
        RetryMethod::Head => Method::HEAD,
        RetryMethod::Options => Method::OPTIONS,
        RetryMethod::Trace => Method::TRACE,
        RetryMethod::Put => Method::PUT,
        RetryMethod::Delete => Method::DELETE,
    }
}

fn circuit(written: &CircuitBreakerFile) -> Breaker {
    Breaker {
        failures: written.failures.value,
        within: written.within.value,
        open_for: written.open_for.value,
    }
}

fn ejection(written: &EjectionFile) -> Ejection {
    Ejection {
        failures: written.failures.value,
        shortest: written.eject_for.value.shortest,
        longest: written.eject_for.value.longest,
        panic: written.panic.value,
    }
}
