//! Callers by what they proved in the TLS handshake.

use super::refusal::{Code, Refusal};
use crate::{
    policy::identity::{Caller, CertificateField, CertificateSource, is_verified_name},
    server::PeerCertificate,
};

/// The caller that `source` finds in `certificate`.
///
/// # Errors
/// 401 when no source that reads certificates takes this one: it must not fall through to a
/// weaker kind.
pub(super) fn caller(
    source: &CertificateSource,
    certificate: Option<&PeerCertificate>,
) -> Result<Option<Caller>, Box<Refusal>> {
    let Some(certificate) = certificate else { return Ok(None) };
    let is_taken = |name: &&String| {
        let pattern = source.pattern.as_ref();
        is_verified_name(name) && pattern.is_none_or(|pattern| pattern.is_match(name.as_bytes()))
    };
    let found = match source.field {
        CertificateField::Uri => certificate.uris.iter().find(is_taken),
        CertificateField::Dns => certificate.dns.iter().find(is_taken),
        CertificateField::Email => certificate.emails.iter().find(is_taken),
        CertificateField::CommonName => certificate.common_name.as_ref().filter(is_taken),
    };
    match found {
        Some(name) => Ok(Some(Caller { subject: name.as_str().into(), tier: source.tier })),
        None if source.is_last => {
            let why = "no source takes the client's certificate";
            Err(Refusal::new(Code::Unauthenticated).detail(why))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::snapshot::TierId;
    use regex_automata::meta::Regex;

    fn shown() -> PeerCertificate {
        PeerCertificate {
            common_name: Some("Alice".into()),
            dns: vec!["a.example".into(), "b.example".into()],
            uris: vec!["spiffe://prod/ns/web".into()],
            emails: vec!["path:x".into()],
            fingerprint: [0; 32],
            expires: i64::MAX,
        }
    }

    fn source(field: CertificateField, pattern: Option<&str>, is_last: bool) -> CertificateSource {
        let pattern = pattern.map(|text| Regex::new(&format!("^(?:{text})$")).expect("a regex"));
        CertificateSource { field, pattern, tier: TierId(0), is_last }
    }

    #[test]
    fn the_first_name_that_matches_is_the_subject() {
        use CertificateField::{CommonName, Dns, Email, Uri};
        for (field, pattern, subject) in [
            (Uri, None, Some("spiffe://prod/ns/web")),
            (Uri, Some("spiffe://prod/.*"), Some("spiffe://prod/ns/web")),
            (Uri, Some("spiffe://prod"), None),
            (Dns, Some("b\\..*"), Some("b.example")),
            (CommonName, None, Some("Alice")),
            (Email, None, None),
        ] {
            let found = caller(&source(field, pattern, false), Some(&shown())).expect("no refusal");
            assert_eq!(found.map(|caller| caller.subject.to_string()).as_deref(), subject);
        }
    }

    #[test]
    fn a_certificate_that_no_source_takes_is_refused_by_the_last_of_them() {
        let last = source(CertificateField::Uri, Some("other"), true);
        let refusal = caller(&last, Some(&shown())).expect_err("refused");
        assert_eq!(refusal.code, Code::Unauthenticated);
        assert!(caller(&last, None).expect("no refusal").is_none(), "nothing was shown");
    }
}
