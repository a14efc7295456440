//! Identity sources, with the tiers that they give.

use std::collections::HashMap;

use super::{Compiler, certificate_source::mark_last_certificate_source};
use crate::policy::{
    diagnostic::{Diagnostic, Span},
    file::{IdentityFile, JwtFile, Name, PathIdentityFile, TrustedProxyFile},
    identity::{Identity, Keys, ProxyHeaders, Source},
    jwt::{ClaimPath, Issuer, IssuerKeys, Tokens},
    read::At,
    route::Pattern,
    snapshot::TierId,
};

impl Compiler<'_> {
    /// The sources in their order; `keys` has one entry for each `api_key` source, `issuers` one
    /// for each `jwt` source.
    pub(super) fn identity(&mut self, keys: Vec<Keys>, issuers: Vec<IssuerKeys>) -> Identity {
        let file = self.file;
        let (mut keys, mut issuer_keys) = (keys.into_iter(), issuers.into_iter());
        let (mut sources, mut issuers) = (Vec::new(), Vec::new());
        for written in &file.identity {
            let source = match &written.value {
                IdentityFile::ApiKey(_) => keys.next().map(Source::ApiKey),
                IdentityFile::Jwt(jwt) => {
                    let keys = issuer_keys.next();
                    issuers.extend(keys.map(|keys| self.issuer(jwt, keys, sources.len())));
                    Some(Source::Jwt { forward: jwt.forward.value })
                }
                IdentityFile::TrustedProxy(headers) => self.trusted_proxy(headers, written.span),
                IdentityFile::Path(path) => self.path(path),
                IdentityFile::ClientCertificate(written) => self.certificate_source(written),
                IdentityFile::Address { tier } => {
                    self.tier(tier).map(|tier| Source::Address { tier })
                }
            };
            sources.extend(source);
        }
        self.check_issuers();
        self.check_proxies();
        mark_last_certificate_source(&mut sources);
        self.warn_of_unreachable();
        Identity { sources, tokens: self.tokens(issuers) }
    }

    fn path(&mut self, path: &PathIdentityFile) -> Option<Source> {
        let tier = self.tier(&path.tier);
        match Pattern::parse(&path.pattern.value) {
            Ok(pattern) => {
                let parameter = path.parameter.value.clone();
                tier.map(|tier| Source::Path { pattern, parameter, tier })
            }
            Err(error) => {
                let error = Diagnostic::error(error.to_string());
                self.error(error.at(path.pattern.span, ""));
                None
            }
        }
    }

    fn issuer(&mut self, jwt: &JwtFile, keys: IssuerKeys, source: usize) -> Issuer {
        let text = |text: &Option<At<String>>| text.as_ref().map(|text| text.value.clone());
        Issuer {
            name: jwt.issuer.value.clone(),
            audience: text(&jwt.audience),
            keys,
            leeway: jwt.leeway.value,
            subject: ClaimPath::new(&jwt.subject_claim.value),
            prefix: text(&jwt.subject_prefix).unwrap_or_default(),
            tier: ClaimPath::new(&jwt.tier_claim.value),
            default_tier: self.optional_tier(jwt.tier.as_ref()),
            source,
        }
    }

    fn trusted_proxy(&mut self, written: &TrustedProxyFile, span: Span) -> Option<Source> {
        let default_tier = self.optional_tier(written.tier.as_ref());
        if self.file.listen.trusted_proxies.is_empty() {
            let error =
                Diagnostic::error("no proxy is trusted, so this source never finds anybody");
            let help = "name your proxies: trusted_proxies = [\"10.0.0.0/8\"] in [listen]";
            self.error(error.at(span, "").help(help));
        }
        Some(Source::TrustedProxy(ProxyHeaders {
            subject: written.header.value.clone(),
            tier: written.tier_header.as_ref().map(|name| name.value.clone()),
            default_tier,
            tiers: self.tier_names(),
            forward: written.forward.value,
        }))
    }

    fn tokens(&self, issuers: Vec<Issuer>) -> Option<Box<Tokens>> {
        let written = self.file.identity.iter().filter_map(|source| jwt(&source.value));
        let remembered = written.map(|jwt| jwt.cache.value as usize).sum();
        (!issuers.is_empty()).then(|| Box::new(Tokens::new(issuers, self.tier_names(), remembered)))
    }

    fn optional_tier(&mut self, name: Option<&At<Name>>) -> Option<TierId> {
        name.and_then(|name| self.tier(name))
    }

    fn tier_names(&self) -> HashMap<Box<str>, TierId> {
        let tiers = self.file.tiers.iter().enumerate();
        tiers.map(|(index, tier)| (tier.name.value.as_str().into(), TierId(index))).collect()
    }

    /// A token is judged by the one source that has its issuer; subjects of two issuers should differ.
    fn check_issuers(&mut self) {
        let file = self.file;
        let mut seen: Vec<&JwtFile> = Vec::new();
        for jwt in file.identity.iter().filter_map(|source| jwt(&source.value)) {
            let prefix =
                |jwt: &JwtFile| jwt.subject_prefix.as_ref().map(|prefix| prefix.value.clone());
            if let Some(first) = seen.iter().find(|seen| seen.issuer.value == jwt.issuer.value) {
                let error = Diagnostic::error("two sources have the same issuer");
                let error = error.at(jwt.issuer.span, "again here");
                let error = error.at(first.issuer.span, "first here");
                self.error(error.help("keep one source for each issuer"));
            } else if let Some(first) = seen.iter().find(|seen| prefix(seen) == prefix(jwt)) {
                let text =
                    "subjects of these two issuers are one and the same if they are called alike";
                let warning = Diagnostic::warning(text).at(jwt.issuer.span, "this one");
                let warning = warning.at(first.issuer.span, "and this one");
                self.error(warning.help("write subject_prefix = \"partner:\" for one of them"));
            }
            seen.push(jwt);
        }
    }

    /// One header names one caller.
    fn check_proxies(&mut self) {
        let is_proxy =
            |source: &&At<IdentityFile>| matches!(source.value, IdentityFile::TrustedProxy(_));
        let mut proxies = self.file.identity.iter().filter(is_proxy);
        if let (Some(first), Some(second)) = (proxies.next(), proxies.next()) {
            let error = Diagnostic::error("two sources read headers of a trusted proxy");
            let error = error.at(second.span, "again here").at(first.span, "first here");
            self.error(error.help("keep one of them"));
        }
    }

    /// Every request has an address, so nothing behind that source is ever asked.
    fn warn_of_unreachable(&mut self) {
        let sources = &self.file.identity;
        let address = |source: &IdentityFile| matches!(source, IdentityFile::Address { .. });
        let Some(first) = sources.iter().position(|source| address(&source.value)) else { return };
        if let Some(next) = sources.get(first + 1) {
            let warning = Diagnostic::warning("this identity source is never asked");
            let warning =
                warning.at(next.span, "").at(sources[first].span, "this one knows everybody");
            self.error(warning.help("move from = \"address\" to the end"));
        }
    }
}

fn jwt(source: &IdentityFile) -> Option<&JwtFile> {
    match source {
        IdentityFile::Jwt(jwt) => Some(jwt),
        _ => None,
    }
}
