//! Identity sources, with the tiers that they give.

use super::Compiler;
use crate::policy::{
    diagnostic::Diagnostic,
    file::IdentityFile,
    identity::{Identity, Keys, Source},
    route::Pattern,
};

impl Compiler<'_> {
    /// The sources in their order; `keys` has one entry for each `api_key` source.
    pub(super) fn identity(&mut self, keys: Vec<Keys>) -> Identity {
        let file = self.file;
        let mut keys = keys.into_iter();
        let mut sources = Vec::new();
        for written in &file.identity {
            let source = match &written.value {
                IdentityFile::ApiKey(_) => keys.next().map(Source::ApiKey),
                IdentityFile::Jwt(jwt) => {
                    if let Some(tier) = &jwt.tier {
                        self.tier(tier);
                    }
                    Some(Source::Jwt)
                }
                IdentityFile::Path(path) => {
                    let tier = self.tier(&path.tier);
                    match Pattern::parse(&path.pattern.value) {
                        Ok(pattern) => tier.map(|tier| Source::Path {
                            pattern,
                            parameter: path.parameter.value.clone(),
                            tier,
                        }),
                        Err(error) => {
                            let error = Diagnostic::error(error.to_string());
                            self.error(error.at(path.pattern.span, ""));
                            None
                        }
                    }
                }
                IdentityFile::Address { tier } => {
                    self.tier(tier).map(|tier| Source::Address { tier })
                }
            };
            sources.extend(source);
        }
        self.warn_of_unreachable();
        Identity { sources }
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
