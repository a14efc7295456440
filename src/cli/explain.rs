//! `weir explain`

mod price;
mod upstream;

use std::{fmt::Write as _, net::IpAddr, path::PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Failure;
use crate::{
    clock::Clock,
    policy::{
        cors::{Cors, Verdict},
        diagnostic::Color,
        identity::Source,
        limit::Unit,
        load::Loader,
        path,
        snapshot::{Mode, Operation, OperationId, Policy, RequestRules, ShownKind, TierId},
    },
    proxy::{
        Code,
        forwarded::{CallerAddress, Connected},
        identify::{self, Seen, Unidentified},
        target,
    },
    telemetry::Metrics,
};

/// Arguments of `weir explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// As in `POST`.
    method: String,
    /// As in `/api/analyze`; a query is ignored.
    path: String,
    /// A header of the request, as in `X-API-Key: …`; may be repeated.
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Where the connection would come from; a trusted proxy's headers are believed.
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    address: IpAddr,
    /// The model that an answer would name: shows its price.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The policy.
    #[arg(long, default_value = "policy.toml", value_name = "FILE")]
    policy: PathBuf,
}

impl Explain {
    pub(super) fn run(self) -> Result<(), Failure> {
        let loaded = Loader::new(&self.policy).load(&Metrics::default());
        let Some(compiled) = loaded.compiled else {
            eprint!("{}", loaded.report.render(Color::Never));
            return Err("the policy has errors".into());
        };
        let method = Method::from_bytes(self.method.to_ascii_uppercase().as_bytes())
            .map_err(|_| format!("`{}` is no HTTP method", self.method))?;
        let mut headers = self.headers()?;
        let mut page = String::new();
        explain(&compiled.policy, &method, &self, &mut headers, &mut page)?;
        print!("{page}");
        Ok(())
    }

    fn headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        for text in &self.header {
            let (name, value) = text
                .split_once(':')
                .ok_or_else(|| format!("`{text}` is no header: write `Name: value`"))?;
            let name: HeaderName = name.trim().parse()?;
            headers.append(name, HeaderValue::from_str(value.trim())?);
        }
        Ok(headers)
    }
}

/// Writes what the request would meet, stage by stage, until one refuses it.
fn explain(
    policy: &Policy,
    method: &Method,
    asked: &Explain,
    headers: &mut HeaderMap,
    page: &mut String,
) -> Result<(), Failure> {
    mode(policy, page)?;
    if origin(policy, method, headers, page)? {
        return Ok(());
    }
    let plain = asked.path.split(['?', '#']).next().unwrap_or_default();
    let path = match path::canonical(plain) {
        Ok(path) => path,
        Err(error) => {
            writeln!(page, "refused    400 bad_request: {error}")?;
            return Ok(());
        }
    };
    writeln!(page, "path       {path}")?;
    let Some(found) = policy.router.find(method, &path) else {
        writeln!(page, "refused    404 not_found: no route matches {method} {path}")?;
        return Ok(());
    };
    let id = OperationId(found.operation);
    let operation = policy.operation(id);
    writeln!(page, "operation  {} (route `{}` is the most specific)", operation.name, found.route)?;
    if let Some(name) = target::unmet(&operation.rules, found.route, &path) {
        writeln!(page, "refused    400 bad_request: path parameter `{name}` breaks its rule")?;
        return Ok(());
    }
    let text = HeaderValue::from_str(&asked.address.to_string())?;
    let connected = Connected { ip: asked.address, text: &text, is_unix: false };
    let address = CallerAddress::of(&policy.trusted, connected, headers);
    if address.vouched {
        writeln!(page, "address    {} (says the trusted proxy {})", address.ip, asked.address)?;
    }
    let seen = Seen::new(&path, &address, Clock::System.now());
    match identify::find(&policy.identity, seen, headers) {
        Ok((index, caller)) => {
            let why = source(policy.identity.sources.get(index));
            writeln!(page, "subject    {} ({why})", caller.subject)?;
            writeln!(page, "tier       {}", policy.tier(caller.tier).name)?;
            if policy.blocked.has(&caller.subject) {
                writeln!(page, "refused    403 blocked: [enforcement] blocks the subject")?;
                return Ok(());
            }
            limits(policy, id, caller.tier, page)?;
        }
        Err(Unidentified { refusal, .. }) => {
            let (status, code) = (refusal.status().as_u16(), refusal.code.name());
            let detail = refusal.detail.as_deref().unwrap_or_default();
            writeln!(page, "refused    {status} {code}: {detail}")?;
            if refusal.code == Code::IdentityUnavailable {
                writeln!(
                    page,
                    "           a running proxy fetches keys from their URL; this does not"
                )?;
            }
            return Ok(());
        }
    }
    writeln!(page, "cost       {} (when the answer reports none)", operation.cost)?;
    if let (Some(model), Some(metering)) = (&asked.model, &operation.metering) {
        price::lines(&policy.prices, metering, model, page)?;
    }
    rules(&operation.rules, page)?;
    beyond(operation, policy.cors.judge(headers), page)?;
    Ok(upstream::lines(&policy.upstream, method, page)?)
}

/// What applies beside the one request and its answer.
fn beyond(operation: &Operation, origin: Verdict, page: &mut String) -> Result<(), Failure> {
    if operation.refuses_foreign && origin == Verdict::Foreign {
        writeln!(page, "refused    403 origin_not_allowed: the policy does not name it")?;
    }
    if let Some(lifetime) = operation.max_lifetime {
        writeln!(page, "rule       lasts at most {}", crate::units::written(lifetime))?;
    }
    let Some(messages) = &operation.websocket else { return Ok(()) };
    let size = crate::units::Bytes(messages.max_size as u64);
    writeln!(page, "websocket  allowed, messages of at most {size}")?;
    if let Some(most) = messages.per_minute {
        writeln!(page, "websocket  {most} messages a minute")?;
    }
    if let Some(most) = messages.max_count {
        writeln!(page, "websocket  {most} messages in all")?;
    }
    if messages.charged {
        writeln!(page, "websocket  each message is charged like a request")?;
    }
    Ok(())
}

fn mode(policy: &Policy, page: &mut String) -> Result<(), Failure> {
    match policy.mode {
        Mode::Enforce => {}
        Mode::Shadow => writeln!(page, "mode       shadow: refusals are logged, not carried out")?,
        Mode::Off => writeln!(page, "mode       off: nothing is identified, counted or refused")?,
    }
    Ok(())
}

/// Writes what the `Origin` means; `true` when the request ends there.
fn origin(
    policy: &Policy,
    method: &Method,
    headers: &HeaderMap,
    page: &mut String,
) -> Result<bool, Failure> {
    let verdict = policy.cors.judge(headers);
    let preflight = Cors::is_preflight(method, headers);
    match verdict {
        Verdict::SameOrigin => {}
        Verdict::Foreign if preflight => {
            writeln!(page, "refused    403 origin_not_allowed: the policy does not name it")?;
        }
        Verdict::Foreign => writeln!(page, "origin     not allowed: no permission headers")?,
        Verdict::Allowed(_) | Verdict::Anyone => writeln!(page, "origin     allowed")?,
    }
    if preflight && verdict != Verdict::Foreign {
        writeln!(page, "preflight  answered by Weir, not counted, not forwarded")?;
    }
    Ok(preflight)
}

fn source(source: Option<&Source>) -> String {
    match source {
        Some(Source::ApiKey(_)) => "its API key is known".into(),
        Some(Source::Jwt { .. }) => "its JWT is valid".into(),
        Some(Source::TrustedProxy(names)) => {
            format!("a trusted proxy says so in `{}`", names.subject)
        }
        Some(Source::Path { pattern, parameter, .. }) => {
            format!("`{parameter}` of the path pattern `{pattern}`")
        }
        Some(Source::ClientCertificate(_)) => "its certificate is verified".into(),
        Some(Source::Address { .. }) => "its address; no other source found a credential".into(),
        None => "unknown".into(),
    }
}

fn limits(
    policy: &Policy,
    operation: OperationId,
    tier: TierId,
    page: &mut String,
) -> Result<(), Failure> {
    let terms = policy.terms(Some(operation), Some(tier));
    if !terms.allowed {
        writeln!(page, "refused    403 forbidden: the operation names its tiers, not this one")?;
    }
    for (limit, shown) in terms.limits.all().zip(&terms.shown) {
        let (scope, unit) = (limit.counter.scope(), limit.counter.unit());
        let unit = if unit == Unit::NanoUsd { "money".to_owned() } else { unit.to_string() };
        let over = if &**scope == "*" { "all operations" } else { scope };
        if let ShownKind::Shared { .. } = shown.kind {
            writeln!(page, "limit      {} (shared by all callers: {over})", shown.written)?;
            continue;
        }
        writeln!(page, "limit      {} ({unit} of {over})", shown.written)?;
    }
    match terms.limits.concurrency {
        Some(most) => writeln!(page, "limit      {most} at once")?,
        None if terms.shown.is_empty() => writeln!(page, "limit      none")?,
        None => {}
    }
    Ok(())
}

fn rules(rules: &RequestRules, page: &mut String) -> Result<(), Failure> {
    writeln!(page, "rule       body of at most {}", crate::units::Bytes(rules.max_body))?;
    if !rules.content_types.is_empty() {
        writeln!(page, "rule       Content-Type is {}", rules.content_types.join(" or "))?;
    }
    if let Some(depth) = rules.max_depth {
        writeln!(page, "rule       JSON of at most {depth} levels")?;
    }
    for (name, _) in &rules.parameters {
        writeln!(page, "rule       path parameter `{name}` matches its pattern")?;
    }
    Ok(())
}
