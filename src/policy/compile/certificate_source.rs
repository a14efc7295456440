//! The identity source that reads clients' certificates.

use regex_automata::meta::Regex;

use super::{Compiler, operations::bad_regex};
use crate::policy::{
    diagnostic::Diagnostic,
    file::CertificateIdentityFile,
    identity::{CertificateSource, Source},
};

impl Compiler<'_> {
    /// The source, with its pattern and its tier.
    pub(super) fn certificate_source(
        &mut self,
        written: &CertificateIdentityFile,
    ) -> Option<Source> {
        let tls = self.file.listen.tls.as_ref();
        if tls.is_none_or(|tls| tls.clients.is_none()) {
            let error = Diagnostic::error("no client is asked for a certificate");
            let help = "write [listen.client_certificates] with ca = \"certs/clients-ca.crt\"";
            self.error(error.at(written.field.span, "this reads one").help(help));
        }
        let tier = self.tier(&written.tier);
        let pattern = match &written.pattern {
            None => None,
            Some(pattern) => match Regex::new(&format!("^(?:{})$", pattern.value)) {
                Ok(regex) => Some(regex),
                Err(error) => {
                    self.error(bad_regex(pattern, &error));
                    return None;
                }
            },
        };
        let (field, is_last) = (written.field.value, false);
        Some(Source::ClientCertificate(CertificateSource { field, pattern, tier: tier?, is_last }))
    }
}

/// A certificate that none of its sources takes must not fall through to a weaker one.
pub(super) fn mark_last_certificate_source(sources: &mut [Source]) {
    let last = sources.iter_mut().rev().find_map(|source| match source {
        Source::ClientCertificate(source) => Some(source),
        _ => None,
    });
    if let Some(last) = last {
        last.is_last = true;
    }
}
